"""The directory on real servers: entries are there, stay there, and go."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
import servers

from broker.errors import LimitExceeded, Unavailable
from broker.store.keys import Keys
from cluster import directory as module
from cluster import scripts
from cluster.address import parse_address
from cluster.directory import KEEP_SECONDS, Directory
from cluster.membership import Advertised
from cluster.node import Node
from cluster.topology import Topology

Eventually = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster

KEYS = Keys("hr")


@dataclass
class Placed:
    node: Node
    directory: Directory
    topology: Topology

    @property
    def key(self) -> bytes:
        return KEYS.connections(self.node.id)[0]


@asynccontextmanager
async def placed(substrate: Substrate, running: Running, eventually: Eventually) -> AsyncIterator[Placed]:
    topology = Topology(parse_address(substrate.url), name="test", scripts=scripts.ALL)
    node = Node(topology, keys=KEYS, advertised=Advertised(name="n"), lease_seconds=2)
    directory = Directory(topology, node, keys=KEYS)
    topology.watch_connects(directory.on_reconnect)
    async with running(topology.serve(), node.serve(), directory.serve()):
        await eventually(lambda: node.is_certain)
        yield Placed(node, directory, topology)


async def test_entries_are_found_from_anywhere_until_they_are_struck(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with (
        placed(substrate, running, eventually) as here,
        placed(substrate, running, eventually) as there,
    ):
        await here.directory.enter("c1", b"one")
        await here.directory.enter("c1", b"one, changed")
        await here.directory.enter("c2", b"two")
        assert len(here.directory) == 2
        assert await there.directory.find(here.node.id, "c1") == b"one, changed"
        assert await there.directory.find(here.node.id, "c3") is None
        assert await there.directory.find("nobody", "c1") is None
        await here.directory.strike("c1")
        await here.directory.strike("c1")
        assert await there.directory.find(here.node.id, "c1") is None
        assert await there.directory.find(here.node.id, "c2") == b"two"


async def test_what_redis_lost_is_written_again_after_a_reconnect_and_what_is_too_much_goes(
    running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITTEN_AT_ONCE", 3)
    with servers.valkey() as server:
        async with placed(server, running, eventually) as here:
            for number in range(10):
                await here.directory.enter(f"c{number}", b"%d" % number)
            await asyncio.to_thread(server.restart, keep_data=False)
            server.client.hset(here.key, "stranger", "x")
            # The reconnect that counts comes after the stranger, however quick the first one was.
            server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await here.directory.strike("c0")
            wanted = {b"c%d" % number: b"%d" % number for number in range(1, 10)}
            await eventually(lambda: server.client.hgetall(here.key) == wanted)
            assert 0 < int(str(server.client.ttl(here.key))) <= KEEP_SECONDS


async def test_a_strike_while_redis_is_away_is_made_up_for(running: Running, eventually: Eventually) -> None:
    with servers.valkey("--appendonly", "yes") as server:
        async with placed(server, running, eventually) as here:
            await here.directory.enter("c1", b"one")
            await here.directory.enter("c2", b"two")
            server.kill()
            await here.directory.strike("c1")
            with pytest.raises(Unavailable):
                await here.directory.enter("c3", b"three")
            await asyncio.to_thread(server.restart)
            await eventually(lambda: server.client.hgetall(here.key) == {b"c2": b"two"})
            assert len(here.directory) == 1


async def test_a_node_that_may_be_gone_promises_nothing(
    valkey: servers.Server, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with placed(valkey, running, eventually) as here:
        with monkeypatch.context() as patched:
            patched.setattr(Node, "is_certain", False)
            with pytest.raises(Unavailable, match="not sure"):
                await here.directory.enter("c1", b"one")
        assert len(here.directory) == 0


async def test_a_node_that_is_somebody_new_has_an_empty_directory(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    async with placed(valkey, running, eventually) as here:
        await here.directory.enter("c1", b"one")
        old = here.key
        here.node._evict()
        assert len(here.directory) == 0
        assert valkey.client.hgetall(old) == {b"c1": b"one"}, "survivors clear it"


async def test_it_is_bounded(
    valkey: servers.Server, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 1)
    async with placed(valkey, running, eventually) as here:
        await here.directory.enter("c1", b"one")
        await here.directory.enter("c1", b"again")
        with pytest.raises(LimitExceeded):
            await here.directory.enter("c2", b"two")
        assert 0 < int(str(valkey.client.ttl(here.key))) <= KEEP_SECONDS
