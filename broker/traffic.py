"""Traffic: how much was ever published to a topic, and on which day. Pure.

A log keeps, for each day on which something was published, the offset of that day's first message. Offsets have no
holes, so a day's count is the distance to the next day's mark: exact, whatever retention took since, and the price of
a publish is one look at the clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

DAY_MS = 86_400_000

MAX_DAYS = 4000
"""Days whose counts a topic keeps: eleven years."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was published to a topic since it was created.

    `bytes` are of stored envelopes. `last_ms` is when the last append was made, `previous_ms` the one before it (0 for
    never), `last_messages` what it brought. `days` are counts by day number (days since 1970-01-01, UTC), ascending.
    """

    messages: int
    bytes: int
    last_ms: int
    previous_ms: int
    last_messages: int
    days: Mapping[int, int]

    @property
    def rate(self) -> float:
        """Messages a second: those of the last append over the time since the one before it."""
        if not self.previous_ms:
            return 0.0
        return self.last_messages * 1000 / max(self.last_ms - self.previous_ms, 1)


def day_of(time_ms: int) -> int:
    return time_ms // DAY_MS


def daily(marks: Iterable[tuple[int, int]], following: int) -> dict[int, int]:
    """Return messages by day from each day's first offset; `following` is the offset of the next message."""
    ordered = sorted(marks)
    ends = [*(first for _, first in ordered), following][1:]
    return {day: end - first for (day, first), end in zip(ordered, ends, strict=True) if end > first}


def added(counts: Sequence[Mapping[int, int]]) -> dict[int, int]:
    """Return the sum of several topics' days, ascending."""
    total: dict[int, int] = {}
    for each in counts:
        for day, messages in each.items():
            total[day] = total.get(day, 0) + messages
    return dict(sorted(total.items()))


def between(days: Mapping[int, int], first: int, last: int) -> int:
    """Return the messages of the days from `first` to `last`, both included."""
    return sum(messages for day, messages in days.items() if first <= day <= last)
