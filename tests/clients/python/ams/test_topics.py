"""The calls on topics, beyond what test_compatible holds."""

import json
from collections.abc import Callable

import pytest
from argo_stub import Fault, Stub

from headrace.ams import AmsMessage, AmsMessageException, AmsServiceException, AmsTopic, ArgoMessagingService

FORBIDDEN = Fault(403, b'{"error": {"code": 403, "message": "no", "status": "FORBIDDEN"}}')


def test_a_topic_that_cannot_be_seen_is_not_a_topic_that_is_missing(ams: ArgoMessagingService, stub: Stub) -> None:
    stub.fail("/topics/t", FORBIDDEN)
    with pytest.raises(AmsServiceException) as refused:
        ams.has_topic("t")
    assert refused.value.code == 403


def test_the_authorizations_are_asked_for_alone(ams: ArgoMessagingService, seen: Callable[[], list[str]]) -> None:
    """Whoever may read them may not be allowed to read the topic."""
    ams.create_topic("t")
    seen()
    ams.getacl_topic("t")
    ams.modifyacl_topic("t", ["operator"])
    assert seen() == ["GET /v1/projects/P/topics/t:acl", "POST /v1/projects/P/topics/t:modifyAcl"]
    assert ams.topics["/projects/P/topics/t"].acls == ["operator"]


def test_objects_are_kept_while_their_topic_is(ams: ArgoMessagingService) -> None:
    made = ams.create_topic("t", retobj=True)
    assert ams.topics == {"/projects/P/topics/t": made}
    assert [topic is made for topic in ams.iter_topics()] == [True]
    ams.delete_topic("t")
    assert ams.topics == {}
    ams.create_topic("t")
    assert ams.get_topic("t", retobj=True) is not made


def test_iterating_shows_what_is_there_now(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_topic("a")
    ams.create_topic("b")
    del stub.argo.topics["P", "a"]
    assert [topic.name for topic in ams.iter_topics()] == ["b"]


def test_a_list_mixes_messages_and_documents(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_topic("t")
    assert ams.publish("t", [AmsMessage(data="a"), {"data": "Yg=="}]) == {"messageIds": ["0", "1"]}
    assert ams.publish("t", (AmsMessage(data="c"),)) == {"messageIds": ["2"]}
    assert json.loads(stub.seen[1].body) == {"messages": [{"data": "YQ=="}, {"data": "Yg=="}]}


def test_what_cannot_be_json_is_refused_before_it_is_sent(ams: ArgoMessagingService, stub: Stub) -> None:
    for message in ({"data": b"bytes"}, {"attributes": {1: object()}}):
        with pytest.raises(AmsMessageException, match="JSON"):
            ams.publish("t", message)
    assert stub.seen == []


def test_each_publish_has_a_key_of_its_own_or_the_callers(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_topic("t")
    first = ams.publish("t", {"data": "x"}, key="mine")
    assert ams.publish("t", {"data": "x"}, key="mine") == first
    assert ams.publish("t", {"data": "x"}, headers={"Idempotency-Key": "mine"}) == first
    assert ams.publish("t", {"data": "x"}) != ams.publish("t", {"data": "x"})
    keys = [seen.headers["idempotency-key"] for seen in stub.to(":publish")]
    assert keys[:3] == ["mine"] * 3
    assert len(set(keys)) == 3


def test_a_listing_without_its_key_is_an_exception(ams: ArgoMessagingService, stub: Stub) -> None:
    stub.fail("/topics", Fault(200, b"{}"))
    with pytest.raises(AmsServiceException, match="has no 'topics'"):
        ams.list_topics()
    stub.fail("/topics", Fault(200, b'{"topics": [{}]}'))
    with pytest.raises(AmsServiceException, match="has no 'name'"):
        ams.list_topics()


def test_a_topic_with_slashes_keeps_its_name(ams: ArgoMessagingService, stub: Stub) -> None:
    stub.fail("/topics/a%2Fb", Fault(200, b'{"name": "/projects/P/topics/a%2Fb"}'))
    topic = ams.get_topic("a/b", retobj=True)
    assert isinstance(topic, AmsTopic)
    assert topic.name == "a/b"
    stub.fail("/topics/a%2Fb", Fault(200))
    topic.delete()
    assert ams.topics == {}
