"""`/_ah/channel/socket`: a channel over a WebSocket, the way of our own script where it is free.

A browser does not show its page why a handshake was refused. So a token that is not good gets its socket, one error
frame and a close; only where nothing can be said about it (Redis is away, the node restarts) the handshake fails.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

import orjson

from broker.errors import HeadraceError, InvalidRequest, ServerError
from broker.store.channels import ChannelMessage, Opened
from gateway import websocket
from gateway.admittance import Arrival, Rejection
from gateway.channel import wire
from gateway.channel.errors import TokenTimedOut, told
from gateway.channel.lines import Line, Lines
from gateway.channel.services import Services
from gateway.channel.tokens import Grant
from gateway.framing import TEXT, framed

PATH = "/_ah/channel/socket"

MAX_QUERY_FIELDS = 20

POLICY = 1008
"""RFC 6455: what a socket is closed with that has been told why."""

LEAVING = {1000, 1005}
"""How a page closes its channel; one that is unloaded says 1001, a lost socket nothing."""

FIN_TEXT = 0x80 | TEXT


def frames_of(messages: Sequence[ChannelMessage]) -> bytes:
    return b"".join(framed(FIN_TEXT, wire.message(message)) for message in messages)


class ChannelSocket(websocket.WebSocket):
    """One page's socket: the outlet of a line."""

    __slots__ = ("_entry", "_grant", "_line")

    face = "channel"

    def __init__(self, transport: asyncio.Transport, entry: "Admitted") -> None:
        super().__init__(transport, entry.room.node, entry.address)
        self._entry = entry
        self._grant = entry.grant
        self._line: Line | None = None

    def greeting(self) -> bytes:
        entry = self._entry
        label = wire.Label(entry.name, entry.opened.number)
        return framed(FIN_TEXT, wire.opened(label, entry.opened.cursor, expires_s=entry.grant.expires_s))

    def start(self) -> None:
        super().start()
        entry = self._entry
        self._line = entry.room.lines.attach(entry.grant.client_id, entry.name, self, entry.opened)

    def on_message(self, data: bytes, *, text: bool) -> None:
        """A new token: the channel goes on under it."""
        services = self._entry.room.services
        try:
            grant = services.grant(wire.read_refresh(data))
            if grant.client_id != self._grant.client_id:
                raise InvalidRequest("The token is for another channel.")
        except HeadraceError as error:
            self.finish(error)
            return
        self._grant = grant
        self.answer(framed(FIN_TEXT, wire.refreshed(expires_s=grant.expires_s)))
        self.node.wheel.arm(self, min(self.node.limits.ping_seconds, self.due_in()))

    def on_gone(self) -> None:
        if self._line is not None:
            room = self._entry.room
            room.lines.detach(self._line, grace_ms=0 if self._code in LEAVING else room.services.gone_ms)

    def on_writable(self) -> None:
        if self._line is not None:
            self._entry.room.lines.resume(self._line)

    def overdue(self) -> tuple[int, str] | None:
        if self.due_in() > 0:
            return None
        self.answer(framed(FIN_TEXT, wire.error(told(TokenTimedOut()))))
        return POLICY, "The token has timed out."

    def due_in(self) -> float:
        return max(self._grant.expires_s - self._entry.room.services.now_ms() / 1000, 0)

    # What its line calls.

    def deliver(self, messages: Sequence[ChannelMessage]) -> bool:
        if self.closing:
            return False
        self.write(frames_of(messages))
        return True

    def skip(self, count: int) -> None:
        self.write(framed(FIN_TEXT, wire.gap(count)))

    def finish(self, error: HeadraceError | None) -> None:
        if error is None:
            self.close(POLICY, "The page has closed its channel.")
        else:
            self.answer(framed(FIN_TEXT, wire.error(told(error))))
            self.close(POLICY, error.reason)


class RefusedSocket(websocket.WebSocket):
    """A socket that opens only to say why it does not."""

    __slots__ = ("_error",)

    face = "channel"

    def __init__(
        self, transport: asyncio.Transport, node: websocket.Services, address: str, error: HeadraceError
    ) -> None:
        super().__init__(transport, node, address)
        self._error = error

    def greeting(self) -> bytes:
        return framed(FIN_TEXT, wire.error(told(self._error)))

    def start(self) -> None:
        super().start()
        self.close(POLICY, self._error.reason)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A handshake whose connection is open."""

    room: "SocketRoom"
    address: str
    grant: Grant
    name: str
    opened: Opened
    subprotocol: None = None

    def open(self, transport: asyncio.Transport) -> ChannelSocket:
        return ChannelSocket(transport, self)

    def abandon(self, code: int) -> None:
        services = self.room.services
        closing = services.close(self.grant.client_id, self.name, cursor=None, grace_ms=services.gone_ms)
        self.room.lines.spawn(closing)


@dataclass(frozen=True, slots=True)
class Refused:
    """A handshake that is refused inside its socket."""

    node: websocket.Services
    address: str
    error: HeadraceError
    subprotocol: None = None

    def open(self, transport: asyncio.Transport) -> RefusedSocket:
        return RefusedSocket(transport, self.node, self.address, self.error)

    def abandon(self, code: int) -> None:
        pass


class SocketRoom:
    """A `WaitingRoom`: opening a connection asks Redis."""

    checks_origin = True

    def __init__(self, services: Services, lines: Lines, node: websocket.Services) -> None:
        self.services = services
        self.lines = lines
        self.node = node

    def claims(self, path: str, host: str | None) -> bool:
        return path == PATH

    async def admit(self, arrival: Arrival) -> Admitted | Refused | Rejection:
        try:
            query = dict(parse_qsl(arrival.query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
            grant = self.services.grant(query.get("channel", ""))
            label = wire.read_label(query.get("client", ""))
            last_id = wire.read_last_id(query.get("last_id", ""))
            name, opened = await self.lines.open(grant.client_id, earlier=label, last_id=last_id)
        except ServerError as error:
            return self.rejection(503, error.reason, [("Retry-After", "1")])
        except HeadraceError as error:
            self.services.metrics.refused(error.code)
            return Refused(self.node, arrival.address, error)
        except ValueError:
            return self.rejection(400, "The query is not valid.")
        return Admitted(self, arrival.address, grant, name, opened)

    def rejection(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Rejection:
        body = orjson.dumps({"error": {"code": status, "description": message}})
        return Rejection(status=status, body=body, headers=[("Content-Type", "application/json"), *headers])
