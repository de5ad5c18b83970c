"""What every store does alike, with what a log should not keep."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from logs import EVERYTHING, NOTHING, TOPIC, envelope, placed, put, request, texts_after

from broker.positions import Position, Range, Recovery
from broker.store.base import TRIM_BYTES, TRIM_ENTRIES, Store

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


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


async def test_a_trim_of_large_messages_is_bounded_by_their_bytes(store: Store) -> None:
    await store.create_topic(TOPIC, NOTHING)
    body = "x" * (TRIM_BYTES // 16)
    for _ in range(18):
        await store.append(TOPIC, [request(body)])
    none = replace(EVERYTHING, max_messages=0)
    first, second = await store.trim(TOPIC, none), await store.trim(TOPIC, none)
    assert (first.removed, first.more) == (16, True)
    assert (second.removed, second.more) == (2, False)


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
