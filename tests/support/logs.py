"""Short ways for tests to write to a log and to read it back."""

from broker.messages import Kind, Message, pack
from broker.names import TopicName
from broker.positions import Placement, Position, place
from broker.store.base import Appended, AppendRequest, IdempotencyKey, PublisherSequence, Retention, Store

TOPIC = TopicName("default/t")
NOTHING = Retention()
EVERYTHING = Retention(max_messages=10**9, max_bytes=10**12, max_age_ms=10**12)


def envelope(text: str) -> bytes:
    return pack(Message(Kind.TEXT, text.encode()))


def request(*texts: str, once: IdempotencyKey | PublisherSequence | None = None) -> AppendRequest:
    """One publish of these texts; its digest follows from them."""
    return AppendRequest(tuple(map(envelope, texts)), once, "|".join(texts).encode() if once else b"")


def keyed(key: str, *texts: str, scope: str = "me") -> AppendRequest:
    return request(*texts, once=IdempotencyKey(scope, key))


def numbered(sequence: int, *texts: str, scope: str = "me", publisher: str = "p") -> AppendRequest:
    return request(*(texts or (f"s{sequence}",)), once=PublisherSequence(scope, publisher, sequence))


async def put(store: Store, *texts: str, topic: TopicName = TOPIC) -> Position:
    """Append these texts one by one and return the last one's position."""
    for text in texts:
        last = await put_one(store, request(text), topic=topic)
    return last.first


async def put_one(store: Store, one: AppendRequest, *, topic: TopicName = TOPIC) -> Appended:
    (outcome,) = await store.append(topic, [one])
    assert isinstance(outcome, Appended), outcome
    return outcome


async def texts_after(store: Store, after: Position | None, *, topic: TopicName = TOPIC) -> list[str]:
    page = await store.read(topic, after, max_entries=10_000, max_bytes=10**9)
    return [entry.message.payload.decode() for entry in page.entries]


async def placed(store: Store, last: Position, *, topic: TopicName = TOPIC) -> Placement:
    """What a subscriber that comes back with `last` is told."""
    return place(last, (await store.read(topic, None, max_entries=0, max_bytes=0)).log)
