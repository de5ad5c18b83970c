"""Sockets of an API on a real port: messages in and out, limits, times, and how their end is told.

contracts/apigateway 12 to 15, and its test cases 12, 14, 16; times are scaled by settings.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import deployed
import pytest
import sockets
from deployed import Application, Served, eventually, served
from sockets import BINARY, CLOSE, PING, PONG, TEXT, Raw, frame, upgrade
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from broker.errors import InvalidRequest
from gateway.apigateway.configuration.definitions import RELAXED, ApiLimits
from gateway.apigateway.ports import Reply

FIN = 0x80


@contextlib.asynccontextmanager
async def raw_client(d: Served) -> AsyncIterator[Raw]:
    async with sockets.raw(d.port) as client:
        assert (await client.shake(upgrade("/prod"))).status == 101
        await eventually(lambda: d.attached.connections)
        yield client


def client_of(d: Served, **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{d.port}/prod", **options)


async def closed(client: ClientConnection) -> tuple[int, str]:
    """Return code and reason of the close frame that the client gets."""
    async with asyncio.timeout(sockets.PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    assert client.close_code is not None
    assert client.close_reason is not None
    return client.close_code, client.close_reason


async def echo(body: str | bytes) -> Reply:
    return Reply(body=body.encode() if isinstance(body, str) else body)


# Messages in, answers out.


async def test_a_message_reaches_the_application_as_it_came() -> None:
    text = '{\r\n\t"a": 1, "b": "ä€😀"\r\n}'
    async with served() as d, raw_client(d) as client:
        for body in (text, "", "not JSON"):
            client.send(frame(FIN | TEXT, body.encode()))
        await eventually(lambda: len(d.application.received) == 3)
        assert d.application.received == [text, "", "not JSON"]
        ids = [known for pair in d.application.ids for known in pair]
        assert len(set(ids)) == 6
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{15}=", known) for known in ids)


async def test_without_a_route_response_nothing_is_sent_and_with_one_its_body() -> None:
    async def only_some(body: str | bytes) -> Reply:
        return Reply() if body == "one-way" else await echo(body)

    async with served(Application(reply=only_some)) as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"one-way") + frame(FIN | TEXT, b"two-way"))
        assert await client.frame() == (FIN | TEXT, b"two-way")


@pytest.mark.parametrize("message", ["Forbidden", "Internal server error", "Endpoint request timed out"])
async def test_an_error_is_told_and_the_connection_stays(message: str) -> None:
    async def fail(_: str | bytes) -> Reply:
        return Reply(error=message)

    async with served(Application(reply=fail)) as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"{}"))
        first, told = await client.frame()
        request_id = d.application.ids[0][0]
        assert first == FIN | TEXT
        assert told.decode() == (
            f'{{"message": "{message}", "connectionId":"000000000000001=", "requestId":"{request_id}"}}'
        )
        client.send(frame(FIN | TEXT, b"{}"))
        assert json.loads((await client.frame())[1])["message"] == message


async def test_an_application_that_raises_is_an_internal_error() -> None:
    async def fail(_: str | bytes) -> Reply:
        raise RuntimeError("boom")

    async with served(Application(reply=fail)) as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"{}"))
        assert json.loads((await client.frame())[1])["message"] == "Internal server error"


async def test_an_integration_has_a_last_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.apigateway.sockets.socket.RECEIVE_SECONDS", 0.02)

    async def forever(_: str | bytes) -> Reply:
        await asyncio.get_running_loop().create_future()
        return Reply()

    async with served(Application(reply=forever)) as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"{}"))
        assert json.loads((await client.frame())[1])["message"] == "Endpoint request timed out"


async def test_more_requests_than_allowed_are_told_so() -> None:
    limits = ApiLimits(requests_per_second=0.001, requests_burst=2)
    async with served(Application(reply=echo), limits=limits) as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"a") * 3)
        answers = sorted([(await client.frame())[1] for _ in range(3)])
        assert answers[:2] == [b"a", b"a"]
        assert json.loads(answers[2])["message"] == "Too Many Requests"
        assert d.application.received == ["a", "a"]


class Slow:
    """Answers only what the test lets it answer, and knows how many messages are in hand."""

    def __init__(self) -> None:
        self.gates: dict[str | bytes, asyncio.Event] = {}
        self.at_once = 0
        self.most = 0
        self.taken: list[str | bytes] = []

    async def __call__(self, body: str | bytes) -> Reply:
        self.taken.append(body)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.gates.setdefault(body, asyncio.Event()).wait()
        self.at_once -= 1
        return await echo(body)

    def let(self, *bodies: str) -> None:
        for body in bodies:
            self.gates.setdefault(body, asyncio.Event()).set()


async def test_messages_of_a_connection_run_at_once_up_to_a_bound() -> None:
    slow = Slow()
    limits = ApiLimits(waiting_messages=3)
    async with served(Application(reply=slow), limits=limits) as d, raw_client(d) as client:
        client.send(b"".join(frame(FIN | TEXT, b"%d" % n) for n in range(8)))
        await eventually(lambda: slow.at_once == 3)
        slow.let("2")
        assert await client.frame() == (FIN | TEXT, b"2"), "no order is promised"
        await eventually(lambda: slow.at_once == 3)
        slow.let(*(str(n) for n in range(8)))
        assert {(await client.frame())[1] for _ in range(7)} == {b"%d" % n for n in (0, 1, 3, 4, 5, 6, 7)}
        assert slow.most == 3
        assert slow.taken == [str(n) for n in range(8)]
        await eventually(lambda: not d.attached.only._deployment.tasks)


async def test_the_bytes_in_hand_have_a_bound_too() -> None:
    slow = Slow()
    limits = ApiLimits(buffer_bytes=1024)
    async with served(Application(reply=slow), limits=limits) as d, raw_client(d) as client:
        bodies = [str(n) * length for n, length in enumerate((500, 2000, 600, 600))]
        client.send(b"".join(frame(FIN | TEXT, body.encode()) for body in bodies))
        await eventually(lambda: slow.at_once == 2)
        slow.let(bodies[0])
        assert (await client.frame())[1].decode() == bodies[0]
        assert slow.taken == bodies[:2], "the second alone is too much"
        slow.let(*bodies)
        assert {(await client.frame())[1].decode() for _ in range(3)} == set(bodies[1:])
        assert slow.most == 2


async def test_in_order_means_one_after_the_other_for_each_connection() -> None:
    slow = Slow()
    limits = ApiLimits(waiting_messages=4)
    async with served(Application(reply=slow), limits=limits, ordered=True) as d, raw_client(d) as client:
        client.send(b"".join(frame(FIN | TEXT, b"%d" % n) for n in range(10)))
        client.send(frame(FIN | PING, b"early"))
        await eventually(lambda: d.attached.only._in_hand == 4)
        assert slow.taken == ["0"]
        slow.let(*(str(n) for n in range(10)))
        read = [await client.frame() for _ in range(11)]
        assert [data for first, data in read if first == FIN | TEXT] == [b"%d" % n for n in range(10)]
        assert slow.most == 1
        async with sockets.raw(d.port) as other:
            await other.shake(upgrade("/prod"))
            other.send(frame(FIN | TEXT, b"1"))
            assert await other.frame() == (FIN | TEXT, b"1")


async def test_what_was_sent_before_the_end_is_still_handled() -> None:
    slow = Slow()
    async with served(Application(reply=slow), ordered=True) as d:
        async with raw_client(d) as client:
            client.send(frame(FIN | TEXT, b"1") + frame(FIN | TEXT, b"2") + frame(FIN | CLOSE, b"\x03\xe8"))
            assert await client.closed() == 1000
        slow.let("1", "2")
        await eventually(lambda: d.application.received == ["1", "2"])


# Posts.


async def test_a_post_is_one_text_message_in_fragments() -> None:
    data = b"x" * 100_000
    async with served() as d, client_of(d, max_size=None) as client:
        await eventually(lambda: d.attached.connections)
        assert d.attached.only.send(data)
        assert await client.recv() == data.decode()
        assert d.attached.only.send(b"")
        assert await client.recv() == ""
    async with served() as d, raw_client(d) as raw:
        d.attached.only.send(data)
        first, payload = await raw.frame()
        assert (first, len(payload)) == (TEXT, 32_768)


async def test_what_is_no_text_is_refused_or_binary() -> None:
    async with served() as d, raw_client(d):
        with pytest.raises(InvalidRequest):
            d.attached.only.send(b"\xff")
    async with served(limits=RELAXED) as d, raw_client(d) as client:
        assert d.attached.only.send(b"\xff")
        assert await client.frame() == (FIN | BINARY, b"\xff")
        assert d.attached.only.send(b"text")
        assert await client.frame() == (FIN | TEXT, b"text")


async def test_frames_for_many_are_written_as_they_are() -> None:
    async with served() as d, raw_client(d) as client:
        socket = d.attached.only
        socket.write(socket.framing.framed(b"to all"))
        assert await client.frame() == (FIN | TEXT, b"to all")


async def test_a_slow_reader_is_full_recovers_and_disturbs_nobody() -> None:
    limits = ApiLimits(buffer_bytes=100_000)
    async with served(limits=limits) as d, raw_client(d) as slow:
        slow_socket = d.attached.only
        assert slow_socket.transport.get_write_buffer_limits() == (25_000, 100_000)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        async with asyncio.timeout(sockets.PATIENCE_SECONDS):
            while slow_socket.send(b"%06d" % sent + bytes(20_000)):
                sent += 1
                await asyncio.sleep(0)
        assert slow_socket.paused
        assert not slow_socket.send(b"more")
        async with sockets.raw(d.port) as other:
            await other.shake(upgrade("/prod"))
            await eventually(lambda: len(d.attached.connections) == 2)
            quick = d.attached.connections["000000000000002="]
            assert quick.send(b"you")
            assert await other.frame() == (FIN | TEXT, b"you")
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(sent):
            assert (await slow.frame())[1][:6] == b"%06d" % number
        await eventually(lambda: not slow_socket.paused)
        assert d.attached.writable == ["000000000000001="]
        assert slow_socket.send(b"again")
        assert await slow.frame() == (FIN | TEXT, b"again")


async def test_a_socket_that_closes_takes_nothing() -> None:
    async with served() as d, raw_client(d) as client:
        socket = d.attached.only
        socket.close(1000)
        assert not socket.send(b"late")
        assert await client.closed() == 1000


async def test_activity_is_data_in_or_out() -> None:
    slow = Slow()
    async with served(Application(reply=slow)) as d, raw_client(d) as client:
        socket = d.attached.only
        times = [d.application.requests[0].facts.connected_at_ms]
        assert socket.last_active_at_ms == times[0]

        async def moves(act: Callable[[], object]) -> None:
            await eventually(lambda: deployed.time.time_ns() // 1_000_000 > socket.last_active_at_ms)
            before = socket.last_active_at_ms
            act()
            await eventually(lambda: socket.last_active_at_ms > before)

        await moves(lambda: client.send(frame(FIN | TEXT, b"in")))
        await moves(lambda: slow.let("in"))
        await client.frame()
        await moves(lambda: socket.send(b"out"))
        await asyncio.sleep(2 * deployed.GRAIN_SECONDS)
        await moves(lambda: socket.write(socket.framing.framed(b"group")))
        precise = socket.last_active_at_ms + 60_000
        socket.last_active_at_ms = precise
        socket.write(socket.framing.framed(b"group"))
        assert socket.last_active_at_ms == precise, "it never goes back"
        before = socket.last_active_at_ms
        client.send(frame(FIN | PING, b"?"))
        assert [await client.frame() for _ in range(4)][-1] == (FIN | PONG, b"?")
        assert socket.last_active_at_ms == before


# The limits.


async def test_at_the_limits_all_is_well() -> None:
    async with served() as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"x" * 32_768))
        for first in (TEXT, 0, 0, FIN):
            client.send(frame(first, b"y" * 32_768))
        await eventually(lambda: len(d.application.received) == 2)
        assert [len(body) for body in d.application.received] == [32_768, 131_072]


async def test_a_frame_above_its_limit_ends_the_connection() -> None:
    async with served() as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"x" * 32_769))
        assert await client.closed() == 1009
        assert (await d.ended())[0][0] == 1009
        assert d.application.received == []


async def test_a_message_above_its_limit_ends_the_connection() -> None:
    async with served() as d, raw_client(d) as client:
        for first in (TEXT, 0, 0, 0):
            client.send(frame(first, b"x" * 32_768))
        client.send(frame(FIN, b"x"))
        assert await client.closed() == 1009
        assert (await d.ended())[0][0] == 1009
        assert d.application.received == []


async def test_a_message_above_its_limit_in_one_frame_ends_the_connection() -> None:
    async with served(limits=ApiLimits(message_bytes=200, frame_bytes=1000)) as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"x" * 200))
        await eventually(lambda: d.application.received)
        client.send(frame(FIN | TEXT, b"x" * 201))
        assert await client.closed() == 1009


async def test_a_binary_message_ends_the_connection_or_is_one() -> None:
    async with served() as d, raw_client(d) as client:
        client.send(frame(FIN | BINARY, b"\x00"))
        assert await client.closed() == 1003
        assert (await d.ended())[0][0] == 1003
        assert d.application.received == []
    async with served(Application(reply=echo), limits=RELAXED) as d, raw_client(d) as client:
        client.send(frame(FIN | BINARY, b"\x00\xff"))
        assert await client.frame() == (FIN | BINARY, b"\x00\xff")
        assert d.application.received == [b"\x00\xff"]


async def test_text_that_is_none_ends_the_connection() -> None:
    async with served() as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"\xff"))
        assert await client.closed() == 1007
        assert (await d.ended())[0][0] == 1007


# The end.


async def test_a_client_that_closes_without_a_code() -> None:
    async with served() as d, raw_client(d) as client:
        client.send(frame(FIN | CLOSE))
        assert await client.closed() == 1005
        assert await d.ended() == [(1005, "Client-side close frame status not set")]


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, ""), (4321, "my own")])
async def test_a_client_that_closes_with_a_code(code: int, reason: str) -> None:
    async with served() as d, raw_client(d) as client:
        client.send(frame(FIN | CLOSE, code.to_bytes(2) + reason.encode()))
        assert await client.closed() == code
        assert await d.ended() == [(code, reason)]


async def test_a_connection_that_is_lost() -> None:
    async with served() as d:
        async with raw_client(d):
            pass
        assert await d.ended() == [(1006, "")]


async def test_a_deleted_connection_is_told_of_as_it_was_closed() -> None:
    async with served() as d, client_of(d) as client:
        await eventually(lambda: d.attached.connections)
        socket = d.attached.only
        socket.close(1000, "Connection Closed Normally")
        assert d.attached.connections == {}
        assert await closed(client) == (1000, "Connection Closed Normally")
        await eventually(lambda: d.total == 0)
        assert d.attached.ends == [("000000000000001=", 1000, "Connection Closed Normally")]


async def test_both_may_close_and_the_first_counts() -> None:
    async with served() as d, raw_client(d) as client:
        d.attached.only.close(4000, "ours")
        client.send(frame(FIN | CLOSE, b"\x03\xe8theirs"))
        assert await client.closed() == 4000
        await eventually(lambda: d.total == 0)
        assert d.attached.ends == [("000000000000001=", 4000, "ours")]


async def test_a_node_that_drains_ends_its_sockets_once() -> None:
    async with served() as d, client_of(d) as client:
        await eventually(lambda: d.attached.connections)
        await d.front.drain()
        assert (await closed(client))[0] == 1012
        assert [(code, reason) for _, code, reason in d.attached.ends] == [(1012, "The node restarts.")]


# The times.


async def test_an_idle_connection_goes() -> None:
    async with served(limits=ApiLimits(idle_seconds=0.05)) as d, client_of(d, ping_interval=None) as client:
        assert await closed(client) == (1001, "Going away")
        assert await d.ended() == [(1001, "Going away")]


async def test_an_old_connection_goes_whatever_it_does() -> None:
    limits = ApiLimits(connection_seconds=0.2, idle_seconds=0)
    async with served(Application(reply=echo), limits=limits) as d, client_of(d) as client:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.send("still here")
                await client.recv()
        assert (client.close_code, client.close_reason) == (1001, "Going away")
        assert await d.ended() == [(1001, "Going away")]
        assert len(d.application.received) > 5


async def test_a_connection_ends_with_the_token_that_opened_it() -> None:
    async with served(Application(token_ms=100)) as d, client_of(d, ping_interval=None) as client:
        assert await closed(client) == (4501, "The token has expired.")
        assert await d.ended() == [(4501, "The token has expired.")]


async def turn(d: Served, times: int) -> None:
    """Let the time of the node's sockets pass."""
    for _ in range(times):
        d.front.node.wheel.turn()
        await asyncio.sleep(0)


@pytest.fixture
def still(monkeypatch: Any) -> None:
    """Time passes only by `turn`."""
    monkeypatch.setattr("gateway.session.Wheel._run", lambda self: None)


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("counts", [True, False])
async def test_data_either_way_keeps_a_connection_and_control_frames_where_they_count(counts: bool) -> None:
    limits = ApiLimits(idle_seconds=1, idle_counts_control=counts)
    async with served(limits=limits) as d, raw_client(d) as client:
        socket = d.attached.only
        await turn(d, 90)
        client.send(frame(FIN | TEXT, b"in"))
        await eventually(lambda: d.application.received)
        await turn(d, 90)
        assert socket.send(b"out")
        await turn(d, 90)
        assert not socket.closing
        await client.frame()
        client.send(frame(FIN | PING, b"?"))
        assert await client.frame() == (FIN | PONG, b"?")
        await turn(d, 90)
        assert socket.closing is not counts
        await turn(d, 20)
        assert socket.closing


@pytest.mark.usefixtures("still")
async def test_aws_sends_no_pings_and_the_relaxed_profile_finds_the_dead() -> None:
    async with served() as d, raw_client(d):
        await turn(d, 3000)
        assert not d.attached.only.closing
        assert d.attached.only.transport.get_write_buffer_size() == 0
    async with served(limits=RELAXED, pong_seconds=1) as d, raw_client(d) as client:
        await turn(d, 2510)
        assert await client.frame() == (FIN | PING, b"")
        await turn(d, 150)
        assert await client.closed() == 1001
        assert await d.ended() == [(1001, "Going away")]


@pytest.mark.usefixtures("still")
async def test_without_limits_a_connection_stays() -> None:
    limits = ApiLimits(idle_seconds=0, connection_seconds=0)
    async with served(limits=limits) as d, raw_client(d):
        await turn(d, 50_000)
        assert not d.attached.only.closing


async def test_an_idle_socket_has_no_task() -> None:
    async with served(Application(reply=echo)) as d, raw_client(d) as client:
        client.send(frame(FIN | TEXT, b"x"))
        await client.frame()
        await eventually(lambda: not d.attached.only._deployment.tasks)
        assert d.front.undecided == {}
        assert d.metrics.opened.counts[("apigateway",)] == 1
