"""`/_ah/channel/stream`: a channel as server-sent events, for pages whose way takes no WebSockets.

An `EventSource` gives up for good at any status but 200 and does not show it to its page. So a refusal is a stream too:
of one error frame, which tells the page's script whether to come back.
"""

import asyncio
from collections.abc import Sequence

from broker.errors import HeadraceError
from broker.store.channels import ChannelMessage, Opened
from gateway.asgi import HeaderList
from gateway.channel import wire
from gateway.channel.answers import NO_CACHE
from gateway.channel.errors import TokenTimedOut, told
from gateway.channel.lines import Line, Lines
from gateway.channel.routes import Request
from gateway.channel.services import Services
from gateway.channel.tokens import Grant
from gateway.streams import EXTENSION, StreamConnection, StreamHost

COMMENT_SECONDS = 15.0
"""Between two comments: less than the shortest idle time-out of common proxies."""

HEADERS: HeaderList = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # nginx would otherwise collect events until its buffer is full.
    (b"x-accel-buffering", b"no"),
]

COMMENT = b":\n\n"

FACE = "channel-sse"


class ChannelStream:
    """One page's stream: the outlet of a line, and the listener of its connection."""

    def __init__(self, lines: Lines, services: Services, grant: Grant, *, chunked: bool) -> None:
        self.paused = False
        self._lines = lines
        self._services = services
        self._grant = grant
        self._chunked = chunked
        self._connection: StreamConnection | None = None
        self._line: Line | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._is_lost = False
        self._why = "lost"

    def start(self, host: StreamHost, headers: HeaderList, name: str, opened: Opened) -> bool:
        """Begin; False where the peer has left meanwhile."""
        if self._is_lost:
            return False
        label = wire.Label(name, opened.number)
        first = wire.event(wire.opened(label, opened.cursor, expires_s=self._grant.expires_s))
        self._connection = host.start([NO_CACHE, *HEADERS, *headers], self._framed(first))
        self._services.metrics.connection_opened(FACE)
        self._line = self._lines.attach(self._grant.client_id, name, self, opened)
        loop = asyncio.get_running_loop()
        left = self._grant.expires_s - self._services.now_ms() / 1000
        self._timers = [loop.call_later(max(left, 0), self._time_out), loop.call_later(COMMENT_SECONDS, self._comment)]
        return True

    # What its line calls.

    def deliver(self, messages: Sequence[ChannelMessage]) -> bool:
        if self._connection is None:
            return False
        events = [wire.event(wire.message(message), id=message.position) for message in messages]
        self._connection.write(self._framed(b"".join(events)))
        return True

    def skip(self, count: int) -> None:
        if self._connection is not None:
            self._connection.write(self._framed(wire.event(wire.gap(count))))

    def finish(self, error: HeadraceError | None) -> None:
        connection = self._connection
        if connection is None:
            return
        if error is not None:
            self._why = error.code
            connection.write(self._framed(wire.event(wire.error(told(error)))))
        connection.end()

    # What its connection calls.

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._line is not None:
            self._lines.resume(self._line)

    def connection_lost(self) -> None:
        self._is_lost = True
        for timer in self._timers:
            timer.cancel()
        if self._line is not None:
            self._lines.detach(self._line, grace_ms=self._services.gone_ms)
        if self._connection is not None:
            self._connection = None
            self._services.metrics.connection_closed(FACE, self._why)

    def shutdown(self) -> None:
        """The node goes: the page comes back to another."""
        self._why = "drain"
        self.finish(None)

    # What time brings.

    def _time_out(self) -> None:
        self.finish(TokenTimedOut())

    def _comment(self) -> None:
        if self._connection is not None:
            if not self.paused:
                self._connection.write(self._framed(COMMENT))
            self._timers[1] = asyncio.get_running_loop().call_later(COMMENT_SECONDS, self._comment)

    def _framed(self, data: bytes) -> bytes:
        return b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data


class Stream:
    """The handler of the path."""

    def __init__(self, services: Services, lines: Lines) -> None:
        self._services = services
        self._lines = lines

    async def __call__(self, request: Request) -> None:
        try:
            await self._follow(request)
        except ConnectionError:
            # The peer left before its stream began.
            return
        except HeadraceError as error:
            self._services.metrics.refused(error.code)
            await request.answer(wire.event(wire.error(told(error))), *HEADERS)

    async def _follow(self, request: Request) -> None:
        services, scope = self._services, request.scope
        grant = services.grant(request.query.get("channel", ""))
        given = dict(scope["headers"]).get(b"last-event-id", b"").decode("latin-1")
        last_id = wire.read_last_id(given or request.query.get("last_id", ""))
        host: StreamHost = scope["extensions"][EXTENSION]
        stream = ChannelStream(self._lines, services, grant, chunked=scope["http_version"] == "1.1")
        host.attach(stream)
        try:
            name, opened = await self._lines.open(grant.client_id, earlier=request.label, last_id=last_id)
        except BaseException:
            host.detach()
            raise
        if not stream.start(host, request.headers, name, opened):
            await services.close(grant.client_id, name, cursor=None, grace_ms=services.gone_ms)
