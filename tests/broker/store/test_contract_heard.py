"""What every store does alike with snapshots, and with publishes that nobody would get."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from logs import NOTHING, TOPIC, keyed, put, put_one, request, texts_after
from subs import SHARED, SUB, FullStore, subscribe

from broker.errors import NoSubscriber, UnknownTopic
from broker.store.base import Appended, AppendRequest, Retention, Store

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


def kept(index: int, *texts: str) -> AppendRequest:
    return replace(request(*texts), retained=index)


def to_be_heard(one: AppendRequest) -> AppendRequest:
    return replace(one, heard=True)


async def snapshot(store: Store) -> tuple[int, str] | None:
    _, entry = await store.snapshot(TOPIC)
    return entry and (entry.position.offset, entry.message.payload.decode())


async def test_the_newest_retained_message_is_the_snapshot(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    assert await snapshot(store) is None
    await put(store, "a")
    assert await snapshot(store) is None
    await store.append(TOPIC, [kept(0, "b"), kept(1, "c", "d", "e"), request("f")])
    assert await snapshot(store) == (3, "d")
    await put(store, "g")
    assert await snapshot(store) == (3, "d")
    end, entry = await store.snapshot(TOPIC)
    page = await store.read(TOPIC, None, max_entries=10, max_bytes=10**6)
    assert entry == page.entries[3]
    assert end == page.log.end


async def test_a_snapshot_outlives_what_is_trimmed_and_ends_with_its_topic(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [kept(0, "a"), request("b"), request("c")])
    await store.trim(TOPIC, Retention(max_messages=1, max_bytes=10**9, max_age_ms=10**12))
    assert await texts_after(store, None) == ["c"]
    assert await snapshot(store) == (0, "a")
    await store.delete_topic(TOPIC)
    with pytest.raises(UnknownTopic):
        await store.snapshot(TOPIC)
    await store.create_topic(TOPIC, NOTHING)
    assert await snapshot(store) is None


async def test_a_repetition_of_a_retained_message_changes_no_snapshot(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    once = replace(keyed("k", "old"), retained=0, lives_ms=(1000,))
    await put_one(store, once)
    await store.append(TOPIC, [kept(0, "new")])
    assert (await put_one(store, once)).duplicate
    assert await snapshot(store) == (1, "new")


async def test_a_publish_that_nobody_would_get_is_refused_alone(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    outcomes = await store.append(TOPIC, [request("a"), to_be_heard(kept(0, "b")), to_be_heard(keyed("k", "c"))])
    assert isinstance(outcomes[0], Appended)
    assert [type(outcome) for outcome in outcomes[1:]] == [NoSubscriber, NoSubscriber]
    assert await texts_after(store, None) == ["a"]
    assert await snapshot(store) is None


async def test_a_durable_subscription_hears(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, SHARED)
    assert not (await put_one(store, to_be_heard(keyed("k", "a")))).duplicate
    await store.delete_subscription(SUB)
    # What was stored is told again, whoever is there now.
    assert (await put_one(store, to_be_heard(keyed("k", "a")))).duplicate
    (refused,) = await store.append(TOPIC, [to_be_heard(request("b"))])
    assert isinstance(refused, NoSubscriber)


async def test_a_live_follower_hears(backend, eventually: Eventually) -> None:  # type: ignore[no-untyped-def]
    store = backend.make()
    await store.create_topic(TOPIC, NOTHING)
    async with backend.ear(TOPIC):
        assert await put_one(store, to_be_heard(request("a")))

    async def is_refused() -> bool:
        (outcome,) = await store.append(TOPIC, [to_be_heard(request("b"))])
        return isinstance(outcome, NoSubscriber)

    await eventually(is_refused)
