"""The throttle of the management API: so many requests a second, and so many at once (contracts/apigateway 11). Pure.

A token bucket that holds `burst` requests and gains `rate` a second. It is one node's; a caller above it is answered
429, which the SDKs repeat after a while.
"""

from broker.errors import LimitExceeded


class Throttle:
    """Shared by all callers of a node. `now` is monotonic seconds; a rate of 0 is no limit."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, *, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._tokens = self._burst
        self._at = now

    def take(self, now: float) -> None:
        """Let one request pass. Raises `LimitExceeded`, with the ms after which there is room for one."""
        if not self._rate:
            return
        self._tokens = min(self._tokens + max(0.0, now - self._at) * self._rate, self._burst)
        self._at = now
        if self._tokens < 1:
            raise LimitExceeded("Too Many Requests", retry_ms=int((1 - self._tokens) / self._rate * 1000) + 1)
        self._tokens -= 1
