"""Nodes on one Redis: who sees whom, and what a node does whose lease was taken."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import servers

from broker.errors import Unavailable
from broker.store.base import Script
from broker.store.keys import Keys
from cluster import scripts
from cluster.address import parse_address
from cluster.membership import Advertised
from cluster.node import Node
from cluster.topology import Topology

Eventually = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster

KEYS = Keys("hr")
LEASE_SECONDS = 1.0
LEASES, GONE = KEYS.nodes()


class Faulty:
    """Commands that fail while `fails` is set, and wait while `waits` is."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.fails = False

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        if self.fails:
            raise Unavailable
        return await self._topology.run(script, keys, args, retry=retry)

    async def execute(self, key: bytes, *command: bytes | str | int, retry: bool) -> object:
        return await self._topology.execute(key, *command, retry=retry)

    async def refresh(self) -> None: ...


@asynccontextmanager
async def connected(substrate: Substrate, running: Running) -> AsyncIterator[Topology]:
    topology = Topology(parse_address(substrate.url), name="test", scripts=scripts.ALL)
    async with running(topology.serve()):
        await topology.connected(10)
        yield topology


def node(commands: Topology | Faulty, name: str, **more: object) -> Node:
    told = Advertised(name=name, url=f"http://{name}:8080", weight=2)
    return Node(commands, keys=KEYS, advertised=told, lease_seconds=LEASE_SECONDS, **more)  # type: ignore[arg-type]


def names(node: Node) -> list[str]:
    return [member.advertised.name for member in node.members]


async def test_nodes_see_each_other_and_what_they_tell(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with connected(substrate, running) as topology:
        a, b = node(topology, "a"), node(topology, "b", load=lambda: 17)
        async with running(a.serve(), b.serve()):
            await eventually(lambda: names(a) == names(b) == ["a", "b"])
            assert a.is_certain
            told = Advertised(name="b", url="http://b:8080", weight=2, load=17)
            await eventually(lambda: a.members[1].advertised == told)
            b.advertised = Advertised(name="b", draining=True)
            await eventually(lambda: a.members[1].advertised.draining)
            await asyncio.wait_for(b.leave(), 5)
            await eventually(lambda: names(a) == ["a"])
            assert not b.is_certain
            assert a.gone == {b.id}
            await a.forget_gone(b.id)
            await asyncio.wait_for(a.renew(), 5)
            assert a.gone == frozenset()


async def test_a_silent_node_is_gone_after_a_lease_and_not_before(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with connected(substrate, running) as topology:
        cut_off = Faulty(topology)
        a, b = node(topology, "a"), node(cut_off, "b")
        evicted: list[str] = []
        b.on_evicted.append(lambda: evicted.append(b.id))
        async with running(a.serve(), b.serve()):
            await eventually(lambda: names(a) == ["a", "b"])
            old = b.id
            cut_off.fails = True
            silent_since = time.monotonic()
            await eventually(lambda: names(a) == ["a"])
            assert time.monotonic() - silent_since >= LEASE_SECONDS * 0.75
            assert not b.is_certain, "it stops counting on its lease before another may take it"
            await eventually(lambda: a.gone == {old})
            assert evicted == []
            cut_off.fails = False
            await eventually(lambda: evicted == [old])
            await eventually(lambda: names(a) == ["a", "b"])
            assert b.id != old
            assert b.is_certain


async def test_redis_away_for_longer_than_a_lease_costs_nobody_its_lease(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    with servers.valkey() as server:
        async with connected(server, running) as topology:
            a, b = node(topology, "a"), node(topology, "b")
            ids = [a.id, b.id]
            async with running(a.serve(), b.serve()):
                await eventually(lambda: names(a) == names(b) == ["a", "b"])
                server.pause()
                await asyncio.sleep(2 * LEASE_SECONDS)
                server.resume()
                await eventually(lambda: a.is_certain and b.is_certain)
                await eventually(lambda: names(a) == names(b) == ["a", "b"])
                assert [a.id, b.id] == ids


async def test_a_lease_that_redis_lost_is_put_up_again(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        a = node(topology, "a")
        async with running(a.serve()):
            await eventually(lambda: names(a) == ["a"])
            old = a.id
            valkey.client.delete(LEASES)
            await eventually(lambda: bool(valkey.client.hexists(LEASES, old)))
            assert a.id == old


async def test_a_lease_that_was_taken_is_not_put_up_again(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        a, order = node(topology, "a"), list[str]()
        a.on_evicted.append(lambda: order.append("sockets are closed"))
        a.on_identity.append(lambda: order.append("somebody new"))
        async with running(a.serve()):
            await eventually(lambda: names(a) == ["a"])
            old = a.id
            lease = valkey.client.hget(LEASES, old)
            valkey.client.hset(GONE, old, lease)
            valkey.client.hdel(LEASES, old)
            await eventually(lambda: order == ["sockets are closed", "somebody new"])
            await eventually(lambda: names(a) == ["a"])
            assert a.id != old
            assert not valkey.client.hexists(LEASES, old)


async def test_a_node_that_stood_still_does_not_take_an_absent_lease_for_lost(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    """Survivors may have taken it, cleared everything away, and forgotten the node."""
    valkey.flush()
    skipped = 0.0
    async with connected(valkey, running) as topology:
        a, evicted = node(topology, "a", monotonic=lambda: time.monotonic() + skipped), list[str]()
        a.on_evicted.append(lambda: evicted.append(a.id))
        async with running(a.serve()):
            await eventually(lambda: names(a) == ["a"])
            old = a.id
            valkey.client.delete(LEASES)
            skipped = 2 * LEASE_SECONDS
            await eventually(lambda: evicted == [old])
            await eventually(lambda: a.is_certain and a.id != old)


async def test_one_that_stirs_in_the_last_moment_keeps_its_lease(valkey: servers.Server, running: Running) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        await topology.execute(LEASES, "HSET", LEASES, "n", "nonce 2 {}", retry=True)
        assert await topology.run(scripts.NODE_TAKE, [LEASES, GONE], ["n", "nonce 1 {}"], retry=True) == 0
        assert valkey.client.hget(LEASES, "n") == b"nonce 2 {}"
        assert await topology.run(scripts.NODE_TAKE, [LEASES, GONE], ["n", "nonce 2 {}"], retry=True) == 1
        assert await topology.run(scripts.NODE_TAKE, [LEASES, GONE], ["n", "nonce 2 {}"], retry=True) == 1
        assert await topology.run(scripts.NODE_JOIN, [LEASES, GONE], ["n", "other 1 {}"], retry=True) == 0
        assert await topology.run(scripts.NODE_RENEW, [LEASES, GONE], ["n", "nonce ", "nonce 3 {}"], retry=True) is None


async def test_a_stop_is_noticed_before_anything_else_and_ends_with_an_answer(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    skipped = 0.0
    async with connected(valkey, running) as topology:
        a, settled = node(topology, "a", monotonic=lambda: time.monotonic() + skipped), list[bool]()
        a.on_settled.append(lambda: settled.append(a.has_stood_still))
        async with running(a.serve()):
            await eventually(lambda: a.is_certain)
            assert not a.has_stood_still
            # As after SIGCONT: the clock has gone on, nothing else has.
            skipped = 2 * LEASE_SECONDS
            assert a.has_stood_still
            assert not a.is_certain
            assert settled == []
            await eventually(lambda: a.is_certain)
            assert not a.has_stood_still
            assert settled == [False], "called once, when it is known"


async def test_while_redis_is_away_a_node_whose_loop_turns_has_not_stood_still(
    valkey: servers.Server, running: Running, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        cut_off = Faulty(topology)
        a = node(cut_off, "a")
        async with running(a.serve()):
            await eventually(lambda: a.is_certain)
            cut_off.fails = True
            await eventually(lambda: not a.is_certain)
            warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
            assert len(warned) == 1, "once, not at each beat"
            deadline = time.monotonic() + 2 * LEASE_SECONDS
            while time.monotonic() < deadline:
                assert not a.has_stood_still
                await asyncio.sleep(0.01)


async def test_a_fresh_look_sees_who_has_just_joined_and_nothing_where_this_node_is_missing(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with connected(substrate, running) as topology:
        a, b = node(topology, "a"), node(topology, "b")
        async with running(a.serve()):
            await eventually(a.joined.is_set)
            assert await a.present() == {a.id}
            with pytest.raises(Unavailable):
                await b.present()
            async with running(b.serve()):
                await eventually(b.joined.is_set)
                assert await a.present() == {a.id, b.id}
