"""The calls that make and configure subscriptions, beyond what test_compatible holds."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from argo_stub import Fault, Stub

from headrace.ams import AmsServiceException, ArgoMessagingService, SharedPolicy


def test_a_subscription_is_made_by_one_request(ams: ArgoMessagingService, stub: Stub) -> None:
    """A helper that reads the topic first is refused to whoever may not, and can half succeed."""
    ams.create_topic("t")
    made = ams.create_sub("s", "t", push_endpoint="https://e", retry_policy_period=500, retobj=True)
    assert [f"{seen.method} {seen.path}" for seen in stub.seen[1:]] == ["PUT /v1/projects/P/subscriptions/s"]
    assert json.loads(stub.seen[1].body) == {
        "topic": "projects/P/topics/t",
        "ackDeadlineSeconds": 10,
        "pushConfig": {
            "type": "http_endpoint",
            "pushEndpoint": "https://e",
            "retryPolicy": {"type": "linear", "period": 500},
        },
    }
    assert (made.push_endpoint, made.retry_policy_period) == ("https://e", 500)


def test_a_shared_subscription_says_its_policy(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_topic("t")
    made = ams.create_sub("s", "t", 30, shared=SharedPolicy(max_attempts=5), retobj=True)
    assert json.loads(stub.seen[1].body) == {
        "topic": "projects/P/topics/t",
        "ackDeadlineSeconds": 30,
        **SharedPolicy(max_attempts=5).document("P"),
    }
    assert made.kind == "shared"
    assert ams.create_sub("other", "t", retobj=True).kind == "cursor"


def test_a_refused_creation_leaves_no_object(ams: ArgoMessagingService) -> None:
    with pytest.raises(AmsServiceException) as refused:
        ams.create_sub("s", "missing")
    assert refused.value.code == 404
    assert ams.subs == {}


def test_objects_show_what_the_service_says_now(ams: ArgoMessagingService, stub: Stub) -> None:
    ams.create_topic("t")
    made = ams.create_sub("s", "t", retobj=True)
    stub.argo.subs["P", "s"].document["ackDeadlineSeconds"] = 77
    assert ams.get_sub("s", retobj=True) is made
    assert made.ackdeadline == 77
    ams.pushconfig_sub("s", "https://e")
    assert made.push_endpoint == "https://e"
    ams.pushconfig_sub("s")
    assert made.push_endpoint == ""
    ams.delete_sub("s")
    assert ams.subs == {}


def test_iterating_shows_what_is_there_now(ams: ArgoMessagingService, stub: Stub) -> None:
    for topic in ("t", "u"):
        ams.create_topic(topic)
        ams.create_sub(f"on-{topic}", topic)
    assert {sub.name for sub in ams.iter_subs()} == {"on-t", "on-u"}
    assert [sub.name for sub in ams.iter_subs("u")] == ["on-u"]
    del stub.argo.subs["P", "on-u"]
    assert [sub.name for sub in ams.iter_subs()] == ["on-t"]


def test_the_authorizations_are_asked_for_alone(ams: ArgoMessagingService, seen: Callable[[], list[str]]) -> None:
    ams.create_topic("t")
    made = ams.create_sub("s", "t", retobj=True)
    seen()
    ams.modifyacl_sub("s", ["operator"])
    assert made.acls == ["operator"]
    assert ams.getacl_sub("s") == {"authorized_users": ["operator"]}
    assert seen() == ["POST /v1/projects/P/subscriptions/s:modifyAcl", "GET /v1/projects/P/subscriptions/s:acl"]
    ams.subs.clear()
    ams.getacl_sub("s")
    assert ams.subs == {}


@pytest.mark.parametrize(
    ("moment", "sent"),
    [
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 678_901), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:04:05.000Z"),
    ],
)
def test_a_time_is_sent_in_utc_with_milliseconds(
    ams: ArgoMessagingService, stub: Stub, moment: datetime, sent: str
) -> None:
    stub.fail(":timeToOffset", Fault(200, b'{"offset": 4}'))
    assert ams.time_to_offset_sub("s", moment) == 4
    assert stub.seen[0].query == {"time": [sent]}


def test_an_unknown_offset_is_refused_before_anything_is_sent(ams: ArgoMessagingService, stub: Stub) -> None:
    with pytest.raises(AmsServiceException) as refused:
        ams.getoffsets_sub("s", "middle")
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert stub.seen == []


@pytest.mark.parametrize("status", [400, 404, 409, 500])
@pytest.mark.parametrize(
    ("path", "use"),
    [
        (":offsets", lambda ams: ams.getoffsets_sub("s")),
        ("/subscriptions", lambda ams: ams.list_subs()),
        ("/s", lambda ams: ams.delete_sub("s")),
        (":acl", lambda ams: ams.getacl_sub("s")),
        (":modifyAcl", lambda ams: ams.modifyacl_sub("s", [])),
    ],
)
def test_what_is_a_bare_key_error_elsewhere_is_typed(
    ams: ArgoMessagingService, stub: Stub, path: str, use: Callable[[ArgoMessagingService], object], status: int
) -> None:
    stub.fail(path, Fault(status, b""))
    with pytest.raises(AmsServiceException) as refused:
        use(ams)
    assert refused.value.code == status


def test_a_document_without_its_push_configuration_is_an_exception(ams: ArgoMessagingService, stub: Stub) -> None:
    stub.fail("/s", Fault(200, b'{"name": "/projects/P/subscriptions/s", "topic": "/projects/P/topics/t"}'))
    with pytest.raises(AmsServiceException, match="pushConfig"):
        ams.get_sub("s")
