"""What every store tells of a topic's traffic: exact, whatever was trimmed, repeated or deleted."""

import time
from dataclasses import replace

import pytest
from logs import EVERYTHING, NOTHING, TOPIC, envelope, keyed, put, request

from broker.errors import UnknownTopic
from broker.store.base import Store
from broker.store.redis import RedisStore
from broker.traffic import DAY_MS, day_of

SIZE = len(envelope("a"))


async def test_traffic_counts_what_was_published(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    quiet = await store.traffic(TOPIC)
    assert (quiet.messages, quiet.bytes, quiet.last_ms, quiet.rate, quiet.days) == (0, 0, 0, 0.0, {})

    await store.append(TOPIC, [request("a"), request("b", "c")])
    first = await store.traffic(TOPIC)
    assert (first.messages, first.bytes, first.last_messages, first.previous_ms) == (3, 3 * SIZE, 3, 0)
    assert first.days == {day_of(first.last_ms): 3}

    await store.append(TOPIC, [request("d")])
    second = await store.traffic(TOPIC)
    assert (second.messages, second.bytes, second.last_messages) == (4, 4 * SIZE, 1)
    assert second.previous_ms == first.last_ms
    assert sum(second.days.values()) == 4


async def test_a_repeated_publish_and_a_trim_change_nothing(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [keyed("k", "a")])
    before = await store.traffic(TOPIC)
    while time.time_ns() // 1_000_000 <= before.last_ms:
        pass
    await store.append(TOPIC, [keyed("k", "a")])
    await store.trim(TOPIC, replace(EVERYTHING, max_messages=0))
    assert await store.traffic(TOPIC) == before


async def test_traffic_begins_anew_with_a_topic(store: Store) -> None:
    with pytest.raises(UnknownTopic):
        await store.traffic(TOPIC)
    await store.create_topic(TOPIC, NOTHING)
    await put(store, "a")
    await store.delete_topic(TOPIC)
    with pytest.raises(UnknownTopic):
        await store.traffic(TOPIC)
    await store.create_topic(TOPIC, NOTHING)
    assert (await store.traffic(TOPIC)).messages == 0


async def test_each_day_has_its_own_count(store: Store) -> None:
    """Time is played: on Redis by the time of the last append, of which the script knows when a new day begins."""
    if not isinstance(store, RedisStore):
        pytest.skip("the memory store's days are in test_memory_log.py")
    await store.create_topic(TOPIC, NOTHING)
    await put(store, "a")
    await put(store, "b")
    keys = store.keys.topic(TOPIC)
    today = day_of((await store.traffic(TOPIC)).last_ms)
    await store._execute(keys.meta, "HDEL", keys.meta, f"day:{today}")
    await store._execute(keys.meta, "HSET", keys.meta, f"day:{today - 1}", 0, "time", (today - 1) * DAY_MS)
    await put(store, "c")
    assert (await store.traffic(TOPIC)).days == {today - 1: 2, today: 1}
