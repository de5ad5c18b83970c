"""The same for all sockets of a node, each in its dialect, and none of them buried in it."""

import asyncio
from collections.abc import Coroutine

import orjson
import pytest

from cluster.servers import Server, Told
from gateway.realtime import frames
from gateway.realtime.frames import Json, Msgpack, RealtimeDialect
from gateway.realtime.telling import PORTION, Telling

JSON, MSGPACK = Json(), Msgpack()
ONE = Told((Server("http://a", 1),), 1000)
TWO = Told((Server("http://a", 1), Server("http://b", 2)), 500)


class Socket:
    def __init__(self, dialect: RealtimeDialect = JSON, *, paused: bool = False, closing: bool = False) -> None:
        self.dialect = dialect
        self.paused = paused
        self.closing = closing
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert not self.paused and not self.closing
        self.written.append(data)

    @property
    def ops(self) -> list[str]:
        return [orjson.loads(data[data.index(b"{") :])["op"] for data in self.written]


class Hall:
    """Sockets, and the telling to them."""

    def __init__(self, *sockets: Socket, pause_seconds: float = 0.0) -> None:
        self.sockets = list(sockets)
        self.rounds: set[asyncio.Task[None]] = set()
        self.telling = Telling(lambda: self.sockets, (JSON, MSGPACK), self.spawn, pause_seconds=pause_seconds)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        self.rounds.add(asyncio.get_running_loop().create_task(work))

    async def finish(self) -> None:
        async with asyncio.timeout(10):
            await asyncio.gather(*self.rounds)


async def test_each_socket_is_told_in_its_dialect_with_one_encoding() -> None:
    hall = Hall(Socket(JSON), Socket(MSGPACK), Socket(JSON), Socket(closing=True))
    hall.telling.tell(TWO)
    await hall.finish()
    one, packed, other, closing = hall.sockets
    assert one.written == [frames.servers(JSON, TWO)]
    assert packed.written == [frames.servers(MSGPACK, TWO)]
    assert one.written[0] is other.written[0]
    assert closing.written == []


async def test_news_that_come_together_are_told_together() -> None:
    hall = Hall(Socket())
    for told in (ONE, TWO, ONE):
        hall.telling.tell(told)
    await hall.finish()
    assert hall.sockets[0].written == [frames.servers(JSON, ONE)]


async def test_news_during_a_round_get_a_round_of_their_own() -> None:
    hall = Hall(*(Socket() for _ in range(2 * PORTION)))
    hall.telling.tell(ONE)
    await asyncio.sleep(0)
    assert hall.sockets[0].written and not hall.sockets[-1].written, "the loop turned in between"
    hall.telling.tell(TWO)
    await hall.finish()
    assert hall.sockets[0].written == [frames.servers(JSON, ONE), frames.servers(JSON, TWO)]
    assert hall.sockets[-1].written == [frames.servers(JSON, TWO)], "not what holds no more"
    assert len(hall.rounds) == 1


async def test_the_next_round_waits() -> None:
    hall = Hall(Socket(), pause_seconds=60)
    hall.telling.tell(ONE)
    await asyncio.sleep(0)
    hall.telling.tell(TWO)
    for _ in range(10):
        await asyncio.sleep(0)
    assert hall.sockets[0].written == [frames.servers(JSON, ONE)]
    hall.telling.ask_to_leave(TWO, deadline_ms=5000)
    await asyncio.sleep(0)
    assert hall.sockets[0].ops == ["servers", "drain"], "the request to leave does not"
    for task in hall.rounds:
        task.cancel()


async def test_a_request_to_leave_overtakes_a_round() -> None:
    hall = Hall(*(Socket() for _ in range(2 * PORTION)))
    hall.telling.tell(ONE)
    await asyncio.sleep(0)
    hall.telling.ask_to_leave(TWO, deadline_ms=5000)
    await hall.finish()
    assert hall.sockets[0].ops == ["servers", "drain"]
    assert hall.sockets[-1].ops == ["drain"]
    assert hall.sockets[-1].written == [frames.drain(JSON, TWO, deadline_ms=5000)]


async def test_nobody_is_asked_twice() -> None:
    hall = Hall(Socket(), pause_seconds=0.01)
    hall.telling.tell(ONE)
    await asyncio.sleep(0)
    hall.telling.tell(TWO)
    hall.telling.ask_to_leave(TWO, deadline_ms=5000)
    await hall.finish()
    assert hall.sockets[0].ops == ["servers", "drain"]


async def test_a_paused_socket_hears_the_latest_when_it_reads_again() -> None:
    hall = Hall(Socket(paused=True), Socket())
    slow, quick = hall.sockets
    for told in (ONE, TWO):
        hall.telling.tell(told)
        await hall.finish()
    assert (len(quick.written), slow.written) == (2, [])
    slow.paused = False
    hall.telling.resume(slow)
    hall.telling.resume(slow)
    assert slow.written == [frames.servers(JSON, TWO)]


@pytest.mark.parametrize("gone", [True, False])
async def test_who_has_left_is_forgotten(gone: bool) -> None:
    hall = Hall(Socket(paused=True))
    (slow,) = hall.sockets
    hall.telling.tell(ONE)
    await hall.finish()
    slow.paused = False
    if gone:
        hall.telling.forget(slow)
    hall.telling.resume(slow)
    assert len(slow.written) == (not gone)
    hall.telling.forget(slow)
