"""What all HTTP connections of a node share: bounds, caps, and the one timer over their deadlines.

A connection only notes when its time is over; `Reception` looks at all of them every tick, early rather than late.
That costs two comparisons a second for an idle connection, and nothing for a request.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from gateway.admission import Admission
from gateway.config import Limits
from gateway.metrics import Metrics

MAX_LOBBY = 256
"""Connections above a cap that are told so; further ones are cut without a word."""

MAX_TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one HTTP connection may take, in time and in bytes. Each time is an upper bound, met a little early."""

    header_seconds: float = 10
    """From the connection, or from a later request's first byte, to the end of its headers."""
    body_seconds: float = 10
    """From the headers to the end of the body, and longer for as long as the body keeps `body_bytes_per_second`."""
    body_bytes_per_second: int = 4096
    body_bytes: int = 16 * 1024 * 1024
    idle_seconds: float = 75
    """Between two requests of a connection; longer than the usual proxy's minute, so that the proxy closes first."""
    stalled_seconds: float = 30
    """How long a peer may take less than `body_bytes_per_second` of an answer that waits for it."""
    linger_seconds: float = 2
    """How long a refused peer may go on sending before it is cut: a reset at once could destroy the refusal."""
    header_bytes: int = 32_768
    """Request line and headers."""
    headers: int = 100
    pipelined: int = 64
    """Requests of one connection that wait for an earlier answer."""
    high_water_bytes: int = 65_536
    """A stream's outgoing buffer above which it is paused."""

    @property
    def tick_seconds(self) -> float:
        return min(MAX_TICK_SECONDS, min(self.header_seconds, self.body_seconds, self.idle_seconds) / 10)


def bounds_of(limits: Limits) -> Bounds:
    """Return the bounds that the node's configuration gives."""
    return Bounds(
        header_seconds=limits.unauthenticated_seconds,
        body_seconds=limits.unauthenticated_seconds,
        body_bytes=limits.body_bytes,
        high_water_bytes=limits.high_water_bytes,
    )


class Census(Protocol):
    """Counts the sockets of a node, all faces together."""

    def enter(self, address: str) -> bool:
        """Count one more of `address`, or return False, counting nothing, where a cap is reached."""

    def leave(self, address: str) -> None: ...


class Connection(Protocol):
    """What the timer looks at. Times are the loop's, infinite where nothing is due. Hashable by identity."""

    loop: asyncio.AbstractEventLoop
    deadline: float
    stalled_until: float

    def on_deadline(self) -> None:
        """One of the two times is over. Called again every tick until it is moved or the connection forgotten."""


class Reception:
    """Bounds, caps and the timer of one server's connections."""

    def __init__(self, bounds: Bounds, census: Census, metrics: Metrics, admission: Admission) -> None:
        self.bounds = bounds
        self.census = census
        self.metrics = metrics
        self.admission = admission
        self.lobby = 0
        self._watched: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Connection) -> None:
        self._watched.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self.bounds.tick_seconds, self._sweep, connection.loop)

    def forget(self, connection: Connection) -> None:
        self._watched.discard(connection)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        # Two ticks ahead: one until the next look, one for a loop that turns late and a kernel that accepts late.
        horizon = loop.time() + 2 * self.bounds.tick_seconds
        for late in [c for c in self._watched if c.deadline <= horizon or c.stalled_until <= horizon]:
            late.on_deadline()
        again = bool(self._watched)
        self._timer = loop.call_later(self.bounds.tick_seconds, self._sweep, loop) if again else None
