"""Who is meant: every condition counts, and what cannot be understood is refused."""

from dataclasses import replace

import pytest

from broker.errors import InvalidName, InvalidRequest
from broker.names import parse_topic
from gateway.apigateway.beyond.criteria import MAX_TAGS, MAX_TEXT_CHARS, Criteria, read_criteria
from gateway.apigateway.ports import Facts

ALICE = Facts(
    id="L0SM9cOFvHcCIhw=",
    api="chat",
    stage="prod",
    connected_at_ms=1,
    source_ip="192.0.2.1",
    user_agent=None,
    domain_name="chat.example",
    user="alice",
    tags={"room": "7", "kind": "web"},
)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"api": "chat"},
        {"stage": "prod"},
        {"user": "alice"},
        {"tags": {"room": "7"}},
        {"api": "chat", "stage": "prod", "user": "alice", "tags": {"room": "7", "kind": "web"}},
        {"group": "default/room"},
        {"color": "red"},
    ],
)
def test_who_fits_everything_is_meant(said: dict[str, object]) -> None:
    assert read_criteria(said).match(ALICE)


@pytest.mark.parametrize(
    "said",
    [
        {"api": "game"},
        {"stage": "dev"},
        {"user": "bob"},
        {"tags": {"room": "8"}},
        {"tags": {"room": "7", "floor": "1"}},
        {"user": "alice", "api": "game"},
    ],
)
def test_who_misses_one_thing_is_not(said: dict[str, object]) -> None:
    assert not read_criteria(said).match(ALICE)


def test_nobody_has_the_user_of_a_connection_without_one() -> None:
    assert not read_criteria({"user": "alice"}).match(replace(ALICE, user=None))


@pytest.mark.parametrize(
    "strange",
    [
        {"api": 7},
        {"api": ""},
        {"user": "x" * (MAX_TEXT_CHARS + 1)},
        {"tags": ["room"]},
        {"tags": {"room": 7}},
        {"tags": {"room": "x" * (MAX_TEXT_CHARS + 1)}},
        {"tags": {str(n): "" for n in range(MAX_TAGS + 1)}},
    ],
)
def test_what_cannot_be_understood_is_refused(strange: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        read_criteria(strange)


def test_a_group_is_the_full_name_of_a_topic() -> None:
    assert read_criteria({"group": "default/room"}).group == parse_topic("default/room")
    with pytest.raises(InvalidName):
        read_criteria({"group": "room"})


def test_criteria_travel_as_they_are() -> None:
    told = {"api": "chat", "stage": "prod", "user": "alice", "group": "default/room", "tags": {"room": "7"}}
    assert read_criteria(told).plain() == told
    assert not read_criteria(told).is_empty
    assert Criteria().plain() == {}
    assert read_criteria({}).is_empty
