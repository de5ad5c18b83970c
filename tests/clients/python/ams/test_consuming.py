"""Pulling and acknowledging, beyond what test_compatible holds."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argo_stub import Fault, Stub

from headrace.ams import (
    AmsBalancerException,
    AmsException,
    AmsMessage,
    AmsServiceException,
    AmsTimeoutException,
    ArgoMessagingService,
)
from headrace.ams.consuming import MAX_CYCLES

LATE = Fault(408, b'{"error": {"code": 408, "message": "ack timeout", "status": "TIMEOUT"}}')


@pytest.fixture
def filled(ams: ArgoMessagingService) -> ArgoMessagingService:
    """`t` with five messages that `s` has not delivered."""
    ams.create_topic("t")
    ams.create_sub("s", "t")
    ams.publish("t", [AmsMessage(data=str(number)) for number in range(5)])
    return ams


def test_options_go_with_every_pull(filled: ArgoMessagingService, stub: Stub) -> None:
    filled.set_pullopt("later", 5)
    filled.set_pullopt("maxMessages", 99)
    filled.pull_sub("s", 2)
    assert json.loads(stub.seen[-1].body) == {"maxMessages": "2", "returnImmediately": "false", "later": "5"}
    assert filled.get_pullopt("maxMessages") == "99"
    with pytest.raises(AmsException, match="no pull option 'unknown'"):
        filled.get_pullopt("unknown")


def test_a_failed_pull_leaves_the_options_alone(filled: ArgoMessagingService, stub: Stub) -> None:
    stub.fail(":pull", Fault(500))
    with pytest.raises(AmsBalancerException):
        filled.pull_sub("s", 50, return_immediately=True)
    assert filled.pullopts == {"maxMessages": "1", "returnImmediately": "false"}


def test_threads_that_pull_get_what_each_asked_for(filled: ArgoMessagingService) -> None:
    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(lambda wanted: len(filled.pull_sub("s", wanted, True)), [1, 2, 3, 4, 5] * 20))
    assert counts == [1, 2, 3, 4, 5] * 20


def test_a_pull_without_its_list_is_an_exception(filled: ArgoMessagingService, stub: Stub) -> None:
    for body in (b"{}", b'{"receivedMessages": [{}]}'):
        stub.fail(":pull", Fault(200, body))
        with pytest.raises(AmsServiceException, match="the answer has no"):
            filled.pull_sub("s")


def test_a_message_with_keys_of_a_later_version_is_taken(filled: ArgoMessagingService, stub: Stub) -> None:
    received = {"ackId": "a", "attempt": 2, "message": {"messageId": "7", "data": "eA==", "later": 1}}
    stub.fail(":pull", Fault(200, json.dumps({"receivedMessages": [received]}).encode()))
    ((ack, message),) = filled.pull_sub("s")
    assert (ack, message.get_msgid(), message.get_data()) == ("a", "7", b"x")


def test_messages_are_given_back_or_kept_by_id(filled: ArgoMessagingService, stub: Stub) -> None:
    assert filled.nack_sub("s", ("a",)) is True
    assert filled.extend_sub("s", ["b"], 60) is True
    assert stub.argo.subs["P", "s"].extended == [(["a"], 0), (["b"], 60)]


def test_the_ack_deadline_of_the_subscription_changes(filled: ArgoMessagingService, stub: Stub) -> None:
    assert filled.modifyackdeadline_sub("s", 120) is True
    assert filled.subs["/projects/P/subscriptions/s"].ackdeadline == 120
    assert stub.argo.subs["P", "s"].document["ackDeadlineSeconds"] == 120
    filled.subs.clear()
    assert filled.modifyackdeadline_sub("s", 130) is True


def test_after_a_late_ack_the_messages_are_pulled_again(filled: ArgoMessagingService, stub: Stub) -> None:
    stub.fail(":acknowledge", LATE, times=2)
    assert [message.get_data() for message in filled.pullack_sub("s", 2)] == [b"0", b"1"]
    assert len(stub.to(":pull")) == len(stub.to(":acknowledge")) == 3
    assert [message.get_data() for message in filled.pullack_sub("s", 9)] == [b"2", b"3", b"4"]


def test_acks_that_always_fail_end_in_their_error(filled: ArgoMessagingService, stub: Stub) -> None:
    stub.fail(":acknowledge", LATE, times=100)
    with pytest.raises(AmsTimeoutException):
        filled.pullack_sub("s", 2)
    assert len(stub.to(":acknowledge")) == MAX_CYCLES + 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_ack_that_is_not_allowed_is_raised_at_once(filled: ArgoMessagingService, stub: Stub, status: int) -> None:
    stub.fail(":acknowledge", Fault(status))
    with pytest.raises(AmsServiceException):
        filled.pullack_sub("s", 2)
    assert len(stub.to(":pull")) == 1


def test_a_broken_connection_at_the_ack_pulls_again(filled: ArgoMessagingService, stub: Stub) -> None:
    stub.fail(":acknowledge", Fault(cut=True), times=2)
    assert len(filled.pullack_sub("s", 5)) == 5
    assert len(stub.to(":pull")) == 2


def test_retries_hold_for_the_ack_too(filled: ArgoMessagingService, stub: Stub, naps: list[float]) -> None:
    stub.fail(":acknowledge", LATE, times=2)
    filled.pullack_sub("s", 2, retry=2, retrysleep=6)
    assert naps == [6, 6]
    assert len(stub.to(":pull")) == 1


@pytest.mark.parametrize("status", [502, 504])
@pytest.mark.parametrize("left", [0, 3])
def test_an_ack_whose_answer_was_lost_loses_no_message(
    filled: ArgoMessagingService, stub: Stub, left: int, status: int
) -> None:
    stub.fail(":acknowledge", Fault(status, after=True))
    numbers = range(5 - left)
    assert [message.get_data() for message in filled.pullack_sub("s", 5 - left)] == [b"%d" % n for n in numbers]
    assert len(filled.pull_sub("s", 9)) == left
    waits = [json.loads(seen.body)["returnImmediately"] for seen in stub.to(":pull")]
    assert waits[:2] == ["false", "true"], "the second pull only looks"


def test_messages_whose_ack_was_refused_are_not_returned(filled: ArgoMessagingService, stub: Stub) -> None:
    """Another consumer has them: it moved the cursor in the meantime."""
    stub.fail(":acknowledge", Fault(408, after=True))
    assert [message.get_data() for message in filled.pullack_sub("s", 2)] == [b"2", b"3"]


def test_a_pull_that_fails_is_raised(filled: ArgoMessagingService, stub: Stub) -> None:
    stub.fail(":pull", Fault(404))
    with pytest.raises(AmsServiceException):
        filled.pullack_sub("s")


def test_messages_are_returned_when_a_server_dies_at_their_ack(
    filled: ArgoMessagingService, stub: Stub, naps: list[float]
) -> None:
    real = filled.ack_sub

    def ack_and_die(*args: Any, **options: Any) -> Any:
        stub.close()
        return real(*args, **options)

    filled.ack_sub = ack_and_die  # type: ignore[method-assign]
    assert len(filled.pullack_sub("s", 2)) == 2


def test_a_shared_subscription_returns_what_is_in_no_other_hands(filled: ArgoMessagingService, stub: Stub) -> None:
    prefix = "projects/P/subscriptions/s:"
    leased = [
        {"ackId": f"{prefix}{number}.token", "message": {"messageId": str(number), "data": "eA=="}}
        for number in range(3)
    ]
    over = {"domain": leased[1]["ackId"], "reason": "stale", "message": "m"}
    late = {"error": {"code": 408, "message": "ack timeout", "status": "TIMEOUT", "errors": [over]}}
    for fault, expected in (
        (Fault(408, json.dumps(late).encode()), ["0", "2"]),
        (Fault(503), ["0", "1", "2"]),
        (Fault(200, b"{}"), ["0", "1", "2"]),
    ):
        stub.fail(":pull", Fault(200, json.dumps({"receivedMessages": leased}).encode()))
        stub.fail(":acknowledge", fault)
        assert [message.get_msgid() for message in filled.pullack_sub("s", 3)] == expected
