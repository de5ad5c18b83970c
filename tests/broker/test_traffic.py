"""How much was published on which day."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.traffic import DAY_MS, Traffic, added, between, daily, day_of


def test_a_days_count_is_the_distance_to_the_next_mark() -> None:
    assert daily([(10, 0), (12, 5), (11, 3)], 9) == {10: 3, 11: 2, 12: 4}
    assert daily([], 0) == {}
    # A failover took the messages of a day and left its mark.
    assert daily([(10, 0), (11, 4)], 4) == {10: 4}


@given(st.dictionaries(st.integers(0, 40_000), st.integers(1, 100)))
def test_counts_come_back_from_their_marks(counts: dict[int, int]) -> None:
    marks, following = [], 0
    for day in sorted(counts):
        marks.append((day, following))
        following += counts[day]
    assert daily(marks, following) == counts


def test_topics_are_added_and_windows_cut() -> None:
    total = added([{3: 1, 2: 5}, {2: 1}, {}])
    assert list(total.items()) == [(2, 6), (3, 1)]
    assert [between(total, first, last) for first, last in ((2, 3), (2, 2), (3, 9), (4, 9))] == [7, 6, 1, 0]
    assert (day_of(DAY_MS - 1), day_of(DAY_MS)) == (0, 1)


@pytest.mark.parametrize(
    ("last", "previous", "messages", "rate"),
    [(0, 0, 0, 0.0), (5000, 0, 10, 0.0), (5000, 3000, 10, 5.0), (5, 5, 2, 2000.0)],
)
def test_the_rate_is_that_of_the_last_append(last: int, previous: int, messages: int, rate: float) -> None:
    assert Traffic(10, 100, last, previous, messages, {}).rate == rate
