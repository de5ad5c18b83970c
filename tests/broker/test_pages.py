"""Shared pages: who shares which read, and what must be read anew."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker import pages as pages_file
from broker.errors import Unavailable
from broker.messages import Entry, Kind, Message
from broker.names import TopicName
from broker.pages import KEPT_SECONDS, MAX_READS, PAGE_ENTRIES, Pages
from broker.positions import Link, LogState, Position
from broker.store.base import Page

TOPIC = TopicName("p/t")


def at(offset: int) -> Position:
    return Position(1000, offset)


class Log:
    """Answers each read with a page that tells which read it was, when the gate is open."""

    def __init__(self) -> None:
        self.asked: list[tuple[TopicName, Position | None, int]] = []
        self.under_way = 0
        self.most = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self, topic: TopicName, after: Position | None, *, max_entries: int, max_bytes: int) -> Page:
        self.asked.append((topic, after, max_entries))
        number = len(self.asked)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if self.error:
            raise self.error
        entry = Entry(at(0), 0, Message(Kind.BINARY, b"x" * 1000))
        return Page(LogState((Link(1000, 0),), number, None), (entry,) if after else ())


class Reading:
    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.log = Log()
        self.now = 0.0
        self.pages = Pages(
            self.log,  # type: ignore[arg-type]
            monotonic=lambda: self.now,
            spawn=tasks.create_task,
        )

    async def number(self, offset: int, *, fresh: bool = False) -> int:
        return (await self.pages.after(TOPIC, at(offset), fresh=fresh)).log.next_offset


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    async with asyncio.TaskGroup() as tasks:
        yield Reading(tasks)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_those_who_ask_at_once_share_a_read(reading: Reading) -> None:
    assert await asyncio.gather(*(reading.number(7) for _ in range(100))) == [1] * 100
    assert reading.log.asked == [(TOPIC, at(7), PAGE_ENTRIES)]


async def test_a_page_is_kept_for_a_moment_but_never_for_the_fresh(reading: Reading) -> None:
    assert await reading.number(7) == 1
    assert await reading.number(7) == 1
    assert await reading.number(7, fresh=True) == 2
    assert await reading.number(7) == 2
    assert await reading.number(8) == 3
    reading.now = KEPT_SECONDS
    assert await reading.number(7) == 4


async def test_a_fresh_read_begins_after_the_question_and_is_shared_by_those_who_wait(reading: Reading) -> None:
    reading.log.gate.clear()
    first = asyncio.create_task(reading.number(7))
    await turns()
    fresh = [asyncio.create_task(reading.number(7, fresh=True)) for _ in range(10)]
    await turns()
    not_so = asyncio.create_task(reading.number(7))
    reading.log.gate.set()
    assert await first == 1
    assert await asyncio.gather(*fresh) == [2] * 10
    assert await not_so == 2


async def test_the_end_is_always_fresh_and_without_entries(reading: Reading) -> None:
    assert (await reading.pages.end(TOPIC)).next_offset == 1
    assert (await reading.pages.end(TOPIC)).next_offset == 2
    assert reading.log.asked == [(TOPIC, None, 0)] * 2


async def test_only_so_many_reads_are_under_way(reading: Reading) -> None:
    reading.log.gate.clear()
    asking = [asyncio.create_task(reading.number(offset)) for offset in range(3 * MAX_READS)]
    await turns()
    assert reading.log.under_way == MAX_READS
    reading.log.gate.set()
    await asyncio.gather(*asking)
    assert reading.log.most == MAX_READS
    assert len(reading.log.asked) == 3 * MAX_READS


async def test_a_refusal_reaches_everyone_and_is_not_kept(reading: Reading) -> None:
    reading.log.error = Unavailable()
    results = await asyncio.gather(*(reading.number(7) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    reading.log.error = None
    assert await reading.number(7) == 2


async def test_who_gives_up_takes_the_page_from_nobody(reading: Reading) -> None:
    reading.log.gate.clear()
    one, other = asyncio.create_task(reading.number(7)), asyncio.create_task(reading.number(7))
    await turns()
    one.cancel()
    await turns()
    reading.log.gate.set()
    assert await other == 1


async def test_a_store_that_never_answers_is_unavailable(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_file, "READ_SECONDS", 0.0)
    reading.log.gate.clear()
    with pytest.raises(Unavailable):
        await reading.number(7)


async def test_kept_pages_are_bounded(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_file, "MAX_KEPT_BYTES", 4000)
    for offset in (1, 2, 3):
        await reading.number(offset)
    assert await reading.number(3) == 3
    assert await reading.number(1) == 4, "the oldest was let go of"


async def test_old_pages_are_let_go_of(reading: Reading) -> None:
    await reading.number(1)
    reading.now = KEPT_SECONDS
    reading.pages.forget_old()
    assert (len(reading.pages._kept), reading.pages._kept_bytes) == (0, 0)


async def test_nobody_waits_for_a_node_that_stops(reading: Reading) -> None:
    reading.log.gate.clear()
    asking = asyncio.create_task(reading.number(7))
    await turns()
    reading.pages.close()
    with pytest.raises(Unavailable):
        await asking
    reading.log.gate.set()
