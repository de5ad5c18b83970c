"""Deliveries as they go out, and the pace of both policies."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Entry, Kind, Message
from broker.names import SubscriptionName
from broker.positions import Position
from gateway.ams.receiving import message_document
from gateway.ams.wire import message_of
from gateway.push.wire import (
    FIRST_SLOWSTART_MS,
    MAX_SLOWSTART_MS,
    MIN_SLOWSTART_MS,
    Delivery,
    Outcome,
    Pace,
    active_status,
    batch_size,
    delivery_of,
    first_pace,
    next_pace,
)
from gateway.pushes import Authorization, PushConfig, PushType, RetryPolicy

NAME = SubscriptionName("p/s")
HTTP = PushConfig(type=PushType.HTTP_ENDPOINT, endpoint="https://e.test/in", period_ms=3000)
MATTERMOST = PushConfig(type=PushType.MATTERMOST, mattermost_url="https://m.test/hook", max_messages=5)


def entry(offset: int, message: Message | None = None) -> Entry:
    return Entry(Position(7, offset), 1_600_000_000_500, message or Message(Kind.TEXT, b"hi", {"a": "b"}))


def delivery(config: PushConfig, *entries: Entry) -> Delivery:
    return delivery_of(NAME, config, entries, message_document)


def test_one_message() -> None:
    made = delivery(HTTP, entry(3))
    assert made.url == "https://e.test/in"
    assert made.headers == {"Content-Type": "application/json", "Headrace-Event-Id": "p/s:7-3:7-3:1"}
    assert made.success == {200, 201, 204, 102}
    assert json.loads(made.body) == {
        "message": {
            "messageId": "3",
            "attributes": {"a": "b"},
            "data": base64.b64encode(b"hi").decode(),
            "publishTime": "2020-09-13T12:26:40.5Z",
        },
        "subscription": "/projects/p/subscriptions/s",
    }


def test_several_messages_also_when_there_is_only_one_of_them() -> None:
    many = replace(HTTP, max_messages=2)
    assert batch_size(many) == 2
    body = json.loads(delivery(many, entry(3), entry(4)).body)
    assert [each["message"]["messageId"] for each in body["messages"]] == ["3", "4"]
    assert {each["subscription"] for each in body["messages"]} == {"/projects/p/subscriptions/s"}
    assert len(json.loads(delivery(many, entry(3)).body)["messages"]) == 1


def test_the_authorization_goes_verbatim_and_to_http_endpoints_alone() -> None:
    secret = replace(HTTP, authorization=Authorization.AUTOGEN, authorization_value="abc")
    assert delivery(secret, entry(0)).headers["Authorization"] == "abc"
    assert "Authorization" not in delivery(HTTP, entry(0)).headers
    assert "Authorization" not in delivery(replace(MATTERMOST, authorization_value="abc"), entry(0)).headers


@pytest.mark.parametrize(
    ("data", "sent"),
    [("aGk=", "hi"), ("4oKs", "€"), ("msg 1", "msg 1"), ("/w==", "/w=="), ("", ""), ("aGk", "aGk")],
)
def test_base64_is_decoded_where_it_is_text(data: str, sent: str) -> None:
    config = replace(HTTP, base64_decode=True)
    assert json.loads(delivery(config, entry(0, message_of(data))).body)["message"]["data"] == sent
    assert json.loads(delivery(HTTP, entry(0, message_of(data))).body)["message"]["data"] == data


def test_mattermost_gets_the_text_of_one_message() -> None:
    assert batch_size(MATTERMOST) == 1
    made = delivery(replace(MATTERMOST, base64_decode=True), entry(0))
    assert (made.url, made.success) == ("https://m.test/hook", {200})
    assert json.loads(made.body) == {"text": "hi"}
    named = replace(MATTERMOST, mattermost_username="u", mattermost_channel="c")
    assert json.loads(delivery(named, entry(0)).body) == {"text": "aGk=", "username": "u", "channel": "c"}


def test_status() -> None:
    assert active_status(NAME) == "Subscription /projects/p/subscriptions/s is currently active"


def test_linear_keeps_its_period_whatever_happens() -> None:
    assert first_pace(HTTP) == Pace(0)
    for outcome in Outcome:
        assert next_pace(HTTP, Pace(0), outcome).wait_ms == 3000


SLOW = replace(HTTP, retry=RetryPolicy.SLOWSTART, period_ms=0)


def test_slowstart_gathers_speed_and_backs_off() -> None:
    pace = first_pace(SLOW)
    waits = [pace.wait_ms]
    for outcome in [Outcome.DELIVERED] * 3 + [Outcome.FAILED] * 3 + [Outcome.DELIVERED] * 2:
        pace = next_pace(SLOW, pace, outcome)
        waits.append(pace.wait_ms)
    assert waits == [1000, 500, 300, 300, 600, 1200, 2400, 1000, 500]


@given(st.lists(st.sampled_from(list(Outcome)), max_size=60))
def test_slowstart_stays_within_its_bounds(outcomes: list[Outcome]) -> None:
    pace = first_pace(SLOW)
    for before, outcome in zip([None, *outcomes], outcomes, strict=False):
        pace = next_pace(SLOW, pace, outcome)
        assert MIN_SLOWSTART_MS <= pace.wait_ms <= MAX_SLOWSTART_MS
        if (before, outcome) == (Outcome.FAILED, Outcome.DELIVERED):
            assert pace.wait_ms == FIRST_SLOWSTART_MS
