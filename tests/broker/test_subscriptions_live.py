"""Two nodes on one real Redis: waits that end with the message, consumers that die, and nothing lost or stuck."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import servers
from subscribing import Worker, texts, until

from broker.consumers import Consumers
from broker.deadletters import DeadLetters
from broker.errors import UnknownTopic
from broker.listening import Listening
from broker.messages import Kind, Message, pack
from broker.names import SubscriptionName, TopicName
from broker.store import scripts
from broker.store.base import AppendRequest, Retention
from broker.store.redis import RedisStore
from broker.store.subscriptions import Settled, SubscriptionKind, SubscriptionSettings
from broker.subscriptions import Delivery, Subscriptions
from broker.waiting import Waiting
from cluster.address import parse_address
from cluster.bus import Bus
from cluster.topology import Topology

ORDERS = TopicName("default/orders")
DEAD = TopicName("default/dead")
MAIL = SubscriptionName("default/mail")
WAIT_SECONDS = 30.0
SHARED = SubscriptionSettings(SubscriptionKind.SHARED, ack_deadline_s=1)


class Node:
    """What a node has for subscriptions."""

    def __init__(self, topology: Topology) -> None:
        self.store = RedisStore(topology)
        self.bus = Bus(topology, channel_of=lambda topic: self.store.keys.topic(topic).live)
        listening = Listening(self.bus)
        self.bus.deliver_to(listening)
        waiting = Waiting(listening)
        self.subscriptions = Subscriptions(self.store, DeadLetters(self.store, self), waiting, monotonic=time.monotonic)
        self.consumers = Consumers(self.subscriptions, waiting, monotonic=time.monotonic, look_seconds=0.2)
        self.loops: list[asyncio.Task[None]] = []

    async def create_on_use(self, topic: TopicName) -> None:
        raise UnknownTopic

    async def say(self, *payloads: str, topic: TopicName = ORDERS) -> None:
        envelopes = tuple(pack(Message(Kind.TEXT, payload.encode())) for payload in payloads)
        await self.store.append(topic, [AppendRequest(envelopes)])

    async def pull(self, wait_seconds: float = 0) -> Sequence[Delivery]:
        pulled = await self.subscriptions.pull(MAIL, max_messages=7, wait_seconds=wait_seconds)
        return pulled.deliveries

    def kill(self) -> None:
        """Stop consuming at once; nothing is given back."""
        self.loops[-1].cancel()


@asynccontextmanager
async def a_node(url: str) -> AsyncIterator[Node]:
    topology = Topology(parse_address(url), name="test", scripts=scripts.ALL)
    node = Node(topology)
    node.loops = [asyncio.create_task(loop()) for loop in (topology.serve, node.bus.serve, node.consumers.run)]
    try:
        await topology.connected(WAIT_SECONDS)
        yield node
    finally:
        for task in node.loops:
            task.cancel()
        await asyncio.wait(node.loops)


@pytest.fixture
async def nodes(substrate: servers.Server | servers.Cluster) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(a_node(substrate.url)) for _ in range(2)]
        for topic in (ORDERS, DEAD):
            await made[0].store.create_topic(topic, Retention())
        yield made


async def test_a_wait_ends_with_a_message_from_another_node(nodes: list[Node]) -> None:
    here, there = nodes
    for kind in SubscriptionKind:
        await here.subscriptions.create(MAIL, ORDERS, SubscriptionSettings(kind))
        waiting = asyncio.create_task(here.pull(wait_seconds=60))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await there.say("news")
        async with asyncio.timeout(WAIT_SECONDS):
            assert texts(await waiting) == ["news"]
        await there.subscriptions.delete(MAIL)


async def test_what_one_consumer_fails_at_ends_in_the_dead_letters_once(nodes: list[Node]) -> None:
    here, there = nodes
    settings = SubscriptionSettings(SubscriptionKind.SHARED, max_attempts=2, dead_letter_topic=DEAD)
    await here.subscriptions.create(MAIL, ORDERS, settings)
    await here.say("poison", "good")
    buried = asyncio.Event()

    async def consume(node: Node, worker: Worker) -> None:
        await node.consumers.attach(worker, MAIL, 1)
        done = 0
        while not buried.is_set():
            for delivery in worker.delivered[done:]:
                done += 1
                if texts([delivery]) == ["poison"]:
                    await node.consumers.nack(worker, MAIL, [delivery.ack], delay_ms=0)
                else:
                    await node.consumers.acknowledge(worker, MAIL, [delivery.ack])
            await asyncio.sleep(0.005)

    workers = [Worker(), Worker()]
    consuming = [asyncio.create_task(consume(node, worker)) for node, worker in zip(nodes, workers, strict=True)]
    async with asyncio.timeout(WAIT_SECONDS):
        while not (entries := (await there.store.read(DEAD, None, max_entries=10, max_bytes=10**6)).entries):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    buried.set()
    await asyncio.gather(*consuming)
    assert [entry.message.payload for entry in entries] == [b"poison"]
    assert entries[0].message.attributes["dead_letter_attempts"] == "2"
    seen = Counter(text for worker in workers for text in worker.texts)
    assert seen == {"poison": 2, "good": 1}
    info = await here.subscriptions.get(MAIL)
    assert (info.pending, info.lag) == (0, 0)


@dataclass
class Tally:
    """What was processed: acked and confirmed."""

    done: Counter[str] = field(default_factory=Counter)
    in_doubt: set[str] = field(default_factory=set)
    """Its ack was under way when the consumer was killed: processed, but nobody heard."""

    def note(self, deliveries: Sequence[Delivery], settled: Sequence[Settled]) -> None:
        self.in_doubt.difference_update(texts(deliveries))
        self.done.update(text for text, result in zip(texts(deliveries), settled, strict=True) if result is Settled.OK)


async def test_with_a_node_killed_each_message_is_processed_and_none_is_stuck(nodes: list[Node]) -> None:
    here, there = nodes
    await here.subscriptions.create(MAIL, ORDERS, SHARED)
    sent = [f"m{n}" for n in range(300)]
    tally, choice = Tally(), random.Random(7)
    doomed, survivor = Worker(), Worker()

    async def publish() -> None:
        for at in range(0, len(sent), 10):
            await there.say(*sent[at : at + 10])
            await asyncio.sleep(0.005)

    async def consume(node: Node, worker: Worker) -> None:
        done = 0
        while True:
            batch = worker.delivered[done : done + 5]
            done += len(batch)
            if batch:
                tally.in_doubt.update(texts(batch))
                settled = await node.consumers.acknowledge(worker, MAIL, [delivery.ack for delivery in batch])
                tally.note(batch, settled)
            await asyncio.sleep(choice.uniform(0, 0.01))

    async def pull() -> None:
        while True:
            deliveries = await there.pull(wait_seconds=1)
            kept = [delivery for delivery in deliveries if choice.random() > 0.1]
            given_back = [delivery.ack for delivery in deliveries if delivery not in kept]
            if kept:
                tally.in_doubt.update(texts(kept))
                tally.note(kept, await there.subscriptions.acknowledge(MAIL, [each.ack for each in kept]))  # type: ignore[arg-type]
            if given_back:
                await there.subscriptions.nack(MAIL, given_back, delay_ms=20)

    await here.consumers.attach(doomed, MAIL, 20)
    dying = asyncio.create_task(consume(here, doomed))
    publishing = asyncio.create_task(publish())
    await until(lambda: len(doomed.delivered) > 30)
    await there.consumers.attach(survivor, MAIL, 5)
    working = [asyncio.create_task(work) for work in (consume(there, survivor), pull())]
    await asyncio.sleep(0.02)
    dying.cancel()
    here.kill()
    async with asyncio.timeout(WAIT_SECONDS):
        await publishing
        while (info := await there.subscriptions.get(MAIL)).pending or info.lag:
            await asyncio.sleep(0.02)
    for task in working:
        task.cancel()
    # An ack that was fenced did not count, so that none counts twice.
    assert set(tally.done.values()) == {1}
    assert set(sent) - set(tally.done) <= tally.in_doubt
