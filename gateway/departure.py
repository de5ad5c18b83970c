"""A node's last minute among others: its clients are asked to go, and those that do not are closed one by one.

Meanwhile the node serves them as before, and takes requests over HTTP; only new sockets are turned away. It ends as
soon as nobody is left. `cluster.drain` decides on times and numbers.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Container
from dataclasses import replace
from itertools import islice
from typing import Protocol

from cluster.drain import Plan, due, plan
from cluster.node import Node
from cluster.servers import told
from gateway.bulletin import Bulletin
from gateway.handshake import Front
from gateway.streams import StreamConnection

TICK_SECONDS = 0.1
"""Between two looks at who is left."""

log = logging.getLogger(__name__)


class Lasting(Protocol):
    """A WebSocket or an event stream. `shutdown` ends it, so that its peer comes back."""

    def shutdown(self) -> None: ...


class Crowd:
    """The lasting connections of a node, all faces together."""

    def __init__(self, front: Front, connections: Collection[object], *, moving: Container[str]) -> None:
        """`connections` are all of the node's sockets; `moving` the faces whose clients can be asked to move."""
        self._front = front
        self._connections = connections
        self._moving = moving

    def turn_away(self) -> None:
        """Take no new sockets."""
        self._front.draining = True

    def movable(self) -> Collection[Lasting]:
        """Those who were asked to move, and are still here."""
        return [socket for socket in self._front.node.sockets if socket.face in self._moving and not socket.closing]

    def others(self) -> Collection[Lasting]:
        sockets = [each for each in self._front.node.sockets if each.face not in self._moving and not each.closing]
        return [*sockets, *(each for each in self._connections if isinstance(each, StreamConnection))]


class Departure:
    """`move` returns when all clients are gone or the time for that is over; at once where they have nowhere to go."""

    def __init__(
        self,
        node: Node,
        bulletin: Bulletin,
        *,
        grace_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`grace_seconds`: in which the node should have ended, all told."""
        self._node = node
        self._bulletin = bulletin
        self._grace_seconds = grace_seconds
        self._monotonic = monotonic
        self._sleep = sleep

    async def move(self, crowd: Crowd) -> None:
        own = self._node.described
        members = [member for member in self._node.members if member.node != self._node.id]
        survivors = [member.advertised for member in members if not member.advertised.draining]
        moving = plan(own, survivors, grace_seconds=self._grace_seconds)
        if moving is None:
            return
        times = {"spread_ms": moving.spread_ms, "deadline_ms": moving.deadline_ms}
        log.info("clients are asked to move to other nodes", extra={"connections": own.load, **times})
        crowd.turn_away()
        listed = replace(told(members, own=replace(own, draining=True)), spread_ms=moving.spread_ms)
        self._bulletin.ask_to_leave(listed, deadline_ms=moving.deadline_ms)
        await self._close_in_turn(crowd, moving)

    async def _close_in_turn(self, crowd: Crowd, moving: Plan) -> None:
        began = self._monotonic()
        while (now_ms := (self._monotonic() - began) * 1000) < moving.deadline_ms:
            movable, others = crowd.movable(), crowd.others()
            if not (movable or others):
                return
            for left, begin_ms in ((movable, moving.closing_ms), (others, 0)):
                for connection in islice(left, _due(left, moving, now_ms, begin_ms=begin_ms)):
                    connection.shutdown()
            await self._sleep(TICK_SECONDS)


def _due(left: Collection[Lasting], moving: Plan, now_ms: float, *, begin_ms: int) -> int:
    tick_ms = TICK_SECONDS * 1000
    return due(len(left), now_ms=now_ms, begin_ms=begin_ms, end_ms=moving.deadline_ms, tick_ms=tick_ms)
