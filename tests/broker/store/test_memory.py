"""The memory store beyond the contract: under a clock of its own, and the failures that tests play on it."""

import pytest
from logs import NOTHING, TOPIC, keyed, placed, put, put_one, request, texts_after

from broker.errors import UnknownTopic
from broker.names import TopicName
from broker.positions import SPARE_LINKS, Position, Range, Recovery, is_unknown_future, mint_epoch
from broker.store.base import Retention
from broker.store.memory import MemoryStore


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_283_817_872

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def heard() -> list[tuple[TopicName, bytes]]:
    return []


@pytest.fixture
async def store(clock: Clock, heard: list[tuple[TopicName, bytes]]) -> MemoryStore:
    store = MemoryStore(now_ms=clock, announce=lambda topic, payload: heard.append((topic, payload)))
    await store.create_topic(TOPIC, NOTHING)
    return store


async def test_publish_time_never_decreases(store: MemoryStore, clock: Clock) -> None:
    start = clock.now
    times = []
    for step in (0, -5000, 10, 3):
        clock.now += step
        times.append((await put_one(store, request("a"))).time_ms)
    assert times == [start] * 4
    clock.now = start + 1
    assert (await put_one(store, request("a"))).time_ms == start + 1


async def test_age_is_measured_on_its_clock(store: MemoryStore, clock: Clock) -> None:
    await put(store, "a")
    clock.now += 100
    await put(store, "b")
    limits = Retention(max_messages=9, max_bytes=999, max_age_ms=100)
    assert (await store.trim(TOPIC, limits)).removed == 0
    clock.now += 1
    assert (await store.trim(TOPIC, limits)).removed == 1
    assert await texts_after(store, None) == ["b"]


async def test_a_promotion_begins_an_epoch_once(store: MemoryStore, clock: Clock) -> None:
    before = await put(store, "a")
    store.promote("ab" * 20)
    after = await put(store, "b", "c")
    assert after == Position(mint_epoch(now_s=clock.now // 1000, previous=before.epoch, last=0, replid="ab" * 20), 2)
    assert [link.first for link in (await store.topic(TOPIC)).log.chain] == [0, 1]
    assert (await placed(store, before)).recovery is Recovery.COMPLETE


async def test_the_first_batch_of_an_epoch_names_the_place_before_it(
    store: MemoryStore, heard: list[tuple[TopicName, bytes]]
) -> None:
    before = await put(store, "a")
    store.promote()
    after = await put(store, "b")
    first = store.read_announcement(heard[-1][1])
    assert (first.previous, first.last) == (before, after)
    store.promote()
    end = (await store.topic(TOPIC)).log.end
    await put(store, "c")
    assert end.epoch > after.epoch
    assert store.read_announcement(heard[-1][1]).previous == end


async def test_what_was_written_after_a_fork_is_rolled_back(store: MemoryStore) -> None:
    await put_one(store, keyed("kept", "a"))
    earlier = store.fork()
    last = await put(store, "b", "c")
    store.restore(earlier)
    verdict = await placed(store, last)
    assert (verdict.recovery, verdict.missing) == (Recovery.ROLLED_BACK, (Range(last.epoch, 1, 2),))
    assert (await put_one(store, keyed("kept", "a"))).duplicate
    assert (await put(store, "d")).offset == 1


async def test_a_fork_writes_a_history_of_its_own(store: MemoryStore, clock: Clock) -> None:
    await put(store, "a")
    other = store.fork()
    clock.now += 5000
    on_other = await put(other, "x", "y")
    store.promote()
    clock.now -= 5000
    await put(store, "b")
    assert is_unknown_future(on_other, (await store.topic(TOPIC)).log)
    verdict = await placed(store, on_other)
    assert verdict.recovery is Recovery.LOST
    assert await texts_after(store, verdict.after) == ["a", "b"]
    assert await texts_after(other, None) == ["a", "x", "y"]


async def test_a_restart_without_data(store: MemoryStore) -> None:
    last = await put(store, "a")
    store.lose()
    with pytest.raises(UnknownTopic):
        await put(store, "b")
    await store.create_topic(TOPIC, NOTHING)
    assert (await placed(store, last)).recovery is Recovery.LOST


async def test_quick_recreations_never_reuse_an_epoch(store: MemoryStore) -> None:
    epochs = []
    for _ in range(200):
        epochs.append((await put(store, "a")).epoch)
        await store.delete_topic(TOPIC)
        await store.create_topic(TOPIC, NOTHING)
    assert epochs == sorted(set(epochs))


async def test_the_chain_is_bounded(store: MemoryStore) -> None:
    await put(store, "a")
    for _ in range(3 * SPARE_LINKS):
        store.promote()
        log = (await store.topic(TOPIC)).log
    assert len(log.chain) == 1 + SPARE_LINKS + 1
