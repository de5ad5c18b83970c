"""A token that is shown on an open connection: `hello`, and what becomes of it.

Where judging it needs a fetch, the connection is not read from until that has ended. `protocol/realtime.md` 2.1 is the
source of the rules.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Protocol

from broker.errors import Expired, HeadraceError, Unauthorized, Unavailable
from broker.rights import Principal
from gateway.auth import Authenticator
from gateway.realtime import frames
from gateway.realtime.errors import CloseCode
from gateway.realtime.fields import RequestId
from gateway.realtime.frames import RealtimeDialect
from gateway.realtime.wire import Hello

AUTHENTICATE_SECONDS = 10.0
"""How long the keys of a hello's token may take to be fetched."""

log = logging.getLogger(__name__)


class Socket(Protocol):
    """What admission asks of a connection. `authenticating` keeps it from being read."""

    authenticating: bool
    closing: bool
    dialect: RealtimeDialect

    def answer(self, data: bytes) -> None: ...
    def refuse(self, id_: RequestId, error: HeadraceError) -> None: ...
    def close(self, code: int, reason: str = "") -> None: ...
    def hold(self) -> None: ...
    def admit(self, principal: Principal) -> None: ...
    def request_done(self) -> None: ...


class Admission:
    """One for all connections of a node. `spawn` runs a short-lived task."""

    def __init__(self, auth: Authenticator, spawn: Callable[[Coroutine[object, object, None]], None]) -> None:
        self._auth = auth
        self._spawn = spawn

    def receive(self, socket: Socket, request: Hello) -> None:
        if request.token is None:
            socket.answer(frames.ok(socket.dialect, request.id))
            return
        try:
            principal = self._auth.known(request.token)
        except Unauthorized as error:
            _refuse(socket, request.id, error)
            return
        if principal is not None:
            _admit(socket, request.id, principal)
            return
        socket.authenticating = True
        socket.hold()
        self._spawn(self._authenticate(socket, request.id, request.token))

    async def _authenticate(self, socket: Socket, id_: RequestId, token: str) -> None:
        outcome: Principal | HeadraceError
        try:
            async with asyncio.timeout(AUTHENTICATE_SECONDS):
                outcome = await self._auth.authenticate(token)
        except HeadraceError as error:
            outcome = error
        except Exception:
            log.exception("a token could not be read")
            outcome = Unavailable("The token cannot be judged at the moment.")
        socket.authenticating = False
        if socket.closing:
            return
        if isinstance(outcome, Unauthorized):
            _refuse(socket, id_, outcome)
        elif isinstance(outcome, HeadraceError):
            # For now: the connection keeps the rights that it had.
            socket.refuse(id_, outcome)
        else:
            _admit(socket, id_, outcome)
        socket.request_done()


def _admit(socket: Socket, id_: RequestId, principal: Principal) -> None:
    socket.answer(frames.ok(socket.dialect, id_))
    socket.admit(principal)


def _refuse(socket: Socket, id_: RequestId, error: Unauthorized) -> None:
    # Never back to anonymous rights: a caller that shows a credential means it.
    socket.refuse(id_, error)
    if isinstance(error, Expired):
        socket.close(CloseCode.TOKEN_EXPIRED, "The token has expired.")
    else:
        socket.close(CloseCode.TOKEN_REFUSED, "The token was refused.")
