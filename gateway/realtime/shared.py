"""What all realtime sockets of a node share."""

import asyncio
from collections.abc import Coroutine
from typing import cast

from gateway.bulletin import Bulletin
from gateway.context import Context
from gateway.realtime import consuming
from gateway.realtime.admission import Admission
from gateway.realtime.frames import Json, Msgpack, Node, RealtimeDialect
from gateway.realtime.telling import Socket, Telling
from gateway.websocket import Services

FACE = "realtime"
"""This room in metrics, and among the node's sockets."""


class Shared:
    """The node's services, a dialect a subprotocol, and the short-lived tasks of all connections."""

    def __init__(self, context: Context, node: Services, welcome: Node, bulletin: Bulletin) -> None:
        self.context = context
        self.node = node
        self.welcome = welcome
        self.bulletin = bulletin
        self.dialects: dict[str, RealtimeDialect] = {d.subprotocol: d for d in (Json(), Msgpack())}
        most = node.limits.subscriptions_per_connection
        self.consuming = consuming.Services(context.subscriptions, context.consumers, self.spawn, most)
        self.admission = Admission(context.auth, self.spawn)
        self.telling = Telling(self._sockets, self.dialects.values(), self.spawn)
        bulletin.tellers.append(self.telling)
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run `work`, which ends by itself and deals with its own errors."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sockets(self) -> list[Socket]:
        # A set of this room's own would cost each connection a place in it.
        return [cast(Socket, socket) for socket in self.node.sockets if socket.face == FACE]
