"""Asking for topics, and asking again; what passes through a followed topic is seen in test_protocol.py."""

import json

import pytest

from headrace.dialects import Json
from headrace.errors import AlreadySubscribed, Forbidden, NotSubscribed, Unavailable
from headrace.events import Ended, Event
from headrace.followings import Followings
from headrace.requests import Requests

LINES = "default/lines"


@pytest.fixture
def requests() -> Requests:
    made = Requests(Json())
    made.open()
    return made


@pytest.fixture
def followings(requests: Requests) -> Followings[str, str]:
    made = Followings[str, str](requests, Json())
    made.follow(LINES, "earliest", "handle")
    return made


def sent(requests: Requests) -> list[tuple[object, object]]:
    return [(frame["op"], frame.get("id")) for frame in map(json.loads, requests.take())]


def test_a_topic_is_asked_for_once_a_connection(followings, requests) -> None:
    assert sent(requests) == [("subscribe", 1)]
    followings.restart()
    assert sent(requests) == []
    followings.drop()
    followings.restart()
    assert sent(requests) == [("subscribe", 2)]
    assert followings.places == {LINES: "earliest"}
    with pytest.raises(AlreadySubscribed):
        followings.follow(LINES, "now", "other")


def test_a_temporary_refusal_is_asked_again_in_time(followings, requests) -> None:
    events: list[Event[str, str]] = []
    sent(requests)
    assert followings.receive_refusal(1, Unavailable(retry_ms=500), 10.0, events)
    assert list(followings.dues()) == [10.5]
    followings.poll(10.4)
    assert sent(requests) == []
    followings.poll(10.5)
    assert sent(requests) == [("subscribe", 2)]
    assert events == []


def test_a_final_refusal_ends_it(followings) -> None:
    events: list[Event[str, str]] = []
    assert not followings.receive_refusal(9, Forbidden(), 0.0, events)
    assert followings.receive_refusal(1, Forbidden(), 0.0, events)
    assert [(type(event), event.handle) for event in events] == [(Ended, "handle")]
    assert followings.places == {}
    with pytest.raises(NotSubscribed):
        followings.unfollow(LINES)


def test_an_answer_to_an_earlier_ask_changes_nothing(followings, requests) -> None:
    events: list[Event[str, str]] = []
    followings.park(LINES)
    followings.unpark(LINES)
    assert sent(requests) == [("subscribe", 1), ("unsubscribe", None), ("subscribe", 2)]
    assert followings.receive_refusal(1, Forbidden(), 0.0, events)
    assert events == [] and followings.places == {LINES: "earliest"}
