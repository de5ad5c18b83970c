"""The opening handshake of every WebSocket: which room, whose connection, and the refusals as HTTP answers.

uvicorn makes one `Handshake` for each upgrade request and feeds it the request's head. When it is answered with 101,
the room's own `WebSocket` takes over the transport and the handshake is forgotten, `websockets`' `ServerProtocol` with
it: that is what keeps an idle socket small (DESIGN 7). No extensions are offered.

A room at an exact path opens its sockets at once; a `WaitingRoom` (`gateway.admittance`) is looked for after those, and
is given the whole handshake and time to decide about it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses
from typing import Any, ClassVar, Protocol, cast

import orjson
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from broker.errors import HeadraceError, Unauthorized
from broker.rights import Principal
from gateway.admittance import MAX_EARLY_BYTES, Arrival, Entry, Rejection, WaitingRoom, decided
from gateway.auth import Authenticator
from gateway.negotiation import (
    MAX_HEAD_BYTES,
    VERSION,
    Negotiation,
    Refusal,
    credential,
    full,
    host_of,
    leaving,
    malformed,
    unauthorized,
    wrong_version,
)
from gateway.session import peer_address
from gateway.websocket import ABNORMAL, RESTART, Services, WebSocket

AUTHENTICATE_SECONDS = 10.0
"""How long the keys of a token may take to be fetched."""

DRAIN_SECONDS = 6.0
"""A little more than a closing handshake may take."""

RESTARTS = "The node restarts."

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
        self.waiting_rooms: list[WaitingRoom] = []
        """Asked in this order about a path that is no room's own."""
        self.draining = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.undecided: dict[Handshake, asyncio.Task[None]] = {}

    def protocol_class(self) -> type["Handshake"]:
        """Return what uvicorn takes as `ws=`."""
        return type("NodeHandshake", (Handshake,), {"front": self})

    async def drain(self) -> None:
        """Take no new sockets, close all with 1012, and return when they are gone or `DRAIN_SECONDS` have passed."""
        self.draining = True
        self._turn_away()
        sockets = list(self.node.sockets)
        for at in range(0, len(sockets), DRAIN_BATCH):
            for socket in sockets[at : at + DRAIN_BATCH]:
                socket.close(RESTART, RESTARTS)
            await asyncio.sleep(0)
        self.node.all_gone.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                if self.node.sockets:
                    await self.node.all_gone.wait()
                while self.undecided:
                    await asyncio.wait(self.undecided.values())
        for socket in list(self.node.sockets):
            socket.transport.abort()
        for task in list(self.undecided.values()):
            task.cancel()

    def evict(self) -> None:
        """Close all sockets with 1012 at once, before anything more is read from them: the node was held to be gone."""
        self._turn_away()
        for socket in list(self.node.sockets):
            socket.close(RESTART, "The node was cut off.")
        self.node.unsettled.clear()

    def _turn_away(self) -> None:
        for handshake in list(self.undecided):
            handshake.turn_away()

    def settle(self) -> None:
        """Read on where it was left when the node had stood still."""
        unsettled, self.node.unsettled = self.node.unsettled, set()
        for socket in unsettled:
            socket.settle()

    def refuse(self, code: str) -> None:
        self.node.metrics.refused(code)

    def waiting_room(self, path: str, host: str | None) -> WaitingRoom | None:
        return next((room for room in self.waiting_rooms if room.claims(path, host)), None)


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
        self._room: WaitingRoom | None = None
        self._early: bytearray | None = None
        """What came while the room decides; None when it does not."""
        self._over = 0
        """The close code of a handshake that ended before it was decided."""
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
        if self._early is not None:
            self._early += data
            if len(self._early) > MAX_EARLY_BYTES:
                self._transport.abort()
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
        elif self in self.front.undecided:
            # It counts until it is decided: whoever leaves at once must not start any number of decisions.
            self._over = self._over or ABNORMAL
        else:
            self._leave()

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self.front.node.census.leave(self._address)

    def shutdown(self) -> None:
        """uvicorn asks for this when the server ends."""
        self._transport.close()

    # The handshake.

    def _receive(self, request: Request) -> None:
        path = request.path.partition("?")[0]
        try:
            room = self.front.rooms.get(path)
            if room is None:
                self._ask(request, path)
            else:
                self._identify(room, self._examine(request, room.subprotocols), credential(request))
        except Refusal as refusal:
            self._refuse(refusal)
        except Unauthorized as error:
            self._refuse(unauthorized(error))

    def _identify(self, room: Room, response: Response, token: str | None) -> None:
        principal = self.front.auth.known(token) if token is not None else self.front.auth.anonymous
        if principal is None and token is not None:
            self._start_authenticating(room, response, token)
        elif principal is not None:
            self._accept(room, response, principal, authenticated=token is not None)

    def _examine(self, request: Request, spoken: Sequence[str] | None, *, checks_origin: bool = True) -> Response:
        """Return the answer that lets it in, or raise `Refusal`."""
        front = self.front
        if front.draining:
            raise leaving()
        self._address = peer_address(self._transport)
        self._counted = front.node.census.enter(self._address)
        if not self._counted:
            raise full("There are too many connections.")
        self._protocol.spoken = spoken
        if request.headers.get_all("Sec-WebSocket-Version") not in ([], [VERSION]):
            raise wrong_version()
        response = self._protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            raise malformed(response, self._protocol.handshake_exc)
        if checks_origin and not front.auth.allows_origin(self._protocol.origin, host_of(request)):
            raise Refusal(HTTPStatus.FORBIDDEN, "forbidden", "This origin is not allowed.")
        return response

    # A handshake that a waiting room decides about.

    def _ask(self, request: Request, path: str) -> None:
        """Have a waiting room decide, or raise `Refusal`."""
        room = self._room = self.front.waiting_room(path, host_of(request))
        if room is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", "There is no WebSocket at this path.")
        response = self._examine(request, None, checks_origin=room.checks_origin)
        self._early = bytearray()
        deciding = self._decide(room, self._arrival(request), response)
        task = self.front.undecided[self] = asyncio.get_running_loop().create_task(deciding)
        task.add_done_callback(self._on_decided)

    def _arrival(self, request: Request) -> Arrival:
        path, _, query = request.path.partition("?")
        name: object = self._transport.get_extra_info("sockname")
        return Arrival(
            path=path,
            query=query,
            headers=tuple(request.headers.raw_items()),
            address=self._address,
            port=int(name[1]) if isinstance(name, tuple) and len(name) > 1 else 0,
            secure=self._transport.get_extra_info("sslcontext") is not None,
        )

    async def _decide(self, room: WaitingRoom, arrival: Arrival, response: Response) -> None:
        verdict = await decided(room, arrival)
        if isinstance(verdict, Rejection):
            if not self._over:
                self._reject(verdict, "denied")
        elif self.front.draining or self._transport.is_closing():
            self.turn_away()
            verdict.abandon(self._over or ABNORMAL)
        else:
            self._enter(verdict, response)

    def _on_decided(self, task: asyncio.Task[None]) -> None:
        del self.front.undecided[self]
        if self._over:
            self._leave()
        if not task.cancelled() and task.exception() is not None:
            log.error("a socket could not be opened", exc_info=task.exception())
            self._transport.abort()

    def _enter(self, entry: Entry, response: Response) -> None:
        if entry.subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = entry.subprotocol
        early, self._early = self._early, None
        self._open(response, entry.open(self._transport))
        if early and self._socket is not None:
            self._socket.data_received(bytes(early))

    def turn_away(self) -> None:
        """The node goes before the room has decided: say so, and let the decision end by itself."""
        if not (self._over or self._transport.is_closing()):
            self._refuse(leaving())
            self._over = RESTART

    # A handshake with a credential.

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
            self._refuse(unauthorized(error))
        except (HeadraceError, TimeoutError):
            self._refuse(full("The token's keys cannot be fetched.", code="unavailable"))
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
        self._open(response, room.open(self._transport, opening))

    def _open(self, response: Response, socket: WebSocket) -> None:
        self._protocol.send_response(response)
        self._socket = socket
        self.front.node.connections.discard(self)
        self._transport.write(b"".join(self._protocol.data_to_send()) + socket.greeting())
        socket.start()
        # Not at once: uvicorn sets this object as the transport's protocol when it has been fed the request.
        asyncio.get_running_loop().call_soon(self._hand_over, socket)

    def _hand_over(self, socket: WebSocket) -> None:
        if not self._transport.is_closing():
            self._transport.set_protocol(socket)

    def _refuse(self, refusal: Refusal) -> None:
        if self._room is None:
            body = orjson.dumps(refusal.document)
            json = ("Content-Type", "application/json")
            rejection = Rejection(status=refusal.status, body=body, headers=(*refusal.headers, json))
        else:
            rejection = self._room.rejection(refusal.status, refusal.message, refusal.headers)
        self._reject(rejection, refusal.code)

    def _reject(self, rejection: Rejection, code: str) -> None:
        self.front.refuse(code)
        headers = Headers(rejection.headers)
        headers["Content-Length"] = str(len(rejection.body))
        headers["Connection"] = "close"
        response = Response(rejection.status, responses.get(rejection.status, "Status"), headers, rejection.body)
        self._transport.write(response.serialize())
        self._transport.close()
