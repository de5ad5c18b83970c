"""A socket that a stream has taken over: what is sent at its end, and to whom its fate is told.

Its life inside the HTTP protocol is in `test_http.py`.
"""

import asyncio
import socket

import pytest
from http_node import PATIENCE_SECONDS, eventually

from gateway.streams import StreamConnection


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


class Rig:
    """A stream over one end of a connection; the other end is `peer`."""

    def __init__(self, *, chunked: bool) -> None:
        self.listener = Listener()
        self.connections: set[object] = set()
        self.released = 0
        self.chunked = chunked

    async def __aenter__(self) -> "Rig":
        made: asyncio.Future[StreamConnection] = asyncio.get_running_loop().create_future()

        def accept() -> asyncio.Protocol:
            return Accepted(self, made)

        self.server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        self.reader, self.writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())
        self.stream = await asyncio.wait_for(made, PATIENCE_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        self.server.close()

    def on_released(self) -> None:
        self.released += 1


class Accepted(asyncio.Protocol):
    def __init__(self, rig: Rig, made: "asyncio.Future[StreamConnection]") -> None:
        self.rig = rig
        self.made = made

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        rig = self.rig
        stream = StreamConnection(transport, rig.listener, rig.connections, rig.on_released, chunked=rig.chunked)
        transport.set_protocol(stream)
        rig.transport = transport  # type: ignore[attr-defined]
        self.made.set_result(stream)


@pytest.mark.parametrize(("chunked", "tail"), [(True, b"0\r\n\r\n"), (False, b"")])
async def test_an_end_is_said_once_and_closes(chunked: bool, tail: bytes) -> None:
    async with Rig(chunked=chunked) as rig:
        rig.stream.write(b"something")
        rig.stream.end()
        rig.stream.end()
        rig.stream.write(b"too late")
        assert await asyncio.wait_for(rig.reader.read(), PATIENCE_SECONDS) == b"something" + tail
        await eventually(lambda: rig.listener.heard == ["lost"])
        assert (rig.released, rig.connections) == (1, set())


async def test_what_the_peer_sends_is_thrown_away_and_its_end_is_noticed() -> None:
    async with Rig(chunked=True) as rig:
        rig.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        rig.writer.write_eof()
        await eventually(lambda: rig.listener.heard == ["lost"])


async def test_the_listener_hears_of_pauses_and_of_the_nodes_end() -> None:
    async with Rig(chunked=True) as rig:
        rig.stream.pause_writing()
        rig.stream.resume_writing()
        rig.stream.shutdown()
        assert rig.listener.heard == ["pause", "resume", "shutdown"]


async def test_an_ended_stream_does_not_resume() -> None:
    async with Rig(chunked=True) as rig:
        rig.stream.end()
        rig.stream.resume_writing()
        assert rig.listener.heard == []


async def test_a_vanished_peer_is_looked_for() -> None:
    async with Rig(chunked=True) as rig:
        sock: socket.socket = rig.transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_peer_that_does_not_read_its_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.streams.LINGER_SECONDS", 0.05)
    async with Rig(chunked=True) as rig:
        rig.reader._transport.pause_reading()  # type: ignore[attr-defined]
        rig.stream.write(b"x" * 20_000_000)
        rig.stream.end()
        await eventually(lambda: rig.listener.heard[-1:] == ["lost"])
