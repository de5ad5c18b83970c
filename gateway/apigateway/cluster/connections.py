"""Every connection of the cluster: this node's own from its table, the others' by asking their owners.

A call is answered when the owner has carried it out or said why not. 410 has two sources only: the owner, which knows
its connections, and the membership, which knows that there is no such owner. A node that does not answer means nothing
(DESIGN 5): the caller gets a 5xx, repeats, and a post that was written all the same is not written again.
"""

from collections.abc import Awaitable, Callable

from broker.errors import HeadraceError, InvalidRequest, Unavailable
from cluster.inbox import Inbox
from cluster.letters import Request
from cluster.node import Node
from gateway.apigateway.cluster.courier import Courier, known_by
from gateway.apigateway.cluster.identifiers import owner_tag, tag_of
from gateway.apigateway.cluster.letters import Post, packed_outcomes, packed_question, read_posts, read_question
from gateway.apigateway.cluster.owners import Owners
from gateway.apigateway.cluster.records import packed_standing, read_standing
from gateway.apigateway.cluster.table import Table, standing_of
from gateway.apigateway.errors import Gone
from gateway.apigateway.ports import Stage, Standing

POST, DESCRIBE, CLOSE = "apigateway.post", "apigateway.describe", "apigateway.close"
"""What nodes ask of each other."""

CALL_SECONDS = 4.0
"""For an owner's answer: beyond a letter that was lost and sent again, below the patience of any SDK."""

RETRY_MS = 1000

NORMAL, NORMAL_REASON = 1000, "Connection Closed Normally"
"""What AWS closes a deleted connection with (contracts/apigateway 12)."""


class ClusterConnections:
    """Implements `ports.Connections`. `serve` must be running."""

    def __init__(self, table: Table, node: Node, inbox: Inbox, owners: Owners) -> None:
        self._table = table
        self._node = node
        self._inbox = inbox
        self._owners = owners
        self._courier = Courier(lambda owner, letter: self.ask(owner, POST, letter))
        self._tag = tag_of(node.id)
        node.on_identity.append(self._be_renamed)
        inbox.handle(POST, self._on_post)
        inbox.handle(DESCRIBE, _reading(self._on_describe))
        inbox.handle(CLOSE, _reading(self._on_close))

    async def serve(self) -> None:
        await self._courier.serve()

    async def post(
        self, connection: str, data: bytes, *, invocation: str | None = None, within: Stage | None = None
    ) -> None:
        if self._is_own(connection):
            self._table.post(connection, data, invocation=invocation, within=within)
            return
        owner = await self._owners.owner_of(connection)
        await self._courier.post(owner, Post(connection, data, known_by(invocation), within))

    async def describe(self, connection: str, *, within: Stage | None = None) -> Standing:
        if self._is_own(connection):
            return standing_of(self._table.find(connection, within))
        owner = await self._owners.owner_of(connection)
        answer = await self.ask(owner, DESCRIBE, packed_question(within, connection=connection))
        try:
            return read_standing(answer)
        except ValueError:
            raise Unavailable("The owner's answer cannot be read.", retry_ms=RETRY_MS) from None

    async def delete(
        self, connection: str, *, code: int = NORMAL, reason: str = "", within: Stage | None = None
    ) -> None:
        if self._is_own(connection):
            self._close(connection, code, reason, within)
            return
        owner = await self._owners.owner_of(connection)
        await self.ask(owner, CLOSE, packed_question(within, connection=connection, code=code, reason=reason))

    async def ask(self, owner: str, name: str, body: bytes) -> bytes:
        """Ask another node. Raises `Gone` where it is in the cluster no more, `Unavailable`, and its own refusals."""
        try:
            return await self._inbox.request(owner, name, body, timeout=CALL_SECONDS)
        except Unavailable:
            if await self._owners.is_gone(owner):
                raise Gone from None
            raise

    def _is_own(self, connection: str) -> bool:
        """Raises `Malformed`, and `Unavailable` while this node may be gone without knowing it."""
        if owner_tag(connection) != self._tag:
            return False
        if self._node.has_stood_still:
            raise Unavailable("This node is not sure of its place in the cluster.", retry_ms=RETRY_MS)
        return True

    def _close(self, connection: str, code: int, reason: str, within: Stage | None) -> None:
        told = reason or (NORMAL_REASON if code == NORMAL else "")
        self._table.find(connection, within).close(code, told)

    async def _on_post(self, request: Request) -> bytes:
        """Write the posts of a letter, in their order; one that fails does not stop the others."""
        outcomes: list[HeadraceError | None] = []
        for post in read_posts(request.body):
            try:
                self._table.post(post.connection, post.data, invocation=post.invocation, within=post.within)
                outcomes.append(None)
            except HeadraceError as refusal:
                outcomes.append(refusal)
        return packed_outcomes(outcomes)

    async def _on_describe(self, told: dict[str, object], within: Stage | None) -> bytes:
        return packed_standing(standing_of(self._table.find(str(told["connection"]), within)))

    async def _on_close(self, told: dict[str, object], within: Stage | None) -> bytes:
        code = told["code"]
        if not isinstance(code, int):
            raise InvalidRequest
        self._close(str(told["connection"]), code, str(told["reason"]), within)
        return b""

    def _be_renamed(self) -> None:
        self._tag = tag_of(self._node.id)


Answer = Callable[[dict[str, object], Stage | None], Awaitable[bytes]]


def _reading(answer: Answer) -> Callable[[Request], Awaitable[bytes]]:
    """Return a handler of the inbox that has its question read."""

    async def handle(request: Request) -> bytes:
        try:
            told, within = read_question(request.body)
            return await answer(told, within)
        except (ValueError, LookupError):
            raise InvalidRequest from None

    return handle
