"""A node's part in the cluster, put together: what sockets, duties and the others see of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgpack
import pytest
import servers
from http_node import eventually

from broker.store.keys import Keys
from cluster import scripts
from cluster.address import parse_address
from cluster.bus import Bus
from cluster.clearing import Ended
from cluster.duties import Held
from cluster.node import Node
from cluster.servers import ALONE_SPREAD_MS, Server, Told
from cluster.topology import Topology
from gateway.config import Config, Limits
from gateway.handshake import Front
from gateway.metrics import Metrics
from gateway.peers import Peers, build, kind_of
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import Services

KEYS = Keys("hr")


class Socket:
    """Stands for a WebSocket: what the front does to it."""

    def __init__(self) -> None:
        self.did: list[object] = []

    def close(self, code: int, reason: str) -> None:
        self.did.append(code)

    def settle(self) -> None:
        self.did.append("settled")


def front() -> Front:
    limits = Limits()
    census = Census(connections=10, connections_per_address=10)
    services = Services(limits=limits, metrics=Metrics(), census=census, wheel=Wheel(), outbox=Outbox())
    return Front(services, cast(Any, None), {})


@asynccontextmanager
async def peers(server: servers.Server, name: str) -> AsyncIterator[Peers]:
    topology = Topology(parse_address(server.url), name=name, scripts=scripts.ALL)
    bus = Bus(topology, channel_of=lambda topic: topic.encode())
    config = Config(name=name, weight=3, lease_seconds=1)
    made = build(config, topology, bus, keys=KEYS, url=f"http://{name}", load=lambda: 7)
    loops: list[Callable[[], Awaitable[object]]] = [topology.serve, bus.serve, *made.loops.values()]
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    try:
        await eventually(lambda: made.node.is_certain)
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_nodes_tell_each_other_what_they_are_and_that_they_go(valkey: servers.Server) -> None:
    valkey.flush()
    async with peers(valkey, "a") as a, peers(valkey, "b") as b:
        await eventually(lambda: len(a.node.members) == 2)
        told = a.node.members[1].advertised
        assert (told.name, told.url, told.weight) == ("b", "http://b", 3)
        await eventually(lambda: a.node.members[1].advertised.load == 7)
        b.reconfigure(Config(weight=9))
        await eventually(lambda: a.node.members[1].advertised.weight == 9)
        b.on_draining()
        await eventually(lambda: a.node.members[1].advertised.draining)
        await b.leave()
        await eventually(lambda: len(a.node.members) == 1)
        await eventually(lambda: not valkey.client.exists(KEYS.nodes()[1]), "the end of what it left")


async def test_clients_are_told_of_the_others_as_they_come_and_go(valkey: servers.Server) -> None:
    valkey.flush()
    async with peers(valkey, "a") as a:
        alone = Told((Server("http://a", 3),), ALONE_SPREAD_MS)
        assert a.bulletin.told == alone, "before it has heard of anybody, and after"
        async with peers(valkey, "b") as b:
            both = (Server("http://a", 3), Server("http://b", 3))
            await eventually(lambda: a.bulletin.told == b.bulletin.told == Told(both, 7))
            b.reconfigure(Config(weight=0))
            await eventually(lambda: a.bulletin.told.servers[1] == Server("http://b", 0))
            b.on_draining()
            await eventually(lambda: a.bulletin.told == alone)
            await eventually(lambda: b.bulletin.told.servers == alone.servers)
            member = next(member.advertised for member in a.node.members if member.advertised.name == "b")
            assert member.accepts == 1000
            assert abs(time.time() * 1000 - member.since) < 60_000
            await b.leave()


async def test_duties_are_given_back_when_the_node_drains(valkey: servers.Server) -> None:
    valkey.flush()
    owners: list[str] = []

    def work(name: str) -> Callable[[Held], Any]:
        async def own(_: Held) -> None:
            owners.append(name)
            await asyncio.Event().wait()

        return own

    async with peers(valkey, "a") as a, peers(valkey, "b") as b:
        first = asyncio.create_task(a.duties.run("job", work("a")))
        await eventually(lambda: owners == ["a"])
        second = asyncio.create_task(b.duties.run("job", work("b")))
        await a.give_back()
        assert a.duties.held == frozenset()
        await eventually(lambda: owners == ["a", "b"])
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_sockets_follow_the_lease(valkey: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    valkey.flush()
    async with peers(valkey, "a") as a:
        face, left, settled = front(), Socket(), Socket()
        a.attend(face)
        assert not face.node.has_stood_still()
        with monkeypatch.context() as patched:
            patched.setattr(Node, "has_stood_still", True)
            assert face.node.has_stood_still()
            face.node.unsettled.add(cast(Any, settled))
            await eventually(lambda: settled.did == ["settled"])
        assert face.node.unsettled == set()
        face.node.sockets.add(cast(Any, left))
        lease, gone = KEYS.nodes()
        old = a.node.id
        valkey.client.hset(gone, old, "taken")
        valkey.client.hdel(lease, old)
        await eventually(lambda: left.did == [1012], "the end of the sockets")
        await eventually(lambda: a.node.is_certain and a.node.id != old)


async def test_a_node_leaves_in_time_when_redis_is_away() -> None:
    with servers.valkey() as server:
        async with peers(server, "a") as a:
            server.kill()
            async with asyncio.timeout(10):
                await a.give_back()
                await a.leave()


async def test_the_end_of_a_connection_is_told_by_its_room(
    valkey: servers.Server, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.flush()
    told: list[Ended] = []

    async def tell(end: Ended) -> None:
        told.append(end)

    async with peers(valkey, "a") as a:
        a.tell_of("room", tell)
        connections, _ = KEYS.connections("dead")
        mine, nobodys = msgpack.packb({"kind": "room", "x": 1}), msgpack.packb({"kind": "other"})
        valkey.client.hset(connections, mapping={"c1": mine, "c2": nobodys})
        _, gone = KEYS.nodes()
        valkey.client.hset(gone, "dead", "taken")
        await eventually(lambda: told == [Ended("dead", "c1", mine)])
        await eventually(lambda: not valkey.client.exists(connections), "the end of what it left")
    assert "nobody tells the end" in caplog.text


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (msgpack.packb({"kind": "room"}), "room"),
        (msgpack.packb({"other": 1}), ""),
        (msgpack.packb([1]), ""),
        (b"", ""),
        (b"\xc1", ""),
    ],
)
def test_a_record_says_whose_connection_it_is(record: bytes, kind: str) -> None:
    assert kind_of(record) == kind
