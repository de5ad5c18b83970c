"""The client across two real nodes on one Redis: what it makes of nodes that die, hang and leave."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import nodes
import pytest
import servers
from nodes import Node

import headrace
from headrace import Client, Schedule, Server, blocking

QUICK = Schedule(base_s=0.2, cap_s=1.0, half_open_s=1.0, connect_timeout_s=1.0)
"""So that a test takes seconds; the relations between the numbers are the usual ones."""

PATIENCE_S = 60

Two = tuple[Node, Node]


@pytest.fixture(scope="module")
def running() -> Iterator[Two]:
    env = {"HEADRACE_AUTO_CREATE": "all", "HEADRACE_LEASE_SECONDS": "2", "HEADRACE_DRAIN_SECONDS": "10"}
    with servers.valkey() as redis, nodes.on(redis, count=2, env=env) as (a, b):
        yield a, b


@pytest.fixture
def two(running: Two) -> Iterator[Two]:
    """Both nodes, up, each known to the other; whatever the test did to them is undone."""
    a, b = running
    a.await_peer(b)
    b.await_peer(a)
    yield running
    for node in running:
        node.resume()
        if not node.is_running:
            node.restart()


@pytest.fixture
def topic() -> str:
    return f"default/{uuid4().hex}"


def client_of(
    first: Node,
    second: Node,
    *,
    schedule: Schedule = QUICK,
    on_state: Callable[[headrace.State], None] | None = None,
) -> Client:
    """A client that begins on the first node and knows both."""
    preferred = [Server(first.url, 1), Server(second.url, 0)]
    return Client(preferred, token=first.token, schedule=schedule, on_state=on_state)


class Reader:
    """Collects a topic's texts, and fails on a gap."""

    def __init__(self, client: Client, topic: str) -> None:
        self.texts: list[str] = []
        self.gaps: list[headrace.Gap] = []
        self.subscription = client.subscribe(topic, since="earliest", on_gap=self.gaps.append)

    async def read(self, count: int) -> list[str]:
        messages = aiter(self.subscription)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.texts) < count:
                self.texts.append((await anext(messages)).text)
        assert self.gaps == []
        return self.texts


@asynccontextmanager
async def writing(client: Client, topic: str) -> AsyncIterator[list[asyncio.Future[headrace.Published]]]:
    """Publish numbered texts, in small batches, for as long as the block lasts."""
    published: list[asyncio.Future[headrace.Published]] = []
    over = asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            for _ in range(20):
                published.append(client.publish_nowait(topic, text=str(len(published)), timeout=PATIENCE_S))
            await published[-1]

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        try:
            yield published
        finally:
            over.set()


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def test_a_subscriber_and_a_publisher_outlive_a_kill(two, topic) -> None:
    a, b = two
    async with client_of(a, b) as writer, client_of(a, b) as reading:
        async with writing(writer, topic) as published:
            reader = Reader(reading, topic)
            await reader.read(500)
            assert reading.state.server == writer.state.server == a.url
            await asyncio.to_thread(a.kill)
            await reader.read(len(published) + 1000)
        await asyncio.gather(*published)
        assert await reader.read(len(published)) == numbers(len(published))
        assert reading.state.server == writer.state.server == b.url
    async with client_of(b, a) as late:
        assert await Reader(late, topic).read(len(published)) == numbers(len(published))
        assert (await late.publish(topic, text="end")).offset == len(published)


async def test_a_node_that_hangs_is_left_without_a_loss(two, topic) -> None:
    a, b = two
    async with client_of(b, a) as writer, client_of(a, b) as reading:
        async with writing(writer, topic) as published:
            reader = Reader(reading, topic)
            await reader.read(200)
            a.pause()
            await reader.read(len(published) + 500)
            assert reading.state.server == b.url
            a.resume()
        await asyncio.gather(*published)
        assert await reader.read(len(published)) == numbers(len(published))


async def test_a_publisher_whose_node_hangs_stores_each_message_once(two, topic) -> None:
    a, b = two
    async with client_of(a, b) as writer, client_of(b, a) as reading:
        async with writing(writer, topic) as published:
            reader = Reader(reading, topic)
            await reader.read(200)
            a.pause()
            await reader.read(len(published) + 500)
            a.resume()
        await asyncio.gather(*published)
        assert await reader.read(len(published)) == numbers(len(published))
        assert (await writer.publish(topic, text="end")).offset == len(published)


async def test_a_node_that_drains_is_left_without_a_break(two, topic) -> None:
    a, b = two
    states: list[headrace.State] = []
    usual = Schedule()
    async with (
        client_of(a, b, schedule=usual, on_state=states.append) as writer,
        client_of(a, b, schedule=usual, on_state=states.append) as reading,
    ):
        async with writing(writer, topic) as published:
            reader = Reader(reading, topic)
            await reader.read(500)
            assert await asyncio.to_thread(a.terminate) == 0
            await reader.read(len(published) + 500)
        await asyncio.gather(*published)
        assert await reader.read(len(published)) == numbers(len(published))
        assert (await writer.publish(topic, text="end")).offset == len(published)
        assert [state.connected for state in states] == [True] * 4
        assert {state.server for state in states[2:]} == {b.url}


@pytest.mark.long
async def test_both_nodes_rolled_over_in_turn_under_load(two, topic) -> None:
    a, b = two
    async with client_of(a, b) as writer, client_of(b, a) as reading:
        async with writing(writer, topic) as published:
            reader = Reader(reading, topic)
            for node, other in ((a, b), (b, a)):
                assert await asyncio.to_thread(node.terminate) == 0
                await asyncio.to_thread(node.restart)
                await asyncio.to_thread(other.await_peer, node)
                await reader.read(len(published) + 200)
        await asyncio.gather(*published)
        assert await reader.read(len(published)) == numbers(len(published))


def test_the_blocking_client_publishes_through_a_kill(two, topic) -> None:
    a, b = two
    preferred = [Server(a.url, 1), Server(b.url, 0)]
    with blocking.Client(preferred, token=a.token, schedule=QUICK) as client:
        offsets = []
        for number in range(200):
            if number == 100:
                a.kill()
            offsets.append(client.publish(topic, text=str(number), timeout=PATIENCE_S).offset)
        assert offsets == list(range(200))
