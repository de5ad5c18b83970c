"""A realtime endpoint on a real port, over a hub, a publisher and credentials that a test holds in its hands."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import sockets

from broker.consumers import Consumer
from broker.errors import Expired, HeadraceError, NotSubscribed, Unauthorized, Unavailable, UnknownSubscription
from broker.messages import Entry, Kind, Message
from broker.names import SubscriptionName, TopicName
from broker.ports import Placed, Since, Subscriber
from broker.positions import Position, Recovery
from broker.publish import PublishRequest
from broker.rights import Principal
from broker.store.base import Appended
from broker.store.subscriptions import Settled, SubscriptionSettings
from broker.subscriptions import Delivery
from gateway.bearers import Bearer
from gateway.bulletin import Bulletin
from gateway.config import Config, Limits
from gateway.handshake import Front
from gateway.metrics import Metrics
from gateway.realtime.endpoint import front, own_told

EPOCH = 3682271640000001
GRAIN_SECONDS = 0.01


ANYBODY = Principal("@anonymous", publish=("*",), subscribe=("*",))


class Hub:
    """Follows from now on; a test delivers, and may make a subscribe wait or fail."""

    def __init__(self) -> None:
        self.followers: dict[TopicName, list[Subscriber]] = {}
        self.since: list[Since] = []
        self.left: list[Subscriber] = []
        self.resumed: list[Subscriber] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: HeadraceError | None = None

    async def subscribe(
        self, subscriber: Subscriber, topic: TopicName, since: Since, *, placed: Callable[[Placed], None]
    ) -> None:
        self.since.append(since)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if subscriber in self.left:
            return
        after = since if isinstance(since, Position) else Position(EPOCH, -1)
        recovery = Recovery.COMPLETE if isinstance(since, Position) else Recovery.NONE
        placed(Placed(topic, Position(EPOCH, 41), recovery, (), after))
        self.followers.setdefault(topic, []).append(subscriber)

    def unsubscribe(self, subscriber: Subscriber, topic: TopicName) -> None:
        if subscriber not in self.followers.get(topic, ()):
            raise NotSubscribed()
        self.followers[topic].remove(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        self.left.append(subscriber)
        for followers in self.followers.values():
            if subscriber in followers:
                followers.remove(subscriber)

    def resume(self, subscriber: Subscriber) -> None:
        self.resumed.append(subscriber)

    def deliver(self, topic: str, offset: int, payload: bytes = b"x") -> None:
        entry = Entry(Position(EPOCH, offset), 1755850000123, Message(Kind.TEXT, payload))
        for subscriber in self.followers.get(TopicName(topic), ()):
            subscriber.write(subscriber.dialect.message(TopicName(topic), entry))


class Subscriptions:
    """Knows the subscriptions of project `default`, all on one topic."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()

    async def get(self, name: SubscriptionName) -> SimpleNamespace:
        await self.gate.wait()
        if not name.startswith("default/"):
            raise UnknownSubscription()
        return SimpleNamespace(topic=TopicName("default/lines"), settings=SubscriptionSettings(ack_deadline_s=30))


class Consumers:
    """Settles everything; a test delivers, and may say what becomes of an ack."""

    def __init__(self) -> None:
        self.attached: dict[tuple[SubscriptionName, Consumer], int] = {}
        self.settled: list[tuple[object, ...]] = []
        self.outcomes: dict[str, Settled] = {}
        self.left: list[Consumer] = []
        self.resumed: list[Consumer] = []
        self.failure: HeadraceError | None = None

    async def attach(self, consumer: Consumer, subscription: SubscriptionName, window: int) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.attached[subscription, consumer] = window

    def detach(self, consumer: Consumer, subscription: SubscriptionName) -> None:
        del self.attached[subscription, consumer]

    def leave(self, consumer: Consumer) -> None:
        self.left.append(consumer)
        self.attached = {key: window for key, window in self.attached.items() if key[1] is not consumer}

    def resume(self, consumer: Consumer) -> None:
        self.resumed.append(consumer)

    async def acknowledge(self, consumer: Consumer, name: SubscriptionName, acks: Sequence[str]) -> list[Settled]:
        return self._settle("ack", name, acks)

    async def nack(
        self, consumer: Consumer, name: SubscriptionName, acks: Sequence[str], *, delay_ms: int | None
    ) -> list[Settled]:
        return self._settle("nack", name, acks, delay_ms)

    async def release(self, consumer: Consumer, name: SubscriptionName, acks: Sequence[str]) -> list[Settled]:
        return self._settle("release", name, acks)

    async def extend(
        self, consumer: Consumer, name: SubscriptionName, acks: Sequence[str], *, deadline_s: int
    ) -> list[Settled]:
        return self._settle("extend", name, acks, deadline_s)

    def _settle(self, verb: str, name: SubscriptionName, acks: Sequence[str], *more: int | None) -> list[Settled]:
        if self.failure is not None:
            raise self.failure
        self.settled.append((verb, name, *acks, *more))
        return [self.outcomes.get(ack, Settled.OK) for ack in acks]

    def deliver(self, subscription: str, *offsets: int) -> None:
        message = Message(Kind.TEXT, b"x")
        deliveries = [Delivery(Entry(Position(EPOCH, n), 1755850000123, message), 1, f"{n}.1-t") for n in offsets]
        for name, consumer in self.attached:
            if name == subscription:
                consumer.deliver(name, deliveries)

    def end(self, subscription: str, reason: HeadraceError) -> None:
        for name, consumer in [*self.attached]:
            if name == subscription:
                del self.attached[name, consumer]
                consumer.subscription_ended(name, reason)


class Publisher:
    """Answers at once with rising offsets, or holds the answers back."""

    def __init__(self) -> None:
        self.requests: list[PublishRequest] = []
        self.waiting: list[Callable[[Appended | HeadraceError], None]] = []
        self.holds = False
        self.failure: HeadraceError | None = None

    def submit(self, request: PublishRequest, done: Callable[[Appended | HeadraceError], None]) -> None:
        self.requests.append(request)
        if self.holds:
            self.waiting.append(done)
        else:
            done(self.failure or self.outcome())

    def outcome(self) -> Appended:
        return Appended(Position(EPOCH, len(self.requests) - 1), 1, 1755850000123)


@dataclass
class Auth:
    """Tokens are looked up in `tokens`; one that begins with `fetch` needs the gate."""

    tokens: dict[str, Principal] = field(default_factory=dict)
    anonymous: Principal = ANYBODY
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failure: HeadraceError | None = None
    watched: list[tuple[Bearer, Principal]] = field(default_factory=list)

    def watch(self, bearer: Bearer, principal: Principal) -> None:
        self.watched.append((bearer, principal))

    def unwatch(self, bearer: Bearer, principal: Principal) -> None:
        self.watched.remove((bearer, principal))

    def known(self, token: str) -> Principal | None:
        if token.startswith("fetch"):
            return None
        if token == "old":
            raise Expired()
        if token not in self.tokens:
            raise Unauthorized("The token is not known.")
        return self.tokens[token]

    async def authenticate(self, token: str) -> Principal:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        if token not in self.tokens:
            raise Unauthorized("The token is not known.")
        return self.tokens[token]

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return origin in (None, f"http://{host}")


@dataclass
class Node:
    """A running endpoint."""

    port: int
    hub: Hub
    publisher: Publisher
    subscriptions: Subscriptions
    consumers: Consumers
    auth: Auth
    front: Front
    metrics: Metrics
    clock: list[int]
    bulletin: Bulletin

    def client(self, **headers: str | None) -> "contextlib.AbstractAsyncContextManager[sockets.Raw]":
        return sockets.opened(self.port, **headers)

    def raw(self) -> "contextlib.AbstractAsyncContextManager[sockets.Raw]":
        return sockets.raw(self.port)


@contextlib.asynccontextmanager
async def running(auth: Auth | None = None, **limits: Any) -> AsyncIterator[Node]:
    config = Config(limits=Limits(**limits), name="mill-1", port=8080)
    clock = [1_755_850_000_000]
    context = SimpleNamespace(
        config=config,
        hub=Hub(),
        publisher=Publisher(),
        subscriptions=Subscriptions(),
        consumers=Consumers(),
        auth=auth or Auth(),
        metrics=Metrics(),
        now_ms=lambda: clock[0],
    )
    bulletin = Bulletin(own_told(config))
    door = front(context, bulletin=bulletin, grain_seconds=GRAIN_SECONDS)  # type: ignore[arg-type]
    async with sockets.serving(door, config) as port:
        yield Node(
            port,
            context.hub,
            context.publisher,
            context.subscriptions,
            context.consumers,
            context.auth,
            door,
            context.metrics,
            clock,
            bulletin,
        )


@pytest.fixture
def endpoint() -> Callable[..., "contextlib.AbstractAsyncContextManager[Node]"]:
    """Start an endpoint: `async with endpoint(auth, frame_bytes=...) as node`."""
    return running


@pytest.fixture
def auth() -> type[Auth]:
    return Auth


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with running() as started:
        yield started


@pytest.fixture
def unavailable() -> Unavailable:
    return Unavailable()


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(sockets.PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], bool]], Any]:
    """Wait until a condition holds, within the patience of a test."""
    return eventually
