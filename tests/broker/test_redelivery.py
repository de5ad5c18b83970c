"""Redelivery: how long a retry waits, which attempt was the last, and what a dead letter looks like."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.messages import MAX_ATTRIBUTES, Entry, Kind, Message
from broker.names import SubscriptionName, TopicName
from broker.positions import Position
from broker.redelivery import (
    LEAST_PAUSE_SECONDS,
    MAX_ATTEMPTS,
    MAX_RETRY_MS,
    check_deadline,
    check_delay,
    check_settings,
    dead_letter,
    is_spent,
    pause_seconds,
    retry_delay_ms,
    sort,
)
from broker.store.subscriptions import (
    MAX_OUTSTANDING,
    Lease,
    Leased,
    RetryKind,
    SubscriptionKind,
    SubscriptionSettings,
)

ORDERS = TopicName("shop/orders")
DEAD = TopicName("shop/dead")
BILLING = SubscriptionName("shop/billing")
SHARED = SubscriptionSettings(kind=SubscriptionKind.SHARED)
POLICY = replace(SHARED, max_attempts=3, dead_letter_topic=DEAD)


def lease(attempt: int = 1, offset: int = 0, message: Message | None = None) -> Lease:
    entry = Entry(Position(5, offset), 0, message or Message(Kind.TEXT, b"x"))
    return Lease(entry, attempt, f"t{attempt}", 1000)


def leased(
    *leases: Lease, settings: SubscriptionSettings = POLICY, more: bool = False, due: int | None = None
) -> Leased:
    return Leased(leases, settings, 10_000, due, more, 0, restarted=False)


@pytest.mark.parametrize(
    ("kind", "attempt", "delay"),
    [
        (RetryKind.LINEAR, 1, 100),
        (RetryKind.LINEAR, 2, 200),
        (RetryKind.LINEAR, 9, 900),
        (RetryKind.LINEAR, 11, 1000),
        (RetryKind.EXPONENTIAL, 1, 100),
        (RetryKind.EXPONENTIAL, 2, 200),
        (RetryKind.EXPONENTIAL, 3, 400),
        (RetryKind.EXPONENTIAL, 4, 800),
        (RetryKind.EXPONENTIAL, 5, 1000),
        (RetryKind.EXPONENTIAL, 2**31, 1000),
    ],
)
def test_the_wait_grows_up_to_its_most(kind: RetryKind, attempt: int, delay: int) -> None:
    settings = replace(SHARED, retry_kind=kind, retry_min_ms=100, retry_max_ms=1000)
    assert retry_delay_ms(settings, attempt, jitter=0) == delay


@given(
    st.sampled_from(RetryKind),
    st.integers(0, MAX_RETRY_MS),
    st.integers(0, MAX_RETRY_MS),
    st.integers(1, 2**31),
    st.floats(0, 1),
)
def test_the_wait_stays_within_its_bounds(kind: RetryKind, least: int, more: int, attempt: int, jitter: float) -> None:
    most = min(least + more, MAX_RETRY_MS)
    settings = replace(SHARED, retry_kind=kind, retry_min_ms=least, retry_max_ms=most)
    delay = retry_delay_ms(settings, attempt, jitter=jitter)
    assert least // 2 <= delay <= most


def test_jitter_takes_up_to_half() -> None:
    settings = replace(SHARED, retry_min_ms=100, retry_max_ms=100)
    assert [retry_delay_ms(settings, 1, jitter=jitter) for jitter in (0, 0.5, 1)] == [100, 75, 50]


def test_without_a_policy_a_message_comes_again_at_once() -> None:
    assert retry_delay_ms(SHARED, 7, jitter=0) == 0


def test_after_the_last_attempt_there_is_nothing_to_wait_for() -> None:
    settings = replace(POLICY, retry_min_ms=100, retry_max_ms=1000)
    assert [retry_delay_ms(settings, attempt, jitter=0) for attempt in (1, 2, 3, 4)] == [100, 200, 0, 0]


@pytest.mark.parametrize(
    ("settings", "attempt", "spent"),
    [
        (POLICY, 3, False),
        (POLICY, 4, True),
        (SHARED, 10**6, False),
        (replace(POLICY, dead_letter_topic=None), 4, False),
        (replace(SHARED, dead_letter_topic=DEAD), 4, False),
    ],
)
def test_an_attempt_is_one_too_many(settings: SubscriptionSettings, attempt: int, spent: bool) -> None:
    assert is_spent(settings, attempt) is spent


def test_leases_are_sorted_in_their_order() -> None:
    leases = [lease(attempt, offset) for offset, attempt in enumerate([1, 4, 3, 9])]
    deliverable, spent = sort(leased(*leases))
    assert [each.entry.position.offset for each in deliverable] == [0, 2]
    assert [each.entry.position.offset for each in spent] == [1, 3]
    assert sort(leased(*leases, settings=SHARED)) == (tuple(leases), ())


@pytest.mark.parametrize(
    ("due", "more", "seconds"),
    [
        (None, False, 60),
        (12_500, False, 2.5),
        (90_000, False, 60),
        (10_000, False, LEAST_PAUSE_SECONDS),
        (9_000, False, LEAST_PAUSE_SECONDS),
        (12_500, True, 0),
    ],
)
def test_the_next_look_waits_for_the_next_deadline(due: int | None, more: bool, seconds: float) -> None:
    assert pause_seconds(leased(due=due, more=more), most=60) == seconds


def test_a_dead_letter_is_the_message_with_its_origin() -> None:
    message = Message(Kind.BINARY, b"\0\xff", {"colour": "red", "dead_letter_reason": "of old"}, verbatim=True)
    dead = dead_letter(message, lease(4, 17), topic=ORDERS, subscription=BILLING)
    assert (dead.kind, dead.payload, dead.verbatim) == (Kind.BINARY, b"\0\xff", True)
    assert dead.attributes == {
        "colour": "red",
        "dead_letter_reason": "max_attempts",
        "dead_letter_topic": "shop/orders",
        "dead_letter_subscription": "shop/billing",
        "dead_letter_position": "5-17",
        "dead_letter_attempts": "3",
    }


def test_a_dead_letter_has_no_more_attributes_than_a_message_may() -> None:
    message = Message(Kind.TEXT, b"", {str(n): "x" for n in range(MAX_ATTRIBUTES)})
    dead = dead_letter(message, lease(4), topic=ORDERS, subscription=BILLING)
    assert len(dead.attributes) == MAX_ATTRIBUTES
    assert dead.attributes["dead_letter_topic"] == "shop/orders"
    assert "0" in dead.attributes


GOOD = [
    SubscriptionSettings(),
    SubscriptionSettings(ack_deadline_s=0),
    SubscriptionSettings(ack_deadline_s=600),
    SHARED,
    POLICY,
    replace(POLICY, max_attempts=MAX_ATTEMPTS),
    replace(SHARED, retry_min_ms=5, retry_max_ms=5),
    replace(SHARED, retry_max_ms=MAX_RETRY_MS),
    replace(SHARED, ordering_attribute="customer"),
    replace(SHARED, max_outstanding=MAX_OUTSTANDING),
]

BAD = [
    SubscriptionSettings(ack_deadline_s=-1),
    SubscriptionSettings(ack_deadline_s=601),
    replace(SHARED, ack_deadline_s=0),
    replace(SHARED, max_attempts=3),
    replace(SHARED, dead_letter_topic=DEAD),
    replace(POLICY, max_attempts=0),
    replace(POLICY, max_attempts=MAX_ATTEMPTS + 1),
    replace(POLICY, dead_letter_topic=ORDERS),
    replace(POLICY, dead_letter_topic=TopicName("other/dead")),
    replace(POLICY, kind=SubscriptionKind.CURSOR),
    replace(SHARED, retry_min_ms=-1),
    replace(SHARED, retry_min_ms=6, retry_max_ms=5),
    replace(SHARED, retry_max_ms=MAX_RETRY_MS + 1),
    replace(SHARED, ordering_attribute=""),
    replace(SHARED, ordering_attribute="x" * 256),
    replace(SHARED, ordering_attribute="x", kind=SubscriptionKind.CURSOR),
    replace(SHARED, max_outstanding=0),
    replace(SHARED, max_outstanding=MAX_OUTSTANDING + 1),
]


@pytest.mark.parametrize("settings", GOOD)
def test_a_policy_that_can_be_kept(settings: SubscriptionSettings) -> None:
    check_settings(settings, ORDERS)


@pytest.mark.parametrize("settings", BAD)
def test_a_policy_that_cannot_be_kept(settings: SubscriptionSettings) -> None:
    with pytest.raises(InvalidRequest):
        check_settings(settings, ORDERS)


def test_deadlines_and_delays_are_bounded() -> None:
    for seconds in (0, 600):
        check_deadline(seconds)
    for delay_ms in (0, MAX_RETRY_MS):
        check_delay(delay_ms)
    for seconds in (-1, 601):
        with pytest.raises(InvalidRequest):
            check_deadline(seconds)
    for delay_ms in (-1, MAX_RETRY_MS + 1):
        with pytest.raises(InvalidRequest):
            check_delay(delay_ms)
