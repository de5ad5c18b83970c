"""A node's WebSocket front on a real port, and a client that speaks raw RFC 6455 at it."""

import asyncio
import contextlib
import os
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgpack
import orjson
import uvicorn
from uvicorn.server import ServerState

from gateway.admission import Admission
from gateway.config import Config
from gateway.handshake import Front
from gateway.http import http_protocol
from gateway.reception import bounds_of

PATIENCE_SECONDS = 10
"""How long a test waits for what must come."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455 section 1.3's own example."""

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class _Server(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


async def _not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _settings(front: Front, config: Config) -> uvicorn.Config:
    limits, node = config.limits, front.node
    admission = Admission(limits.accept_per_second)
    http = http_protocol(bounds_of(limits), node.census, node.metrics, admission)
    return uvicorn.Config(
        _not_found, port=0, http=http, ws=front.protocol_class(), lifespan="off", log_config=None, interface="asgi3"
    )


@contextlib.asynccontextmanager
async def serving(front: Front, config: Config, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve `front` behind the node's HTTP protocol on a free port: uvicorn's protocols without its slow main loop."""
    loop = asyncio.get_running_loop()
    settings = _settings(front, config)
    settings.load()
    state = ServerState()
    server = await loop.create_server(
        lambda: settings.http_protocol_class(config=settings, server_state=state, app_state={}, _loop=loop),  # type: ignore[call-arg]
        "127.0.0.1",
        0,
        ssl=tls,
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await front.drain()
        front.node.wheel.stop()
        for connection in list(state.connections):
            connection.shutdown()


@contextlib.asynccontextmanager
async def uvicorn_serving(front: Front, config: Config) -> AsyncIterator[int]:
    """Serve `front` by uvicorn as a node does, and let uvicorn end it."""
    server = _Server(_settings(front, config))
    running = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not server.started:
                await asyncio.sleep(0.005)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await running
        front.node.wheel.stop()


def frame(first: int, payload: bytes = b"", *, masked: bool = True) -> bytes:
    """Return a client frame; `first` is its first byte: FIN, reserved bits, opcode."""
    bit = 0x80 if masked else 0
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, bit | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, bit | 126, length)
    else:
        head = struct.pack("!BBQ", first, bit | 127, length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def text(document: object) -> bytes:
    return frame(0x80 | TEXT, orjson.dumps(document))


def packed(document: object) -> bytes:
    return frame(0x80 | BINARY, msgpack.packb(document))


def upgrade(path: str = "/v1/realtime", **headers: str | None) -> bytes:
    """Return an upgrade request; `headers` (with _ for -) replace or, with None, remove the usual ones."""
    fields: dict[str, str | None] = {
        "host": "localhost",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": KEY,
        "sec-websocket-version": "13",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        word: str = orjson.loads(self.body)["error"]["code"]
        return word


class Closed(Exception):
    """The server closed: with this code, or None where the stream ended without a close frame."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        super().__init__(code)


class Raw:
    """A WebSocket client without opinions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def shake(self, request: bytes | None = None) -> Answer:
        self.send(request or upgrade())
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(status.split()[1]), headers, body)

    async def frame(self) -> tuple[int, bytes]:
        """Return the next frame's first byte and payload; raises `Closed` at a close frame or the end."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                first, second = await self.reader.readexactly(2)
                assert second < 0x80, "a server does not mask"
                length = second
                if second == 126:
                    length = int.from_bytes(await self.reader.readexactly(2))
                elif second == 127:
                    length = int.from_bytes(await self.reader.readexactly(8))
                payload = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            raise Closed(None) from None
        if first == 0x80 | CLOSE:
            raise Closed(int.from_bytes(payload[:2]) if payload else 1005)
        return first, payload

    async def receive(self) -> Any:
        """Return the next message's map."""
        first, payload = await self.frame()
        return orjson.loads(payload) if first == 0x80 | TEXT else msgpack.unpackb(payload)

    async def ask(self, document: object) -> Any:
        self.send(text(document))
        return await self.answer()

    async def answer(self) -> Any:
        """Return the next message's map, past what nodes tell of each other at any time."""
        while (told := await self.receive())["op"] == "servers":
            pass
        return told

    async def closed(self) -> int | None:
        """Read to the end and return the close code."""
        while True:
            try:
                await self.frame()
            except Closed as closed:
                return closed.code

    async def at_end(self) -> bool:
        """Tell whether the server hung up."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionResetError):
                while await self.reader.read(65536):
                    pass
        return True


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        yield Raw(reader, writer)
    finally:
        # Not `close`: that waits for a server that may read nothing more.
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def opened(port: int, **headers: str | None) -> AsyncIterator[Raw]:
    """A client after its handshake, the `welcome` read."""
    async with raw(port) as client:
        answer = await client.shake(upgrade(**headers))
        assert answer.status == 101, answer
        assert (await client.receive())["op"] == "welcome"
        yield client
