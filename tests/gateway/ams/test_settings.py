"""A subscription in ARGO's form, as tables that run both ways."""

from dataclasses import replace

import orjson
import pytest

from broker.errors import InvalidRequest
from broker.names import SubscriptionName, TopicName
from broker.positions import Position
from broker.store.subscriptions import RetryKind, SubscriptionInfo, SubscriptionKind, SubscriptionSettings
from gateway.ams.settings import (
    NO_PUSH,
    InvalidTopicReference,
    read_creation,
    read_topic_reference,
    settings_document,
    subscription_document,
    topic_reference,
)

CURSOR = SubscriptionSettings()
SHARED = SubscriptionSettings(
    kind=SubscriptionKind.SHARED,
    ack_deadline_s=30,
    max_attempts=5,
    dead_letter_topic=TopicName("p/dead/letters"),
    retry_kind=RetryKind.EXPONENTIAL,
    retry_min_ms=100,
    retry_max_ms=60_000,
    ordering_attribute="customer",
    max_outstanding=500,
)


def body(**fields: object) -> bytes:
    return orjson.dumps({"topic": "projects/p/topics/t", **fields})


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({}, CURSOR),
        ({"ackDeadlineSeconds": 0}, CURSOR),
        ({"ACKDEADLINESECONDS": 600}, replace(CURSOR, ack_deadline_s=600)),
        ({"kind": "cursor", "maxAttempts": None}, CURSOR),
        ({"kind": "shared"}, SubscriptionSettings(kind=SubscriptionKind.SHARED)),
        (
            {"kind": "shared", "retryPolicy": {"minimumMs": 50}},
            SubscriptionSettings(kind=SubscriptionKind.SHARED, retry_min_ms=50, retry_max_ms=50),
        ),
        ({"ackDeadlineSeconds": 30, **settings_document(SHARED)}, SHARED),
    ],
)
def test_what_a_creator_chooses(fields: dict[str, object], settings: SubscriptionSettings) -> None:
    made = read_creation(body(**fields))
    assert (made.topic, made.settings, made.push) == ("p/t", settings, {})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"topic":1}',
        body(ackDeadlineSeconds="10"),
        body(ackDeadlineSeconds=601),
        body(ackDeadlineSeconds=-1),
        body(ackDeadlineSeconds=True),
        body(ackDeadlineSeconds=1.5),
        body(pushConfig="x"),
        body(pushConfig=[]),
        body(kind="queue"),
        body(kind=1),
        body(maxAttempts=3),
        body(kind="cursor", retryPolicy={}),
        body(kind="shared", retryPolicy=[]),
        body(kind="shared", maxAttempts="3"),
        body(kind="shared", orderingAttribute=1),
        body(kind="shared", retryPolicy={"type": "slowstart"}),
    ],
)
def test_what_cannot_be_read(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_creation(raw)
    assert not isinstance(raised.value, InvalidTopicReference)


@pytest.mark.parametrize("topic", ["p/t", "p/a/b", "p/a/b%c"])
def test_a_topics_reference_both_ways(topic: str) -> None:
    assert read_topic_reference(topic_reference(TopicName(topic))) == topic


@pytest.mark.parametrize(
    "text",
    [
        "",
        "t",
        "/projects/p/topics/t",
        "projects/p/topics/t/",
        "projects/p/subscriptions/t",
        "topics/p/topics/t",
        "projects//topics/t",
        "projects/p/topics/",
        "projects/p/topics/a.b",
        "projects/p.q/topics/t",
        "projects/p/topics/a%2F",
        "projects/p/topics/a%2F%FF",
    ],
)
def test_what_is_no_topics_reference(text: str) -> None:
    with pytest.raises(InvalidTopicReference):
        read_topic_reference(text)


def info(settings: SubscriptionSettings) -> SubscriptionInfo:
    return SubscriptionInfo(
        name=SubscriptionName("p/s"),
        topic=TopicName("p/a/b"),
        created_ms=1_567_431_551_999,
        settings=settings,
        log=None,
        cursor=Position(1, 0),
        generation=0,
        pending=0,
        lag=0,
        oldest_unacked_ms=None,
        trimmed=0,
        restarts=0,
        delivered=0,
        delivered_bytes=0,
    )


def test_the_document_always_has_a_whole_push_configuration() -> None:
    assert subscription_document(info(CURSOR)) == {
        "name": "/projects/p/subscriptions/s",
        "topic": "/projects/p/topics/a%2Fb",
        "pushConfig": NO_PUSH,
        "ackDeadlineSeconds": 10,
        "createdOn": "2019-09-02T13:39:11Z",
        "kind": "cursor",
    }
    assert list(NO_PUSH) == [
        "type",
        "pushEndpoint",
        "maxMessages",
        "authorizationHeader",
        "retryPolicy",
        "verificationHash",
        "verified",
        "mattermostUrl",
        "mattermostUsername",
        "mattermostChannel",
        "base64Decode",
    ]


def test_a_shared_one_shows_its_policy() -> None:
    shown = subscription_document(info(SHARED), {"pushEndpoint": "https://x"})
    assert shown["deadLetterTopic"] == "projects/p/topics/dead%2Fletters"
    assert shown["retryPolicy"] == {"type": "exponential", "minimumMs": 100, "maximumMs": 60_000}
    assert shown["pushConfig"] == {"pushEndpoint": "https://x"}
