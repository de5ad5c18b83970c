"""The reference of subscriptions where a new primary is needed to see it; the rest is in the contract's tests."""

import pytest
from logs import NOTHING, TOPIC, put
from subs import CURSOR, SHARED, SUB, attempts, lease, offset_of, pull, subscribe, texts

from broker.errors import OutOfBounds
from broker.positions import Link, LogState, Position
from broker.store.memory import MemoryStore
from broker.store.memory_subscription import checked_place, place_of
from broker.store.subscriptions import Ack, CursorAck, Settled

LOG = LogState((Link(7, 2), Link(9, 5)), 8, Position(7, 3))


@pytest.mark.parametrize(("offset", "epoch"), [(-1, 7), (1, 7), (4, 7), (5, 9), (7, 9)])
def test_an_offset_stands_in_the_newest_epoch_that_began_before_it(offset: int, epoch: int) -> None:
    assert place_of(LOG, offset) == Position(epoch, offset)


@pytest.mark.parametrize(("epoch", "good"), [(7, range(1, 5)), (9, range(4, 8)), (8, range(0))])
def test_a_place_is_held_against_the_chain(epoch: int, good: range) -> None:
    for offset in range(-1, 10):
        if offset in good:
            assert checked_place(LOG, Position(epoch, offset)) == offset
        else:
            with pytest.raises(OutOfBounds):
                checked_place(LOG, Position(epoch, offset))


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore(now_ms=lambda: 1_000_000)
    await store.create_topic(TOPIC, NOTHING)
    return store


async def test_a_window_belongs_to_an_epoch(store: MemoryStore) -> None:
    await subscribe(store, CURSOR)
    await put(store, "a", "b")
    await pull(store)
    store.promote()
    assert await store.ack_cursor(SUB, 0) is CursorAck.NOTHING_PENDING
    assert texts(await pull(store)) == ["a", "b"]
    assert await store.ack_cursor(SUB, 1) is CursorAck.COMMITTED


async def test_a_lease_belongs_to_an_epoch(store: MemoryStore) -> None:
    await subscribe(store, SHARED)
    await put(store, "a")
    (one,) = (await lease(store, ms=0)).leases
    store.promote()
    assert await store.settle(SUB, [Ack(offset_of(one), one.token)]) == [Settled.STALE]
    again = await lease(store)
    assert attempts(again) == [("a", 2)]
    assert await store.settle(SUB, [Ack(0, again.leases[0].token)]) == [Settled.OK]


async def test_a_subscription_goes_back_with_its_log(store: MemoryStore) -> None:
    await subscribe(store, CURSOR)
    await put(store, "a")
    earlier = store.fork()
    await put(store, "b")
    await pull(store)
    await store.ack_cursor(SUB, 1)
    store.restore(earlier)
    assert (await store.subscription(SUB)).cursor.offset == -1
    assert texts(await pull(store)) == ["a"]


@pytest.mark.parametrize(
    ("pulled_ms", "acked_ms", "verdict"),
    [
        (1_000_999, 1_010_000, CursorAck.COMMITTED),
        (1_000_000, 1_010_999, CursorAck.COMMITTED),
        (1_000_999, 1_011_000, CursorAck.TIMEOUT),
        (1_000_000, 1_011_000, CursorAck.TIMEOUT),
    ],
)
async def test_the_ack_deadline_counts_whole_seconds(pulled_ms: int, acked_ms: int, verdict: CursorAck) -> None:
    now = [pulled_ms]
    store = MemoryStore(now_ms=lambda: now[0])
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put(store, "a")
    await pull(store)
    now[0] = acked_ms
    assert await store.ack_cursor(SUB, 0) is verdict
