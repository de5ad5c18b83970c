"""What the broker reports of itself, without knowing who counts: `gateway.metrics` turns it into Prometheus.

Calls are cheap and never raise. Labels are words from a short fixed list, never a name that a caller chose.
"""

from typing import Protocol


class Observer(Protocol):
    def published(self, result: str, messages: int) -> None:
        """One publish request ended: `ok`, `duplicate`, or the code of its refusal."""

    def appended(self, requests: int, seconds: float) -> None:
        """One append call of so many requests took so long."""

    def delivered(self, frames: int) -> None:
        """So many message frames were handed to sockets."""

    def delivery_latency(self, seconds: float) -> None:
        """From publish time to the write to the first socket, once a batch."""

    def gap_repaired(self, reason: str) -> None:
        """A feed compared with the log and found messages that no announcement had brought."""

    def left_feed(self) -> None:
        """A slow socket fell out of a live feed and will catch up from the log."""

    def trimmed(self, messages: int) -> None:
        """Retention removed so many messages."""


class Silent:
    """An observer that counts nothing."""

    def published(self, result: str, messages: int) -> None: ...

    def appended(self, requests: int, seconds: float) -> None: ...

    def delivered(self, frames: int) -> None: ...

    def delivery_latency(self, seconds: float) -> None: ...

    def gap_repaired(self, reason: str) -> None: ...

    def left_feed(self) -> None: ...

    def trimmed(self, messages: int) -> None: ...
