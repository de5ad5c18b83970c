"""Rates: how fast subscriptions are consumed by pulls on this node (contract ams.md 4.10, `consumption_rate`).

Kept in memory and of one node: a figure that changes with every pull is not worth a write to the log's primary.
"""

from dataclasses import dataclass

from broker.names import SubscriptionName

MAX_KEPT = 10_000
"""Subscriptions whose last pulls are remembered."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Messages a second at the last pull that brought some; `last_ms` is its time, 0 for never."""

    rate: float = 0.0
    last_ms: int = 0


class Rates:
    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[SubscriptionName, Pace] = {}

    def note(self, name: SubscriptionName, messages: int, *, now_ms: int) -> None:
        """A pull brought so many messages; none says nothing."""
        if not messages:
            return
        before = self._kept.pop(name, None)
        if before is None and len(self._kept) >= MAX_KEPT:
            # The first in a dict is the one put in longest ago.
            del self._kept[next(iter(self._kept))]
        rate = messages * 1000 / max(now_ms - before.last_ms, 1) if before else 0.0
        self._kept[name] = Pace(rate, now_ms)

    def of(self, name: SubscriptionName) -> Pace:
        return self._kept.get(name, Pace())
