"""Short ways for tests to consume durable subscriptions."""

from typing import Protocol

from logs import TOPIC

from broker.messages import Kind, Message, pack
from broker.names import SubscriptionName, TopicName
from broker.positions import Position
from broker.store.base import Appended, AppendRequest, Store
from broker.store.subscriptions import (
    Lease,
    Leased,
    SubscriptionInfo,
    SubscriptionKind,
    SubscriptionSettings,
    SubscriptionStore,
    Window,
)

SUB = SubscriptionName("default/s")
CURSOR = SubscriptionSettings()
SHARED = SubscriptionSettings(kind=SubscriptionKind.SHARED)
ORDERED = SubscriptionSettings(kind=SubscriptionKind.SHARED, ordering_attribute="key")
LONG_MS = 3_600_000


class FullStore(Store, SubscriptionStore, Protocol):
    """A store of logs and subscriptions."""


async def subscribe(
    store: FullStore,
    settings: SubscriptionSettings,
    *,
    name: SubscriptionName = SUB,
    topic: TopicName = TOPIC,
    after: Position | None = None,
) -> SubscriptionInfo:
    return await store.create_subscription(name, topic, settings, after=after)


async def put_keyed(store: Store, *rows: str, topic: TopicName = TOPIC, lives_ms: tuple[int, ...] = ()) -> None:
    """Append messages of one letter each, whose ordering key is that letter and whose text is the whole row."""
    envelopes = tuple(pack(Message(Kind.TEXT, row.encode(), {"key": row[0]})) for row in rows)
    (outcome,) = await store.append(topic, [AppendRequest(envelopes, lives_ms=lives_ms)])
    assert isinstance(outcome, Appended)


async def pull(store: FullStore, most: int = 100, *, name: SubscriptionName = SUB) -> Window:
    return await store.pull_cursor(name, max_entries=most, max_bytes=10**9)


async def lease(
    store: FullStore, most: int = 100, *, name: SubscriptionName = SUB, ms: int | None = LONG_MS, max_bytes: int = 10**9
) -> Leased:
    return await store.lease(name, max_entries=most, max_bytes=max_bytes, deadline_ms=ms)


def texts(answer: Window | Leased) -> list[str]:
    entries = answer.entries if isinstance(answer, Window) else [lease.entry for lease in answer.leases]
    return [entry.message.payload.decode() for entry in entries]


def attempts(answer: Leased) -> list[tuple[str, int]]:
    return [(text_of(lease), lease.attempt) for lease in answer.leases]


def text_of(lease: Lease) -> str:
    return lease.entry.message.payload.decode()


def offset_of(lease: Lease) -> int:
    return lease.entry.position.offset
