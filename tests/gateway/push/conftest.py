"""A subscription with a push configuration over the memory store, and a real receiver on loopback."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest
from http_node import Node
from receiver import Receiver, receiving

from broker.names import ProjectName, SubscriptionName, parse_subscription, parse_topic
from broker.store.base import ProjectInfo
from broker.store.subscriptions import SubscriptionSettings
from gateway.ams.receiving import message_document
from gateway.push.worker import Services
from gateway.pushes import Authorization, PushConfig, PushType

NAME = parse_subscription("p/s")


@dataclass
class Sleeps:
    """Ends each wait at once, in a later turn of the loop, and remembers it."""

    waits: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        import asyncio

        self.waits.append(seconds)
        await asyncio.sleep(0.002)


@dataclass
class Pushed:
    """The scene: `configure` gives the subscription `p/s` of topic `p/t` an endpoint at the receiver."""

    node: Node
    receiver: Receiver
    sleeps: Sleeps = field(default_factory=Sleeps)
    clock: Callable[[], float] = time.monotonic

    @property
    def services(self) -> Services:
        return Services(
            subscriptions=self.node.subscriptions,
            pushes=self.node.pushes,
            outgoing=self.node.outgoing,
            document_of=message_document,
            now=lambda: "NOW",
            monotonic=self.clock,
            sleep=self.sleeps,
        )

    async def subscribe(self, settings: SubscriptionSettings | None = None) -> None:
        await self.node.subscriptions.create(NAME, parse_topic("p/t"), settings or SubscriptionSettings())

    async def configure(self, **changed: object) -> PushConfig:
        info = await self.node.subscriptions.get(NAME)
        config = PushConfig(
            type=PushType.HTTP_ENDPOINT,
            endpoint=f"http://127.0.0.1:{self.receiver.port}/in",
            authorization=Authorization.AUTOGEN,
            authorization_value="secret-of-the-endpoint",
            period_ms=3000,
            verified=True,
            created_ms=info.created_ms,
        )
        config = replace(config, **changed)  # type: ignore[arg-type]
        await self.node.pushes.change(NAME, lambda _: config, created_ms=info.created_ms)
        return config

    def ids(self) -> list[str]:
        """The messages that came, in order, each as often as it came."""
        bodies = [received.json for received in self.receiver.received]
        each = [one for body in bodies for one in body.get("messages", [body])]
        return [one["message"]["messageId"] for one in each]

    async def offset(self, name: SubscriptionName = NAME) -> int:
        return (await self.node.subscriptions.get(name)).cursor.offset


@pytest.fixture
async def pushed() -> AsyncIterator[Pushed]:
    async with receiving() as receiver, Node() as node:
        await node.catalog.create_project(ProjectInfo(ProjectName("p"), 0, 0))
        await node.catalog.create_topic(parse_topic("p/t"))
        yield Pushed(node, receiver)
