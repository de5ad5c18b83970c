"""HTTP connections against a real server: deadlines, bounds, caps, order, streams."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from http_node import Served, eventually, serving

from gateway.admission import Admission
from gateway.http import HttpProtocol, Phase
from gateway.reception import Bounds
from gateway.session import Census
from gateway.streams import EXTENSION

QUICK = Bounds(
    header_seconds=0.3,
    body_seconds=0.3,
    body_bytes_per_second=20_000,
    body_bytes=100_000,
    idle_seconds=0.3,
    stalled_seconds=0.3,
    linger_seconds=0.3,
    header_bytes=4096,
    headers=20,
    pipelined=4,
)


async def pass_the_deadlines(served: Served) -> None:
    """Return when a connection that does nothing would have been closed: time as the server itself measures it."""
    assert await (await served.connect()).is_closed()


LARGE_BYTES = 24_000_000
"""More than the kernel's buffers take."""


class Echo:
    """Answers with the length of the body; `/slow` and `/deaf` wait until let go, `/deaf` does not look at the body.

    `/once` is answered in one write, where the protocol takes that.
    """

    def __init__(self) -> None:
        self.started: list[str] = []
        self.go = asyncio.Event()
        self.left = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.started.append(scope["path"])
        if scope["path"] in ("/slow", "/deaf"):
            await self.go.wait()
        size = 0
        while scope["path"] != "/deaf":
            event = await receive()
            if event["type"] == "http.disconnect":
                self.left += 1
                return
            size += len(event["body"])
            if not event["more_body"]:
                break
        body = b"%d" % size if scope["path"] != "/large" else b"x" * LARGE_BYTES
        if scope["path"] == "/once" and scope["extensions"][EXTENSION].answer(200, [(b"x-once", b"1")], body):
            return
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    yield echo
    echo.go.set()


@pytest.fixture
async def quick(echo: Echo) -> AsyncIterator[Served]:
    async with serving(echo, bounds=QUICK) as served:
        yield served
        echo.go.set()


# Deadlines.


async def test_a_connection_that_says_nothing_is_closed(quick: Served) -> None:
    peer = await quick.connect()
    assert await peer.is_closed()
    await eventually(lambda: quick.census.total == 0)


@pytest.mark.parametrize("sent", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n\r\n"])
async def test_headers_that_do_not_end_are_closed(quick: Served, echo: Echo, sent: bytes) -> None:
    peer = await quick.connect()
    await peer.send(sent)
    answer = await peer.read_to_end()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    assert echo.started == []


async def drip(peer: Any, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        for byte in data:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n",
        b"",
    ],
    ids=["headers", "body", "chunk", "first byte on"],
)
async def test_dripping_does_not_keep_a_connection(quick: Served, head: bytes) -> None:
    peer = await quick.connect()
    await peer.send(head)
    dripping = asyncio.create_task(drip(peer, b"GET /" + b"a" * 5000))
    answer = await peer.read_to_end()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    assert not dripping.done() or dripping.exception() is None
    dripping.cancel()


async def test_the_first_requests_time_began_with_the_connection(quick: Served) -> None:
    peer = await quick.connect()
    await eventually(lambda: quick.server.server_state.connections)
    [connection] = quick.server.server_state.connections
    assert isinstance(connection, HttpProtocol)
    deadline = connection.deadline
    await peer.send(b"GET / HTTP/1.1\r\n")
    await eventually(lambda: connection.phase is Phase.HEADERS)
    assert connection.deadline == deadline


async def test_a_second_request_gets_its_own_time_for_headers(quick: Served) -> None:
    peer = await quick.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.read_response()
    await peer.send(b"GET / HTTP/1.1\r\nHo")
    answer = await peer.read_to_end()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert quick.metrics.refusals.counts[("timeout",)] == 1


async def test_an_idle_connection_is_closed_without_a_word(quick: Served) -> None:
    peer = await quick.connect()
    await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.read_response()
    assert await peer.is_closed()


async def test_a_body_that_keeps_its_pace_may_take_longer(echo: Echo) -> None:
    bounds = Bounds(body_seconds=0.2, body_bytes_per_second=1000, header_seconds=0.2, idle_seconds=5)
    async with serving(echo, bounds=bounds) as served:
        peer = await served.connect()
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
        for _ in range(10):
            await peer.send(b"x" * 1000)
            await asyncio.sleep(0.05)
        status, _, body = await peer.read_response()
        assert (status, body) == (200, b"10000")


async def test_the_time_of_an_answer_is_not_the_peers(quick: Served, echo: Echo) -> None:
    peer = await quick.connect()
    await peer.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    await pass_the_deadlines(quick)
    await pass_the_deadlines(quick)
    echo.go.set()
    assert (await peer.read_response())[0] == 200


async def test_a_peer_that_takes_nothing_of_its_answer_is_cut(quick: Served) -> None:
    peer = await quick.connect()
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: quick.census.total == 1)
    await eventually(lambda: quick.census.total == 0, "the cut")
    assert quick.metrics.refusals.counts[("timeout",)] == 1


async def test_a_peer_that_takes_its_answer_slowly_gets_all_of_it(quick: Served) -> None:
    peer = await quick.connect()
    await peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.read_until(b"\r\n\r\n")
    for _ in range(20):
        await asyncio.wait_for(peer.reader.readexactly(LARGE_BYTES // 20), 10)
        await asyncio.sleep(0.05)
    # And then it is an idle connection like any other.
    assert await peer.is_closed()
    assert quick.metrics.refusals.counts == {}


async def test_a_room_is_told_when_its_peer_was_too_slow(quick: Served, echo: Echo) -> None:
    peer = await quick.connect()
    await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert (await peer.read_response())[0] == 408
    await eventually(lambda: echo.left == 1)
    assert await peer.is_closed()


# Bounds.


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 5000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 30 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + b"x" * 0x20000 + b"\r\n0\r\n\r\n", 413),
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
    ids=["url", "header", "headers", "length", "chunks", "nonsense", "both lengths", "two lengths", "connect", "tls"],
)
async def test_what_is_too_large_or_malformed_is_refused(quick: Served, echo: Echo, sent: bytes, status: int) -> None:
    peer = await quick.connect()
    await peer.send(sent)
    given, headers, body = await peer.read_response()
    assert (given, headers["connection"]) == (status, "close")
    assert orjson.loads(body)["error"]["message"]
    assert await peer.is_closed()
    await eventually(lambda: quick.census.total == 0)


async def test_an_endless_header_is_refused_before_it_ends(quick: Served) -> None:
    peer = await quick.connect()
    await peer.send(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(8):
        await peer.send(b"a" * 1000)
        await asyncio.sleep(0.002)
    assert (await peer.read_response())[0] == 431


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"/v1/projects/p/topics/t:publish", {"code": 413, "status": "INVALID_ARGUMENT"}),
        (b"/v1/projects/p/topics/t:stream", {"code": "too_large"}),
        (b"/elsewhere", {"code": "too_large"}),
    ],
)
async def test_a_refusal_speaks_the_dialect_of_its_face(quick: Served, path: bytes, error: dict[str, object]) -> None:
    peer = await quick.connect()
    await peer.send(b"POST %b HTTP/1.1\r\nContent-Length: 999999\r\n\r\n" % path)
    _, _, body = await peer.read_response()
    assert orjson.loads(body)["error"] == error | {"message": "Message size is too large"}


async def test_a_refused_peer_may_finish_sending_and_still_reads_why(quick: Served) -> None:
    peer = await quick.connect()
    await peer.send(b"POST / HTTP/1.1\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000)
    assert (await peer.read_response())[0] == 413


async def test_a_room_cannot_answer_what_was_refused(
    quick: Served, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await quick.connect()
    await peer.send(b"POST /deaf HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + b"x" * 0x20000)
    assert (await peer.read_response())[0] == 413
    echo.go.set()
    await eventually(lambda: not quick.server.server_state.tasks)
    assert await peer.is_closed()
    assert caplog.text == ""


# Order.


async def test_pipelined_requests_are_answered_in_order(quick: Served, echo: Echo) -> None:
    peer = await quick.connect()
    posts = b"".join(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (n, b"x" * n) for n in (1, 2, 3))
    await peer.send(b"GET /slow HTTP/1.1\r\n\r\n" + posts)
    await eventually(lambda: echo.started == ["/slow"])
    echo.go.set()
    assert [(await peer.read_response())[2] for _ in range(4)] == [b"0", b"1", b"2", b"3"]


async def test_an_answer_in_one_write_is_like_any_other(quick: Served) -> None:
    peer = await quick.connect()
    for _ in range(2):
        await peer.send(b"POST /once HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + b"GET /slower HTTP/1.1\r\n\r\n")
        status, headers, body = await peer.read_response()
        assert (status, headers["x-once"], headers["content-length"], body) == (200, "1", "1", b"3")
        assert "date" in headers and "connection" not in headers
        assert (await peer.read_response())[2] == b"0"


async def test_an_answer_in_one_write_closes_where_it_must(quick: Served) -> None:
    for line in (b"GET /once HTTP/1.0", b"GET /once HTTP/1.1\r\nConnection: close"):
        peer = await quick.connect()
        await peer.send(line + b"\r\n\r\n")
        status, headers, body = await peer.read_response()
        assert (status, headers["connection"], body) == (200, "close", b"0")
        assert await peer.is_closed()


async def test_an_answer_to_head_is_left_to_send(quick: Served) -> None:
    peer = await quick.connect()
    await peer.send(b"HEAD /once HTTP/1.1\r\n\r\nGET /once HTTP/1.1\r\n\r\n")
    head = await asyncio.wait_for(peer.reader.readuntil(b"\r\n\r\n"), 5)
    assert b"x-once" not in head
    assert (await peer.read_response())[2] == b"0", "no body behind the answer to HEAD"


async def test_byte_by_byte_requests_are_whole(echo: Echo) -> None:
    async with serving(echo) as served:
        peer = await served.connect()
        for byte in b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab":
            await peer.send(bytes([byte]))
        assert (await peer.read_response())[2] == b"2"


async def test_too_many_pipelined_requests_close_the_connection(quick: Served, echo: Echo) -> None:
    peer = await quick.connect()
    await peer.send(b"GET /slow HTTP/1.1\r\n\r\n" * 10)
    assert await peer.is_closed()


async def test_a_refusal_never_passes_for_an_earlier_answer(quick: Served, echo: Echo) -> None:
    peer = await quick.connect()
    await peer.send(b"GET /slow HTTP/1.1\r\n\r\nNONSENSE\r\n\r\n")
    assert await peer.is_closed()


# Caps.


async def test_connections_above_a_cap_are_told_so(echo: Echo) -> None:
    census = Census(connections=10, connections_per_address=2)
    async with serving(echo, bounds=QUICK, census=census) as served:
        kept = [await served.connect() for _ in range(2)]
        await eventually(lambda: census.total == 2)
        peer = await served.connect()
        await peer.send(b"POST /v1/projects/p/topics/t:publish HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")
        status, headers, body = await peer.read_response()
        assert (status, headers["retry-after"]) == (503, "5")
        assert orjson.loads(body)["error"]["code"] == 503
        assert census.total == 2
        for one in kept:
            one.close()
        await eventually(lambda: census.total == 0)
        again = await served.connect()
        await again.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await again.read_response())[0] == 200


async def test_an_event_source_above_a_cap_is_only_cut_so_that_it_comes_back(echo: Echo) -> None:
    async with serving(echo, bounds=QUICK, census=Census(connections=0, connections_per_address=1)) as served:
        peer = await served.connect()
        await peer.send(b"GET /x:stream HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n")
        assert await peer.is_closed()


async def test_a_silent_connection_above_a_cap_does_not_stay(echo: Echo) -> None:
    async with serving(echo, bounds=QUICK, census=Census(connections=0, connections_per_address=1)) as served:
        assert await (await served.connect()).is_closed()


async def test_who_vanishes_is_counted_out(quick: Served, echo: Echo) -> None:
    peer = await quick.connect()
    await peer.send(b"GET /slow HTTP/1.1\r\n\r\n")
    await eventually(lambda: echo.started == ["/slow"])
    peer.reset()
    await eventually(lambda: quick.census.total == 0)
    echo.go.set()
    await eventually(lambda: quick.metrics.connections.counts[("http",)] == 0)


async def test_nothing_of_a_request_is_logged(quick: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    peer = await quick.connect()
    await peer.send(b"GET /?token=hush-hush HTTP/1.1\r\n\r\nNONSENSE hush-hush\r\n\r\n")
    await peer.read_to_end()
    assert "hush-hush" not in caplog.text


# Streams.


class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self) -> None:
        self.heard.append("lost")

    def shutdown(self) -> None:
        self.heard.append("shutdown")
        self.connection.end()

    connection: Any = None


class Room:
    """Answers `/now` with a stream at once, `/later` when let go, anything else as usual."""

    def __init__(self) -> None:
        self.listener = Listener()
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = scope["extensions"][EXTENSION]
        host.attach(self.listener)
        if scope["path"] == "/later":
            await self.go.wait()
        if scope["path"] == "/else":
            host.detach()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        with contextlib.suppress(ConnectionError):
            self.listener.connection = host.start([(b"content-type", b"text/plain")], b"5\r\nfirst\r\n")


@pytest.fixture
async def room() -> Room:
    return Room()


@pytest.fixture
async def streaming(room: Room) -> AsyncIterator[Served]:
    async with serving(room, bounds=QUICK) as served:
        yield served


async def test_a_stream_takes_over_and_outlives_every_deadline(streaming: Served, room: Room) -> None:
    peer = await streaming.connect()
    await peer.send(b"GET /now HTTP/1.1\r\n\r\n")
    head = await peer.read_until(b"first\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ntransfer-encoding: chunked\r\n" in head
    await pass_the_deadlines(streaming)
    await pass_the_deadlines(streaming)
    room.listener.connection.write(b"6\r\nsecond\r\n")
    assert await peer.read_until(b"second\r\n")
    assert streaming.census.total == 1
    room.listener.connection.end()
    assert await peer.read_to_end() == b"0\r\n\r\n"
    await eventually(lambda: streaming.census.total == 0)
    assert room.listener.heard == ["lost"]


async def test_http_1_0_is_not_chunked(streaming: Served, room: Room) -> None:
    peer = await streaming.connect()
    await peer.send(b"GET /now HTTP/1.0\r\n\r\n")
    head = await peer.read_until(b"\r\n\r\n")
    assert b"chunked" not in head
    await eventually(lambda: room.listener.connection)
    room.listener.connection.end()
    assert not (await peer.read_to_end()).endswith(b"0\r\n\r\n")


async def test_a_room_may_answer_as_usual_after_all(streaming: Served, room: Room) -> None:
    peer = await streaming.connect()
    await peer.send(b"GET /else HTTP/1.1\r\n\r\n")
    assert (await peer.read_response())[2] == b"ok"
    peer.close()
    await eventually(lambda: streaming.census.total == 0)
    assert room.listener.heard == []


async def test_a_peer_that_leaves_before_the_stream_begins(streaming: Served, room: Room) -> None:
    peer = await streaming.connect()
    await peer.send(b"GET /later HTTP/1.1\r\n\r\n")
    await eventually(lambda: streaming.census.total == 1)
    peer.close()
    await eventually(lambda: room.listener.heard == ["lost"])
    room.go.set()
    await eventually(lambda: not streaming.server.server_state.tasks)
    assert streaming.census.total == 0
    assert room.listener.connection is None


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_a_peer_that_leaves_a_stream(streaming: Served, room: Room, leave: str) -> None:
    peer = await streaming.connect()
    await peer.send(b"GET /now HTTP/1.1\r\n\r\n")
    await peer.read_until(b"first\r\n")
    getattr(peer, leave)()
    await eventually(lambda: room.listener.heard == ["lost"])
    assert streaming.census.total == 0


async def test_what_follows_the_request_is_thrown_away(streaming: Served, room: Room) -> None:
    peer = await streaming.connect()
    await peer.send(b"GET /now HTTP/1.1\r\n\r\nGET /else HTTP/1.1\r\n\r\n")
    await peer.read_until(b"first\r\n")
    await peer.send(b"GET /else HTTP/1.1\r\n\r\n" + b"x" * 10_000)
    room.listener.connection.write(b"3\r\nend\r\n")
    room.listener.connection.end()
    assert await peer.read_to_end() == b"3\r\nend\r\n0\r\n\r\n"


async def test_a_slow_stream_is_paused_and_resumed(streaming: Served, room: Room) -> None:
    peer = await streaming.connect()
    await peer.send(b"GET /now HTTP/1.1\r\n\r\n")
    await peer.read_until(b"first\r\n")
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    while "pause" not in room.listener.heard:
        room.listener.connection.write(b"x" * 100_000)
        await asyncio.sleep(0)
    await pass_the_deadlines(streaming)
    await pass_the_deadlines(streaming)
    assert room.listener.heard == ["pause"]
    peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
    reading = asyncio.create_task(peer.read_to_end())
    await eventually(lambda: room.listener.heard == ["pause", "resume"])
    room.listener.connection.end()
    await reading


async def test_a_stopping_server_ends_its_streams(room: Room) -> None:
    async with serving(room, bounds=QUICK) as served:
        peer, other = await served.connect(), await served.connect()
        await peer.send(b"GET /now HTTP/1.1\r\n\r\n")
        await peer.read_until(b"first\r\n")
        await served.stop()
        assert await peer.read_to_end() == b"0\r\n\r\n"
        assert await other.is_closed()
        assert room.listener.heard == ["shutdown", "lost"]


# Too many at once.

STREAM = b"GET /v1/projects/p/topics/t:stream HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n"


async def test_event_streams_over_the_rate_are_told_when_to_come_and_requests_are_answered(echo: Echo) -> None:
    echo.go.set()
    admission = Admission(0.5, now=asyncio.get_running_loop().time())
    async with serving(echo, admission=admission) as served:
        first, second, foreign, plain = [await served.connect() for _ in range(4)]
        await first.send(STREAM + b"Connection: close\r\n\r\n")
        assert b"retry: " not in await first.read_to_end()
        await second.send(STREAM + b"\r\n")
        answer = await second.read_to_end()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert 0 < int(answer.rpartition(b"retry: ")[2]) <= 2000
        await foreign.send(STREAM + b"Origin: http://b.example\r\n\r\n")
        assert await foreign.read_to_end() == b""
        await plain.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await plain.read_to_end()).startswith(b"HTTP/1.1 200 ")
        assert len(echo.started) == 2
        assert served.metrics.refusals.counts == {("limit_exceeded",): 2}
