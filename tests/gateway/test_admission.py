"""A herd becomes a stream: how many come in a second, and when the others are told to come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import MAX_WAIT_SECONDS, Admission


def test_without_a_rate_everybody_comes_in() -> None:
    admission = Admission(0)
    assert not any(admission.wait_ms(0) for _ in range(100_000))


def test_a_second_s_worth_comes_in_at_once_and_then_at_the_rate() -> None:
    admission = Admission(10)
    assert [admission.wait_ms(0) for _ in range(10)] == [0] * 10
    assert admission.wait_ms(0) > 0
    assert admission.wait_ms(0.05) > 0
    assert admission.wait_ms(0.1) == 0
    assert admission.wait_ms(0.1) > 0
    assert [admission.wait_ms(60) for _ in range(10)] == [0] * 10, "no more than a second's worth is saved up"
    assert admission.wait_ms(60) > 0


def test_those_over_it_are_told_times_one_after_the_other() -> None:
    admission = Admission(10)
    waits = [admission.wait_ms(0) for _ in range(15)][10:]
    assert waits == [100, 200, 300, 400, 500]
    assert admission.wait_ms(0.2) == 0, "who comes after the time for two of them"
    admission.wait_ms(0.2)
    assert admission.wait_ms(0.2) == 400, "three still have their times"


def test_a_herd_too_large_is_told_times_all_over_the_longest_wait() -> None:
    admission = Admission(10)
    waits = [admission.wait_ms(0) for _ in range(3000)][10:]
    assert max(waits) <= MAX_WAIT_SECONDS * 1000
    for tenth in range(10):
        begin = tenth * 6000
        assert 200 <= sum(begin < wait <= begin + 6000 for wait in waits) <= 400


def test_less_than_one_a_second_comes_in_too() -> None:
    admission = Admission(0.5)
    assert admission.wait_ms(0) == 0
    assert admission.wait_ms(1) == 2000
    assert admission.wait_ms(2) == 0


def test_a_clock_that_stands_gains_nothing() -> None:
    admission = Admission(1, now=5)
    assert [admission.wait_ms(5), admission.wait_ms(5) > 0] == [0, True]


@given(st.integers(1, 50), st.lists(st.floats(0, 0.3), min_size=1, max_size=300))
def test_never_more_than_the_rate_and_a_burst(rate: int, steps: list[float]) -> None:
    admission, now, entered = Admission(rate), 0.0, 0
    for step in steps:
        now += step
        wait_ms = admission.wait_ms(now)
        entered += wait_ms == 0
        assert 0 <= wait_ms <= MAX_WAIT_SECONDS * 1000
    assert entered <= rate * (now + 1) + 1e-6


@pytest.mark.parametrize("clients", [200, 2000])
def test_a_herd_that_heeds_its_times_is_in_as_soon_as_the_rate_allows(clients: int) -> None:
    admission, rate = Admission(100), 100
    coming = [(0.0, number) for number in range(clients)]
    last = 0.0
    tries = 0
    while coming:
        coming.sort()
        now, number = coming.pop(0)
        tries += 1
        wait_ms = admission.wait_ms(now)
        if wait_ms:
            coming.append((now + wait_ms / 1000, number))
        last = now
    assert last <= 1.5 * clients / rate
    assert tries <= 3 * clients
