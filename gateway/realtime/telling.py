"""Telling all realtime sockets of a node the same: another list of servers, or that the node leaves.

A frame is encoded once a dialect. Sockets are gone through in portions, so that tens of thousands do not hold up the
loop, and at most once in `PAUSE_SECONDS`: news that come meanwhile are told together. One that is paused is told when
it reads again; it costs a place in a set, and the latest news are all that it gets.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Protocol

from cluster.servers import Told
from gateway.realtime import frames
from gateway.realtime.frames import RealtimeDialect

PORTION = 500
"""Sockets written to before the loop may turn: about a millisecond."""

PAUSE_SECONDS = 0.5
"""From the end of one round to the next: a change is everywhere within two."""


class Socket(Protocol):
    """What telling asks of a connection. Hashable by identity."""

    paused: bool
    closing: bool
    dialect: RealtimeDialect

    def write(self, data: bytes) -> None: ...


class Telling:
    """One for all connections of a node: a `gateway.bulletin.Teller`. `spawn` runs a short-lived task."""

    def __init__(
        self,
        sockets: Callable[[], Iterable[Socket]],
        dialects: Iterable[RealtimeDialect],
        spawn: Callable[[Coroutine[object, object, None]], None],
        *,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._sockets = sockets
        self._dialects = tuple(dialects)
        self._spawn = spawn
        self._pause_seconds = pause_seconds
        self._frames: dict[str, bytes] = {}
        """By subprotocol: what holds now."""
        self._owed: set[Socket] = set()
        self._is_due = False
        self._is_going_round = False

    def tell(self, told: Told) -> None:
        self._frames = {dialect.subprotocol: frames.servers(dialect, told) for dialect in self._dialects}
        self._is_due = True
        if not self._is_going_round:
            self._is_going_round = True
            self._spawn(self._go_rounds())

    def ask_to_leave(self, told: Told, *, deadline_ms: int) -> None:
        self._frames = {each.subprotocol: frames.drain(each, told, deadline_ms=deadline_ms) for each in self._dialects}
        self._is_due = False
        self._spawn(self._go_round())

    def resume(self, socket: Socket) -> None:
        """The socket reads again: tell it what it has missed."""
        if socket in self._owed:
            self._owed.discard(socket)
            self._write(socket)

    def forget(self, socket: Socket) -> None:
        self._owed.discard(socket)

    async def _go_rounds(self) -> None:
        while self._is_due:
            self._is_due = False
            await self._go_round()
            await asyncio.sleep(self._pause_seconds)
        self._is_going_round = False

    async def _go_round(self) -> None:
        told, sockets = self._frames, list(self._sockets())
        for at in range(0, len(sockets), PORTION):
            if self._frames is not told:
                # Something else holds by now, and has a round of its own.
                return
            for socket in sockets[at : at + PORTION]:
                self._write(socket)
            await asyncio.sleep(0)

    def _write(self, socket: Socket) -> None:
        if socket.closing:
            return
        if socket.paused:
            self._owed.add(socket)
        else:
            socket.write(self._frames[socket.dialect.subprotocol])
