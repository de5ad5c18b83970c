"""What every store does alike with shared subscriptions: leases, settlements, ordering keys.

A lease of no time has run out as soon as it is given; one of an hour does not run out in a test.
"""

from dataclasses import replace

import pytest
from logs import NOTHING, TOPIC, envelope, put
from subs import (
    LONG_MS,
    ORDERED,
    SHARED,
    SUB,
    FullStore,
    attempts,
    lease,
    offset_of,
    put_keyed,
    subscribe,
    text_of,
    texts,
)

from broker.errors import UnknownTopic
from broker.store.base import Retention
from broker.store.subscriptions import MAX_HELD, Ack, Extend, Lease, Leased, Nack, Release, Settled

OK, STALE, UNKNOWN = Settled.OK, Settled.STALE, Settled.UNKNOWN


async def ready(store: FullStore, *rows: str, settings=SHARED) -> None:  # type: ignore[no-untyped-def]
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, settings)
    if rows:
        await put(store, *rows)


def acks(*answers: Leased) -> list[Ack]:
    return [Ack(offset_of(one), one.token) for answer in answers for one in answer.leases]


def ack(one: Lease) -> Ack:
    return Ack(offset_of(one), one.token)


def nack(one: Lease, delay_ms: int = 0) -> Nack:
    return Nack(offset_of(one), one.token, delay_ms)


async def test_consumers_compete(store: FullStore) -> None:
    await ready(store, *"abcde")
    first, second = await lease(store, 2), await lease(store, 2)
    assert (texts(first), texts(second), texts(await lease(store))) == (["a", "b"], ["c", "d"], ["e"])
    assert [one.attempt for one in first.leases] == [1, 1]
    assert {one.deadline_ms for one in first.leases} == {first.now_ms + LONG_MS}
    assert (first.more, second.more, (await lease(store)).more) == (True, True, False)
    assert first.settings == SHARED
    info = await store.subscription(SUB)
    assert (info.pending, info.lag, info.cursor.offset, info.delivered) == (5, 0, 4, 5)
    assert info.delivered_bytes == 5 * len(envelope("a"))
    assert await store.settle(SUB, acks(second, first)) == [OK] * 4
    assert (await store.subscription(SUB)).pending == 1
    assert texts(await lease(store)) == []


async def test_a_lease_lasts_for_the_ack_deadline_unless_said_otherwise(store: FullStore) -> None:
    await ready(store, "a", settings=replace(SHARED, ack_deadline_s=33))
    taken = await lease(store, ms=None)
    assert taken.leases[0].deadline_ms == taken.now_ms + 33_000
    assert taken.next_deadline_ms == taken.now_ms + 33_000


async def test_what_ran_out_is_given_out_again_first(store: FullStore) -> None:
    await ready(store, *"abc")
    lost = await lease(store, 2, ms=0)
    assert lost.more
    assert (lost.next_deadline_ms or 0) <= lost.now_ms
    again = await lease(store, 3)
    assert attempts(again) == [("a", 2), ("b", 2), ("c", 1)]
    assert await store.settle(SUB, acks(lost)) == [STALE, STALE]
    assert await store.settle(SUB, acks(again)) == [OK] * 3
    assert await store.settle(SUB, acks(again)) == [UNKNOWN] * 3


async def test_a_late_ack_counts_as_long_as_nobody_else_has_the_message(store: FullStore) -> None:
    await ready(store, "a")
    assert await store.settle(SUB, acks(await lease(store, ms=0))) == [OK]
    assert texts(await lease(store)) == []


async def test_offsets_of_the_same_deadline_come_back_in_order(store: FullStore) -> None:
    await ready(store, *(f"{number}" for number in range(120)))
    assert len(texts(await lease(store, 120, ms=0))) == 120
    assert texts(await lease(store, 120)) == [f"{number}" for number in range(120)]


async def test_a_nack_gives_the_message_back_after_its_delay(store: FullStore) -> None:
    await ready(store, *"ab")
    (first, second) = (await lease(store)).leases
    assert await store.settle(SUB, [nack(first), nack(second, LONG_MS)]) == [OK, OK]
    again = await lease(store)
    assert attempts(again) == [("a", 2)]
    assert await store.settle(SUB, [nack(first), ack(second)]) == [STALE, STALE]
    waiting = await lease(store)
    assert waiting.leases == ()
    assert waiting.next_deadline_ms is not None
    assert waiting.next_deadline_ms - waiting.now_ms > LONG_MS // 2
    assert (await store.subscription(SUB)).pending == 2


async def test_a_lease_is_extended(store: FullStore) -> None:
    await ready(store, "a")
    (one,) = (await lease(store, ms=0)).leases
    assert await store.settle(SUB, [Extend(0, one.token, LONG_MS)]) == [OK]
    assert texts(await lease(store)) == []
    assert await store.settle(SUB, [Extend(0, one.token, 0)]) == [OK]
    assert attempts(await lease(store)) == [("a", 2)]
    assert await store.settle(SUB, [Extend(0, one.token, LONG_MS)]) == [STALE]


async def test_a_released_message_has_not_been_tried(store: FullStore) -> None:
    await ready(store, "a")
    (one,) = (await lease(store)).leases
    assert await store.settle(SUB, [Release(0, one.token)]) == [OK]
    again = await lease(store)
    assert attempts(again) == [("a", 1)]
    assert await store.settle(SUB, [ack(one)]) == [STALE]
    assert await store.settle(SUB, acks(again)) == [OK]


async def test_settlements_are_settled_each_by_itself_and_in_order(store: FullStore) -> None:
    await ready(store, *"abc")
    first, second, third = (await lease(store)).leases
    verdicts = await store.settle(
        SUB,
        [
            *[ack(first), ack(first), Ack(1, third.token), Ack(7, first.token)],
            *[Ack(1, "1.0.0.x"), Ack(1, ""), Ack(-1, "é:")],
            *[Extend(1, second.token, LONG_MS), nack(second), nack(second), ack(third)],
        ],
    )
    # All leases of one pull share a nonce: the token of one fits another of the same attempt, in the same hands.
    assert verdicts == [OK, UNKNOWN, OK, UNKNOWN, STALE, STALE, STALE, UNKNOWN, UNKNOWN, UNKNOWN, OK]
    assert await store.settle(SUB, []) == []


async def test_a_pull_keeps_to_its_bounds_but_brings_one(store: FullStore) -> None:
    await ready(store, *("x" * 100 for _ in range(50)))
    size = len(envelope("x" * 100))
    assert (await lease(store, 0)).leases == ()
    for most, expected in ((1, 1), (size * 2, 2), (size * 21 - 1, 20)):
        taken = await lease(store, 100, max_bytes=most, ms=0)
        assert len(taken.leases) == expected
        assert taken.more
    info = await store.subscription(SUB)
    # What was not given out is not pending, and comes next.
    assert (info.pending, info.lag) == (20, 30)
    assert [one.attempt for one in (await lease(store)).leases][-30:] == [1] * 30


async def test_at_the_most_outstanding_no_new_message_is_read(store: FullStore) -> None:
    await ready(store, *"abcd", settings=replace(SHARED, max_outstanding=2))
    taken = await lease(store)
    assert (texts(taken), taken.more) == (["a", "b"], False)
    assert texts(await lease(store)) == []
    await store.settle(SUB, [nack(taken.leases[0])])
    assert attempts(await lease(store)) == [("a", 2)]
    await store.settle(SUB, [ack(taken.leases[1])])
    assert texts(await lease(store)) == ["c"]


async def test_messages_trimmed_while_pending_are_counted(store: FullStore) -> None:
    await ready(store, *"abcdef")
    held = await lease(store, 2)
    await lease(store, 2, ms=0)
    await store.trim(TOPIC, Retention(1, 10**9, 10**9))
    again = await lease(store)
    assert (texts(again), again.trimmed) == (["f"], 3)
    assert (await store.subscription(SUB)).trimmed == 3
    assert (await store.subscription(SUB)).pending == 3
    # Those in somebody's hands are settled as ever.
    assert await store.settle(SUB, [ack(held.leases[0]), nack(held.leases[1])]) == [OK, OK]
    assert (await lease(store)).trimmed == 1
    info = await store.subscription(SUB)
    assert (info.trimmed, info.pending, info.lag) == (4, 1, 0)


async def test_a_log_that_lost_everything_unread_is_passed_over(store: FullStore) -> None:
    await ready(store, *"abc")
    await store.trim(TOPIC, Retention(0, 10**9, 10**9))
    taken = await lease(store)
    assert (texts(taken), taken.trimmed, taken.more) == ([], 3, False)
    await put(store, "d")
    assert (texts(await lease(store)), (await store.subscription(SUB)).trimmed) == (["d"], 3)


async def test_the_oldest_message_that_is_not_acked_is_known(store: FullStore) -> None:
    await ready(store, *"abc")
    times = [entry.time_ms for entry in (await store.read(TOPIC, None, max_entries=9, max_bytes=10**6)).entries]
    taken = await lease(store, 2)
    assert (await store.subscription(SUB)).oldest_unacked_ms == times[0]
    await store.settle(SUB, [ack(taken.leases[0])])
    assert (await store.subscription(SUB)).oldest_unacked_ms == times[1]
    await store.settle(SUB, [ack(taken.leases[1])])
    assert (await store.subscription(SUB)).oldest_unacked_ms == times[2]
    await store.settle(SUB, acks(await lease(store)))
    assert (await store.subscription(SUB)).oldest_unacked_ms is None


async def test_a_seek_forgets_the_leases(store: FullStore) -> None:
    await ready(store, *"abc")
    taken = await lease(store, 2)
    info = await store.seek(SUB, 0)
    assert (info.pending, info.lag) == (0, 3)
    assert await store.settle(SUB, acks(taken)) == [STALE, STALE]
    again = await lease(store)
    assert attempts(again) == [("a", 1), ("b", 1), ("c", 1)]
    assert await store.settle(SUB, acks(taken)) == [STALE, STALE]
    assert await store.settle(SUB, acks(again)) == [OK] * 3


async def test_leases_end_with_the_topic_and_the_next_one_begins_at_its_first_message(store: FullStore) -> None:
    await ready(store, *"ab", settings=ORDERED)
    taken = await lease(store)
    await store.delete_topic(TOPIC)
    for call in (lease(store), store.settle(SUB, acks(taken))):
        with pytest.raises(UnknownTopic):
            await call
    await store.create_topic(TOPIC, NOTHING)
    await put_keyed(store, "x1", "x2", "y1")
    assert await store.settle(SUB, acks(taken)) == [STALE, STALE]
    again = await lease(store)
    assert (attempts(again), again.restarted) == ([("x1", 1), ("y1", 1)], True)
    assert not (await lease(store)).restarted
    assert (await store.subscription(SUB)).restarts == 1


# Ordering keys.


async def test_a_busy_keys_messages_are_held_back_without_blocking_others(store: FullStore) -> None:
    await ready(store, settings=ORDERED)
    await put_keyed(store, "a1", "a2", "b1", "a3", "b2", "c1")
    first = await lease(store)
    assert texts(first) == ["a1", "b1", "c1"]
    assert not first.more
    assert (await store.subscription(SUB)).pending == 6
    assert texts(await lease(store)) == []
    a, b, c = first.leases
    assert await store.settle(SUB, [ack(b), ack(c)]) == [OK, OK]
    second = await lease(store)
    assert attempts(second) == [("b2", 1)]
    assert await store.settle(SUB, [ack(a)]) == [OK]
    third = await lease(store)
    assert texts(third) == ["a2"]
    assert await store.settle(SUB, acks(third)) == [OK]
    assert texts(await lease(store)) == ["a3"]


async def test_a_key_waits_for_its_retry(store: FullStore) -> None:
    await ready(store, settings=ORDERED)
    await put_keyed(store, "a1", "a2")
    (one,) = (await lease(store)).leases
    await store.settle(SUB, [nack(one, LONG_MS)])
    assert texts(await lease(store)) == []
    await store.seek(SUB, 0)
    (one,) = (await lease(store, ms=0)).leases
    again = await lease(store)
    assert attempts(again) == [("a1", 2)]
    assert await store.settle(SUB, [ack(one)]) == [STALE]
    assert texts(await lease(store)) == []
    await store.settle(SUB, acks(again))
    assert attempts(await lease(store)) == [("a2", 1)]


async def test_messages_without_the_attribute_are_free(store: FullStore) -> None:
    await ready(store, *"xyz", settings=ORDERED)
    assert texts(await lease(store)) == ["x", "y", "z"]


async def test_a_held_back_message_that_is_trimmed_gives_its_turn_on(store: FullStore) -> None:
    await ready(store, settings=ORDERED)
    await put_keyed(store, "a1", "a2", "a3")
    taken = await lease(store)
    await store.trim(TOPIC, Retention(1, 10**9, 10**9))
    await store.settle(SUB, acks(taken))
    again = await lease(store)
    assert (texts(again), again.trimmed) == (["a3"], 1)


async def test_a_key_may_be_any_text(store: FullStore) -> None:
    from broker.messages import Kind, Message, pack
    from broker.store.base import AppendRequest

    await ready(store, settings=replace(ORDERED, ordering_attribute="schlüssel\0"))
    keys = ["", "a", "a\0", "a\0b", "é" * 40, "x" * 70_000, ":", "\n"]
    envelopes = [
        pack(Message(Kind.BINARY, bytes([number]), {"other": "é" * 300, "schlüssel\0": key}))
        for number in (0, 1)
        for key in keys
    ]
    await store.append(TOPIC, [AppendRequest(tuple(envelopes))])
    first = await lease(store)
    assert [one.entry.message.payload for one in first.leases] == [b"\0"] * len(keys)
    assert [one.entry.message.attributes["schlüssel\0"] for one in first.leases] == keys
    await store.settle(SUB, acks(first))
    assert [one.entry.message.payload for one in (await lease(store)).leases] == [b"\1"] * len(keys)


async def test_what_is_held_back_is_bounded(store: FullStore) -> None:
    await ready(store, settings=ORDERED)
    await put_keyed(store, *(f"a{number}" for number in range(MAX_HELD + 20)), "b")
    first = await lease(store, 10)
    assert texts(first) == ["a0"]
    assert (await store.subscription(SUB)).pending == MAX_HELD + 1
    assert not first.more
    for number in range(1, 22):
        await store.settle(SUB, acks(first))
        first = await lease(store, 1)
        assert texts(first) == [f"a{number}"]
    assert text_of((await lease(store, 1)).leases[0]) == "b"
