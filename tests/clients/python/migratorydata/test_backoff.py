"""MigratoryData's own delays, as contracts/migratorydata 2 computes them."""

import pytest

from headrace.failover import Schedule
from headrace.migratorydata.backoff import Backoff, Settings
from headrace.migratorydata.constants import Constants

EXPONENTIAL = [(0, 5), (5, 10), (10, 15), (20, 40), (40, 80), (100, 160), (240, 320), (360, 360), (360, 360)]
CONSTANT = [(0, 5), (5, 10), (10, 15), (20, 20), (20, 20)]


@pytest.mark.parametrize(
    ("settings", "ranges"),
    [(Settings(), EXPONENTIAL), (Settings(policy=Constants.CONSTANT_WINDOW_BACKOFF), CONSTANT)],
)
def test_delays_are_the_documented_ones(settings: Settings, ranges: list[tuple[float, float]]) -> None:
    schedule = Backoff(settings=settings)
    for attempt, (least, most) in enumerate(ranges, 1):
        delays = [schedule.delay_s(attempt, 2.0, draw / 100) for draw in range(100)]
        assert least - 0.001 <= min(delays)
        assert max(delays) <= most
    assert schedule.delay_s(1, 0.0, 0.9) == 0, "the first connection of all waits for nothing"


def test_the_longest_absence_is_that_of_the_delays_that_are_set() -> None:
    assert not Backoff().fits(180), "MigratoryData's own defaults and its own cache"
    assert Backoff(settings=Settings(most_s=60)).fits(180)
    assert Backoff(settings=Settings(policy=Constants.CONSTANT_WINDOW_BACKOFF)).fits(180)
    assert not Backoff(settings=Settings(quick_retries=50, most_s=1)).fits(180)


def test_everything_else_is_a_schedules() -> None:
    assert isinstance(Backoff(), Schedule)
    assert Backoff(settings=Settings(quick_retries=0)).delay_s(1, 1.0, 0.0) == 40
