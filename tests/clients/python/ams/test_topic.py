"""A topic as an object: each method is the service's with the name filled in."""

from collections.abc import Callable

import pytest
from argo_stub import Stub

from headrace.ams import AmsException, AmsMessage, AmsTopic, ArgoMessagingService
from headrace.ams.topic import full_name, short_name


def test_a_short_name_is_what_follows_the_project() -> None:
    assert short_name("/projects/P/topics/t", "P", "topics") == "t"
    for name in ("t", "a/b", "50%", "a%2Fb"):
        assert short_name(full_name("P", "topics", name), "P", "topics") == name
    for foreign in ("/projects/Q/topics/t", "/projects/P/subscriptions/t", "projects/P/topics/t"):
        with pytest.raises(AmsException):
            short_name(foreign, "P", "topics")


def test_methods_are_the_services(ams: ArgoMessagingService, seen: Callable[[], list[str]]) -> None:
    topic = ams.topic("t")
    seen()
    assert topic.publish(AmsMessage(data="x")) == {"messageIds": ["0"]}
    assert topic.acl() == {"authorized_users": []}
    assert topic.acl(["operator"]) is True
    assert topic.acls == ["operator"]
    assert [sub.name for sub in topic.iter_subs()] == []
    assert topic.delete() == {}
    assert seen() == [
        "POST /v1/projects/P/topics/t:publish",
        "GET /v1/projects/P/topics/t:acl",
        "POST /v1/projects/P/topics/t:modifyAcl",
        "GET /v1/projects/P/subscriptions",
        "DELETE /v1/projects/P/topics/t",
    ]


def test_a_subscription_is_found_or_made(ams: ArgoMessagingService, seen: Callable[[], list[str]]) -> None:
    topic = ams.topic("t")
    seen()
    made = topic.subscription("s", ackdeadline=33)
    assert (made.ackdeadline, made.topic) == (33, topic)
    assert seen() == ["GET /v1/projects/P/subscriptions/s", "PUT /v1/projects/P/subscriptions/s"]
    assert topic.subscription("s", ackdeadline=44) is made
    assert made.ackdeadline == 33


def test_a_publish_hands_on_key_and_retries(ams: ArgoMessagingService, stub: Stub, naps: list[float]) -> None:
    topic = ams.topic("t")
    assert topic.publish({"data": "x"}, key="k") == topic.publish({"data": "x"}, key="k")
    stub.close()
    with pytest.raises(AmsException):
        topic.publish({"data": "x"}, retry=1, retrysleep=8)
    assert naps == [8]


def test_a_topic_shows_its_name(ams: ArgoMessagingService) -> None:
    assert repr(AmsTopic("/projects/P/topics/t", ams)) == "<AmsTopic /projects/P/topics/t>"
