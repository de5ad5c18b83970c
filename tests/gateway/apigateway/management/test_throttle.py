import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LimitExceeded
from gateway.apigateway.management.throttle import Throttle


def passes(throttle: Throttle, now: float) -> bool:
    try:
        throttle.take(now)
    except LimitExceeded:
        return False
    return True


def test_a_burst_passes_and_the_next_is_told_when_to_come_back() -> None:
    throttle = Throttle(rate=10, burst=3, now=0)
    for _ in range(3):
        throttle.take(0)
    with pytest.raises(LimitExceeded) as refused:
        throttle.take(0)
    assert refused.value.retry_ms == 101
    throttle.take(0.101)
    assert not passes(throttle, 0.101)


def test_what_is_there_already_shortens_the_wait() -> None:
    throttle = Throttle(rate=10, burst=1, now=0)
    throttle.take(0)
    with pytest.raises(LimitExceeded) as refused:
        throttle.take(0.05)
    assert refused.value.retry_ms == 51


def test_the_bucket_never_holds_more_than_a_burst() -> None:
    throttle = Throttle(rate=10, burst=3, now=0)
    assert [passes(throttle, 1000) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    throttle = Throttle(rate=10, burst=1, now=5)
    throttle.take(5)
    assert not passes(throttle, 1)


def test_no_rate_is_no_limit() -> None:
    throttle = Throttle(rate=0, burst=1, now=0)
    assert all(passes(throttle, 0) for _ in range(100))


def test_a_burst_below_one_still_lets_one_pass() -> None:
    assert passes(Throttle(rate=1, burst=0, now=0), 0)


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 1), min_size=1, max_size=200),
)
def test_never_more_than_the_burst_and_what_the_time_brought(rate: float, burst: int, waits: list[float]) -> None:
    throttle = Throttle(rate=rate, burst=burst, now=0)
    now = passed = 0.0
    for wait in waits:
        now += wait
        passed += passes(throttle, now)
    assert passed <= burst + now * rate + 1e-6
    assert passed >= min(len(waits), burst)
