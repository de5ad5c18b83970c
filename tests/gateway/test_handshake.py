"""The opening handshake: rooms by path, credentials, origins, caps, and the end of the front."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import sockets
from sockets import CLOSE, frame, upgrade

from broker.errors import HeadraceError, Unauthorized, Unavailable
from broker.rights import Principal
from gateway.config import Config, Limits
from gateway.handshake import Front, Opening
from gateway.metrics import Metrics
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import Services, WebSocket

ALICE = Principal("alice", publish=("*",))
ANYBODY = Principal("@anonymous")


class Echo(WebSocket):
    face = "echo"

    def greeting(self) -> bytes:
        return b"\x81\x02hi"

    def on_message(self, data: bytes, *, text: bool) -> None:
        self.answer(bytes((0x81 if text else 0x82, len(data))) + data)


@dataclass
class Room:
    """Opens echoing sockets and keeps what it was told of them."""

    subprotocols: Sequence[str] = ("one", "two")
    node: Services | None = None
    openings: list[Opening] = field(default_factory=list)

    def open(self, transport: asyncio.Transport, opening: Opening) -> Echo:
        assert self.node
        self.openings.append(opening)
        return Echo(transport, self.node, opening.address)


@dataclass
class Auth:
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failure: HeadraceError | None = None
    hosts: list[tuple[str | None, str | None]] = field(default_factory=list)

    anonymous = ANYBODY

    def known(self, token: str) -> Principal | None:
        if token == "good":
            return ALICE
        if token == "fetch":
            return None
        raise Unauthorized("The token is not known.")

    async def authenticate(self, token: str) -> Principal:
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return ALICE

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        self.hosts.append((origin, host))
        return origin != "http://evil.example"


@dataclass
class Door:
    port: int
    front: Front
    room: Room
    auth: Auth
    metrics: Metrics


@contextlib.asynccontextmanager
async def door(**limits: Any) -> AsyncIterator[Door]:
    config = Config(limits=Limits(**limits))
    metrics = Metrics()
    bounds = config.limits
    census = Census(connections=bounds.connections, connections_per_address=bounds.connections_per_address)
    room, auth = Room(), Auth()
    room.node = Services(
        limits=bounds, metrics=metrics, census=census, wheel=Wheel(grain_seconds=0.01), outbox=Outbox()
    )
    front = Front(room.node, auth, {"/echo": room})  # type: ignore[arg-type]
    async with sockets.serving(front, config) as port:
        yield Door(port, front, room, auth, metrics)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(sockets.PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_room_answers_at_its_path_and_nowhere_else() -> None:
    async with door() as d:
        async with sockets.raw(d.port) as client:
            assert (await client.shake(upgrade("/echo?x=1"))).status == 101
            assert await client.frame() == (0x81, b"hi")
            client.send(frame(0x82, b"\x00\x01"))
            assert await client.frame() == (0x82, b"\x00\x01")
        for path in ("/", "/echo/", "/echo2", "/Echo", "/v1/realtime"):
            async with sockets.raw(d.port) as client:
                answer = await client.shake(upgrade(path))
                assert (answer.status, answer.code) == (404, "not_found")
                assert answer.headers["content-type"] == "application/json"
                assert await client.at_end()
        assert d.metrics.refusals.counts[("not_found",)] == 5


@pytest.mark.parametrize(
    ("offered", "taken"),
    [(None, None), ("one", "one"), ("two, one", "two"), ("three, one", "one"), ("three,two,one", "two")],
)
async def test_the_clients_first_known_subprotocol_is_taken(offered: str | None, taken: str | None) -> None:
    async with door() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/echo", sec_websocket_protocol=offered))
        assert answer.status == 101
        assert answer.headers.get("sec-websocket-protocol") == taken
        assert d.room.openings[0].subprotocol == taken


async def test_only_unknown_subprotocols_are_refused() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/echo", sec_websocket_protocol="three"))
        assert (answer.status, answer.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/echo", {"authorization": "Bearer good"}),
        ("/echo", {"authorization": "bearer  good"}),
        ("/echo", {"x_api_key": "good"}),
        ("/echo?token=good", {}),
        ("/echo?a=b&token=good", {"authorization": "Basic Zm9v"}),
        ("/echo?token=bad", {"x_api_key": "good"}),
        ("/echo?token=bad", {"authorization": "Bearer good", "x_api_key": "bad"}),
    ],
)
async def test_a_credential_is_found(path: str, headers: dict[str, str]) -> None:
    async with door() as d, sockets.raw(d.port) as client:
        assert (await client.shake(upgrade(path, **headers))).status == 101
        opening = d.room.openings[0]
        assert (opening.principal, opening.authenticated, opening.address) == (ALICE, True, "127.0.0.1")


@pytest.mark.parametrize(("path", "headers"), [("/echo?token=bad", {}), ("/echo", {"authorization": "Bearer bad"})])
async def test_a_bad_credential_never_counts_as_none(path: str, headers: dict[str, str]) -> None:
    async with door() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade(path, **headers))
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert d.room.openings == []


async def test_without_a_credential_the_caller_is_anonymous() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        assert (await client.shake(upgrade("/echo"))).status == 101
        assert (d.room.openings[0].principal, d.room.openings[0].authenticated) == (ANYBODY, False)


async def test_a_token_whose_key_is_fetched_is_waited_for() -> None:
    async with door() as d, sockets.raw(d.port) as client:
        client.send(upgrade("/echo", x_api_key="fetch"))
        await eventually(lambda: bool(d.front.tasks))
        # A client that does not wait for the answer is not read from until there is one.
        client.send(frame(0x82, b"early"))
        await asyncio.sleep(0.02)
        assert d.room.openings == []
        d.auth.gate.set()
        assert (await client.shake(b"\x82\x80\0\0\0\0")).status == 101
        assert d.room.openings[0].principal == ALICE
        assert [await client.frame() for _ in range(3)] == [(0x81, b"hi"), (0x82, b"early"), (0x82, b"")]


@pytest.mark.parametrize(
    ("failure", "status", "code"), [(Unauthorized(), 401, "unauthorized"), (Unavailable(), 503, "unavailable")]
)
async def test_a_fetch_that_fails_is_an_answer(failure: HeadraceError, status: int, code: str) -> None:
    async with door() as d, sockets.raw(d.port) as client:
        d.auth.failure = failure
        d.auth.gate.set()
        answer = await client.shake(upgrade("/echo", x_api_key="fetch"))
        assert (answer.status, answer.code) == (status, code)
        await eventually(lambda: d.front.node.census.total == 0)


async def test_a_fetch_that_takes_too_long_is_given_up(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.handshake.AUTHENTICATE_SECONDS", 0.02)
    async with door() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/echo", x_api_key="fetch"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_a_client_that_leaves_during_the_fetch_is_forgotten() -> None:
    async with door() as d:
        async with sockets.raw(d.port) as client:
            client.send(upgrade("/echo", x_api_key="fetch"))
            await eventually(lambda: bool(d.front.tasks))
        d.auth.gate.set()
        await eventually(lambda: not d.front.tasks and d.front.node.census.total == 0)
        assert not d.front.node.sockets


async def test_a_foreign_origin_is_refused() -> None:
    async with door() as d:
        async with sockets.raw(d.port) as client:
            answer = await client.shake(upgrade("/echo", origin="http://evil.example", x_api_key="good"))
            assert (answer.status, answer.code) == (403, "forbidden")
        async with sockets.raw(d.port) as client:
            assert (await client.shake(upgrade("/echo", origin="http://localhost", host="localhost:80"))).status == 101
        assert d.auth.hosts == [("http://evil.example", "localhost"), ("http://localhost", "localhost:80")]


async def test_connections_are_capped_and_counted_out_again() -> None:
    async with door(connections_per_address=2) as d:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(sockets.raw(d.port)) for _ in range(2)]
            for client in clients:
                assert (await client.shake(upgrade("/echo"))).status == 101
            refused = await stack.enter_async_context(sockets.raw(d.port))
            assert (await refused.shake(upgrade("/echo"))).status == 503
        await eventually(lambda: d.front.node.census.total == 0)
        async with sockets.raw(d.port) as client:
            assert (await client.shake(upgrade("/echo"))).status == 101


async def test_a_refused_handshake_is_counted_out() -> None:
    async with door() as d:
        async with sockets.raw(d.port) as client:
            await client.shake(upgrade("/echo", x_api_key="bad"))
        await eventually(lambda: d.front.node.census.total == 0)


async def test_a_drain_closes_all_with_a_restart_and_takes_no_new_ones() -> None:
    async with door() as d, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(sockets.raw(d.port)) for _ in range(5)]
        for client in clients:
            await client.shake(upgrade("/echo"))
        draining = asyncio.create_task(d.front.drain())
        for client in clients:
            assert await client.closed() == 1012
            client.send(frame(0x80 | CLOSE, b"\x03\xf4"))
        await draining
        assert not d.front.node.sockets
        late = await stack.enter_async_context(sockets.raw(d.port))
        answer = await late.shake(upgrade("/echo"))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_a_drain_does_not_wait_for_those_that_never_answer(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.handshake.DRAIN_SECONDS", 0.02)
    async with door() as d, sockets.raw(d.port) as client:
        await client.shake(upgrade("/echo"))
        await d.front.drain()
        assert await client.closed() == 1012
        assert await client.at_end()
