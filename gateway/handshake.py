"""The opening handshake of every WebSocket: which room, whose connection, and the refusals as HTTP answers.

uvicorn makes one `Handshake` for each upgrade request and feeds it the request's head. When it is answered with 101,
the room's own `WebSocket` takes over the transport and the handshake is forgotten, `websockets`' `ServerProtocol` with
it: that is what keeps an idle socket small (DESIGN 7). No extensions are offered.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Protocol, cast
from urllib.parse import parse_qs

import orjson
from websockets.datastructures import Headers
from websockets.exceptions import NegotiationError
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from broker.errors import HeadraceError, Unauthorized
from broker.rights import Principal
from gateway.auth import Authenticator
from gateway.session import peer_address
from gateway.websocket import RESTART, Services, WebSocket

VERSION = "13"
"""Of RFC 6455."""

MAX_HEAD_BYTES = 65_536
"""Request line and headers; uvicorn's HTTP protocol has bounds of its own before."""

AUTHENTICATE_SECONDS = 10.0
"""How long the keys of a token may take to be fetched."""

RETRY_AFTER_SECONDS = 5

DRAIN_SECONDS = 6.0
"""A little more than a closing handshake may take."""

DRAIN_BATCH = 500
"""Sockets told to come back before the loop may turn."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a room learns of an accepted handshake. `authenticated`: a token was shown and is good."""

    subprotocol: str | None
    principal: Principal
    authenticated: bool
    address: str


class Room(Protocol):
    """A contract that speaks over WebSockets, at one path."""

    @property
    def subprotocols(self) -> Sequence[str]:
        """Those that it speaks; the client's first among them is taken."""

    def open(self, transport: asyncio.Transport, opening: Opening) -> WebSocket: ...


class Front:
    """The node's WebSocket front: its rooms by path, its sockets, and their end."""

    def __init__(self, node: Services, auth: Authenticator, rooms: Mapping[str, Room]) -> None:
        self.node = node
        self.auth = auth
        self.rooms = rooms
        self.draining = False
        self.tasks: set[asyncio.Task[None]] = set()

    def protocol_class(self) -> type["Handshake"]:
        """Return what uvicorn takes as `ws=`."""
        return type("NodeHandshake", (Handshake,), {"front": self})

    async def drain(self) -> None:
        """Take no new sockets, close all with 1012, and return when they are gone or `DRAIN_SECONDS` have passed."""
        self.draining = True
        sockets = list(self.node.sockets)
        for at in range(0, len(sockets), DRAIN_BATCH):
            for socket in sockets[at : at + DRAIN_BATCH]:
                socket.close(RESTART, "The node restarts.")
            await asyncio.sleep(0)
        self.node.all_gone.clear()
        if self.node.sockets:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.node.all_gone.wait(), DRAIN_SECONDS)
        for socket in list(self.node.sockets):
            socket.transport.abort()

    def evict(self) -> None:
        """Close all sockets with 1012 at once, before anything more is read from them: the node was held to be gone."""
        for socket in list(self.node.sockets):
            socket.close(RESTART, "The node was cut off.")
        self.node.unsettled.clear()

    def settle(self) -> None:
        """Read on where it was left when the node had stood still."""
        unsettled, self.node.unsettled = self.node.unsettled, set()
        for socket in unsettled:
            socket.settle()

    def refuse(self, code: str) -> None:
        self.node.metrics.refused(code)


class Refusal(Exception):
    """A handshake's refusal as an HTTP answer; `code` is its stable word."""

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        super().__init__(message)


class Negotiation(ServerProtocol):
    """`websockets`' handshake, with our rule for subprotocols: the client's first that the room speaks."""

    spoken: Sequence[str] = ()

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        if not subprotocols:
            return None
        for name in subprotocols:
            if name in self.spoken:
                return name
        raise NegotiationError(f"invalid subprotocol; expected one of {', '.join(self.spoken)}")


class Handshake(asyncio.Protocol):
    """One upgrade request. The arguments are uvicorn's."""

    front: ClassVar[Front]

    def __init__(
        self, config: Any, server_state: Any, app_state: Any, _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.front.node.connections = server_state.connections
        self._transport: asyncio.Transport
        self._address = ""
        self._counted = False
        self._socket: WebSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._protocol = Negotiation()

    # asyncio's side. Once there is a socket, all of this is passed on until the transport knows it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.front.node.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.data_received(data)
            return
        if self._task is not None or len(self._protocol.reader.buffer) > MAX_HEAD_BYTES:
            # RFC 6455 section 4.1: the client sends nothing until it has the answer.
            self._transport.abort()
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._receive(event)
        if self._protocol.handshake_exc is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._protocol.data_to_send()))
            self._transport.close()

    def eof_received(self) -> None:
        if self._socket is not None:
            self._socket.eof_received()

    def pause_writing(self) -> None:
        if self._socket is not None:
            self._socket.pause_writing()

    def resume_writing(self) -> None:
        if self._socket is not None:
            self._socket.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.node.connections.discard(self)
        if self._task is not None:
            self._task.cancel()
        if self._socket is not None:
            self._socket.connection_lost(exc)
        elif self._counted:
            self._counted = False
            self.front.node.census.leave(self._address)

    def shutdown(self) -> None:
        """uvicorn asks for this when the server ends."""
        self._transport.close()

    # The handshake.

    def _receive(self, request: Request) -> None:
        try:
            room, response = self._examine(request)
            token = credential(request)
            principal = self.front.auth.known(token) if token is not None else self.front.auth.anonymous
        except Refusal as refusal:
            self._refuse(refusal)
        except Unauthorized as error:
            self._refuse(_unauthorized(error))
        else:
            if principal is None and token is not None:
                self._start_authenticating(room, response, token)
            elif principal is not None:
                self._accept(room, response, principal, authenticated=token is not None)

    def _examine(self, request: Request) -> tuple[Room, Response]:
        """Return the room and the answer, or raise `Refusal`."""
        front = self.front
        room = front.rooms.get(request.path.partition("?")[0])
        if room is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "There is no WebSocket at this path.")
        if front.draining:
            raise _full("The node restarts.")
        self._address = peer_address(self._transport)
        self._counted = front.node.census.enter(self._address)
        if not self._counted:
            raise _full("There are too many connections.")
        self._protocol.spoken = room.subprotocols
        if request.headers.get_all("Sec-WebSocket-Version") not in ([], [VERSION]):
            raise _version()
        response = self._protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            raise _malformed(response, self._protocol.handshake_exc)
        host = request.headers.get_all("Host")
        if not front.auth.allows_origin(self._protocol.origin, host[0] if host else None):
            raise Refusal(HTTPStatus.FORBIDDEN, "forbidden", "This origin is not allowed.")
        return room, response

    def _start_authenticating(self, room: Room, response: Response, token: str) -> None:
        self._transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._authenticate(room, response, token))
        self.front.tasks.add(self._task)
        self._task.add_done_callback(self.front.tasks.discard)

    async def _authenticate(self, room: Room, response: Response, token: str) -> None:
        try:
            async with asyncio.timeout(AUTHENTICATE_SECONDS):
                principal = await self.front.auth.authenticate(token)
        except Unauthorized as error:
            self._refuse(_unauthorized(error))
        except (HeadraceError, TimeoutError):
            self._refuse(_full("The token's keys cannot be fetched.", code="unavailable"))
        else:
            self._task = None
            self._transport.resume_reading()
            self._accept(room, response, principal, authenticated=True)

    def _accept(self, room: Room, response: Response, principal: Principal, *, authenticated: bool) -> None:
        opening = Opening(
            subprotocol=self._protocol.subprotocol,
            principal=principal,
            authenticated=authenticated,
            address=self._address,
        )
        self._protocol.send_response(response)
        socket = self._socket = room.open(self._transport, opening)
        self.front.node.connections.discard(self)
        self._transport.write(b"".join(self._protocol.data_to_send()) + socket.greeting())
        socket.start()
        # Not at once: uvicorn sets this object as the transport's protocol when it has been fed the request.
        asyncio.get_running_loop().call_soon(self._hand_over, socket)

    def _hand_over(self, socket: WebSocket) -> None:
        if not self._transport.is_closing():
            self._transport.set_protocol(socket)

    def _refuse(self, refusal: Refusal) -> None:
        self.front.refuse(refusal.code)
        body = orjson.dumps({"error": {"code": refusal.code, "message": refusal.message}})
        headers = Headers(refusal.headers)
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
        headers["Connection"] = "close"
        self._transport.write(Response(refusal.status, refusal.status.phrase, headers, body).serialize())
        self._transport.close()


def credential(request: Request) -> str | None:
    """Return a handshake's token: `Authorization: Bearer`, `x-api-key`, `?token=`, the first that is not empty."""
    for value in request.headers.get_all("Authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
    for value in request.headers.get_all("x-api-key"):
        if value.strip():
            return value.strip()
    query = parse_qs(request.path.partition("?")[2], max_num_fields=100)
    return query["token"][0] if "token" in query else None


def _malformed(response: Response, why: Exception | None) -> Refusal:
    kept = tuple((name, value) for name, value in response.headers.raw_items() if name in ("Upgrade", "Allow"))
    status = HTTPStatus(response.status_code)
    return Refusal(status, "invalid_request", f"The handshake is malformed: {why}.", kept)


def _version() -> Refusal:
    wanted = (("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket"))
    return Refusal(HTTPStatus.UPGRADE_REQUIRED, "invalid_request", "The WebSocket version must be 13.", wanted)


def _unauthorized(error: HeadraceError) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, error.code, error.reason, (("WWW-Authenticate", "Bearer"),))


def _full(message: str, *, code: str = "limit_exceeded") -> Refusal:
    retry = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, code, message, retry)
