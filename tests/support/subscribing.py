"""A node's subscriptions over the memory store, with a clock that a test sets and a bus in this process."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from broker.consumers import Consumers
from broker.deadletters import DeadLetters
from broker.errors import HeadraceError, UnknownTopic
from broker.listening import Listening
from broker.messages import Kind, Message, pack
from broker.names import SubscriptionName, TopicName
from broker.store.base import AppendRequest, Retention
from broker.store.memory import MemoryStore
from broker.store.subscriptions import SubscriptionKind, SubscriptionSettings
from broker.subscriptions import Delivery, Subscriptions
from broker.waiting import Waiting

ORDERS = TopicName("default/orders")
DEAD = TopicName("default/dead")
MAIL = SubscriptionName("default/mail")
DEADLINE_SECONDS = 15.0


class Shop:
    """One node. Time stands still unless a test says otherwise; announcements are heard at once unless `deaf`."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.deaf = False
        self.creates: set[TopicName] = set()
        self.followed: list[TopicName] = []
        self.listening = Listening(self, linger_seconds=0)
        self.store = MemoryStore(now_ms=lambda: self.now_ms, announce=self.announce)
        self.waiting = Waiting(self.listening)
        self.dead_letters = DeadLetters(self.store, self)
        self.subscriptions = self.another(self.waiting)
        # Whatever a test waits for must ring, or fall due: nobody looks meanwhile.
        self.consumers = Consumers(
            self.subscriptions, self.waiting, monotonic=self.monotonic, look_seconds=600, sleep=self.sleep
        )

    def another(self, waiting: Waiting | None = None) -> Subscriptions:
        """Another node over the same store: it hears the topics, and nothing of what this node does."""
        return Subscriptions(
            self.store,
            self.dead_letters,
            waiting or Waiting(self.listening),
            monotonic=self.monotonic,
            jitter=lambda: 0.0,
        )

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        await asyncio.sleep(0)

    def announce(self, topic: TopicName, payload: bytes) -> None:
        if not self.deaf:
            self.listening.on_announcements([(topic, payload)])

    async def follow(self, topic: TopicName) -> None:
        self.followed.append(topic)

    def unfollow(self, topic: TopicName) -> None:
        self.followed.remove(topic)

    async def create_on_use(self, topic: TopicName) -> None:
        if topic not in self.creates:
            raise UnknownTopic
        await self.store.create_topic(topic, Retention())

    async def open(self, *topics: TopicName) -> "Shop":
        for topic in topics or (ORDERS, DEAD):
            await self.store.create_topic(topic, Retention())
        return self

    async def say(self, *texts: str, topic: TopicName = ORDERS, attributes: Mapping[str, str] | None = None) -> None:
        envelopes = tuple(pack(Message(Kind.TEXT, text.encode(), attributes or {})) for text in texts)
        await self.store.append(topic, [AppendRequest(envelopes)])

    async def subscribe(
        self, name: SubscriptionName = MAIL, kind: SubscriptionKind = SubscriptionKind.SHARED, **settings: object
    ) -> None:
        await self.subscriptions.create(name, ORDERS, SubscriptionSettings(kind=kind, **settings))  # type: ignore[arg-type]

    async def pull(self, max_messages: int = 10, name: SubscriptionName = MAIL) -> tuple[Delivery, ...]:
        return (await self.subscriptions.pull(name, max_messages=max_messages)).deliveries

    async def dead(self) -> list[Message]:
        page = await self.store.read(DEAD, None, max_entries=100, max_bytes=10**6)
        return [entry.message for entry in page.entries]


@dataclass(eq=False)
class Worker:
    """A consumer that notes what it gets."""

    paused: bool = False
    broken: bool = False
    delivered: list[Delivery] = field(default_factory=list)
    calls: int = 0
    ended: list[tuple[SubscriptionName, HeadraceError]] = field(default_factory=list)

    def deliver(self, subscription: SubscriptionName, deliveries: Sequence[Delivery]) -> None:
        if self.broken:
            raise ConnectionResetError("broken")
        assert not self.paused, "given something although paused"
        self.calls += 1
        self.delivered += deliveries

    def subscription_ended(self, subscription: SubscriptionName, reason: HeadraceError) -> None:
        self.ended.append((subscription, reason))

    @property
    def texts(self) -> list[str]:
        return texts(self.delivered)

    @property
    def acks(self) -> list[str]:
        return [delivery.ack for delivery in self.delivered]


def texts(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.entry.message.payload.decode() for delivery in deliveries]


def acks(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.ack for delivery in deliveries]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def idle() -> None:
    """Let everything that needs no waiting happen."""
    for _ in range(50):
        await asyncio.sleep(0)
