"""Which node a connection belongs to: its id says so, the membership says which nodes there are.

Redis is asked only about tags of no known member, and after an owner did not answer: a node may have joined, or be
gone, since the last renewal of the lease told of the others. Such looks are shared, and begin after the question.
"""

import asyncio
from collections.abc import Callable

from cluster.node import Node
from gateway.apigateway.cluster.identifiers import owner_tag, tag_of
from gateway.apigateway.errors import Gone

BELIEVED_SECONDS = 0.25
"""How long the known members are believed before the membership is read again."""


class Owners:
    """`monotonic` is a clock in seconds."""

    def __init__(self, node: Node, *, monotonic: Callable[[], float]) -> None:
        self._node = node
        self._monotonic = monotonic
        self._by_tag: dict[bytes, str] = {}
        self._until = -1.0
        self._looking: asyncio.Task[dict[bytes, str]] | None = None
        self._next: asyncio.Task[dict[bytes, str]] | None = None

    def members(self) -> dict[bytes, str]:
        """Return the nodes that are known, by the tags of their connections."""
        if self._monotonic() >= self._until:
            self._by_tag = {tag_of(member.node): member.node for member in self._node.members}
            self._until = self._monotonic() + BELIEVED_SECONDS
        return self._by_tag

    async def owner_of(self, connection: str) -> str:
        """Return the id of the node that owns a connection.

        Raises `Malformed`, `Gone` where no such node is in the cluster, `Unavailable` where that cannot be known.
        """
        tag = owner_tag(connection)
        owner = self.members().get(tag) or (await self.look()).get(tag)
        if owner is None:
            raise Gone
        return owner

    async def is_gone(self, node: str) -> bool:
        """Tell whether a node is in the cluster no more. Raises `Unavailable`."""
        return tag_of(node) not in await self.look()

    async def look(self) -> dict[bytes, str]:
        """Return the nodes that hold a lease now, by their tags. Raises `Unavailable`."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._look_after(self._looking))
        return await asyncio.shield(self._next)

    async def _look_after(self, before: "asyncio.Task[dict[bytes, str]] | None") -> dict[bytes, str]:
        if before is not None:
            await asyncio.wait((before,))
        self._looking, self._next = self._next, None
        return {tag_of(node): node for node in await self._node.present()}
