"""What dead nodes leave behind: survivors tell the ends of their connections, each at least once.

Every node does this, an entry is in one hand at a time: it is claimed, its end is told, it is removed. A survivor that
dies in between leaves a claim that runs out, and the next one tells the same end again, under the same event id.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from broker.errors import HeadraceError
from broker.store.base import Commands, ReplyError
from broker.store.keys import Keys
from cluster import scripts
from cluster.node import Node

LOOK_SECONDS = 1.0
"""Between two looks for gone nodes, a fifth more or less."""

CLAIM_SECONDS = 60.0
"""How long an entry is in one survivor's hand; longer than `TELL_SECONDS`."""

TELL_SECONDS = 30.0
"""For telling one end."""

CLAIMED_AT_ONCE = 100

TOLD_AT_ONCE = 20
"""Ends that are told at the same time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """A connection that ended with its node."""

    node: str
    connection: str
    record: bytes
    """What the node had entered in the directory."""

    @property
    def event_id(self) -> str:
        """The same each time that this end is told, by whomever. A node that closes a connection itself uses it too."""
        return f"{self.node}/{self.connection}"


Tell = Callable[[Ended], Awaitable[None]]


class Clearing:
    """`serve` looks for what gone nodes left, until it is cancelled."""

    def __init__(
        self, commands: Commands, node: Node, *, keys: Keys, tell: Tell, claim_seconds: float = CLAIM_SECONDS
    ) -> None:
        """`tell` tells the world of one end. When it raises, the end is told again after `claim_seconds`."""
        self._commands = commands
        self._node = node
        self._keys = keys
        self._tell = tell
        self._claim_ms = round(claim_seconds * 1000)

    async def serve(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.2))
            for gone in self._node.gone:
                try:
                    await self._clear(gone)
                except (HeadraceError, ReplyError) as error:
                    log.info("a gone node is cleared away later", extra={"gone": gone, "reason": str(error)})

    async def _clear(self, gone: str) -> None:
        """Tell the ends that nobody has in hand; forget the node once nothing of it is left."""
        connections, claims = self._keys.connections(gone)
        # A claim is of one pass: what this node claimed earlier and did not finish is like anybody's.
        token, cursor = secrets.token_hex(16), b"0"
        while self._node.is_certain:
            args = (token, self._claim_ms, CLAIMED_AT_ONCE, cursor)
            reply = await self._commands.run(scripts.CLAIM, (connections, claims), args, retry=False)
            cursor, flat = cast("tuple[bytes, list[bytes]]", reply)
            ended = [Ended(gone, name.decode(), record) for name, record in zip(flat[::2], flat[1::2], strict=True)]
            for at in range(0, len(ended), TOLD_AT_ONCE):
                await asyncio.gather(*(self._finish(end, token) for end in ended[at : at + TOLD_AT_ONCE]))
            if cursor == b"0":
                break
        if not await self._commands.execute(connections, "EXISTS", connections, retry=True):
            await self._commands.execute(claims, "DEL", claims, retry=True)
            await self._node.forget_gone(gone)
            log.info("a gone node is cleared away", extra={"gone": gone})

    async def _finish(self, end: Ended, token: str) -> None:
        try:
            # Not from here on without being certain: the lease may be taken while ends are told.
            if not self._node.is_certain:
                return
            async with asyncio.timeout(TELL_SECONDS):
                await self._tell(end)
        except Exception as error:
            log.warning("the end of a connection is told later", extra={"event": end.event_id, "reason": repr(error)})
            return
        args = (token, end.connection)
        await self._commands.run(scripts.CLEAR, self._keys.connections(end.node), args, retry=True)
