"""MigratoryData's own delays, for applications that set them (contracts/migratorydata 2). Pure.

Who sets nothing gets Headrace's schedule (protocol/failover.md), which is back sooner and in smaller waves.
"""

from dataclasses import dataclass

from headrace.failover import MAX_DOUBLINGS, Schedule
from headrace.migratorydata.constants import Constants

POLICIES = (Constants.CONSTANT_WINDOW_BACKOFF, Constants.TRUNCATED_EXPONENTIAL_BACKOFF)


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds, but `quick_retries`: how many attempts in a row are quick."""

    quick_retries: int = 3
    quick_initial_s: float = 5
    policy: str = Constants.TRUNCATED_EXPONENTIAL_BACKOFF
    interval_s: float = 20
    most_s: float = 360


@dataclass(frozen=True, slots=True)
class Backoff(Schedule):
    """A schedule that waits as MigratoryData's clients do. Every bound of `Schedule` but the delays stays."""

    settings: Settings = Settings()

    @property
    def longest_absence_s(self) -> float:
        chosen = self.settings
        is_constant = chosen.policy == Constants.CONSTANT_WINDOW_BACKOFF
        later_s = chosen.interval_s if is_constant else chosen.most_s
        most_s = max(chosen.quick_initial_s * chosen.quick_retries, later_s)
        return most_s + self.half_open_s + 2 * self.connect_timeout_s

    def delay_s(self, attempt: int, first_s: float, draw: float) -> float:
        """`attempt` counts from 1 since the connection was lost; `first_s`, what the node asked for, is not heeded."""
        if first_s == 0 and attempt == 1:
            # The first connection of all, or one that the application asks for.
            return 0.0
        chosen = self.settings
        if attempt <= chosen.quick_retries:
            return chosen.quick_initial_s * (attempt - draw)
        later = attempt - chosen.quick_retries
        if chosen.policy == Constants.CONSTANT_WINDOW_BACKOFF:
            return chosen.interval_s
        spread = draw * chosen.interval_s * later
        return min(max(chosen.interval_s * 2.0 ** min(later, MAX_DOUBLINGS) - spread, 0.0), chosen.most_s)
