"""Rooms that wait: a handshake is decided elsewhere, and answered with 101 or with any HTTP status."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sockets
from receiver import make_authority
from sockets import CLOSE, frame, upgrade
from websockets.asyncio.client import connect

from broker.errors import Unauthorized
from broker.rights import Principal
from gateway.admittance import MAX_EARLY_BYTES, Arrival, Entry, Rejection
from gateway.config import Config, Limits
from gateway.handshake import Front, Opening
from gateway.metrics import Metrics
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import Services, WebSocket


class Echo(WebSocket):
    face = "echo"

    def greeting(self) -> bytes:
        return b"\x81\x02hi"

    def on_message(self, data: bytes, *, text: bool) -> None:
        self.answer(bytes((0x81 if text else 0x82, len(data))) + data)


@dataclass
class Room:
    """A room that opens at once."""

    node: Services
    subprotocols: Sequence[str] = ()

    def open(self, transport: asyncio.Transport, opening: Opening) -> Echo:
        return Echo(transport, self.node, opening.address)


class Auth:
    anonymous = Principal("@anonymous")

    def known(self, token: str) -> Principal | None:
        raise Unauthorized

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return origin != "http://evil.example"


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(sockets.PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Guest:
    """An entry that opens an echoing socket."""

    node: Services
    address: str
    subprotocol: str | None = None
    abandoned: list[int] = field(default_factory=list)
    opened: int = 0

    def open(self, transport: asyncio.Transport) -> Echo:
        self.opened += 1
        return Echo(transport, self.node, self.address)

    def abandon(self, code: int) -> None:
        self.abandoned.append(code)


@dataclass
class Doorkeeper:
    """Decides when told to; what it decides is in `verdict`."""

    node: Services
    checks_origin: bool = False
    verdict: Rejection | Exception | None = None
    subprotocol: str | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: list[Arrival] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)

    def claims(self, path: str, host: str | None) -> bool:
        return path.startswith("/stage") and host != "elsewhere"

    async def admit(self, arrival: Arrival) -> Entry | Rejection:
        self.arrivals.append(arrival)
        await self.gate.wait()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        if self.verdict:
            return self.verdict
        self.guests.append(Guest(self.node, arrival.address, self.subprotocol))
        return self.guests[-1]

    def rejection(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Rejection:
        return Rejection(status=status, body=f"own words: {message}".encode(), headers=headers)


@dataclass
class Door:
    port: int
    front: Front
    keeper: Doorkeeper
    metrics: Metrics

    @property
    def total(self) -> int:
        return self.front.node.census.total


@contextlib.asynccontextmanager
async def door(*, opened: bool = True, tls: ssl.SSLContext | None = None, **limits: Any) -> AsyncIterator[Door]:
    config = Config(limits=Limits(**limits))
    metrics, bounds = Metrics(), config.limits
    census = Census(connections=bounds.connections, connections_per_address=bounds.connections_per_address)
    node = Services(limits=bounds, metrics=metrics, census=census, wheel=Wheel(grain_seconds=0.01), outbox=Outbox())
    front = Front(node, Auth(), {"/stage/own": Room(node)})  # type: ignore[arg-type]
    keeper = Doorkeeper(node)
    front.waiting_rooms.append(keeper)
    if opened:
        keeper.gate.set()
    async with sockets.serving(front, config, tls=tls) as port:
        yield Door(port, front, keeper, metrics)
        keeper.gate.set()


async def test_nothing_is_answered_before_the_decision() -> None:
    async with door(opened=False) as d, sockets.raw(d.port) as client:
        client.send(upgrade("/stage"))
        await eventually(lambda: bool(d.keeper.arrivals))
        assert d.total == 1
        assert client.reader._buffer == b""  # type: ignore[attr-defined]
        d.keeper.gate.set()
        answer = await client.shake(b"\x82\x80\0\0\0\0")
        assert answer.status == 101
        assert "sec-websocket-protocol" not in answer.headers
        assert [await client.frame() for _ in range(2)] == [(0x81, b"hi"), (0x82, b"")]
        assert d.front.undecided == {}


async def test_the_room_sees_the_request_as_it_was_sent() -> None:
    head = (
        b"GET /stage/a%2Fb/?x=%201&x=2 HTTP/1.1\r\nHOST: here:80\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Odd: 1\r\nx-odd: 2\r\n\r\n"
    )
    async with door() as d, sockets.raw(d.port) as client:
        assert (await client.shake(head)).status == 101
        (arrival,) = d.keeper.arrivals
        assert (arrival.path, arrival.query) == ("/stage/a%2Fb/", "x=%201&x=2")
        assert list(arrival.headers) == [
            ("HOST", "here:80"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
            ("X-Odd", "1"),
            ("x-odd", "2"),
        ]
        assert (arrival.address, arrival.port, arrival.secure) == ("127.0.0.1", d.port, False)
        assert "x=2" not in repr(arrival)
        assert "here:80" not in repr(arrival)
        assert (arrival.header("host"), arrival.header("X-ODD"), arrival.header("nothing")) == ("here:80", "1", None)


async def test_a_request_that_came_in_pieces_is_spelt_as_it_was_sent() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        client.send(b"GET /stage HTTP/1.1\r\nHoSt: here\r\nX-O")
        await asyncio.sleep(0.02)
        rest = b"dd: 1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        assert (await client.shake(rest + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")).status == 101
        assert d.keeper.arrivals[0].headers[:2] == (("HoSt", "here"), ("X-Odd", "1"))


async def test_an_earlier_request_leaves_no_headers_behind() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        assert (await client.shake(b"GET / HTTP/1.1\r\nHost: first\r\nX-First: 1\r\n\r\n")).status == 404
        # The node's answer to plain requests has no length in these tests.
        assert (await client.reader.readuntil(b"0\r\n\r\n")).strip() == b"0"
        assert (await client.shake(upgrade("/stage", host="second"))).status == 101
        assert d.keeper.arrivals[0].headers[0] == ("host", "second")
        assert d.keeper.arrivals[0].header("x-first") is None


async def test_over_tls_the_room_knows_it(tmp_path: Path) -> None:
    server, client = make_authority(tmp_path, "localhost")
    async with door(tls=server) as d, connect(f"wss://localhost:{d.port}/stage", ssl=client, host="127.0.0.1") as peer:
        assert await peer.recv() == "hi"
        assert d.keeper.arrivals[0].secure


async def test_the_room_selects_the_subprotocol() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        d.keeper.subprotocol = "two"
        answer = await client.shake(upgrade("/stage", sec_websocket_protocol="one, two"))
        assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "two")


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 502, 504, 418, 499, 599])
async def test_any_status_is_an_answer(status: int) -> None:
    async with door() as d, sockets.raw(d.port) as client:
        d.keeper.verdict = Rejection(status=status, body=b'{"message":"No"}', headers=(("X-Why", "so"),))
        answer = await client.shake(upgrade("/stage"))
        assert (answer.status, answer.body) == (status, b'{"message":"No"}')
        assert (answer.headers["x-why"], answer.headers["connection"]) == ("so", "close")
        assert await client.at_end()
        await eventually(lambda: d.total == 0)
        assert d.metrics.refusals.counts == {("denied",): 1}


async def test_credentials_and_origins_are_the_rooms_own_business() -> None:
    async with door() as d:
        evil = {"authorization": "Bearer bad", "origin": "http://evil.example"}
        async with sockets.raw(d.port) as client:
            assert (await client.shake(upgrade("/stage?token=bad", **evil))).status == 101
        d.keeper.checks_origin = True
        async with sockets.raw(d.port) as client:
            answer = await client.shake(upgrade("/stage", **evil))
            assert (answer.status, answer.body) == (403, b"own words: This origin is not allowed.")


async def test_only_what_is_claimed_and_nobodys_own_comes_to_the_room() -> None:
    async with door() as d:
        for path, host, status in (("/other", "x", 404), ("/stage", "elsewhere", 404), ("/stage/own", "x", 101)):
            async with sockets.raw(d.port) as client:
                assert (await client.shake(upgrade(path, host=host))).status == status
        assert d.keeper.arrivals == []


async def test_a_malformed_handshake_is_refused_in_the_rooms_words() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/stage", sec_websocket_version="8"))
        assert (answer.status, answer.headers["sec-websocket-version"]) == (426, "13")
        assert answer.body == b"own words: The WebSocket version must be 13."
        assert d.keeper.arrivals == []


async def test_a_client_that_leaves_meanwhile_is_not_let_in() -> None:
    async with door(opened=False) as d:
        async with sockets.raw(d.port) as client:
            client.send(upgrade("/stage"))
            await eventually(lambda: bool(d.keeper.arrivals))
        await eventually(lambda: all(handshake._over for handshake in d.front.undecided))
        assert d.total == 1, "it counts until it is decided"
        d.keeper.gate.set()
        await eventually(lambda: d.total == 0 and not d.front.undecided)
        (guest,) = d.keeper.guests
        assert (guest.opened, guest.abandoned) == (0, [1006])
        assert not d.front.node.sockets


async def test_one_that_leaves_before_a_refusal_is_forgotten() -> None:
    async with door(opened=False) as d:
        d.keeper.verdict = Rejection(status=403, body=b"")
        async with sockets.raw(d.port) as client:
            client.send(upgrade("/stage"))
            await eventually(lambda: bool(d.keeper.arrivals))
        await eventually(lambda: all(handshake._over for handshake in d.front.undecided))
        d.keeper.gate.set()
        await eventually(lambda: d.total == 0 and not d.front.undecided)
        assert d.metrics.refusals.counts == {}


async def test_what_is_sent_too_early_waits_up_to_a_bound() -> None:
    async with door(opened=False) as d:
        async with sockets.raw(d.port) as client:
            client.send(upgrade("/stage"))
            await eventually(lambda: bool(d.keeper.arrivals))
            client.send(frame(0x82, b"early"))
            await eventually(lambda: any(handshake._early for handshake in d.front.undecided))
            d.keeper.gate.set()
            assert (await client.shake(b"\x82\x80\0\0\0\0")).status == 101
            assert [await client.frame() for _ in range(3)] == [(0x81, b"hi"), (0x82, b"early"), (0x82, b"")]
        d.keeper.gate.clear()
        async with sockets.raw(d.port) as client:
            client.send(upgrade("/stage"))
            await eventually(lambda: bool(d.front.undecided))
            client.send(bytes(MAX_EARLY_BYTES + 1))
            assert await client.at_end()
        d.keeper.gate.set()
        await eventually(lambda: d.total == 0)
        assert d.keeper.guests[1].abandoned == [1006]


@pytest.mark.parametrize("end", ["drain", "evict"])
async def test_a_node_that_goes_answers_at_once(end: str) -> None:
    async with door(opened=False) as d, sockets.raw(d.port) as client:
        client.send(upgrade("/stage"))
        await eventually(lambda: bool(d.keeper.arrivals))
        draining = asyncio.create_task(d.front.drain()) if end == "drain" else None
        if draining is None:
            d.front.evict()
        answer = await client.shake(b"\0")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.body == b"own words: The node restarts."
        assert draining is None or not draining.done(), "the decision may end in its own time"
        d.keeper.gate.set()
        if draining is not None:
            await draining
        await eventually(lambda: d.total == 0 and not d.front.undecided)
        assert d.keeper.guests[0].abandoned == [1012]


async def test_a_node_that_takes_no_new_sockets_lets_nobody_in_late() -> None:
    async with door(opened=False) as d, sockets.raw(d.port) as client:
        client.send(upgrade("/stage"))
        await eventually(lambda: bool(d.keeper.arrivals))
        d.front.draining = True
        d.keeper.gate.set()
        answer = await client.shake(b"\0")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        await eventually(lambda: d.total == 0)
        assert (d.keeper.guests[0].opened, d.keeper.guests[0].abandoned) == (0, [1012])


async def test_a_long_token_in_the_url_comes_through() -> None:
    token = "x" * 16_000
    async with door() as d, sockets.raw(d.port) as client:
        assert (await client.shake(upgrade(f"/stage?token={token}", cookie="c" * 10_000))).status == 101
        assert d.keeper.arrivals[0].query == f"token={token}"


async def test_a_drain_does_not_wait_for_ever(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.handshake.DRAIN_SECONDS", 0.02)
    async with door(opened=False) as d, sockets.raw(d.port) as client:
        client.send(upgrade("/stage"))
        await eventually(lambda: bool(d.keeper.arrivals))
        await d.front.drain()
        await eventually(lambda: d.total == 0 and not d.front.undecided)


async def test_a_decision_takes_so_long_at_most(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.admittance.ADMISSION_SECONDS", 0.02)
    async with door(opened=False) as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/stage"))
        assert (answer.status, answer.body[:9]) == (504, b"own words")


async def test_a_room_that_fails_is_an_answer() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        d.keeper.verdict = RuntimeError("boom")
        answer = await client.shake(upgrade("/stage"))
        assert (answer.status, answer.body) == (500, b"own words: The server failed.")
        await eventually(lambda: d.total == 0)


async def test_a_socket_that_cannot_be_made_is_cut(monkeypatch: Any) -> None:
    monkeypatch.setattr(Guest, "open", lambda *_: 1 / 0)
    async with door() as d, sockets.raw(d.port) as client:
        client.send(upgrade("/stage"))
        assert await client.at_end()
        await eventually(lambda: d.total == 0)


async def test_those_who_leave_cannot_start_any_number_of_decisions() -> None:
    async with door(opened=False, connections_per_address=2) as d:
        for _ in range(2):
            async with sockets.raw(d.port) as client:
                client.send(upgrade("/stage"))
                await eventually(lambda: all(a for a in d.keeper.arrivals) and bool(d.front.undecided))
            await eventually(lambda: all(handshake._over for handshake in d.front.undecided))
        async with sockets.raw(d.port) as client:
            assert (await client.shake(upgrade("/stage"))).status == 503
        d.keeper.gate.set()
        await eventually(lambda: d.total == 0)


async def test_an_open_socket_ends_as_any_other() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        await client.shake(upgrade("/stage"))
        await client.frame()
        draining = asyncio.create_task(d.front.drain())
        assert await client.closed() == 1012
        client.send(frame(0x80 | CLOSE, b"\x03\xf4"))
        await draining
        assert d.keeper.guests[0].abandoned == []
