"""HTTP: uvicorn's httptools protocol with what uvicorn lacks.

Deadlines (uvicorn alone keeps a silent, half-open or dripping connection for ever), bounds on request line, headers and
body, caps on connections in all and per address, and event streams that take over their socket (`gateway.streams`).

Each connection notes its deadline, one timer for all looks after them (`gateway.reception`). Nothing of a request is
ever logged: its URL may hold a token.
"""

import asyncio
import math
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.admission import Admission
from gateway.metrics import Metrics
from gateway.reception import MAX_LOBBY, Bounds, Census, Reception
from gateway.refusals import (
    BODY_TOO_LARGE,
    CLOSE,
    CROWDED,
    HEADERS_TOO_LARGE,
    MALFORMED,
    TOO_SLOW,
    URL_TOO_LONG,
    Refusal,
    declared_length,
    head,
    hurried,
    is_event_stream,
)
from gateway.streams import EXTENSION, StreamConnection, StreamListener

CHUNKED = (b"transfer-encoding", b"chunked")

MAX_URL_BYTES = 16_384
"""A long topic name and a JWT in the query fit."""


class Phase(Enum):
    """Where the peer stands in sending a request."""

    IDLE = auto()
    HEADERS = auto()
    BODY = auto()


class HttpProtocol(HttpToolsProtocol):
    """One HTTP connection. Use the subclass that `http_protocol` makes: it knows its `Reception`."""

    reception: ClassVar[Reception]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # uvicorn's access log prints the query string, and with it `?token=`.
        self.access_log = False
        self.bounds = self.reception.bounds
        self.deadline = math.inf
        self.stalled_until = math.inf
        self.phase = Phase.IDLE
        self.address = ""
        self.counted = False
        self.greeted = False
        self.refused = False
        self.stopping = False
        self.gone = False
        self.url = b""
        self.spelt: list[bytes] = []
        self.header_bytes = 0
        self.unsent_bytes = 0
        self.body_since = 0.0
        self.body_received = 0
        self.running: RequestResponseCycle | None = None
        self.listener: StreamListener | None = None
        self._extensions = {EXTENSION: self}

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.counted = self.reception.census.enter(self.address)
        if self.counted:
            self.deadline = self.loop.time() + self.bounds.header_seconds
            self.reception.metrics.connection_opened("http")
        else:
            self.deadline = self.loop.time() + self.bounds.linger_seconds
            self.reception.lobby += 1
            if self.reception.lobby > MAX_LOBBY:
                transport.abort()
        self.reception.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._let_go("lost")
        if self.counted:
            self.reception.census.leave(self.address)
        else:
            self.reception.lobby -= 1
        super().connection_lost(exc)
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.connection_lost()
        # Back references that would make every connection wait for the garbage collector.
        self._extensions = {}
        self.running = None

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        if not self.counted:
            self._turn_away(data)
            return
        before = self.phase
        super().data_received(data)
        if before is Phase.HEADERS and self.phase is Phase.HEADERS:
            # A header that has not ended is in no callback yet, only in the parser.
            self.header_bytes += len(data)
            self._check_headers()

    def shutdown(self) -> None:
        self.stopping = True
        super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.unsent_bytes = self.transport.get_write_buffer_size()
        self.stalled_until = self.loop.time() + self.bounds.stalled_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        self.stalled_until = math.inf
        if self.phase is Phase.IDLE and not self._answering():
            self.deadline = self.loop.time() + self.bounds.idle_seconds

    def on_deadline(self) -> None:
        """The time is over for what the peer should have done."""
        if self.transport.is_closing() or self.refused:
            self.transport.abort()
        elif self.flow.write_paused:
            self._look_at_stall()
        elif self.flow.read_paused:
            # It is we who do not read.
            self.deadline = self.loop.time() + self.bounds.body_seconds
        else:
            if self.phase is not Phase.IDLE:
                self._say(TOO_SLOW)
            self.refused = True
            self.deadline = self.loop.time() + self.bounds.linger_seconds
            self.transport.close()

    def _look_at_stall(self) -> None:
        """An answer waits for its peer: it may go on waiting while the peer takes it at the pace of a body."""
        now, unsent = self.loop.time(), self.transport.get_write_buffer_size()
        if self.stalled_until > now + 2 * self.bounds.tick_seconds:
            self.deadline = self.stalled_until
        elif self.unsent_bytes - unsent < self.bounds.body_bytes_per_second * self.bounds.stalled_seconds:
            self.reception.metrics.refused(TOO_SLOW.code)
            self.transport.abort()
        else:
            self.unsent_bytes = unsent
            self.deadline = self.stalled_until = now + self.bounds.stalled_seconds

    # What the parser reports.

    def on_message_begin(self) -> None:
        if self.refused:
            return
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]
        self.phase = Phase.HEADERS
        self.spelt = []
        self.header_bytes = 0
        if self.greeted:
            self.deadline = self.loop.time() + self.bounds.header_seconds
        # The first request's time began with the connection.
        self.greeted = True

    def on_url(self, url: bytes) -> None:
        if self.refused:
            return
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(URL_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.refused:
            return
        super().on_header(name, value)
        self.spelt.append(name)
        self.header_bytes += len(name) + len(value) + 4
        self._check_headers()

    def on_headers_complete(self) -> None:
        if self.refused:
            return
        if declared_length(self.headers) > self.bounds.body_bytes:
            self._refuse(BODY_TOO_LARGE)
        elif len(self.pipeline) >= self.bounds.pipelined:
            self._refuse(CROWDED)
        elif not (is_event_stream(self.headers) and self._is_turned_away()):
            super().on_headers_complete()
            self.phase = Phase.BODY
            self.body_since = self.loop.time()
            self.body_received = 0
            self.deadline = self.body_since + self.bounds.body_seconds

    def on_body(self, body: bytes) -> None:
        if self.refused:
            return
        self.body_received += len(body)
        bounds = self.bounds
        self.deadline = self.body_since + bounds.body_seconds + self.body_received / bounds.body_bytes_per_second
        if self.body_received > bounds.body_bytes:
            self._refuse(BODY_TOO_LARGE)
        elif self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.refused:
            return
        self.phase = Phase.IDLE
        self.deadline = math.inf if self._answering() else self.loop.time() + self.bounds.idle_seconds
        if self.cycle is not None:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if self.refused:
            return
        if self._answering():
            # A handshake behind an unanswered request: its answer would be mixed with frames.
            self._refuse(MALFORMED)
            return
        if self._is_turned_away():
            return
        self._let_go("upgrade")
        # The WebSocket protocol counts itself; nothing can come in between.
        self.reception.census.leave(self.address)
        # As the client spelt them: uvicorn lowers names, and some contracts show them to back ends.
        self.scope["headers"] = [(name, value) for name, (_, value) in zip(self.spelt, self.headers, strict=True)]
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Another upgrade was asked for: answered as a plain request, then closed, since the parser has stopped."""
        if self.running is not None:
            self.running.keep_alive = False

    # Answers.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            if not self.pipeline:
                self.flow.resume_reading()
            self._start_asgi_task(cycle, app)
            return
        self.flow.resume_reading()
        if self.phase is Phase.IDLE:
            self.deadline = self.loop.time() + self.bounds.idle_seconds

    def send_400_response(self, msg: str) -> None:
        self._refuse(MALFORMED)

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, reason: bytes = b"") -> bool:
        # One write where uvicorn's `send` makes two and matches every header: a fifth of a lean route's time.
        cycle = self.running
        if cycle is None or cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        if self.gone or self.transport.is_closing() or cycle.scope["method"] == "HEAD":
            return False
        length = (b"content-length", b"%d" % len(body))
        ending = () if cycle.keep_alive else (CLOSE,)
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        given = (*cycle.default_headers, *headers, length, *ending)
        self.transport.write(head(status, given, reason=reason) + body)
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    # Streams: `gateway.streams.StreamHost`.

    def attach(self, listener: StreamListener) -> None:
        if self.gone:
            raise ConnectionError("the peer has left")
        self.listener = listener

    def detach(self) -> None:
        self.listener = None

    def start(self, headers: Sequence[tuple[bytes, bytes]], first: bytes) -> StreamConnection:
        cycle, listener, transport = self.running, self.listener, self.transport
        if cycle is None or listener is None or self.gone:
            raise ConnectionError("the peer has left")
        cycle.response_started = cycle.response_complete = True
        chunked = cycle.scope["http_version"] == "1.1"
        self.listener = None
        self.pipeline.clear()
        self._let_go("stream")
        census, address = self.reception.census, self.address
        stream = StreamConnection(transport, listener, self.connections, lambda: census.leave(address), chunked=chunked)
        self.connections.discard(self)
        self.flow.resume_reading()
        self.parser = None  # type: ignore[assignment]
        transport.set_protocol(stream)
        high = self.bounds.high_water_bytes
        transport.set_write_buffer_limits(high=high, low=high // 4)
        coding = (CHUNKED,) if chunked else ()
        # The socket's request state is gone, so nothing can follow the stream on it.
        transport.write(head(200, (*self.server_state.default_headers, *headers, *coding, CLOSE)) + first)
        self._extensions = {}
        if self.stopping:
            asyncio.get_running_loop().call_soon(stream.shutdown)
        return stream

    # Refusals.

    def _answering(self) -> bool:
        return self.running is not None and not self.running.response_complete

    def _check_headers(self) -> None:
        if len(self.url) + self.header_bytes > self.bounds.header_bytes or len(self.headers) > self.bounds.headers:
            self._refuse(HEADERS_TOO_LARGE)

    def _turn_away(self, data: bytes) -> None:
        """A cap is reached: say so, once the peer has said what it wants."""
        if b"text/event-stream" in data:
            # A browser's EventSource gives up for good at any status but 200, and comes back after a broken connection.
            self.refused = True
            self.transport.close()
            return
        self.url = data.split(b" ", 2)[1] if data.count(b" ") >= 2 else b""
        self._refuse(CROWDED)

    def _is_turned_away(self) -> bool:
        """Take one that stays, or say when it should come again: before its handshake and its rights cost anything."""
        wait_ms = self.reception.admission.wait_ms(self.loop.time())
        if wait_ms:
            self._refuse(hurried(self.headers, wait_ms))
        return wait_ms > 0

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, and read nothing more. The connection lingers, since a reset could destroy the answer on its way."""
        if self.refused:
            return
        self.refused = True
        self.pipeline.clear()
        if self._say(refusal) and self.transport.can_write_eof():
            self.transport.write_eof()
            self.deadline = self.loop.time() + self.bounds.linger_seconds
        else:
            self.transport.close()

    def _say(self, refusal: Refusal) -> bool:
        """Write `refusal`, unless it would pass for the answer to an earlier request or stand in another answer."""
        self.reception.metrics.refused(refusal.code)
        running = self.running
        if running is not None and not running.response_complete:
            if running is not self.cycle or running.response_started or self.phase is not Phase.BODY:
                return False
            # Its room goes on without a peer: `send` writes nothing more, `receive` says that it is gone.
            running.disconnected = True
            running.message_event.set()
        self.transport.write(refusal.response(self.url))
        return True

    def _let_go(self, how: str) -> None:
        self.reception.forget(self)
        if self.counted:
            self.reception.metrics.connection_closed("http", how)


def http_protocol(
    bounds: Bounds, census: Census, metrics: Metrics, admission: Admission | None = None
) -> type[HttpProtocol]:
    """Return the class for uvicorn's `http=`, for one server. Without `admission` everybody is let in."""
    reception = Reception(bounds, census, metrics, admission or Admission(0))
    return type("NodeHttpProtocol", (HttpProtocol,), {"reception": reception})
