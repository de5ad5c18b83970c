"""What every store does alike, with requests that come again."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from logs import NOTHING, TOPIC, keyed, numbered, put, put_one, request, texts_after

from broker.errors import HeadraceError, KeyConflict, StaleSequence
from broker.positions import MAX_EPOCH
from broker.store.base import SEQUENCE_WINDOW, Appended, Store
from broker.store.once import OnceBounds

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_the_same_key_with_the_same_payload_is_answered_with_the_first_position(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    first = await put_one(store, keyed("k", "a", "b"))
    await put(store, "c")
    again = await put_one(store, keyed("k", "a", "b"))
    assert again == replace(first, duplicate=True)
    assert await texts_after(store, None) == ["a", "b", "c"]


async def test_the_same_key_with_another_payload_is_refused_and_changes_nothing(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    first = await put_one(store, keyed("k", "a"))
    before = await store.topic(TOPIC)
    outcomes = await store.append(TOPIC, [keyed("k", "b"), replace(keyed("k", "a", "b"), digest=b"a")])
    assert [type(outcome) for outcome in outcomes] == [KeyConflict, KeyConflict]
    assert await store.topic(TOPIC) == before
    assert await put_one(store, keyed("k", "a")) == replace(first, duplicate=True)


async def test_requests_of_one_call_succeed_or_fail_alone(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await put_one(store, keyed("k", "a"))
    for sequence in (0, 2 * SEQUENCE_WINDOW):
        await put_one(store, numbered(sequence, f"s{sequence}"))
    outcomes = await store.append(
        TOPIC,
        [
            request("x"),
            keyed("k", "not a", "at all"),
            keyed("new", "y", "z"),
            keyed("new", "y", "z"),
            keyed("new", "other"),
            numbered(5),
            numbered(2 * SEQUENCE_WINDOW + 1),
            numbered(2 * SEQUENCE_WINDOW + 1),
        ],
    )
    kinds = [outcome.code if isinstance(outcome, HeadraceError) else outcome.duplicate for outcome in outcomes]
    expected = [False, "key_conflict", False, True, "key_conflict", "stale_sequence", False, True]
    assert kinds == expected
    assert outcomes[3].first == outcomes[2].first  # type: ignore[union-attr]
    texts = await texts_after(store, None)
    assert texts == ["a", "s0", f"s{2 * SEQUENCE_WINDOW}", "x", "y", "z", f"s{2 * SEQUENCE_WINDOW + 1}"]


async def test_a_window_sent_again_is_answered_with_its_exact_positions(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    window = [numbered(sequence) for sequence in range(SEQUENCE_WINDOW)]
    first = await store.append(TOPIC, window[: SEQUENCE_WINDOW // 2])
    again = await store.append(TOPIC, window)
    half = SEQUENCE_WINDOW // 2
    assert again[:half] == [replace(outcome, duplicate=True) for outcome in first]  # type: ignore[type-var]
    assert [outcome.duplicate for outcome in again[half:]] == [False] * half  # type: ignore[union-attr]
    assert await texts_after(store, None) == [f"s{sequence}" for sequence in range(SEQUENCE_WINDOW)]


async def test_sequences_may_have_gaps_that_are_filled_later(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [numbered(3), numbered(1000)])
    filled = await put_one(store, numbered(500))
    assert not filled.duplicate
    assert (await put_one(store, numbered(500))).duplicate
    assert await texts_after(store, None) == ["s3", "s1000", "s500"]


async def test_a_sequence_below_the_window_is_stale(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    highest = 10 * SEQUENCE_WINDOW
    await store.append(TOPIC, [numbered(7), numbered(highest)])
    outcomes = await store.append(
        TOPIC, [numbered(7), numbered(highest - SEQUENCE_WINDOW), numbered(highest - SEQUENCE_WINDOW + 1)]
    )
    assert [type(outcome) for outcome in outcomes] == [StaleSequence, StaleSequence, Appended]


async def test_a_slot_of_the_window_is_used_again(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    for sequence in (5, 5 + SEQUENCE_WINDOW, 5 + 2 * SEQUENCE_WINDOW):
        assert not (await put_one(store, numbered(sequence))).duplicate
    assert (await put_one(store, numbered(5 + 2 * SEQUENCE_WINDOW))).duplicate
    (conflict,) = await store.append(TOPIC, [numbered(5 + 2 * SEQUENCE_WINDOW, "other")])
    assert isinstance(conflict, KeyConflict)


async def test_a_gap_is_not_taken_for_what_its_slot_held_a_window_ago(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [numbered(5, "same"), numbered(5 + SEQUENCE_WINDOW + 10)])
    late = numbered(5 + SEQUENCE_WINDOW, "same")
    assert not (await put_one(store, late)).duplicate
    assert (await put_one(store, late)).duplicate


async def test_sequences_of_the_largest_size_are_exact(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    for sequence in (MAX_EPOCH - 1, MAX_EPOCH):
        assert not (await put_one(store, numbered(sequence))).duplicate
    for sequence in (MAX_EPOCH - 1, MAX_EPOCH):
        assert (await put_one(store, numbered(sequence))).duplicate


async def test_scopes_publishers_and_kinds_of_keys_keep_apart(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    requests = [
        keyed("k", "1", scope="a"),
        keyed("k", "2", scope="b"),
        keyed("bk", "3", scope="a"),
        keyed("k", "4", scope="ab"),
        numbered(0, "5", scope="a", publisher="k"),
        numbered(0, "6", scope="b", publisher="k"),
        numbered(0, "7", scope="a", publisher="k#0"),
        keyed("k#0", "8", scope="a"),
        keyed("k" * 500, "9", scope="a"),
        keyed("k" * 501, "10", scope="a"),
    ]
    first = await store.append(TOPIC, requests)
    again = await store.append(TOPIC, requests)
    assert [outcome.duplicate for outcome in first] == [False] * len(requests)  # type: ignore[union-attr]
    assert again == [replace(outcome, duplicate=True) for outcome in first]  # type: ignore[type-var]


async def test_digests_are_bytes_of_any_kind(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    for digest in (b"", b":\0\n:-", bytes(range(240, 256))):
        one = replace(keyed(f"k{digest!r}", "a"), digest=digest)
        assert not (await put_one(store, one)).duplicate
        assert (await put_one(store, one)).duplicate
        (conflict,) = await store.append(TOPIC, [replace(one, digest=digest + b"x")])
        assert isinstance(conflict, KeyConflict)


async def test_the_oldest_keys_go_when_there_are_too_many(backend) -> None:  # type: ignore[no-untyped-def]
    store = backend.make(OnceBounds(max_records=3))
    await store.create_topic(TOPIC, NOTHING)
    for key in "abcd":
        await put_one(store, keyed(key, key))
    assert [(await put_one(store, keyed(key, key))).duplicate for key in "bcd"] == [True] * 3
    assert not (await put_one(store, keyed("a", "a"))).duplicate
    assert not (await put_one(store, keyed("b", "b"))).duplicate


async def test_one_call_may_bring_more_keys_than_are_kept(backend) -> None:  # type: ignore[no-untyped-def]
    store = backend.make(OnceBounds(max_records=3))
    await store.create_topic(TOPIC, NOTHING)
    keys = [keyed(str(number), str(number)) for number in range(10)]
    assert not any(outcome.duplicate for outcome in await store.append(TOPIC, keys))
    assert [(await put_one(store, one)).duplicate for one in keys[7:]] == [True] * 3
    assert not (await put_one(store, keys[6])).duplicate


async def test_publishers_go_oldest_first_with_their_whole_window(backend) -> None:  # type: ignore[no-untyped-def]
    store = backend.make(OnceBounds(max_records=5))
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [numbered(n, publisher="old") for n in range(3)])
    await store.append(TOPIC, [numbered(n, publisher="new") for n in range(3)])
    again = await store.append(TOPIC, [numbered(n, publisher="new") for n in range(3)])
    assert [outcome.duplicate for outcome in again] == [True] * 3
    assert not (await put_one(store, numbered(1, publisher="old"))).duplicate


async def test_an_active_publisher_outlives_idle_ones(backend, eventually: Eventually) -> None:  # type: ignore[no-untyped-def]
    store = backend.make(OnceBounds(max_records=4))
    await store.create_topic(TOPIC, NOTHING)
    first = await put_one(store, numbered(0, publisher="busy"))
    sequence = 0

    async def is_later() -> bool:
        nonlocal sequence
        sequence += 1
        return (await put_one(store, request("tick"))).time_ms > first.time_ms

    await eventually(is_later)
    await put_one(store, keyed("idle", "x"))
    await put_one(store, numbered(1, publisher="busy"))
    for key in "abc":
        await put_one(store, keyed(key, key))
    assert (await put_one(store, numbered(0, publisher="busy"))).duplicate
    assert not (await put_one(store, keyed("idle", "x"))).duplicate


@pytest.mark.parametrize("once", ["key", "sequence"])
async def test_records_that_are_too_old_are_forgotten(backend, eventually: Eventually, once: str) -> None:  # type: ignore[no-untyped-def]
    store = backend.make(OnceBounds(max_age_ms=3))
    await store.create_topic(TOPIC, NOTHING)
    one = keyed("k", "a") if once == "key" else numbered(1, "a")

    async def is_forgotten() -> bool:
        return not (await put_one(store, one)).duplicate

    assert await is_forgotten()
    await eventually(is_forgotten)
    assert (await store.topic(TOPIC)).log.next_offset == 2
