"""A subscription as an object: each method is the service's with the name filled in."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from argo_stub import Fault, Stub

from headrace.ams import AmsBalancerException, AmsException, AmsMessage, AmsSubscription, ArgoMessagingService

UNAVAILABLE = Fault(503, b'{"error": {"code": 503, "message": "m"}}')
PUSH = {"pushEndpoint": "https://e", "retryPolicy": {"type": "linear", "period": 5}}


@pytest.fixture
def sub(ams: ArgoMessagingService) -> AmsSubscription:
    made = ams.topic("t").subscription("s")
    ams.publish("t", [AmsMessage(data=str(number)) for number in range(3)])
    return made


def test_methods_are_the_services(sub: AmsSubscription, seen: Callable[[], list[str]]) -> None:
    seen()
    ((ack, message),) = sub.pull()
    assert message.get_data() == b"0"
    assert sub.ack([ack]) is True
    assert len(sub.pullack(2)) == 2
    assert sub.offsets("current") == 3
    assert sub.time_to_offset(datetime(2020, 1, 1, tzinfo=UTC)) == 0
    assert sub.acl(["operator"]) is True
    assert sub.acl() == {"authorized_users": ["operator"]}
    assert sub.pushconfig("https://e") == {}
    assert sub.delete() == {}
    base = "/v1/projects/P/subscriptions/s"
    assert seen() == [
        f"POST {base}:pull",
        f"POST {base}:acknowledge",
        f"POST {base}:pull",
        f"POST {base}:acknowledge",
        f"GET {base}:offsets",
        f"GET {base}:timeToOffset",
        f"POST {base}:modifyAcl",
        f"GET {base}:acl",
        f"POST {base}:modifyPushConfig",
        f"DELETE {base}",
    ]


def test_a_pull_says_how_many_and_whether_to_wait(sub: AmsSubscription, stub: Stub) -> None:
    sub.pull(2)
    sub.pull(num=3, return_immediately=True)
    assert [json.loads(seen.body) for seen in stub.to(":pull")] == [
        {"maxMessages": "2", "returnImmediately": "false"},
        {"maxMessages": "3", "returnImmediately": "true"},
    ]


@pytest.mark.parametrize(
    ("path", "use"),
    [
        (":pull", lambda sub, **options: sub.pull(**options)),
        (":pull", lambda sub, **options: sub.pullack(**options)),
        (":acknowledge", lambda sub, **options: sub.ack(["x"], **options)),
    ],
)
def test_retries_are_handed_on(
    sub: AmsSubscription, stub: Stub, naps: list[float], path: str, use: Callable[..., object]
) -> None:
    stub.fail(path, UNAVAILABLE, times=3)
    with pytest.raises(AmsBalancerException):
        use(sub, retry=2, retrysleep=11)
    assert naps == [11, 11]


def test_a_message_of_a_shared_subscription_is_kept_or_given_back(sub: AmsSubscription, stub: Stub) -> None:
    assert sub.extend(["a", "b"], 30) is True
    assert sub.nack(["c"]) is True
    assert stub.argo.subs["P", "s"].extended == [(["a", "b"], 30), (["c"], 0)]


def test_a_seek_goes_before_the_question(sub: AmsSubscription) -> None:
    assert sub.offsets(move_to=2) == {"max": 3, "min": 0, "current": 2}
    assert sub.offsets("current", move_to=1) == 1
    assert sub.offsets("current", move_to=0) == 1


def test_an_unknown_offset_is_refused(sub: AmsSubscription) -> None:
    with pytest.raises(AmsException, match="not valid offset position"):
        sub.offsets("middle")


def test_what_is_pushed_shows_in_the_object(sub: AmsSubscription) -> None:
    assert (sub.push_endpoint, sub.retry_policy_type, sub.retry_policy_period) == ("", "", "")
    sub.refresh(PUSH, 20)
    assert (sub.push_endpoint, sub.retry_policy_type, sub.retry_policy_period) == ("https://e", "linear", 5)
    assert sub.ackdeadline == 20
    sub.refresh({"pushEndpoint": "https://e", "retryPolicy": {"type": "slowstart"}}, 20)
    assert (sub.retry_policy_type, sub.retry_policy_period) == ("slowstart", 0)
    sub.refresh({}, 20)
    assert (sub.push_endpoint, sub.retry_policy_type, sub.retry_policy_period) == ("", "", "")


def test_an_object_needs_a_topic_that_is_known(ams: ArgoMessagingService) -> None:
    with pytest.raises(AmsException, match="not known"):
        AmsSubscription("/projects/P/subscriptions/s", "/projects/P/topics/t", {}, 10, ams)


def test_a_subscription_shows_its_name(sub: AmsSubscription) -> None:
    assert repr(sub) == "<AmsSubscription /projects/P/subscriptions/s>"
