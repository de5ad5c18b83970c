"""Which connections exist, on which node: an entry for each that promised the world to be told of its end.

A node keeps its entries in a hash of its own and in memory, and writes them again whenever Redis may have lost some:
after each reconnect, and when the slots moved. Only absence from the directory means that a connection is gone; a node
that does not answer means nothing (DESIGN 5). What a dead node leaves in it is cleared by `cluster.clearing`.
"""

import asyncio
import logging
import random
from contextlib import suppress
from typing import cast

from broker.errors import HeadraceError, LimitExceeded, Unavailable
from broker.store.base import Commands, ReplyError
from broker.store.keys import Keys
from cluster import scripts
from cluster.node import Node

MAX_ENTRIES = 200_000
"""Of one node: its connections, and room."""

WRITTEN_AT_ONCE = 500
"""Entries in one command of a rewrite."""

REWRITE_SECONDS = 3600.0
"""The longest time between two rewrites."""

KEEP_SECONDS = 7 * 24 * 3600
"""How long a directory is kept that nobody writes or clears: one written by a node that did not know yet that it was
gone and cleared away."""

AGAIN_SECONDS = 1.0

RETRY_MS = 1000

log = logging.getLogger(__name__)


class Directory:
    """This node's entries, and a look at everybody's. `serve` keeps them written, until it is cancelled."""

    def __init__(self, commands: Commands, node: Node, *, keys: Keys) -> None:
        self._commands = commands
        self._node = node
        self._keys = keys
        self._entries: dict[str, bytes] = {}
        self._is_due = asyncio.Event()
        node.on_identity.append(self._begin_anew)

    def __len__(self) -> int:
        return len(self._entries)

    async def enter(self, connection: str, record: bytes) -> None:
        """Enter a connection of this node, or replace its record, and return once it stands in Redis.

        Raises `Unavailable`, also while the node's lease may be taken: the promise was not given then. `LimitExceeded`.
        """
        if not self._node.is_certain:
            raise Unavailable("This node is not sure of its place in the cluster.", retry_ms=RETRY_MS)
        if len(self._entries) >= MAX_ENTRIES and connection not in self._entries:
            raise LimitExceeded("This node has too many connections.", retry_ms=RETRY_MS)
        node, before = self._node.id, self._entries.get(connection)
        self._entries[connection] = record
        try:
            await self._write(node, {connection: record})
        except BaseException:
            if self._node.id == node and self._entries.get(connection) is record:
                self._put_back(connection, before)
            raise

    async def strike(self, connection: str) -> None:
        """Remove a connection of this node: its end is told, or nobody was promised. Made up for when Redis is away."""
        if self._entries.pop(connection, None) is None:
            return
        key = self._key(self._node.id)
        try:
            await self._commands.execute(key, "HDEL", key, connection, retry=True)
        except (HeadraceError, ReplyError) as error:
            log.debug("an entry of the directory is removed later: %s", error)
            self._is_due.set()

    async def find(self, node: str, connection: str) -> bytes | None:
        """Return a connection's record, None when it is gone. Raises `Unavailable`."""
        key = self._key(node)
        return cast("bytes | None", await self._commands.execute(key, "HGET", key, connection, retry=True))

    def on_reconnect(self) -> None:
        """Redis may have lost entries: have them all written again."""
        self._is_due.set()

    async def serve(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(REWRITE_SECONDS * random.uniform(0.5, 1.0)):
                    await self._is_due.wait()
            self._is_due.clear()
            try:
                await self._rewrite()
            except (HeadraceError, ReplyError) as error:
                log.warning("the directory of connections is written again later", extra={"reason": str(error)})
                self._is_due.set()
                await asyncio.sleep(AGAIN_SECONDS)

    async def _rewrite(self) -> None:
        node = self._node.id
        names = list(self._entries)
        for at in range(0, len(names), WRITTEN_AT_ONCE):
            batch = {name: self._entries[name] for name in names[at : at + WRITTEN_AT_ONCE] if name in self._entries}
            if self._node.id != node:
                return
            await self._write(node, batch)
        key = self._key(node)
        written = cast("list[bytes]", await self._commands.execute(key, "HKEYS", key, retry=True))
        if self._node.id != node:
            return
        surplus = [name for name in written if name.decode(errors="replace") not in self._entries]
        for at in range(0, len(surplus), WRITTEN_AT_ONCE):
            await self._commands.execute(key, "HDEL", key, *surplus[at : at + WRITTEN_AT_ONCE], retry=True)
        await self._commands.execute(key, "EXPIRE", key, KEEP_SECONDS, retry=True)

    async def _write(self, node: str, entries: dict[str, bytes]) -> None:
        key = self._key(node)
        words = [word for entry in entries.items() for word in entry]
        if words:
            await self._commands.run(scripts.ENTER, [key], [KEEP_SECONDS, *words], retry=True)

    def _put_back(self, connection: str, before: bytes | None) -> None:
        """Forget an entry that may or may not have been written: the next rewrite settles it."""
        if before is None:
            del self._entries[connection]
        else:
            self._entries[connection] = before
        self._is_due.set()

    def _begin_anew(self) -> None:
        """The node is somebody new, all its sockets are closed, and survivors clear what it had entered."""
        self._entries.clear()

    def _key(self, node: str) -> bytes:
        return self._keys.connections(node)[0]
