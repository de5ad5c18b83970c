"""The subscriber connection to one primary: made, watched for silence, made again with all its channels."""

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Protocol

from broker.errors import Unavailable
from cluster.address import Access, Endpoint
from cluster.connection import Connection, open_connection
from cluster.outage import Outage, backoff_seconds
from cluster.subscriptions import Reading, Subscriptions

PING_SECONDS = 1.0
"""How often a subscriber connection is pinged: a dead path and a stopped server say nothing by themselves."""

MAX_QUIET_PINGS = 3
"""So many pings without anything heard, and the connection is dropped. Counted, not timed: a loop that was held up
itself proves nothing about the server."""

ASK_AGAIN_SECONDS = 0.1
"""After a refused SSUBSCRIBE (no owner, still loading): it is asked again, with jitter, until it is not wanted."""

SILENT = "silent"

logger = logging.getLogger(__name__)


class EarListener(Protocol):
    def on_reading(self, ear: "Ear", reading: Reading) -> None:
        """One read of the connection."""

    def on_lost(self, ear: "Ear", reason: str) -> None:
        """The connection is gone, and every subscription with it."""


class Ear:
    """Wants channels; whoever listens is told what became of them."""

    def __init__(self, endpoint: Endpoint, access: Access, *, name: str, listener: EarListener) -> None:
        self._loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self.outage = Outage(since=self._loop.time())
        self._access = access
        self._name = name
        self._listener = listener
        self._wanted: set[bytes] = set()
        self._unasked: set[bytes] = set()
        self._connection: Connection | None = None
        self._subscriptions = Subscriptions()
        self._reads = 0
        self._asking: asyncio.Handle | None = None

    def want(self, channel: bytes) -> None:
        """Subscribe to `channel` now, and after each reconnect, until `forget`."""
        self._wanted.add(channel)
        self._unasked.add(channel)
        self._ask_soon()

    def want_later(self, channels: Iterable[bytes]) -> None:
        """Ask again for channels whose subscription was refused, a little later."""
        self._unasked.update(self._wanted.intersection(channels))
        if self._asking is None:
            delay = ASK_AGAIN_SECONDS * (1 + random.random())
            self._asking = self._loop.call_later(delay, self._ask)

    def forget(self, channel: bytes) -> None:
        if channel not in self._wanted:
            return
        self._wanted.discard(channel)
        if channel in self._unasked:
            self._unasked.discard(channel)
        elif self._connection is not None:
            self._connection.post(*self._subscriptions.unsubscribe(channel))

    def drop(self, reason: str) -> None:
        """End the connection; `serve` makes another."""
        if self._connection is not None:
            self._connection.close(reason)

    async def serve(self) -> None:
        """Connect, subscribe, listen; again whenever the connection is lost; until cancelled."""
        while True:
            connection = await self._connect()
            try:
                await self._watch(connection)
            finally:
                connection.close()
                self._lose()
            logger.warning("the live feed of Redis at %s is cut: %s", self.endpoint, connection.reason)
            self._listener.on_lost(self, connection.reason)
            await asyncio.sleep(backoff_seconds(1, random.random()))

    async def _connect(self) -> Connection:
        while True:
            try:
                connection = await open_connection(self.endpoint, self._access, name=self._name)
            except Unavailable:
                self.outage.failed(self._loop.time())
                await asyncio.sleep(backoff_seconds(self.outage.failures, random.random()))
                continue
            self.outage.recovered()
            self._subscriptions = Subscriptions()
            self._connection = connection
            connection.listen(self._on_replies)
            self._unasked = set(self._wanted)
            self._ask()
            return connection

    async def _watch(self, connection: Connection) -> None:
        """Return once the connection is lost; lose it when nothing is heard in spite of pings."""
        quiet = 0
        while not connection.closed.is_set():
            reads = self._reads
            connection.post("PING")
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await connection.closed.wait()
            except TimeoutError:
                quiet = quiet + 1 if reads == self._reads else 0
            if quiet >= MAX_QUIET_PINGS:
                connection.close(SILENT)
                await connection.closed.wait()

    def _lose(self) -> None:
        self._connection = None
        self.outage.lost(self._loop.time())

    def _ask_soon(self) -> None:
        """Ask at the end of this loop turn, so that a herd of subscribers makes few commands."""
        if self._asking is not None:
            self._asking.cancel()
        self._asking = self._loop.call_soon(self._ask)

    def _ask(self) -> None:
        self._asking = None
        if self._connection is None:
            return
        channels, self._unasked = self._unasked, set()
        for command in self._subscriptions.subscribe(channels):
            self._connection.post(*command)

    def _on_replies(self, replies: list[object]) -> None:
        self._reads += 1
        reading = self._subscriptions.read(replies)
        if reading.is_out_of_step:
            self.drop("out of step")
        self._listener.on_reading(self, reading)
