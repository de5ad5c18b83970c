"""What `WebSocket` does for every room, without a network: reading, holding, keeping alive, closing.

RFC 6455 itself is in tests/gateway/realtime/test_rfc6455.py, on a real port.
"""

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sockets import BINARY, CLOSE, PING, PONG, TEXT, frame

from gateway.config import Limits
from gateway.metrics import Metrics
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import CLOSE_SECONDS, LOOK_SECONDS, Services, WebSocket

FIN = 0x80


class Transport(asyncio.Transport):
    """Remembers what was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.did: list[str] = []

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return "close" in self.did or "abort" in self.did

    def can_write_eof(self) -> bool:
        return True

    def __getattribute__(self, name: str) -> Any:
        if name in ("pause_reading", "resume_reading", "close", "abort", "write_eof"):
            return lambda: self.did.append(name)
        return super().__getattribute__(name)


class Socket(WebSocket):
    """Keeps its messages; `hold_at` of them make it busy."""

    __slots__ = ("deadline", "gone", "hold_at", "messages", "writable")

    def __init__(self, transport: Any, node: Services) -> None:
        super().__init__(transport, node, "a")
        self.messages: list[tuple[bytes, bool]] = []
        self.gone = 0
        self.writable = 0
        self.hold_at = -1
        self.deadline = math.inf

    def on_message(self, data: bytes, *, text: bool) -> None:
        self.messages.append((data, text))
        if len(self.messages) == self.hold_at:
            self.hold()

    def on_gone(self) -> None:
        self.gone += 1

    def on_writable(self) -> None:
        self.writable += 1

    def due_in(self) -> float:
        return self.deadline

    def overdue(self) -> tuple[int, str] | None:
        return (4999, "late") if self.deadline <= self.node.wheel.now else None


@pytest.fixture
def node() -> Services:
    census = Census(connections=10, connections_per_address=10)
    census.enter("a")
    return services(census)


def services(census: Census) -> Services:
    limits = Limits(ping_seconds=10, pong_seconds=3, frame_bytes=1000)
    return Services(limits=limits, metrics=Metrics(), census=census, wheel=Wheel(), outbox=Outbox())


def opened(node: Services) -> tuple[Socket, Transport]:
    transport = Transport()
    socket = Socket(transport, node)
    socket.start()
    return socket, transport


async def turn(node: Services, times: int) -> None:
    for _ in range(times):
        node.wheel.turn()
        await asyncio.sleep(0)


pieces = st.lists(
    st.one_of(
        st.tuples(st.just(FIN | TEXT), st.text(max_size=60).map(str.encode)),
        st.tuples(st.just(FIN | BINARY), st.binary(max_size=200)),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(pieces, st.lists(st.integers(1, 40)), st.booleans())
def test_however_bytes_are_cut_the_messages_are_the_same(
    messages: list[tuple[int, bytes]], cuts: list[int], fragmented: bool
) -> None:
    async def run() -> None:
        census = Census(connections=10, connections_per_address=10)
        socket, _ = opened(services(census))
        data = b"".join(_encoded(first, body, fragmented=fragmented) for first, body in messages)
        for cut in cuts:
            socket.data_received(data[:cut])
            data = data[cut:]
        socket.data_received(data)
        assert socket.messages == [(body, first == FIN | TEXT) for first, body in messages]
        assert socket._rest is None
        assert socket._fragments is None
        socket.node.wheel.stop()

    asyncio.run(run())


def _encoded(first: int, body: bytes, *, fragmented: bool) -> bytes:
    if not fragmented:
        return frame(first, body)
    half = len(body) // 2
    return frame(first & 0x0F, body[:half]) + frame(FIN | PING, b"between") + frame(FIN, body[half:])


async def test_a_long_frame_in_small_reads_is_not_copied_at_each(node: Services) -> None:
    socket, _ = opened(node)
    data = frame(FIN | BINARY, bytes(180))
    socket.data_received(data[:20])
    kept = socket._rest
    for at in range(20, len(data) - 1, 5):
        socket.data_received(data[at : min(at + 5, len(data) - 1)])
        assert socket._rest is kept
    socket.data_received(data[-1:])
    assert socket.messages == [(bytes(180), False)]
    assert socket._rest is None
    node.wheel.stop()


async def test_an_idle_socket_holds_no_parser(node: Services) -> None:
    socket, _ = opened(node)
    socket.data_received(frame(TEXT, b"a"))
    assert socket._fragments is not None
    socket.data_received(frame(FIN, b"b"))
    assert socket._fragments is None
    assert not hasattr(socket, "__dict__")
    node.wheel.stop()


async def test_a_busy_socket_keeps_the_rest_and_goes_on_where_it_stopped(node: Services) -> None:
    socket, transport = opened(node)
    socket.hold_at = 2
    socket.data_received(b"".join(frame(FIN | TEXT, b"%d" % n) for n in range(5)) + frame(FIN | TEXT, b"5")[:3])
    assert [data for data, _ in socket.messages] == [b"0", b"1"]
    assert transport.did == ["pause_reading"]
    socket.release()
    assert [data for data, _ in socket.messages] == [b"0", b"1", b"2", b"3", b"4"]
    assert transport.did == ["pause_reading", "resume_reading"]
    node.wheel.stop()


async def test_a_full_buffer_stops_the_reading_too(node: Services) -> None:
    socket, transport = opened(node)
    socket.pause_writing()
    socket.hold()
    socket.data_received(frame(FIN | TEXT, b"later"))
    socket.release()
    assert socket.messages == []
    socket.resume_writing()
    assert socket.messages == [(b"later", True)]
    assert socket.writable == 1
    assert transport.did == ["pause_reading", "resume_reading"]
    node.wheel.stop()


async def test_a_ping_after_silence_and_a_close_after_more(node: Services) -> None:
    socket, transport = opened(node)
    await turn(node, 12)
    assert transport.written == bytes((FIN | PING, 0))
    await turn(node, 5)
    assert transport.written[2:6] == bytes((FIN | CLOSE, 2 + len("No answer to a ping."))) + (4001).to_bytes(2)
    assert (socket.closing, socket.gone) == (True, 1)
    await turn(node, int(CLOSE_SECONDS) + 1)
    assert transport.did == ["abort"]
    node.wheel.stop()


async def test_anything_heard_is_an_answer(node: Services) -> None:
    socket, transport = opened(node)
    for _ in range(5):
        await turn(node, 13)
        socket.data_received(frame(FIN | PONG))
    assert not socket.closing
    assert transport.written.count(bytes((FIN | PING, 0))) >= 4
    node.wheel.stop()


async def test_whoever_speaks_is_not_pinged(node: Services) -> None:
    socket, transport = opened(node)
    for _ in range(50):
        await turn(node, 1)
        socket.data_received(frame(FIN | TEXT, b"x"))
    assert transport.written == b""
    node.wheel.stop()


async def test_a_socket_that_is_not_read_is_not_taken_for_dead(node: Services) -> None:
    socket, _ = opened(node)
    await turn(node, 12)
    socket.pause_writing()
    await turn(node, 200)
    assert not socket.closing
    socket.resume_writing()
    await turn(node, 3)
    assert not socket.closing
    node.wheel.stop()


async def test_a_short_stop_before_the_deadline_is_no_silence(node: Services) -> None:
    socket, _ = opened(node)
    await turn(node, 12)
    socket.pause_writing()
    socket.resume_writing()
    await turn(node, 5)
    assert not socket.closing
    node.wheel.stop()


async def test_a_room_that_holds_for_a_moment_sees_each_message_once(node: Services) -> None:
    socket, _ = opened(node)
    data = b"".join(frame(FIN | TEXT, b"%d" % n) for n in range(4))
    seen = socket.messages

    class Momentary(list[tuple[bytes, bool]]):
        def append(self, message: tuple[bytes, bool]) -> None:
            socket.hold()
            socket.release()
            seen.append(message)

    socket.messages = Momentary()
    socket.data_received(data[:3])
    socket.data_received(data[3:])
    assert [message for message, _ in seen] == [b"0", b"1", b"2", b"3"]
    node.wheel.stop()


async def test_a_deadline_that_was_over_when_the_socket_opened_closes(node: Services) -> None:
    class Late(Socket):
        def due_in(self) -> float:
            return -5

    transport = Transport()
    socket = Late(transport, node)
    socket.deadline = -5
    socket.start()
    await turn(node, 2)
    assert (4999).to_bytes(2) in transport.written
    node.wheel.stop()


async def test_a_deadline_of_the_room_closes(node: Services) -> None:
    socket, transport = opened(node)
    socket.deadline = 4
    node.wheel.arm(socket, 1)
    await turn(node, 10)
    assert (4999).to_bytes(2) in transport.written
    node.wheel.stop()


async def test_a_room_without_pings_and_deadlines_is_looked_at_all_the_same(node: Services) -> None:
    class Unpinged(Socket):
        ping_seconds = math.inf

    transport = Transport()
    socket = Unpinged(transport, node)
    socket.start()
    for _ in range(3):
        armed = socket.due
        assert 0 < armed - node.wheel.now <= LOOK_SECONDS + 1
        node.wheel.now = armed - 1
        node.wheel.turn()
        assert socket.due > armed
    assert (socket.closing, transport.written) == (False, b"")
    node.wheel.stop()


async def test_a_room_may_have_smaller_bounds_than_the_node(node: Services) -> None:
    class Small(Socket):
        max_frame_bytes = 10
        max_message_bytes = 15

    for sent, code in (
        (frame(FIN | TEXT, b"x" * 10), None),
        (frame(FIN | TEXT, b"x" * 11), 1009),
        (frame(TEXT, b"x" * 10) + frame(FIN, b"x" * 5), None),
        (frame(TEXT, b"x" * 10) + frame(FIN, b"x" * 6), 1009),
    ):
        transport = Transport()
        socket = Small(transport, node)
        socket.data_received(sent)
        assert len(socket.messages) == (code is None)
        assert (transport.written[2:4] == (code or 0).to_bytes(2)) is (code is not None)
    node.wheel.stop()


async def test_after_our_close_only_the_peers_close_counts(node: Services) -> None:
    socket, transport = opened(node)
    socket.close(1012)
    written = transport.written
    socket.data_received(frame(FIN | TEXT, b"late") + frame(FIN | PING, b"late"))
    await asyncio.sleep(0)
    assert socket.messages == []
    assert transport.written == written
    socket.data_received(frame(FIN | CLOSE, (1012).to_bytes(2)))
    assert transport.did == ["close"]
    assert socket.gone == 1
    node.wheel.stop()


async def test_a_reason_is_cut_to_a_control_frame(node: Services) -> None:
    socket, transport = opened(node)
    socket.close(1008, "ä" * 100)
    assert transport.written[1] <= 125
    transport.written[4:].decode()
    node.wheel.stop()


async def test_a_lost_socket_leaves_no_trace(node: Services) -> None:
    socket, _ = opened(node)
    assert (node.census.total, node.sockets, node.connections) == (1, {socket}, {socket})
    socket.connection_lost(None)
    assert (node.census.total, node.sockets, node.connections) == (0, set(), set())
    assert node.all_gone.is_set()
    assert socket.gone == 1
    assert socket.due == 0
    assert node.metrics.closed.counts == {("websocket", "1006"): 1}


async def test_what_uvicorn_asks_at_the_end_is_a_restart(node: Services) -> None:
    socket, transport = opened(node)
    socket.shutdown()
    assert (1012).to_bytes(2) in transport.written
    socket.shutdown()
    assert socket.gone == 1
    node.wheel.stop()


async def test_nothing_is_read_while_the_node_may_be_held_to_be_gone(node: Services) -> None:
    transport = Transport()
    socket = Socket(transport, node)
    stood_still = True
    node.has_stood_still = lambda: stood_still
    first, second = frame(FIN | TEXT, b"first"), frame(FIN | TEXT, b"second")
    socket.data_received(first[:4])
    socket.data_received(first[4:] + second[:3])
    assert socket.messages == []
    assert transport.did == ["pause_reading"]
    assert node.unsettled == {socket}
    stood_still = False
    socket.settle()
    assert transport.did == ["pause_reading", "resume_reading"]
    socket.data_received(second[3:])
    assert [data for data, _ in socket.messages] == [b"first", b"second"]


async def test_what_was_left_unread_by_a_node_that_was_gone_is_never_a_message(node: Services) -> None:
    transport = Transport()
    socket = Socket(transport, node)
    node.has_stood_still = lambda: True
    socket.data_received(frame(FIN | TEXT, b"too late"))
    node.has_stood_still = lambda: False
    socket.close(1012, "The node was cut off.")
    assert socket.messages == []
    assert transport.written.startswith(b"\x88")
    socket.connection_lost(None)
    assert node.unsettled == set()
