"""When to knock again, and what callers are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.outage import (
    FIRST_DELAY_SECONDS,
    GRACE_SECONDS,
    MAX_DELAY_SECONDS,
    MIN_RETRY_MS,
    Outage,
    backoff_seconds,
)

chances = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("failures", "ceiling"),
    [(0, FIRST_DELAY_SECONDS), (1, FIRST_DELAY_SECONDS), (2, 0.1), (3, 0.2), (6, 1.6), (7, MAX_DELAY_SECONDS)],
)
def test_the_back_off_doubles_up_to_its_bound(failures: int, ceiling: float) -> None:
    assert backoff_seconds(failures, 1.0) == pytest.approx(ceiling)
    assert backoff_seconds(failures, 0.5) == pytest.approx(ceiling / 2)
    assert backoff_seconds(failures, 0.0) == 0


@given(st.integers(0, 10**9), chances)
def test_the_back_off_is_bounded(failures: int, chance: float) -> None:
    assert 0 <= backoff_seconds(failures, chance) <= MAX_DELAY_SECONDS


def test_a_call_waits_out_the_grace_and_no_longer() -> None:
    outage = Outage(since=None)
    assert outage.grace_left(1000) == GRACE_SECONDS
    outage.lost(1000)
    assert outage.is_away
    assert outage.grace_left(1000) == GRACE_SECONDS
    assert outage.grace_left(1000.2) == pytest.approx(GRACE_SECONDS - 0.2)
    assert outage.grace_left(1000 + GRACE_SECONDS) == 0
    assert outage.grace_left(2000) == 0


def test_failed_attempts_do_not_renew_the_grace() -> None:
    outage = Outage(since=None)
    outage.lost(1000)
    outage.failed(1000.4)
    outage.lost(1000.4)
    assert outage.failures == 1
    assert outage.grace_left(1000.4) == pytest.approx(GRACE_SECONDS - 0.4)


def test_a_failed_first_attempt_begins_the_outage() -> None:
    outage = Outage(since=None)
    outage.failed(7)
    assert (outage.since, outage.failures) == (7, 1)


def test_recovery_forgets_the_outage() -> None:
    outage = Outage(since=1)
    outage.failed(2)
    outage.recovered()
    assert (outage.is_away, outage.failures) == (False, 0)


@given(st.integers(0, 100), chances)
def test_callers_are_told_a_time_between_the_bounds(failures: int, chance: float) -> None:
    told = Outage(since=0, failures=failures).retry_ms(chance)
    assert MIN_RETRY_MS <= told <= MAX_DELAY_SECONDS * 1000


def test_the_longer_the_outage_the_later_callers_come_back() -> None:
    assert Outage(since=0, failures=9).retry_ms(0.0) == 1000
    assert Outage(since=0, failures=9).retry_ms(0.5) == 1500
    assert Outage(since=0, failures=0).retry_ms(0.9) == MIN_RETRY_MS
