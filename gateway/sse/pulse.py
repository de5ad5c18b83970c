"""One timer that keeps all event streams awake: each gets a comment every interval, a share of them every tick."""

import asyncio
from typing import Protocol

COMMENT_SECONDS = 15.0
"""Between two comments of a stream: less than the shortest idle time-out of common proxies."""

SHARES = 15
"""Parts of the interval, so that ten thousand streams are not all written to in one turn of the loop."""


class Pulsed(Protocol):
    """Hashable by identity."""

    def on_pulse(self) -> None: ...


class Pulse:
    """Calls `on_pulse` of everything added, once an interval, as long as there is anything."""

    def __init__(self, *, seconds: float = COMMENT_SECONDS, shares: int = SHARES) -> None:
        self._tick_seconds = seconds / shares
        self._shares: list[set[Pulsed]] = [set() for _ in range(shares)]
        self._places: dict[Pulsed, int] = {}
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, pulsed: Pulsed) -> None:
        """Its first pulse comes an interval from now, up to a tick early."""
        self._places[pulsed] = self._turn
        self._shares[self._turn].add(pulsed)
        if self._timer is None:
            self._arm()

    def discard(self, pulsed: Pulsed) -> None:
        place = self._places.pop(pulsed, None)
        if place is not None:
            self._shares[place].discard(pulsed)

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._beat)

    def _beat(self) -> None:
        self._timer = None
        self._turn = (self._turn + 1) % len(self._shares)
        for pulsed in tuple(self._shares[self._turn]):
            pulsed.on_pulse()
        if self._places:
            self._arm()
