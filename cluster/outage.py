"""Redis is away: since when, when to knock again, and what to tell callers. Pure: time and chance are passed in.

A short absence (a restart, a failover that is nearly done) is waited out by the callers themselves; after the grace
they are refused at once with a time to come back, so that nothing queues without bound. Reconnects back off with full
jitter, so that a fleet of nodes does not knock in step.
"""

from dataclasses import dataclass

GRACE_SECONDS = 0.5
"""How long a call may wait for a connection that has just been lost."""

FIRST_DELAY_SECONDS = 0.05
MAX_DELAY_SECONDS = 2.0
"""The back-off doubles from the first to the last; the delay taken is uniform below it."""

MIN_RETRY_MS = 100
"""What a caller is told at least: less would be a busy loop over the network."""

_MAX_DOUBLINGS = 16


def backoff_seconds(failures: int, chance: float) -> float:
    """Return how long to wait after so many failures in a row; `chance` is uniform in [0, 1) (full jitter)."""
    ceiling = FIRST_DELAY_SECONDS * (1 << min(max(failures - 1, 0), _MAX_DOUBLINGS))
    return min(ceiling, MAX_DELAY_SECONDS) * chance


@dataclass(slots=True)
class Outage:
    """Whether one server is away. Begins as away since `since`: nothing was connected yet."""

    since: float | None
    """Seconds on the caller's monotonic clock; None while it is there."""
    failures: int = 0
    """Attempts in a row that did not connect."""

    @property
    def is_away(self) -> bool:
        return self.since is not None

    def lost(self, now: float) -> None:
        """The connection is gone."""
        if self.since is None:
            self.since, self.failures = now, 0

    def failed(self, now: float) -> None:
        """An attempt to connect failed."""
        self.lost(now)
        self.failures += 1

    def recovered(self) -> None:
        self.since, self.failures = None, 0

    def grace_left(self, now: float) -> float:
        """Return for how many seconds a call may still wait; 0 means: refuse it now."""
        if self.since is None:
            return GRACE_SECONDS
        return max(0.0, self.since + GRACE_SECONDS - now)

    def retry_ms(self, chance: float) -> int:
        """Return when a refused caller should come back: about the current back-off, spread over its upper half."""
        ceiling = backoff_seconds(self.failures + 1, 1.0) * 1000
        return max(MIN_RETRY_MS, round(ceiling * (0.5 + chance / 2)))
