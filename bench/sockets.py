"""A fast client socket for load: one asyncio protocol, frames built by hand, nothing kept that is not needed."""

import asyncio
import os
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import orjson

from bench.stream import frames

HANDSHAKE_SECONDS = 30.0
"""How long one connection may take to be established, with thousands in line before it."""


def masked(payload: bytes) -> bytes:
    """Return a client text frame. The mask is zero, which RFC 6455 5.3 allows a receiver no way to mind."""
    length = len(payload)
    if length < 126:
        head = bytes((0x81, 0x80 | length))
    elif length < 65536:
        head = bytes((0x81, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((0x81, 0x80 | 127)) + length.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def frame(op: dict[str, object]) -> bytes:
    return masked(orjson.dumps(op))


def upgrade_request(url: str, token: str) -> bytes:
    host = urlsplit(url).netloc
    return (
        f"GET /v1/realtime HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: aGVhZHJhY2UgYmVuY2ghIQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: headrace.v1+json\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()


ALIVE = b"\x8a\x80\0\0\0\0"
"""An unasked pong (RFC 6455 5.5.3). A node pings whoever says nothing, and a ping would stand among the messages."""

ALIVE_SECONDS = 5.0


class LoadSocket(asyncio.Protocol):
    """Hands everything after the handshake to `receive`, as it comes."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head = bytearray()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.receive: Callable[[bytes], None] = lambda chunk: None
        self.lost: Callable[[], None] = lambda: None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by type.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            self.receive(data)
            return
        self._head += data
        head, end, rest = bytes(self._head).partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(ConnectionError(head.partition(b"\r\n")[0].decode()))
            return
        self.opened.set_result(None)
        self._head.clear()
        if rest:
            self.receive(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed during the handshake"))
        self.lost()


class Frames:
    """Splits what a socket receives into payloads of text frames, for the few sockets whose answers are read."""

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        self._buffer = bytearray()
        self._on_text = on_text

    def receive(self, chunk: bytes) -> None:
        self._buffer += chunk
        used = 0
        for opcode, start, stop in frames(self._buffer, 0):
            used = stop
            if opcode == 1:
                self._on_text(bytes(self._buffer[start:stop]))
        del self._buffer[:used]


async def keep_alive(sockets: list[LoadSocket]) -> None:
    """Let every socket be heard now and then; until cancelled."""
    while True:
        await asyncio.sleep(ALIVE_SECONDS)
        for socket in sockets:
            socket.transport.write(ALIVE)


async def connect(url: str, token: str) -> LoadSocket:
    """Open one realtime socket; raises `ConnectionError` or `TimeoutError`."""
    parts = urlsplit(url)
    request = upgrade_request(url, token)
    _, socket = await asyncio.get_running_loop().create_connection(
        lambda: LoadSocket(request), parts.hostname or "127.0.0.1", parts.port or 80
    )
    await asyncio.wait_for(asyncio.shield(socket.opened), HANDSHAKE_SECONDS)
    return socket


async def request_answer(socket: LoadSocket, op: dict[str, object], answer: str) -> bytes:
    """Send `op` and wait for the frame whose op is `answer`; return what came after it. Raises `ConnectionError`."""
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    seen = bytearray()

    def receive(chunk: bytes) -> None:
        seen.extend(chunk)
        for _, start, stop in frames(seen, 0):
            text = bytes(seen[start:stop])
            if f'"op":"{answer}"'.encode() in text and not done.done():
                done.set_result(bytes(seen[stop:]))
            elif b'"op":"error"' in text and not done.done():
                done.set_exception(ConnectionError(text.decode()))

    socket.receive = receive
    socket.transport.write(frame(op))
    return await asyncio.wait_for(done, HANDSHAKE_SECONDS)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, from /proc."""
    with open(f"/proc/{pid}/statm") as statm:  # noqa: PTH123 - /proc is read often, and is no path of ours
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Return the user and system time that a process has used, from /proc (10 ms steps)."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
