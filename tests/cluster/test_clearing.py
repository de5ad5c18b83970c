"""Survivors tell the ends of a dead node's connections: each at least once, never two at a time, under one event id."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import servers

from broker.store.keys import Keys
from cluster import clearing as module
from cluster import scripts
from cluster.address import parse_address
from cluster.clearing import Clearing, Ended
from cluster.directory import Directory
from cluster.membership import Advertised
from cluster.node import Node
from cluster.topology import Topology

Eventually = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster

KEYS = Keys("hr")
LEASE_SECONDS = 1.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)


@asynccontextmanager
async def connected(substrate: Substrate, running: Running) -> AsyncIterator[Topology]:
    topology = Topology(parse_address(substrate.url), name="test", scripts=scripts.ALL)
    async with running(topology.serve()):
        await topology.connected(10)
        yield topology


def node(topology: Topology, name: str) -> Node:
    return Node(topology, keys=KEYS, advertised=Advertised(name=name), lease_seconds=LEASE_SECONDS)


async def dead(topology: Topology, running: Running, eventually: Eventually, *, entries: int) -> Node:
    """A node that entered connections and then fell silent."""
    gone = node(topology, "dead")
    directory = Directory(topology, gone, keys=KEYS)
    async with running(gone.serve()):
        await eventually(lambda: gone.is_certain)
        for number in range(entries):
            await directory.enter(f"c{number}", b"%d" % number)
    return gone


def left_of(substrate: Substrate, gone: Node) -> int:
    return sum(
        server.client.exists(key) if _has(server, key) else 0
        for server in substrate.primaries
        for key in KEYS.connections(gone.id)
    )


def _has(server: servers.Server, key: bytes) -> bool:
    return any(found == key for found in server.client.scan_iter(count=1000))


async def test_every_end_is_told_once_by_one_of_the_survivors(
    substrate: Substrate, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLAIMED_AT_ONCE", 50)
    told: Counter[str] = Counter()
    records: dict[str, bytes] = {}

    async def tell(end: Ended) -> None:
        await asyncio.sleep(0)
        told[end.event_id] += 1
        records[end.connection] = end.record

    async with connected(substrate, running) as topology:
        gone = await dead(topology, running, eventually, entries=1000)
        a, b = node(topology, "a"), node(topology, "b")
        clearings = [Clearing(topology, survivor, keys=KEYS, tell=tell) for survivor in (a, b)]
        async with running(a.serve(), b.serve(), *(clearing.serve() for clearing in clearings)):
            await eventually(lambda: len(told) == 1000)
            await eventually(lambda: not a.gone and not b.gone)
            await eventually(lambda: left_of(substrate, gone) == 0)
    assert set(told.values()) == {1}
    assert told.keys() == {f"{gone.id}/c{number}" for number in range(1000)}
    assert records["c7"] == b"7"


async def test_what_could_not_be_told_is_told_again_under_the_same_id(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    attempts: list[str] = []

    async def tell(end: Ended) -> None:
        attempts.append(end.event_id)
        if len(attempts) == 1:
            raise OSError("the receiver is away")

    async with connected(valkey, running) as topology:
        gone = await dead(topology, running, eventually, entries=1)
        survivor = node(topology, "a")
        clearing = Clearing(topology, survivor, keys=KEYS, tell=tell, claim_seconds=0.2)
        async with running(survivor.serve(), clearing.serve()):
            await eventually(lambda: len(attempts) == 2 and not survivor.gone)
            assert attempts == [f"{gone.id}/c0"] * 2
            assert left_of(valkey, gone) == 0


async def test_an_entry_claimed_by_a_survivor_that_dies_is_told_by_the_next(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    told: list[str] = []

    async def hang(end: Ended) -> None:
        told.append("begun")
        await asyncio.Event().wait()

    async def tell(end: Ended) -> None:
        told.append("told")

    async with connected(valkey, running) as topology:
        await dead(topology, running, eventually, entries=1)
        first, second = node(topology, "a"), node(topology, "b")
        async with running(first.serve(), Clearing(topology, first, keys=KEYS, tell=hang, claim_seconds=1).serve()):
            await eventually(lambda: told == ["begun"])
        async with running(second.serve(), Clearing(topology, second, keys=KEYS, tell=tell).serve()):
            await eventually(lambda: told == ["begun", "told"])


async def test_a_late_survivor_does_not_remove_what_another_has_claimed(
    valkey: servers.Server, running: Running
) -> None:
    valkey.flush()
    keys = KEYS.connections("gone")
    async with connected(valkey, running) as topology:
        await topology.run(scripts.ENTER, keys[:1], [60, "c", b"x"], retry=True)
        claimed = await topology.run(scripts.CLAIM, keys, ["first", 0, 10, "0"], retry=True)
        assert claimed == [b"0", [b"c", b"x"]]
        assert await topology.run(scripts.CLAIM, keys, ["second", 60_000, 10, "0"], retry=True) == claimed
        assert await topology.run(scripts.CLAIM, keys, ["third", 60_000, 10, "0"], retry=True) == [b"0", []]
        assert await topology.run(scripts.CLEAR, keys, ["first", "c"], retry=True) == 0
        assert await topology.run(scripts.CLEAR, keys, ["second", "c"], retry=True) == 1
        assert await topology.run(scripts.CLEAR, keys, ["second", "c"], retry=True) == 0


async def test_a_survivor_that_may_be_gone_itself_tells_nothing(
    valkey: servers.Server, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey.flush()
    told: list[Ended] = []

    async def tell(end: Ended) -> None:
        told.append(end)

    async with connected(valkey, running) as topology:
        gone = await dead(topology, running, eventually, entries=3)
        survivor = node(topology, "a")
        async with running(survivor.serve(), Clearing(topology, survivor, keys=KEYS, tell=tell).serve()):
            with monkeypatch.context() as patched:
                patched.setattr(Node, "is_certain", False)
                await eventually(lambda: gone.id in survivor.gone)
                await asyncio.sleep(0.3)
                assert told == []
            await eventually(lambda: len(told) == 3)
