"""Who delivers: every verified subscription has one owner in the cluster, and another when that one dies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
import servers
from http_node import eventually
from receiver import Received, answering

from broker.names import parse_subscription
from broker.store.keys import Keys
from cluster import scripts
from cluster.address import parse_address
from cluster.duties import Duties
from cluster.topology import Topology
from gateway.push.pusher import Pusher
from gateway.pushes import PushConfig

NAME = parse_subscription("p/s")
LEASE_SECONDS = 1.0


class Alone:
    """The duties of a node that is alone: it has them all. Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.taken: list[str] = []

    async def run(self, name: str, work: Callable[[Any], Coroutine[object, object, object]]) -> None:
        assert name not in self.running, "a node holds a duty once at a time"
        self.running.append(name)
        self.taken.append(name)
        try:
            while True:
                await work(self)
                await asyncio.sleep(0.01)
        finally:
            # Giving a duty back takes a while.
            await asyncio.sleep(0.01)
            self.running.remove(name)

    def check(self) -> None: ...


@contextlib.asynccontextmanager
async def running(pusher: Pusher) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(pusher.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def change(pushed: Any, how: Callable[[PushConfig], PushConfig | None]) -> None:
    info = await pushed.node.subscriptions.get(NAME)

    def made(now: PushConfig | None) -> PushConfig | None:
        assert now is not None
        return how(now)

    await pushed.node.pushes.change(NAME, made, created_ms=info.created_ms)


async def test_only_what_is_verified_is_delivered_and_only_while_it_is_configured(pushed: Any) -> None:
    await pushed.subscribe()
    duties = Alone()
    async with running(Pusher(pushed.services, duties)):
        await pushed.configure(verified=False)
        await pushed.node.say("p/t", "a")
        await asyncio.sleep(0.05)
        assert duties.taken == []
        await change(pushed, lambda now: replace(now, verified=True))
        await eventually(lambda: pushed.ids() == ["0"])
        assert duties.running == ["push/p/s"]
        async with asyncio.timeout(10):
            # Else its ack may be cut off with the worker, and it comes again.
            while await pushed.offset() < 0:
                await asyncio.sleep(0.01)
        await change(pushed, lambda now: None)
        await eventually(lambda: duties.running == [])
        await pushed.node.say("p/t", "b")
        await asyncio.sleep(0.05)
        assert pushed.ids() == ["0"]
        await pushed.configure()
        await eventually(lambda: pushed.ids() == ["0", "1"])


async def test_a_changed_configuration_counts_at_once(pushed: Any) -> None:
    await pushed.subscribe()
    pushed.receiver.answer = answering(500)
    async with running(Pusher(pushed.services, Alone())):
        await pushed.configure()
        await pushed.node.say("p/t", "a")
        await eventually(lambda: len(pushed.receiver.received) >= 2)
        pushed.receiver.answer = answering(200)
        await change(pushed, lambda now: replace(now, endpoint=now.endpoint + "/new"))
        await eventually(lambda: any(got.target == "/in/new" for got in pushed.receiver.received))


async def test_a_subscription_that_is_gone_takes_its_configuration_along(pushed: Any) -> None:
    await pushed.subscribe()
    duties = Alone()
    async with running(Pusher(pushed.services, duties)) as task:
        await pushed.configure()
        await eventually(lambda: duties.running == ["push/p/s"])
        await pushed.node.subscriptions.delete(NAME)
        await eventually(lambda: not pushed.node.pushes.known)
        await eventually(lambda: duties.running == [])
        assert not task.done()


class Node:
    """One of two nodes: its own commands and duties, which `die` cuts off as SIGKILL would."""

    def __init__(self, topology: Topology, pushed: Any) -> None:
        self._topology = topology
        self.dead = False
        self.duties = Duties(self, keys=Keys("hr"), lease_seconds=LEASE_SECONDS, retry_seconds=0.05)
        self.pusher = Pusher(replace(pushed.services, pushes=pushed.node.pushes), self.duties)

    async def run(self, *args: Any, **named: Any) -> object:
        if self.dead:
            await asyncio.Event().wait()
        return await self._topology.run(*args, **named)

    async def execute(self, *args: Any, **named: Any) -> object:
        return await self._topology.execute(*args, **named)

    async def refresh(self) -> None: ...

    @property
    def owns(self) -> bool:
        return "push/p/s" in self.duties.held


@pytest.fixture
async def topology() -> AsyncIterator[Topology]:
    with servers.valkey() as server:
        made = Topology(parse_address(server.url), name="test", scripts=scripts.ALL)
        serving = asyncio.create_task(made.serve())
        try:
            await made.connected(10)
            yield made
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def test_of_two_nodes_one_delivers_and_when_it_dies_the_other_does(pushed: Any, topology: Topology) -> None:
    await pushed.subscribe()
    await pushed.configure()
    first, second = Node(topology, pushed), Node(topology, pushed)
    held = asyncio.Event()

    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.json["message"]["messageId"] == "5":
            held.set()
            await asyncio.Event().wait()
        await answering(200)(request, writer)

    pushed.receiver.answer = slow
    async with running(second.pusher), running(first.pusher):
        await pushed.node.say("p/t", *map(str, range(10)))
        await asyncio.wait_for(held.wait(), 20)
        assert first.owns != second.owns
        owner, other = (first, second) if first.owns else (second, first)
        pushed.receiver.answer = answering(200)
        owner.dead = True
        died = time.monotonic()
        await eventually(lambda: other.owns and not owner.owns, "the take-over")
        assert time.monotonic() - died < LEASE_SECONDS * 5
        await eventually(lambda: len(set(pushed.ids())) == 10)
    # What was in flight came twice, and nothing else.
    assert sorted(map(int, pushed.ids())) == sorted([*range(10), 5])


async def test_many_subscriptions_are_delivered_side_by_side(pushed: Any) -> None:
    await pushed.subscribe()
    config = await pushed.configure()
    names = [parse_subscription(f"p/s{number}") for number in range(20)]
    topic = (await pushed.node.subscriptions.get(NAME)).topic
    for name in names:
        info = await pushed.node.subscriptions.create(name, topic, (await pushed.node.subscriptions.get(NAME)).settings)
        own = replace(config, created_ms=info.created_ms)
        await pushed.node.pushes.change(name, lambda _, own=own: own, created_ms=info.created_ms)
    async with running(Pusher(pushed.services, Alone())):
        await pushed.node.say("p/t", "a")
        await eventually(lambda: len(pushed.ids()) == 21)
    assert {received.json["subscription"] for received in pushed.receiver.received} == {
        f"/projects/p/subscriptions/{name.partition('/')[2]}" for name in [NAME, *names]
    }
