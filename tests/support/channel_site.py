"""One node's Channel API on a real server and a real Valkey, with a short patience."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import servers
from http_node import SECRET, Node, Peer, Served, serving
from websockets.asyncio.client import ClientConnection, connect

from broker.store.channels import ChannelStore
from broker.store.scripts import ALL
from cluster.address import parse_address
from cluster.letters import Request
from cluster.topology import Topology
from gateway.channel import room
from gateway.channel.ports import Presence, Take, always
from gateway.channel.settings import Channel
from gateway.channel.tokens import Tokens
from gateway.realtime import endpoint as realtime

CONNECT_SECONDS = 30.0


def new_client() -> bytes:
    return f"player{secrets.token_hex(4)}".encode()


class Letters:
    """The inboxes of the nodes of one test: what one asks another comes at once."""

    def __init__(self) -> None:
        self.inboxes: dict[str, Callable[[Request], Awaitable[bytes]]] = {}
        self.lost = False

    def inbox(self, node: str) -> "Letterbox":
        return Letterbox(self, node)


@dataclass
class Letterbox:
    letters: Letters
    node: str

    def handle(self, name: str, handler: Callable[[Request], Awaitable[bytes]]) -> None:
        self.letters.inboxes[self.node] = handler

    async def request(self, node: str, name: str, body: bytes, *, timeout: float) -> bytes:
        if self.letters.lost or node not in self.letters.inboxes:
            return b""
        return await self.letters.inboxes[node](Request(b"id", self.node, name, body))


class Told:
    """A `Notifier` that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Presence] = []
        self.failing = False

    async def notify(self, event: Presence, take: Take = always) -> None:
        if await take():
            self.events.append(event)


@dataclass
class Site:
    """One node: its services, its room, its server."""

    node: Node
    room: room.Room
    served: Served
    told: Told
    store: ChannelStore
    letters: Letters
    client: bytes = field(default_factory=new_client)

    @property
    def told_of(self) -> list[Presence]:
        """What the application was told of this client."""
        return [event for event in self.told.events if event.client_id == self.client]

    @property
    def kinds(self) -> list[str]:
        return [str(event.kind) for event in self.told_of]

    def token(self, client: bytes | None = None, *, minutes: int = 60, ago_s: float = 0) -> str:
        """A token made some time ago."""
        now = self.node.now_ms() / 1000 - ago_s
        return Tokens(SECRET).make(client or self.client, minutes=minutes, now=now, random=1)

    async def send(self, *messages: str, to: bytes | None = None) -> None:
        for message in messages:
            await self.room.channels.send(self.client if to is None else to, message.encode())

    async def get(self, path: str, *, method: str = "GET", headers: str = "") -> tuple[str, dict[str, str], bytes]:
        """Return the status line behind the version, the headers, and the body."""
        peer = await self.served.connect()
        try:
            await peer.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
            return await read_answer(peer)
        finally:
            peer.close()

    async def dev(self, command: str, token: str, client: str = "") -> tuple[str, dict[str, str], bytes]:
        suffix = f"&client={client}" if client else ""
        return await self.get(f"/_ah/channel/dev?command={command}&channel={token}{suffix}")

    async def connect(self, token: str = "") -> str:
        """Connect as the development server's script does; returns the connection."""
        status, _, body = await self.dev("connect", token or self.token())
        assert status == "200 OK"
        return body.decode()

    async def poll(self, connection: str, token: str = "") -> bytes:
        status, _, body = await self.dev("poll", token or self.token(), connection)
        assert status == "200 OK", status
        return body


async def read_answer(peer: Peer) -> tuple[str, dict[str, str], bytes]:
    head = (await peer.read_until(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await asyncio.wait_for(peer.reader.readexactly(int(headers.get("content-length", "0"))), 10)
    return first.partition(" ")[2], headers, body


QUICK = Channel(hold_seconds=0.05, gone_seconds=1, lease_seconds=3)


Sites = Callable[..., AbstractAsyncContextManager[Site]]


@asynccontextmanager
async def commanding(server: servers.Server) -> AsyncIterator[Topology]:
    """Commands to a Redis, for all sites of a test."""
    topology = Topology(parse_address(server.url), name="test", scripts=ALL)
    task = asyncio.create_task(topology.serve())
    try:
        await topology.connected(CONNECT_SECONDS)
        yield topology
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def sites_on(commands: Topology) -> Sites:
    """Return what starts nodes of one cluster: `async with sites(Channel(...), name="n2") as site`."""
    letters, prefix = Letters(), f"t{secrets.token_hex(4)}"

    @asynccontextmanager
    async def site(
        settings: Channel = QUICK, *, name: str = "n1", node: Node | None = None, client: bytes = b""
    ) -> AsyncIterator[Site]:
        node = node or Node()
        node.config = replace(node.config, channel=settings, prefix=prefix)
        async with node:
            front = realtime.front(node.context)
            told, inbox = Told(), letters.inbox(name)
            built = room.build(node.context, front, commands, inbox, node_id=lambda: name, notifier=told)
            running = [asyncio.create_task(loop()) for loop in built.loops.values()]
            async with serving(built, websocket=front.protocol_class()) as served:
                store = ChannelStore(commands, room.rules_of(settings), prefix=prefix)
                yield Site(node, built, served, told, store, letters, client or new_client())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            front.node.wheel.stop()
            letters.inboxes.pop(name, None)

    return site


# Our own script's WebSocket.


@asynccontextmanager
async def page(site: Site, token: str = "", **query: str) -> AsyncIterator[ClientConnection]:
    more = "".join(f"&{name}={value}" for name, value in query.items())
    url = f"ws://127.0.0.1:{site.served.port}/_ah/channel/socket?channel={token or site.token()}{more}"
    async with connect(url, origin=None) as socket:
        yield socket


async def frame(socket: ClientConnection) -> dict[str, Any]:
    text = await asyncio.wait_for(socket.recv(), 10)
    assert isinstance(text, str)
    found: dict[str, Any] = orjson.loads(text)
    return found


async def data(socket: ClientConnection, count: int) -> list[str]:
    return [(await frame(socket))["data"] for _ in range(count)]
