"""The life of a node: it listens, its loops run, and it ends in good order."""

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway import server
from gateway.asgi import Receive, Scope, Send
from gateway.authority import Authority
from gateway.metrics import Metrics
from gateway.server import BindError, Parts, Stop, bind, run
from gateway.tls import Tls

WAIT_SECONDS = 10


@dataclass
class Diary:
    """What happened to a node, in order."""

    lines: list[str] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is unset, a request to /held is not answered."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/held":
            self.arrived.set()
            await self.held.wait()
        self.lines.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def drain(self) -> None:
        self.lines.append("drained")

    async def loop(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.lines.append("loop ended")

    def parts(self) -> Parts:
        return Parts(
            app=self.app,
            http=HttpToolsProtocol,
            websocket=WebSocketsSansIOProtocol,
            metrics=Metrics(),
            loops={"loop": self.loop},
            drain=self.drain,
            on_draining=lambda: self.lines.append("draining"),
        )


@dataclass
class Running:
    url: str
    stop: Stop
    ended: asyncio.Task[None]


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[Running]:
    listener, stop, listening = bind("127.0.0.1", 0), Stop(), asyncio.Event()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with asyncio.timeout(WAIT_SECONDS):
        task = asyncio.create_task(run(parts, listener, stop, on_listening=listening.set))
        await listening.wait()
        yield Running(url, stop, task)
        stop.asked.set()
        await task


async def get(url: str, *, seconds: float = WAIT_SECONDS) -> int:
    async with httpx.AsyncClient(timeout=seconds) as client:
        return (await client.get(url)).status_code


async def refuses(url: str) -> bool:
    try:
        await get(url, seconds=0.5)
    except httpx.ConnectError:
        return True
    except (httpx.ReadTimeout, httpx.RemoteProtocolError):
        # asyncio forgets a connection that it accepts in the turn in which the listener is closed.
        return False
    return False


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await check():
            await asyncio.sleep(0.01)


async def test_a_node_serves_until_it_is_asked_to_stop_and_ends_in_order() -> None:
    diary = Diary()
    async with running(diary.parts()) as node:
        assert await get(node.url + "/hello") == 200

    assert diary.lines == ["/hello", "draining", "drained", "loop ended"]
    assert await refuses(node.url)


async def test_a_request_in_progress_is_answered_after_the_listener_is_closed() -> None:
    diary = Diary()
    async with running(diary.parts()) as node:
        asked = asyncio.create_task(get(node.url + "/held"))
        await diary.arrived.wait()
        node.stop.asked.set()
        await eventually(lambda: refuses(node.url))
        diary.held.set()

        assert await asked == 200


async def test_clients_move_while_the_node_still_answers() -> None:
    diary, moving, moved = Diary(), asyncio.Event(), asyncio.Event()
    among: list[object] = []

    async def move(connections: Collection[object]) -> None:
        among.append(connections)
        moving.set()
        await moved.wait()
        diary.lines.append("moved")

    async with running(replace(diary.parts(), move=move)) as node:
        node.stop.on_signal()
        await moving.wait()
        async with httpx.AsyncClient() as client:
            answer = await client.get(node.url + "/late")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        moved.set()

    assert diary.lines == ["draining", "/late", "moved", "drained", "loop ended"]
    assert isinstance(among[0], set), "uvicorn's own, which lives"


async def test_a_second_signal_ends_the_moving_too() -> None:
    diary = Diary()

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    async with running(replace(diary.parts(), move=never)) as node:
        node.stop.on_signal()
        await asyncio.sleep(0)
        node.stop.on_signal()
        await node.ended

    assert diary.lines[-1] == "loop ended"


async def test_an_end_that_takes_too_long_is_hastened() -> None:
    diary = Diary()

    async def never() -> None:
        await asyncio.Event().wait()

    async with running(replace(diary.parts(), drain=never, end_seconds=0.05)) as node:
        node.stop.on_signal()
        await node.ended

    assert diary.lines == ["draining", "loop ended"]


async def test_a_second_signal_hastens_the_end() -> None:
    diary = Diary()

    async def never() -> None:
        await asyncio.Event().wait()

    async with running(replace(diary.parts(), drain=never)) as node:
        node.stop.on_signal()
        await eventually(lambda: refuses(node.url))
        assert not node.ended.done()
        node.stop.on_signal()
        await node.ended

    assert diary.lines == ["draining", "loop ended"]


async def crash() -> None:
    raise OSError("the disk is gone")


async def give_up() -> None:
    return


@pytest.mark.parametrize(("loop", "error"), [(crash, OSError), (give_up, RuntimeError)])
async def test_a_loop_that_ends_takes_the_node_with_it(
    loop: Callable[[], Coroutine[object, object, None]], error: type[Exception]
) -> None:
    listener = bind("127.0.0.1", 0)
    parts = replace(Diary().parts(), loops={"doomed": loop})

    with pytest.raises(ExceptionGroup) as raised:
        async with asyncio.timeout(WAIT_SECONDS):
            await run(parts, listener, Stop(), on_listening=lambda: None)

    assert raised.group_contains(error)


async def test_the_event_loops_lateness_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAG_SECONDS", 0.001)
    parts = Diary().parts()
    async with running(parts):

        async def measured() -> bool:
            return sum(parts.metrics.loop_lag.counts) > 0

        await eventually(measured)


def test_a_taken_port_is_refused_with_a_reason() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(BindError, match=f"127.0.0.1:{port}: Address already in use"):
            bind("127.0.0.1", port)


def test_a_host_that_is_none_is_refused() -> None:
    with pytest.raises(BindError, match="no-such-host"):
        bind("no-such-host.invalid", 0)


def test_a_bound_address_refuses_until_the_node_listens() -> None:
    with bind("127.0.0.1", 0) as bound, socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(bound.getsockname())


@pytest.mark.parametrize("number", server.SIGNALS)
async def test_signals_ask_and_then_hasten(number: signal.Signals) -> None:
    stop = Stop()
    async with asyncio.timeout(WAIT_SECONDS):
        with stop.on_signals():
            os.kill(os.getpid(), number)
            await stop.asked.wait()
            assert not stop.hastened.is_set()
            os.kill(os.getpid(), number)
            await stop.hastened.wait()


async def test_a_hangup_asks_for_what_it_is_told_to_and_ends_nothing() -> None:
    stop, heard = Stop(), asyncio.Event()
    async with asyncio.timeout(WAIT_SECONDS):
        with stop.on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0)
            stop.on_hangup = heard.set
            os.kill(os.getpid(), signal.SIGHUP)
            await heard.wait()
            assert not stop.asked.is_set()


async def test_a_tls_handshake_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.2)
    authority = Authority(tmp_path)
    pair = authority.issue("node")
    diary = Diary()
    parts = replace(diary.parts(), tls=Tls(pair.certificate, pair.key))
    async with running(parts) as node:
        port = int(node.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "hung up on"
        writer.close()
        trusting = ssl.create_default_context(cafile=str(authority.files.certificate))
        async with httpx.AsyncClient(verify=trusting) as client:
            assert (await client.get(f"https://localhost:{port}/hello")).status_code == 200
    assert diary.lines == ["/hello", "draining", "drained", "loop ended"]
