"""How many new sockets a node takes in a second, and when those come again that it turns away. Pure.

A herd that comes back at once would otherwise be served by nobody: each handshake takes its turn of the loop, and all
of them time out together. What is over the rate is told when to come again, one after the other at that very rate, so
that a herd of any size becomes a stream of the size that the node takes (contracts/migratorydata 3.2.7).
"""

MAX_WAIT_SECONDS = 60.0
"""The longest that anyone is told to wait; a herd for which that is too short is told times all over it, again."""


class Admission:
    """A token bucket of one second, and a queue of which only the length is known. A rate of 0 lets everybody in."""

    def __init__(self, per_second: float, *, now: float = 0.0) -> None:
        self._rate = per_second
        self._most = max(per_second, 1.0)
        self._left = self._most
        self._at = now
        self._turned_away = 0.0
        """Those who were told a time that is not over yet."""

    def wait_ms(self, now: float) -> int:
        """Return 0 for one that comes in, or after how many ms it should come again. `now` in seconds, monotonic."""
        if not self._rate:
            return 0
        gained = (now - self._at) * self._rate
        self._at = now
        self._left = min(self._left + gained, self._most)
        self._turned_away = max(self._turned_away - gained, 0.0)
        if self._left >= 1:
            self._left -= 1
            return 0
        self._turned_away = self._turned_away % (MAX_WAIT_SECONDS * self._rate) + 1
        return max(round(min(self._turned_away / self._rate, MAX_WAIT_SECONDS) * 1000), 1)
