"""Allowances: the rate holds over time, whatever the size of the requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.allowance import RETRY_FULL_MS, Allowance, effective_limits
from broker.store.base import ProjectLimits


def test_a_second_s_worth_may_go_at_once_and_then_one_waits() -> None:
    allowance = Allowance(10, now=100)
    assert [allowance.take(1, 100) for _ in range(10)] == [0] * 10
    assert allowance.take(1, 100) == 1
    assert allowance.take(1, 100.1) == 0


def test_a_batch_larger_than_the_rate_passes_and_is_paid_back() -> None:
    allowance = Allowance(10, now=0)
    assert allowance.take(100, 0) == 0
    assert allowance.take(1, 0) == 9001
    assert allowance.take(1, 8.9) > 0
    assert allowance.take(1, 9.1) == 0


def test_nothing_is_saved_up_beyond_a_second() -> None:
    allowance = Allowance(10, now=0)
    assert allowance.take(10, 1000) == 0
    assert allowance.take(1, 1000) > 0


def test_a_slow_rate_lets_one_through() -> None:
    allowance = Allowance(0.1, now=0)
    taken = sum(allowance.take(1, second) == 0 for second in range(100))
    assert 10 <= taken <= 11


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    allowance = Allowance(1, now=10)
    assert allowance.take(1, 10) == 0
    assert allowance.take(1, 5) > 0


@pytest.mark.parametrize("rate", [None, 10])
def test_a_full_project_takes_nothing(rate: float | None) -> None:
    allowance = Allowance(rate, now=0)
    allowance.is_full = True
    assert allowance.take(1, 0) == RETRY_FULL_MS
    allowance.is_full = False
    assert allowance.take(1, 0) == 0


def test_without_a_rate_there_is_none() -> None:
    allowance = Allowance(None, now=0)
    assert [allowance.take(10**6, 0) for _ in range(3)] == [0, 0, 0]


@given(st.floats(0.5, 1000), st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 50)), max_size=200))
def test_the_rate_holds_over_time(rate: float, course: list[tuple[float, int]]) -> None:
    allowance, now, taken = Allowance(rate, now=0), 0.0, 0
    for step, messages in course:
        now += step
        if allowance.take(messages, now) == 0:
            taken += messages
    assert taken <= rate * now + max(rate, 1) + 50


@given(st.floats(0.5, 1000), st.integers(1, 500))
def test_whoever_comes_back_when_told_is_let_through(rate: float, messages: int) -> None:
    allowance = Allowance(rate, now=0)
    while not (retry_ms := allowance.take(messages, 0)):
        pass
    assert allowance.take(1, retry_ms / 1000 + 1e-6) == 0


def test_a_projects_limits_go_over_the_nodes() -> None:
    node = ProjectLimits(1, 2, 3.0, 4)
    assert effective_limits(ProjectLimits(), node) == node
    assert effective_limits(ProjectLimits(5, 6, 7.0, 8), node) == ProjectLimits(5, 6, 7.0, 8)
    assert effective_limits(ProjectLimits(0), node) == ProjectLimits(0, 2, 3.0, 4)
