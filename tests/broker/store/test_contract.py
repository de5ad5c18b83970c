"""What every store does alike: the memory store, Valkey, Redis and a Redis Cluster."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from logs import EVERYTHING, NOTHING, TOPIC, envelope, keyed, numbered, placed, put, put_one, request, texts_after

from broker.errors import (
    AlreadyExists,
    HeadraceError,
    InvalidName,
    KeyConflict,
    StaleSequence,
    UnknownProject,
    UnknownTopic,
)
from broker.names import DEFAULT_PROJECT, ProjectName, TopicName
from broker.positions import MAX_EPOCH, Position, Range, Recovery
from broker.store.base import (
    MAX_ANNOUNCED_BYTES,
    SEQUENCE_WINDOW,
    TRIM_ENTRIES,
    Appended,
    ProjectInfo,
    Retention,
    Store,
    TopicInfo,
)
from broker.store.once import OnceBounds

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
OTHER = TopicName("default/other")


# The log.


async def test_offsets_count_from_zero_without_holes_and_in_order(store: Store) -> None:
    created = await store.create_topic(TOPIC, NOTHING)
    outcomes = await store.append(TOPIC, [request("a"), request("b", "c"), request("d")])
    outcomes += await store.append(TOPIC, [request("e")])
    assert all(isinstance(outcome, Appended) and not outcome.duplicate for outcome in outcomes)
    firsts = [(outcome.first.offset, outcome.count) for outcome in outcomes]  # type: ignore[union-attr]
    assert firsts == [(0, 1), (1, 2), (3, 1), (4, 1)]
    assert {outcome.first.epoch for outcome in outcomes} == {created.log.epoch}  # type: ignore[union-attr]

    page = await store.read(TOPIC, None, max_entries=10, max_bytes=10_000)
    assert [entry.message.payload for entry in page.entries] == [b"a", b"b", b"c", b"d", b"e"]
    assert [entry.position.offset for entry in page.entries] == [0, 1, 2, 3, 4]
    times = [entry.time_ms for entry in page.entries]
    assert times == sorted(times)
    assert times[0] == outcomes[0].time_ms  # type: ignore[union-attr]
    assert page.log.end == Position(created.log.epoch, 4)
    assert page.log.first == Position(created.log.epoch, 0)


async def test_an_empty_topic_ends_before_its_first_entry(store: Store) -> None:
    info = await store.create_topic(TOPIC, NOTHING)
    assert info.log.end == Position(info.log.epoch, -1)
    assert info.log.first is None
    assert 2**51 < info.log.epoch <= MAX_EPOCH
    end = info.log.end
    assert await texts_after(store, end) == []
    await put(store, "a")
    assert await texts_after(store, end) == ["a"]
    assert (await placed(store, end)).recovery is Recovery.COMPLETE


async def test_a_message_comes_back_as_it_was(store: Store) -> None:
    from broker.messages import Kind, Message, pack
    from broker.store.base import AppendRequest

    await store.create_topic(TOPIC, NOTHING)
    messages = [
        Message(Kind.BINARY, bytes(range(256)) * 10),
        Message(Kind.JSON, b'{"a":1}', {"k": "v", "ключ": "\0\n"}),
        Message(Kind.TEXT, b"", verbatim=True),
    ]
    await store.append(TOPIC, [AppendRequest(tuple(map(pack, messages)))])
    page = await store.read(TOPIC, None, max_entries=10, max_bytes=10**6)
    assert [entry.message for entry in page.entries] == messages


async def test_a_read_goes_on_right_after_a_place(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, "a", "b", "c")
    epoch = last.epoch
    assert await texts_after(store, Position(epoch, -1)) == ["a", "b", "c"]
    assert await texts_after(store, Position(epoch, 0)) == ["b", "c"]
    assert await texts_after(store, last) == []
    assert await texts_after(store, Position(epoch, 99)) == []


async def test_a_page_keeps_to_its_bounds_but_is_never_empty(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [request(*(f"{number:03}" for number in range(200)))])
    size = len(envelope("000"))

    async def read(most: int, budget: int) -> int:
        return len((await store.read(TOPIC, None, max_entries=most, max_bytes=budget)).entries)

    assert await read(0, 10_000) == 0
    assert await read(1, 10_000) == 1
    assert await read(150, 10_000) == 150
    assert await read(500, 10_000) == 200
    assert await read(500, 5 * size) == 5
    assert await read(500, 5 * size + 1) == 5
    assert await read(500, 77 * size) == 77
    assert await read(500, 0) == 1


async def test_pages_follow_one_another_without_loss(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [request(*(f"{number}" * (number % 7 + 1) for number in range(100)))])
    seen: list[int] = []
    after: Position | None = None
    while True:
        page = await store.read(TOPIC, after, max_entries=9, max_bytes=60)
        if not page.entries:
            break
        seen += [entry.position.offset for entry in page.entries]
        after = page.entries[-1].position
    assert seen == list(range(100))


async def test_what_does_not_exist_is_unknown(store: Store) -> None:
    await store.create_topic(OTHER, NOTHING)
    calls: list[Awaitable[object]] = [
        store.append(TOPIC, [request("a")]),
        store.read(TOPIC, None, max_entries=1, max_bytes=1),
        store.find_time(TOPIC, 0),
        store.topic(TOPIC),
        store.configure_topic(TOPIC, NOTHING),
        store.delete_topic(TOPIC),
        store.trim(TOPIC, EVERYTHING),
    ]
    for call in calls:
        with pytest.raises(UnknownTopic):
            await call
    assert await store.ends([TOPIC]) == [None]
    assert [info.name for info in await store.topics(DEFAULT_PROJECT)] == [OTHER]


async def test_topics_keep_apart(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.create_topic(OTHER, NOTHING)
    first = await put_one(store, keyed("k", "a"))
    second = await put_one(store, keyed("k", "b"), topic=OTHER)
    assert not second.duplicate
    assert await store.ends([TOPIC, TopicName("default/none"), OTHER]) == [first.first, None, second.first]
    assert await texts_after(store, None, topic=OTHER) == ["b"]


async def test_writers_at_the_same_time_share_one_order(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    outcomes = await asyncio.gather(*(put_one(store, request(f"{number}", "+")) for number in range(50)))
    assert sorted(outcome.first.offset for outcome in outcomes) == list(range(0, 100, 2))
    page = await store.read(TOPIC, None, max_entries=100, max_bytes=10_000)
    for number, outcome in enumerate(outcomes):
        assert page.entries[outcome.first.offset].message.payload == b"%d" % number


async def test_find_time_gives_the_place_before_the_first_message_that_is_late_enough(
    store: Store, eventually: Eventually
) -> None:
    info = await store.create_topic(TOPIC, NOTHING)
    assert await store.find_time(TOPIC, 0) == info.log.end
    for text in "abcdefg":
        earlier = await put_one(store, request(text, text))

        async def later(earlier: Appended = earlier) -> bool:
            await store.create_topic(TopicName(f"default/{earlier.first.offset}"), NOTHING)
            created = (await store.topic(TopicName(f"default/{earlier.first.offset}"))).created_ms
            await store.delete_topic(TopicName(f"default/{earlier.first.offset}"))
            return created > earlier.time_ms

        await eventually(later)
    page = await store.read(TOPIC, None, max_entries=100, max_bytes=10_000)
    assert len({entry.time_ms for entry in page.entries}) == 7
    for entry in page.entries:
        first = next(other for other in page.entries if other.time_ms == entry.time_ms)
        assert await store.find_time(TOPIC, entry.time_ms) == page.log.before(first.position.offset)
        before = next(other for other in page.entries if other.time_ms >= entry.time_ms - 1)
        assert await store.find_time(TOPIC, entry.time_ms - 1) == page.log.before(before.position.offset)
    assert await store.find_time(TOPIC, page.entries[-1].time_ms + 1) == page.log.end
    await store.trim(TOPIC, replace(EVERYTHING, max_messages=3))
    assert await store.find_time(TOPIC, 0) == page.log.before(11)


# Announcements.


async def test_each_append_is_announced_with_the_place_before_it(backend, store: Store) -> None:  # type: ignore[no-untyped-def]
    created = await store.create_topic(TOPIC, NOTHING)
    async with backend.ear(TOPIC) as ear:
        await store.append(TOPIC, [request("a"), request("b", "c")])
        await put(store, "d")
        first, second = await ear.next(), await ear.next()
        page = await store.read(TOPIC, None, max_entries=10, max_bytes=10_000)
        assert first.previous == created.log.end
        assert first.last == second.previous == Position(created.log.epoch, 2)
        assert second.last == page.log.end
        assert first.entries + second.entries == page.entries
        assert not first.ended


async def test_bodies_too_large_to_announce_are_left_to_the_log(backend, store: Store) -> None:  # type: ignore[no-untyped-def]
    await store.create_topic(TOPIC, NOTHING)
    async with backend.ear(TOPIC) as ear:
        body = "x" * (MAX_ANNOUNCED_BYTES // 2)
        await store.append(TOPIC, [request(body), request(body)])
        heard = await ear.next()
        assert heard.entries is None
        assert (heard.previous.offset, heard.last.offset) == (-1, 1)


async def test_what_changes_nothing_announces_nothing(backend, store: Store) -> None:  # type: ignore[no-untyped-def]
    await store.create_topic(TOPIC, NOTHING)
    await put_one(store, keyed("k", "a"))
    async with backend.ear(TOPIC) as ear:
        await store.append(TOPIC, [keyed("k", "a"), keyed("k", "other")])
        last = await put(store, "b")
        heard = await ear.next()
        assert (heard.previous.offset, heard.last) == (0, last)


async def test_a_deletion_is_announced(backend, store: Store) -> None:  # type: ignore[no-untyped-def]
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, "a")
    async with backend.ear(TOPIC) as ear:
        await store.delete_topic(TOPIC)
        heard = await ear.next()
        assert heard.ended
        assert heard.last == last
        assert heard.entries is None


# Idempotency.


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


# Retention.


async def left(store: Store) -> list[str]:
    return await texts_after(store, None)


async def test_retention_by_count_is_exact(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, *"abcdef")
    trimmed = await store.trim(TOPIC, replace(EVERYTHING, max_messages=2))
    assert (trimmed.removed, trimmed.more) == (4, False)
    assert await left(store) == ["e", "f"]
    log = (await store.topic(TOPIC)).log
    assert log.first == Position(last.epoch, 4)
    assert log.end == last
    assert (await store.trim(TOPIC, replace(EVERYTHING, max_messages=2))).removed == 0


async def test_retention_by_bytes_is_exact(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await put(store, "aaaa", "b", "cc", "d")
    size = (await store.topic(TOPIC)).bytes
    assert size == sum(len(envelope(text)) for text in ("aaaa", "b", "cc", "d"))
    assert (await store.trim(TOPIC, replace(EVERYTHING, max_bytes=size))).removed == 0
    assert (await store.trim(TOPIC, replace(EVERYTHING, max_bytes=size - 1))).removed == 1
    kept = len(envelope("cc")) + len(envelope("d"))
    assert (await store.trim(TOPIC, replace(EVERYTHING, max_bytes=kept))).removed == 1
    assert await left(store) == ["cc", "d"]
    assert (await store.topic(TOPIC)).bytes == kept


async def test_retention_by_age_takes_what_is_older_and_no_more(store: Store, eventually: Eventually) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await put(store, "a", "b")
    assert (await store.trim(TOPIC, EVERYTHING)).removed == 0

    async def all_gone() -> bool:
        await store.trim(TOPIC, replace(EVERYTHING, max_age_ms=1))
        return await left(store) == []

    await eventually(all_gone)
    last = await put(store, "c")
    assert last.offset == 2
    assert (await store.trim(TOPIC, replace(EVERYTHING, max_age_ms=60_000))).removed == 0


async def test_a_log_trimmed_to_nothing_goes_on_where_it_was(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, "a", "b", "c")
    await store.trim(TOPIC, replace(EVERYTHING, max_bytes=0))
    info = await store.topic(TOPIC)
    assert (info.bytes, info.log.first, info.log.end) == (0, None, last)
    assert (await put(store, "d")).offset == 3
    assert await left(store) == ["d"]


async def test_a_trim_is_bounded_a_call(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [request(*["x"] * 700)])
    await store.append(TOPIC, [request(*["x"] * 700)])
    none = replace(EVERYTHING, max_messages=0)
    first, second = await store.trim(TOPIC, none), await store.trim(TOPIC, none)
    assert (first.removed, first.more) == (TRIM_ENTRIES, True)
    assert (second.removed, second.more) == (1400 - TRIM_ENTRIES, False)


async def test_a_reader_whose_next_messages_were_trimmed_is_told_which(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, *"abcdef")
    epoch = last.epoch
    await store.trim(TOPIC, replace(EVERYTHING, max_messages=2))
    verdict = await placed(store, Position(epoch, 1))
    assert verdict.recovery is Recovery.TRIMMED
    assert verdict.missing == (Range(epoch, 2, 3),)
    assert await texts_after(store, verdict.after) == ["e", "f"]
    assert (await placed(store, Position(epoch, 3))).recovery is Recovery.COMPLETE
    await store.trim(TOPIC, replace(EVERYTHING, max_messages=0))
    verdict = await placed(store, Position(epoch, -1))
    assert (verdict.missing, verdict.after) == ((Range(epoch, 0, 5),), last)


# Topics and projects.


async def test_a_topic_is_created_described_configured_and_deleted(store: Store) -> None:
    limits = Retention(max_messages=5, max_age_ms=1000)
    created = await store.create_topic(TOPIC, limits)
    assert created == await store.topic(TOPIC)
    assert (created.name, created.retention, created.bytes) == (TOPIC, limits, 0)
    with pytest.raises(AlreadyExists):
        await store.create_topic(TOPIC, limits)
    configured = await store.configure_topic(TOPIC, Retention(max_bytes=7))
    assert configured == await store.topic(TOPIC) == replace(created, retention=Retention(max_bytes=7))
    await store.delete_topic(TOPIC)
    with pytest.raises(UnknownTopic):
        await store.topic(TOPIC)
    assert await store.topics(DEFAULT_PROJECT) == []


async def test_a_topic_created_again_is_empty_and_its_positions_are_new(store: Store) -> None:
    created = await store.create_topic(TOPIC, Retention(max_messages=1))
    old = await put_one(store, keyed("k", "a"))
    await store.delete_topic(TOPIC)
    again = await store.create_topic(TOPIC, NOTHING)
    assert again.log.epoch > created.log.epoch
    assert again.retention == NOTHING
    assert again.log.next_offset == 0
    new = await put_one(store, keyed("k", "a"))
    assert not new.duplicate
    assert new.first.offset == 0
    verdict = await placed(store, old.first)
    assert verdict.recovery is Recovery.LOST
    assert await texts_after(store, verdict.after) == ["a"]


async def test_topics_are_listed_newest_first_by_project(store: Store, eventually: Eventually) -> None:
    await store.create_project(ProjectInfo(ProjectName("p"), 0, 0))
    names = [TopicName("p/b"), TopicName("p/a"), TopicName("p/c/d")]
    made: list[TopicInfo] = []
    for name in names:

        async def created_later(name: TopicName = name) -> bool:
            info = await store.create_topic(name, NOTHING)
            if made and info.created_ms <= made[-1].created_ms:
                await store.delete_topic(name)
                return False
            made.append(info)
            return True

        await eventually(created_later)
    await store.create_topic(TOPIC, NOTHING)
    assert await store.topics(ProjectName("p")) == made[::-1]
    with pytest.raises(UnknownProject):
        await store.topics(ProjectName("none"))


@pytest.mark.parametrize(
    "name", ["default/ü/€ %7B~:", "default/a b", "ein projekt%/x", "projects/all", "default/" + "é" * 120]
)
async def test_names_of_any_shape_work(backend, store: Store, name: str) -> None:  # type: ignore[no-untyped-def]
    topic = TopicName(name)
    project = ProjectName(name.partition("/")[0])
    if project != DEFAULT_PROJECT:
        await store.create_project(ProjectInfo(project, 0, 0))
    await store.create_topic(topic, NOTHING)
    async with backend.ear(topic) as ear:
        await put(store, "a", topic=topic)
        assert len((await ear.next()).entries) == 1
    assert [info.name for info in await store.topics(project)] == [topic]


async def test_a_topic_needs_its_project(store: Store) -> None:
    with pytest.raises(UnknownProject):
        await store.create_topic(TopicName("none/t"), NOTHING)


async def test_projects_are_created_described_configured_and_deleted(store: Store) -> None:
    name = ProjectName("p")
    given = ProjectInfo(name, 1, 2, "text", True, Retention(max_bytes=9), "me")
    created = await store.create_project(given)
    assert created == await store.project(name)
    assert created == replace(given, created_ms=created.created_ms, modified_ms=created.created_ms)
    assert created.created_ms > 10**12
    with pytest.raises(AlreadyExists):
        await store.create_project(given)
    configured = await store.configure_project(ProjectInfo(name, 0, 0, "new", created_by="you"))
    assert configured == await store.project(name)
    assert (configured.description, configured.created_by, configured.created_ms) == ("new", "me", created.created_ms)
    assert configured.modified_ms >= created.modified_ms
    assert [info.name for info in await store.projects()] == [DEFAULT_PROJECT, name]

    topic = TopicName("p/t")
    await store.create_topic(topic, NOTHING)
    await store.delete_project(name)
    for call in (store.project(name), store.topics(name), store.delete_project(name), store.configure_project(given)):
        with pytest.raises(UnknownProject):
            await call
    assert await store.ends([topic]) == [None]


async def test_the_default_project_always_exists(store: Store) -> None:
    assert (await store.project(DEFAULT_PROJECT)).auto_create_topics is False
    assert [info.name for info in await store.projects()] == [DEFAULT_PROJECT]
    with pytest.raises(InvalidName):
        await store.delete_project(DEFAULT_PROJECT)
    with pytest.raises(AlreadyExists):
        await store.create_project(ProjectInfo(DEFAULT_PROJECT, 0, 0))
    configured = await store.configure_project(ProjectInfo(DEFAULT_PROJECT, 0, 0, auto_create_topics=True))
    assert configured == await store.project(DEFAULT_PROJECT)
    assert configured.auto_create_topics


def test_bytes_that_no_append_wrote_are_refused(backend) -> None:  # type: ignore[no-untyped-def]
    for junk in (b"", b"\0\0\0\1", b"junk" * 9):
        with pytest.raises(ValueError, match=r"."):
            backend.make().read_announcement(junk)
