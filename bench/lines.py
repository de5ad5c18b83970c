"""Kept-alive HTTP connections that cost the load generator as little as may be: one request in flight each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

ANSWER_SECONDS = 30.0
"""For one answer; a node that takes longer has failed the bench."""


class Refused(Exception):
    """The node answered with something else than 200."""


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._need = 0

    async def ask(self, request: bytes) -> bytes:
        """Send one request and return the body of its answer. Raises `Refused`, `ConnectionError`."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by type.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._need:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._need = end + 4 + _content_length(bytes(self._buffer[:end]))
        if len(self._buffer) >= self._need:
            self._take()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the node closed the connection"))

    def _take(self) -> None:
        whole = bytes(self._buffer[: self._need])
        del self._buffer[: self._need]
        self._need = 0
        head, _, body = whole.partition(b"\r\n\r\n")
        if self._answer is None or self._answer.done():
            return
        if head.startswith(b"HTTP/1.1 200"):
            self._answer.set_result(body)
        else:
            self._answer.set_exception(Refused(f"{head.partition(bytes([13]))[0].decode()}: {body.decode()}"))


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0


@asynccontextmanager
async def connect_lines(url: str, count: int) -> AsyncIterator[list[Line]]:
    """Connect so many lines to a base URL such as http://127.0.0.1:8080."""
    host, _, port = url.removeprefix("http://").partition(":")
    loop = asyncio.get_running_loop()
    lines: list[Line] = []
    try:
        for _ in range(count):
            lines.append((await loop.create_connection(Line, host, int(port)))[1])
        yield lines
    finally:
        for line in lines:
            line.transport.abort()
