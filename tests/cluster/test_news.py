"""What one node has to tell, the others hear long before their next beat."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import servers

from broker.store.keys import Keys
from cluster import news as module
from cluster import scripts
from cluster.address import parse_address
from cluster.bus import Bus
from cluster.membership import Advertised
from cluster.news import News
from cluster.node import Node
from cluster.topology import Topology

Eventually = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster

KEYS = Keys("hr")
LEASE_SECONDS = 1000.0
"""A beat takes minutes: what is seen within a test was heard."""


@asynccontextmanager
async def member(
    substrate: Substrate, running: Running, eventually: Eventually, name: str, load: Callable[[], int] = lambda: 0
) -> AsyncIterator[Node]:
    topology = Topology(parse_address(substrate.url), name=name, scripts=scripts.ALL)
    bus = Bus(topology, channel_of=lambda topic: topic.encode())
    node = Node(topology, keys=KEYS, advertised=Advertised(name=name), load=load, lease_seconds=LEASE_SECONDS)
    news = News(bus, node, keys=KEYS)
    async with running(topology.serve(), bus.serve(), news.serve()):
        await eventually(news.listening.is_set)
        async with running(node.serve()):
            yield node


def names(node: Node) -> list[str]:
    return [seen.advertised.name for seen in node.members]


async def test_who_comes_changes_and_goes_is_seen_at_once(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with member(substrate, running, eventually, "a") as a:
        await eventually(lambda: names(a) == ["a"])
        looks: list[int] = []
        a.on_looked.append(lambda: looks.append(len(a.members)))
        async with member(substrate, running, eventually, "b") as b:
            await eventually(lambda: names(a) == names(b) == ["a", "b"])
            b.advertised = replace(b.advertised, draining=True)
            b.look_soon()
            await eventually(lambda: a.members[1].advertised.draining)
            await asyncio.wait_for(b.leave(), 5)
            await eventually(lambda: names(a) == ["a"])
        assert looks[-1] == 1


async def test_a_load_alone_is_no_news(substrate: Substrate, running: Running, eventually: Eventually) -> None:
    load = [0]
    async with (
        member(substrate, running, eventually, "a") as a,
        member(substrate, running, eventually, "b", lambda: load[0]) as b,
    ):
        await eventually(lambda: names(a) == names(b) == ["a", "b"])
        looks: list[None] = []
        a.on_looked.append(lambda: looks.append(None))
        load[0] = 17
        await b.renew()
        b.advertised = replace(b.advertised, weight=5)
        await b.renew()
        await eventually(lambda: a.members[1].advertised.weight == 5)
        assert a.members[1].advertised.load == 17
        assert len(looks) == 1


async def test_redis_that_cannot_be_heard_is_asked_again(running: Running, eventually: Eventually) -> None:
    original, module.HEAR_AGAIN_SECONDS = module.HEAR_AGAIN_SECONDS, 0.01
    try:
        with servers.valkey() as server:
            server.pause()
            topology = Topology(parse_address(server.url), name="a", scripts=scripts.ALL)
            bus = Bus(topology, channel_of=lambda topic: topic.encode())
            node = Node(topology, keys=KEYS, advertised=Advertised(name="a"), lease_seconds=LEASE_SECONDS)
            news = News(bus, node, keys=KEYS)
            async with running(topology.serve(), bus.serve(), news.serve()):
                assert not news.listening.is_set()
                server.resume()
                await eventually(news.listening.is_set)
    finally:
        module.HEAR_AGAIN_SECONDS = original
