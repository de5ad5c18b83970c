"""What the sockets of every room share: being counted, being timed, and how bytes leave them.

A node holds tens of thousands of sockets, so nothing here costs a timer, a task or a closure a socket: one `Wheel`
turns for all of them, and one `Outbox` writes what a loop turn has brought. A socket is open, closing or gone;
`Session` keeps what goes out in order and says when its buffer is full.
"""

import asyncio
import logging
from math import ceil
from sys import intern
from typing import Protocol

log = logging.getLogger(__name__)

MAX_DELAY_TURNS = 100_000
"""Of the wheel; a later deadline is looked at then and armed again."""


ROUNDING = 1e-9
"""Of a bucket's content: whoever comes back when told must not be a millionth too early."""

MAX_HELD_FRAMES = 256
"""Answers kept for one write; beyond that they go out at once, so that the transport can say that it is full."""


class Census:
    """How many sockets a node has, in all and from each address.

    Shared by the HTTP protocol class and the WebSocket one: each counts its own connections in and out, so an
    upgraded connection leaves as HTTP and enters as a socket.
    """

    def __init__(self, *, connections: int, connections_per_address: int) -> None:
        self._limit = connections
        self._limit_per_address = connections_per_address
        self._by_address: dict[str, int] = {}
        self.total = 0

    def enter(self, address: str) -> bool:
        """Count one more of `address`, or return False, counting nothing, where a cap is reached."""
        here = self._by_address.get(address, 0)
        if self.total >= self._limit or here >= self._limit_per_address:
            return False
        self._by_address[address] = here + 1
        self.total += 1
        return True

    def leave(self, address: str) -> None:
        """Count out one connection that had entered; one that had not changes nothing."""
        here = self._by_address.pop(address, 0)
        if here > 1:
            self._by_address[address] = here - 1
        self.total -= here > 0

    def of(self, address: str) -> int:
        return self._by_address.get(address, 0)


class Timed(Protocol):
    """What a wheel can wake. `due` belongs to the wheel: the turn it is armed for, 0 for none."""

    due: int

    def on_due(self) -> None: ...


class Wheel:
    """One timer for the deadlines of all sockets: buckets of a turn each, `grain_seconds` apart.

    Its time counts turns of the event loop's own, so a stalled loop lets deadlines wait instead of expiring a herd at
    once before anything of what it has sent was read. A deadline comes up to one grain late, never early.
    """

    def __init__(self, *, grain_seconds: float = 1.0) -> None:
        self.grain_seconds = grain_seconds
        self._buckets: dict[int, set[Timed]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self.now = 1

    def turns(self, seconds: float) -> int:
        """Return how many turns surely cover `seconds`."""
        return min(ceil(seconds / self.grain_seconds) + 1, MAX_DELAY_TURNS)

    def arm(self, timed: Timed, seconds: float) -> None:
        """Wake `timed` after `seconds`; an earlier arming is replaced."""
        self.disarm(timed)
        timed.due = self.now + self.turns(seconds)
        self._buckets.setdefault(timed.due, set()).add(timed)
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self.grain_seconds, self._run)

    def disarm(self, timed: Timed) -> None:
        bucket = self._buckets.get(timed.due)
        if bucket is not None:
            bucket.discard(timed)
            if not bucket:
                del self._buckets[timed.due]
        timed.due = 0

    def turn(self) -> None:
        """Wake all that are due now."""
        self.now += 1
        for timed in self._buckets.pop(self.now, ()):
            # One that was woken before it in this turn may have disarmed it.
            if timed.due == self.now:
                timed.due = 0
                _wake(timed)

    def stop(self) -> None:
        """Wake nobody any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._buckets.clear()

    def _run(self) -> None:
        # The handle stands until the turn is over: whoever is woken and armed again must not start a second timer
        # beside this one. Timers would multiply, time would run faster and faster, and all sockets would be overdue.
        try:
            self.turn()
        finally:
            again = asyncio.get_running_loop().call_later(self.grain_seconds, self._run) if self._buckets else None
            self._handle = again


def _wake(timed: Timed) -> None:
    try:
        timed.on_due()
    except Exception:
        # The others of this turn are woken all the same.
        log.exception("a socket's deadline failed")


class Bucket:
    """A token bucket of one second: `rate` takes a second, as many at once at most."""

    __slots__ = ("_at", "_left", "_rate")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = max(rate, 1.0)
        self._at = now

    def take(self, now: float) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        self._left = min(self._left + (now - self._at) * self._rate, max(self._rate, 1.0))
        self._at = now
        if self._left < 1 - ROUNDING:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0


class Outbox:
    """Sessions with answers to write at the end of this turn of the event loop: one write a session a turn."""

    def __init__(self) -> None:
        self._waiting: list[Session] = []

    def add(self, session: "Session") -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(session)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for session in waiting:
            session.flush()


class Session:
    """How bytes leave one socket, in order.

    `write` hands ready frames to the transport at once (the hub has joined them already); `answer` keeps small frames
    until the end of the loop turn, so that the answers to one read, or to one append, leave in one write. `paused` is
    true while the transport's buffer is above its high-water mark.
    """

    __slots__ = ("_held", "_outbox", "closing", "due", "paused", "transport")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox, *, high_water_bytes: int) -> None:
        self.transport = transport
        self.paused = False
        self.closing = False
        self.due = 0
        self._outbox = outbox
        self._held: list[bytes] | None = None
        transport.set_write_buffer_limits(high=high_water_bytes, low=high_water_bytes // 4)

    def write(self, data: bytes) -> None:
        """Hand ready frames to the transport. Never raises, never blocks; nothing leaves a closing socket."""
        if self._held is not None:
            self._held.append(data)
            self.flush()
        elif not self.closing:
            self.transport.write(data)

    def answer(self, data: bytes) -> None:
        """Write at the end of this loop turn, after what was answered before."""
        if self.closing:
            return
        if self._held is None:
            self._held = [data]
            self._outbox.add(self)
        else:
            self._held.append(data)
            if len(self._held) >= MAX_HELD_FRAMES:
                self.flush()

    def flush(self) -> None:
        """Hand the kept answers to the transport now."""
        held, self._held = self._held, None
        if held and not self.closing:
            self.transport.write(held[0] if len(held) == 1 else b"".join(held))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False


def peer_address(transport: asyncio.BaseTransport) -> str:
    """Return the peer's address, one string object for all of its connections; "" where there is none."""
    name: object = transport.get_extra_info("peername")
    return intern(str(name[0])) if isinstance(name, tuple) and name else ""
