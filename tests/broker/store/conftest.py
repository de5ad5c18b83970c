"""What the store's tests share: every kind of store behind one fixture, and an ear on the live channels."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest
import redis.asyncio
import servers

from broker.names import TopicName
from broker.store.base import Announcement, Store
from broker.store.keys import Keys
from broker.store.memory import MemoryStore
from broker.store.once import ONCE_BOUNDS, OnceBounds
from broker.store.redis import RedisStore
from broker.store.scripts import ALL
from cluster.address import parse_address
from cluster.topology import Topology

WAIT_SECONDS = 15.0
Substrate = servers.Server | servers.Cluster


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Ear:
    """Hears the announcements of one topic."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def next(self) -> Announcement:
        async with asyncio.timeout(WAIT_SECONDS):
            return self._store.read_announcement(await self.queue.get())


class Backend(Protocol):
    """One kind of store under test."""

    def make(self, once: OnceBounds = ONCE_BOUNDS) -> Store:
        """Return a store on data of this test alone; two of them see the same data."""

    def ear(self, topic: TopicName) -> AbstractAsyncContextManager[Ear]: ...


class InMemory:
    def __init__(self) -> None:
        self._ears: dict[TopicName, Ear] = {}
        self.store: MemoryStore | None = None

    def make(self, once: OnceBounds = ONCE_BOUNDS) -> MemoryStore:
        self.store = MemoryStore(
            now_ms=now_ms, announce=self._announce, is_followed=lambda topic: topic in self._ears, once=once
        )
        return self.store

    @asynccontextmanager
    async def ear(self, topic: TopicName) -> AsyncIterator[Ear]:
        assert self.store is not None
        self._ears[topic] = Ear(self.store)
        yield self._ears[topic]
        del self._ears[topic]

    def _announce(self, topic: TopicName, payload: bytes) -> None:
        if topic in self._ears:
            self._ears[topic].queue.put_nowait(payload)


class InRedis:
    def __init__(self, substrate: Substrate, topology: Topology) -> None:
        self.substrate = substrate
        self.topology = topology

    def make(self, once: OnceBounds = ONCE_BOUNDS) -> RedisStore:
        return RedisStore(self.topology, once=once)

    @asynccontextmanager
    async def ear(self, topic: TopicName) -> AsyncIterator[Ear]:
        keys = Keys().topic(topic)
        server = self.substrate
        if isinstance(server, servers.Cluster):
            server = server.owner(servers.slot_of(keys.live))
        async with listening(server, keys.live, Ear(self.make())) as ear:
            yield ear


@asynccontextmanager
async def listening(server: servers.Server, channel: bytes, ear: Ear) -> AsyncIterator[Ear]:
    client = redis.asyncio.Redis(host=server.host, port=server.port, protocol=2)
    pubsub = client.pubsub()
    confirmed = asyncio.Event()

    async def listen() -> None:
        async for message in pubsub.listen():
            if message["type"] == "smessage":
                ear.queue.put_nowait(message["data"])
            elif message["type"] == "ssubscribe":
                confirmed.set()

    await pubsub.ssubscribe(channel)
    task = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            await confirmed.wait()
        yield ear
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await pubsub.aclose()
        await client.aclose()


@asynccontextmanager
async def connected(substrate: Substrate) -> AsyncIterator[Topology]:
    topology = Topology(parse_address(substrate.url), name="test", scripts=ALL)
    task = asyncio.create_task(topology.serve())
    try:
        await topology.connected(WAIT_SECONDS)
        yield topology
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(params=["memory", "valkey", "redis7", "redis_cluster"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """Each kind of store in turn, empty."""
    if request.param == "memory":
        yield InMemory()
        return
    substrate: Substrate = request.getfixturevalue(request.param)
    substrate.flush()
    async with connected(substrate) as topology:
        yield InRedis(substrate, topology)


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.make()


@pytest.fixture
def connect() -> Callable[[Substrate], AbstractAsyncContextManager[Topology]]:
    """`async with connect(server) as commands:` for tests that start servers of their own."""
    return connected


@pytest.fixture(params=["valkey", "redis7"])
def starting(request: pytest.FixtureRequest) -> Iterator[Callable[..., servers.Server]]:
    """Start servers of one kind that only this test uses: `starting("--appendonly", "yes", replica_of=primary)`."""
    context = servers.valkey if request.param == "valkey" else servers.redis7
    with contextlib.ExitStack() as stack:
        yield lambda *options, replica_of=None: stack.enter_context(context(*options, replica_of=replica_of))


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Poll until an awaited condition holds, or fail after a deadline."""

    async def poll(check: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await check():
                await asyncio.sleep(0.002)

    return poll
