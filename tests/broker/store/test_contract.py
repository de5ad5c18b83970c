"""What every store does alike, with the log: the memory store, Valkey, Redis and a Redis Cluster."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from logs import EVERYTHING, NOTHING, TOPIC, envelope, keyed, placed, put, put_one, request, texts_after

from broker.errors import UnknownTopic
from broker.names import DEFAULT_PROJECT, TopicName
from broker.positions import MAX_EPOCH, Position, Recovery
from broker.store.base import MAX_ANNOUNCED_BYTES, Appended, Store

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
OTHER = TopicName("default/other")


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


async def test_bodies_of_exactly_the_bound_are_announced(backend, store: Store) -> None:  # type: ignore[no-untyped-def]
    await store.create_topic(TOPIC, NOTHING)
    async with backend.ear(TOPIC) as ear:
        bare = len(envelope("x" * 100_000)) - 100_000
        await put(store, "x" * (MAX_ANNOUNCED_BYTES - bare))
        assert len((await ear.next()).entries) == 1


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


def test_bytes_that_no_append_wrote_are_refused(backend) -> None:  # type: ignore[no-untyped-def]
    for junk in (b"", b"\0\0\0\1", b"junk" * 9):
        with pytest.raises(ValueError, match=r"."):
            backend.make().read_announcement(junk)
