"""Which connections of which clients are on this node, and how other nodes reach them.

A letter to a node says that a client has messages, or that a connection has ended. Letters may be lost with their
sender: a node also looks for itself whenever it renews its connections' leases.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Protocol

import msgpack

from broker.errors import HeadraceError, InvalidRequest
from cluster.letters import Request

LETTERS = "channel"
"""The name of these requests in the inbox."""

WAKE, REPLACED, CLOSED = "wake", "replaced", "closed"

ASK_SECONDS = 5.0
"""How long a letter is repeated; after that its receiver finds out by itself."""

MAX_LETTERS = 5000
"""On their way at once; beyond that receivers find out by themselves."""

log = logging.getLogger(__name__)


class Attachment(Protocol):
    """A connection of a client on this node. Hashable by identity."""

    @property
    def name(self) -> str: ...

    def wake(self) -> None:
        """There may be messages."""

    def end(self, *, replaced: bool) -> None:
        """Another connection has taken over; or the page has closed this one by another way."""


class Inbox(Protocol):
    """What is asked of `cluster.inbox.Inbox`."""

    def handle(self, name: str, handler: Callable[[Request], Awaitable[bytes]]) -> None: ...

    async def request(self, node: str, name: str, body: bytes, *, timeout: float) -> bytes: ...


class Attached:
    """This node's connections by client, and letters to the other nodes."""

    def __init__(self, inbox: Inbox, node_id: Callable[[], str]) -> None:
        self._inbox = inbox
        self._node_id = node_id
        self._clients: dict[bytes, list[Attachment]] = {}
        self._waking: set[tuple[str, bytes]] = set()
        self._letters: set[asyncio.Task[None]] = set()
        inbox.handle(LETTERS, self._receive)

    @property
    def node(self) -> str:
        return self._node_id()

    def add(self, client: bytes, attachment: Attachment) -> None:
        self._clients.setdefault(client, []).append(attachment)

    def discard(self, client: bytes, attachment: Attachment) -> None:
        here = self._clients.get(client, [])
        if attachment in here:
            here.remove(attachment)
        if not here:
            self._clients.pop(client, None)

    def of(self, client: bytes) -> Sequence[Attachment]:
        return self._clients.get(client, ())

    # What happens to a client, wherever its connections are.

    def wake(self, client: bytes, nodes: Collection[str]) -> None:
        """The client has messages."""
        for node in nodes:
            if node == self.node:
                self._wake_here(client)
            elif (node, client) not in self._waking:
                # One on its way is enough: its receiver reads all there is.
                self._waking.add((node, client))
                self._post(node, [WAKE, client, ""], partial(self._waking.discard, (node, client)))

    def replaced(self, client: bytes, connections: Sequence[tuple[str, str]]) -> None:
        """These connections (names and nodes) have ended, since another one has taken over."""
        self._ended(client, connections, REPLACED)

    def closed(self, client: bytes, name: str, node: str) -> None:
        """The page has closed this connection."""
        self._ended(client, [(name, node)], CLOSED)

    def _ended(self, client: bytes, connections: Sequence[tuple[str, str]], verb: str) -> None:
        for name, node in connections:
            if node == self.node:
                self._end_here(client, name, replaced=verb == REPLACED)
            elif node:
                self._post(node, [verb, client, name], lambda: None)

    def _wake_here(self, client: bytes) -> None:
        for attachment in list(self.of(client)):
            attachment.wake()

    def _end_here(self, client: bytes, name: str, *, replaced: bool) -> None:
        for attachment in list(self.of(client)):
            if attachment.name == name:
                attachment.end(replaced=replaced)

    # Letters.

    def _post(self, node: str, letter: list[object], done: Callable[[], None]) -> None:
        if len(self._letters) >= MAX_LETTERS:
            done()
            return
        task = asyncio.get_running_loop().create_task(self._send(node, msgpack.packb(letter), done))
        self._letters.add(task)
        task.add_done_callback(self._letters.discard)

    async def _send(self, node: str, body: bytes, done: Callable[[], None]) -> None:
        # What is sent while this waits for its answer may come too late for it.
        asyncio.get_running_loop().call_soon(done)
        try:
            await self._inbox.request(node, LETTERS, body, timeout=ASK_SECONDS)
        except HeadraceError as error:
            log.debug("a letter about a channel did not arrive: %s", error)

    async def _receive(self, request: Request) -> bytes:
        try:
            verb, client, name = msgpack.unpackb(request.body)
        except Exception as error:
            # What msgpack raises is not said to be complete.
            raise InvalidRequest("This is no letter about a channel.") from error
        if verb == WAKE:
            self._wake_here(client)
        else:
            self._end_here(client, name, replaced=verb == REPLACED)
        return b""
