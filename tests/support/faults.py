"""Ways between clients and nodes that can fall silent without an end, as a network that swallows packets does.

async with faults.way(node.port) as way:        # way.url leads to the node
    way.swallow()                               # nothing gets through any more, and nothing is closed
    way.restore()                               # new connections get through; what was swallowed stays lost

async with faults.on(redis, count=2, env={}) as (nodes, ways):   # nodes that tell clients of no other way to them
"""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from nodes import Node
from servers import Server

READ_BYTES = 65_536


class Way:
    """A TCP proxy to one port of this machine."""

    def __init__(self) -> None:
        self._port = 0
        self._swallows = False
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lead_to(self, port: int) -> None:
        self._port = port

    def swallow(self) -> None:
        self._swallows = True

    def restore(self) -> None:
        self._swallows = False

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            with suppress(OSError):
                await self._carry(reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        lost = asyncio.Event()
        both = [self._pump(reader, there_writer, lost), self._pump(there_reader, writer, lost)]
        pumps = [asyncio.create_task(pump) for pump in both]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if lost.is_set():
                await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            there_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        """Carry bytes one way to their end. Once some of a connection are lost, none gets through: TCP has no holes."""
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                if self._swallows:
                    lost.set()
                if not lost.is_set():
                    writer.write(data)
                    await writer.drain()


@asynccontextmanager
async def way(port: int) -> AsyncIterator[Way]:
    opened = Way()
    await opened.open()
    opened.lead_to(port)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def on(redis: Server, *, count: int, env: dict[str, str]) -> AsyncIterator[tuple[list[Node], list[Way]]]:
    """Run nodes named n0, n1, ... that advertise nothing but the ways that lead to them."""
    root = Path(tempfile.mkdtemp(prefix="headrace-nodes-"))
    token = secrets.token_hex(16)
    shared = {"HEADRACE_SECRET_KEY": secrets.token_hex(32), "HEADRACE_REDIS": redis.url, **env}
    nodes: list[Node] = []
    try:
        async with AsyncExitStack() as stack:
            ways = [await stack.enter_async_context(way(0)) for _ in range(count)]
            for number, leading in enumerate(ways):
                options = ("--name", f"n{number}", "--advertise", leading.url)
                nodes.append(Node(root / f"n{number}", options=options, env=shared, token=token))
                leading.lead_to(nodes[-1].port)
                nodes[-1].start()
            for node in nodes:
                await asyncio.to_thread(node.await_ready)
            yield nodes, ways
    finally:
        for node in nodes:
            await asyncio.to_thread(node.end)
        shutil.rmtree(root, ignore_errors=True)
