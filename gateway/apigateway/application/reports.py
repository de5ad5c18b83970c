"""How often a failure is written to the log: clients decide how often it happens, and must not set its pace. Pure."""

from collections.abc import Hashable

REPORT_SECONDS = 5.0
"""Between two reports of the same failure."""


class Reports:
    """Counts failures by what failed, of which there is a bounded number: routes, functions, authorizers."""

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}
        self._missed: dict[Hashable, int] = {}

    def due(self, what: Hashable, now: float) -> int:
        """Return how many failures a report at `now`, in seconds, speaks for; 0 where it is too early for one."""
        count = self._missed.get(what, 0) + 1
        last = self._last.get(what)
        if last is not None and now - last < REPORT_SECONDS:
            self._missed[what] = count
            return 0
        self._last[what] = now
        self._missed[what] = 0
        return count
