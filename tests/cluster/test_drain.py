"""Leaving without a herd: times and numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.drain import MIN_MOVE_MS, RESERVE_SECONDS, Plan, due, plan
from cluster.membership import Advertised

GRACE_SECONDS = 25.0
LONGEST_MS = round((GRACE_SECONDS - RESERVE_SECONDS) * 1000)


def node(load: int = 0, *, accepts: int = 1000) -> Advertised:
    return Advertised(name="n", url="http://n", load=load, accepts=accepts)


@pytest.mark.parametrize(
    ("load", "survivors", "grace_seconds"),
    [(0, [node()], GRACE_SECONDS), (100, [], GRACE_SECONDS), (100, [node()], 0)],
)
def test_without_clients_survivors_or_time_nobody_moves(
    load: int, survivors: list[Advertised], grace_seconds: float
) -> None:
    assert plan(node(load), survivors, grace_seconds=grace_seconds) is None


@pytest.mark.parametrize(
    ("load", "rates", "expected"),
    [
        (1, [1000], Plan(1, MIN_MOVE_MS)),
        (2000, [1000], Plan(2000, MIN_MOVE_MS)),
        (4000, [1000], Plan(4000, 8000)),
        (4000, [1000, 1000], Plan(2000, MIN_MOVE_MS)),
        (8000, [1000], Plan(8000, 16_000)),
        (50_000, [1000], Plan(LONGEST_MS // 2, LONGEST_MS)),
    ],
)
def test_the_survivors_and_the_time_decide(load: int, rates: list[int], expected: Plan) -> None:
    assert plan(node(load), [node(accepts=rate) for rate in rates], grace_seconds=GRACE_SECONDS) == expected


def test_little_time_is_kept_to() -> None:
    assert plan(node(9000), [node()], grace_seconds=17) == Plan(4500, 9000)
    assert plan(node(9000), [node()], grace_seconds=8) == Plan(2000, 4000)
    assert plan(node(10), [node()], grace_seconds=1) == Plan(10, 500)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [(Plan(0, 5000), 2500), (Plan(2000, 5000), 3500), (Plan(8000, 16_000), 11_000), (Plan(250, 500), 375)],
)
def test_nobody_who_was_asked_is_closed_while_it_moves(plan: Plan, expected: int) -> None:
    assert plan.closing_ms == expected


def test_nobody_is_closed_before_the_beginning_and_all_are_at_the_end() -> None:
    assert due(100, now_ms=999, begin_ms=1000, end_ms=2000, tick_ms=100) == 0
    assert due(100, now_ms=1000, begin_ms=1000, end_ms=2000, tick_ms=100) == 10
    assert due(100, now_ms=2000, begin_ms=1000, end_ms=2000, tick_ms=100) == 100
    assert due(100, now_ms=2500, begin_ms=1000, end_ms=2000, tick_ms=100) == 100
    assert due(0, now_ms=1500, begin_ms=1000, end_ms=2000, tick_ms=100) == 0


@given(st.integers(0, 5000), st.integers(0, 3000), st.integers(200, 9000), st.floats(50, 150))
def test_all_are_closed_in_time_and_evenly(left: int, begin_ms: int, length_ms: int, tick_ms: float) -> None:
    now_ms, closed, end_ms = 0.0, [], begin_ms + length_ms
    total = left
    while now_ms < end_ms:
        number = due(left, now_ms=now_ms, begin_ms=begin_ms, end_ms=end_ms, tick_ms=tick_ms)
        left -= number
        closed.append(number)
        now_ms += tick_ms
    assert left == 0
    assert sum(closed) == total
    assert max(closed) <= total / (length_ms / tick_ms - 1) + 1 if length_ms > 3 * tick_ms else True
