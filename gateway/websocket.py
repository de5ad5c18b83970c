"""One WebSocket on uvicorn's transport: RFC 6455, keep-alive, deadlines and the closing handshake, for every room.

A room subclasses `WebSocket` and gets whole messages. There is no task, queue or timer a socket: inbound frames are
handled inside `data_received`, deadlines by the node's one `Wheel`, and outbound frames go ready-made to the
transport (DESIGN 7). `gateway.handshake` makes these objects.

A socket is not read from while its outgoing buffer is above the high-water mark or its room is `busy`: what it has sent
already waits in `_rest`, never longer than one read and one frame.
"""

import asyncio
import codecs
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import SERVER, Protocol

from gateway.config import Limits
from gateway.framing import CLOSE, PING, PONG, TEXT, Header, Shape, framed, payload, read_header
from gateway.metrics import Metrics
from gateway.session import Census, Outbox, Session, Wheel

CLOSE_SECONDS = 5.0
"""How long the peer may take to answer our close frame before the socket is cut."""

MAX_REASON_BYTES = 123
"""Of a close frame: a control frame has 125 bytes, two of them the code."""

PROTOCOL_ERROR, INVALID_DATA, TOO_BIG, INTERNAL, RESTART = 1002, 1007, 1009, 1011, 1012
"""RFC 6455 section 7.4.1, and 1012 from its registry."""

NO_PONG = 4001
"""The peer has not answered a ping (protocol/realtime.md 2.4)."""

ABNORMAL = 1006
"""Never sent: what a socket without a close frame is counted under."""

LOOK_SECONDS = 3600.0
"""The longest time between two looks at a socket's deadlines."""

_FIN = 0x80

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Services:
    """What all sockets of a node share."""

    limits: Limits
    metrics: Metrics
    census: Census
    wheel: Wheel
    outbox: Outbox
    sockets: set["WebSocket"] = field(default_factory=set)
    """Those whose transport is not lost yet."""
    all_gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last of them is gone."""
    connections: set[object] = field(default_factory=set)
    """uvicorn's own set, given with the first request: it asks those in it to shut down."""
    has_stood_still: Callable[[], bool] = lambda: False
    """True when the node was stopped for so long that others may hold it to be gone: nothing is read until that is
    settled (DESIGN 5)."""
    unsettled: set["WebSocket"] = field(default_factory=set)
    """Those that have something unread for that reason."""


class Fragments:
    """The state of a message in fragments, or of a stream that has broken a rule: rare, so made when needed."""

    __slots__ = ("data", "decoder", "protocol", "text")

    def __init__(self, max_bytes: int) -> None:
        self.protocol = Protocol(SERVER, max_size=max_bytes)
        self.data = bytearray()
        self.text = False
        self.decoder: codecs.IncrementalDecoder | None = None

    def add(self, frame: Frame) -> None:
        """Take one frame of the message; raises `UnicodeDecodeError` as soon as its text is not UTF-8."""
        if frame.opcode is not Opcode.CONT:
            self.text = frame.opcode is Opcode.TEXT
            self.decoder = codecs.getincrementaldecoder("utf-8")() if self.text else None
        if self.decoder is not None:
            self.decoder.decode(bytes(frame.data), frame.fin)
        self.data += frame.data


class WebSocket(Session, asyncio.Protocol):
    """A socket after its handshake. `face` names the room in metrics."""

    __slots__ = (
        "_address",
        "_busy",
        "_code",
        "_consuming",
        "_deaf",
        "_fragments",
        "_heard",
        "_pinged",
        "_rest",
        "_stopped",
        "_unsettled",
        "node",
    )

    face = "websocket"
    unanswered = (NO_PONG, "No answer to a ping.")
    """How a peer that answers no ping is closed."""

    def __init__(self, transport: asyncio.Transport, node: Services, address: str) -> None:
        super().__init__(transport, node.outbox, high_water_bytes=node.limits.high_water_bytes)
        self.node = node
        self._address = address
        self._code = 0
        self._heard = node.wheel.now
        self._pinged = 0
        self._rest: bytearray | None = None
        self._fragments: Fragments | None = None
        self._consuming = False
        self._stopped = False
        self._busy = False
        self._unsettled = False
        self._deaf = False

    def start(self) -> None:
        """The handshake is answered: take part in the node's life."""
        node = self.node
        node.sockets.add(self)
        node.connections.add(self)
        node.metrics.connection_opened(self.face)
        node.wheel.arm(self, min(self.ping_seconds, max(self.due_in(), 0), LOOK_SECONDS))

    # What a room overrides.

    @property
    def max_frame_bytes(self) -> int:
        return self.node.limits.frame_bytes

    @property
    def max_message_bytes(self) -> int:
        """In all of its fragments."""
        return self.node.limits.frame_bytes

    @property
    def ping_seconds(self) -> float:
        """How long a peer may be silent before it is pinged; `math.inf`: it never is."""
        return self.node.limits.ping_seconds

    def greeting(self) -> bytes:
        """Return the frames that go out right behind the answer to the handshake."""
        return b""

    def on_message(self, data: bytes, *, text: bool) -> None:
        """One whole message; text is valid UTF-8."""

    def on_gone(self) -> None:
        """The socket closes or is lost: nothing more can be sent. Called once."""

    def overdue(self) -> tuple[int, str] | None:
        """Return the close code and reason if a deadline of the room has passed."""
        return None

    def due_in(self) -> float:
        """Return the seconds until the room's next deadline; `math.inf` where there is none."""
        return math.inf

    def on_writable(self) -> None:
        """The outgoing buffer is below its low-water mark again."""

    # Reading.

    def data_received(self, data: bytes) -> None:
        self._heard = self.node.wheel.now
        if self.node.has_stood_still():
            self._leave_unread(data)
        elif self._rest is not None:
            self._rest += data
            self._consume(self._rest)
        else:
            self._consume(data)

    def _leave_unread(self, data: bytes) -> None:
        self._rest = (self._rest or bytearray()) + data
        self._unsettled = True
        self.node.unsettled.add(self)
        self._regulate()

    def settle(self) -> None:
        """The node is what it was: go on where reading was left."""
        self._unsettled = False
        self._regulate()

    def hold(self) -> None:
        """Stop reading: the room owes answers."""
        self._busy = True
        self._regulate()

    def release(self) -> None:
        self._busy = False
        self._regulate()

    def pause_writing(self) -> None:
        self.paused = True
        self._regulate()

    def resume_writing(self) -> None:
        self.paused = False
        self._regulate()
        if not self.closing:
            self.on_writable()

    def _regulate(self) -> None:
        stop = (self.paused or self._busy or self._unsettled) and not self.closing
        if stop is self._stopped:
            return
        self._stopped = stop
        if stop:
            self.transport.pause_reading()
            return
        self.transport.resume_reading()
        # What could not be heard while it was not read must not count as silence.
        self._heard = self.node.wheel.now
        if self._rest is not None and not self._consuming:
            self._consume(self._rest)

    def _consume(self, data: bytes | bytearray) -> None:
        """Handle the whole frames in `data`, and keep the rest."""
        self._consuming = True
        at = 0
        max_bytes = self.max_frame_bytes
        while not (self._stopped or self._deaf):
            header = read_header(data, at, max_bytes)
            if header is None:
                break
            if header.shape is Shape.WRONG:
                self._fail(PROTOCOL_ERROR, "The frame breaks RFC 6455.")
            elif header.shape is Shape.TOO_BIG:
                self._fail(TOO_BIG, f"A frame has {max_bytes} bytes at most.")
            elif header.end > len(data):
                break
            else:
                self._receive_frame(data, at, header)
                at = header.end
        self._keep(data, at)
        self._consuming = False

    def _keep(self, data: bytes | bytearray, at: int) -> None:
        """Keep what stands behind `at`. In place: a long frame in many small reads must not be copied at each."""
        if at == len(data) or self._deaf:
            self._rest = None
        elif self._rest is not None:
            del self._rest[:at]
        else:
            self._rest = bytearray(memoryview(data)[at:])

    def _receive_frame(self, data: bytes | bytearray, at: int, header: Header) -> None:
        opcode = header.opcode
        if opcode == PONG:
            return
        if opcode == PING:
            self.answer(framed(_FIN | PONG, payload(data, header)))
        elif header.shape is Shape.ORDINARY and self._fragments is None:
            self._deliver(payload(data, header), text=opcode == TEXT)
        else:
            if opcode == CLOSE:
                # It may come amid the fragments of a message (RFC 6455 section 5.4), which then never ends.
                self._fragments = None
            self._judge(bytes(data[at : header.end]))

    def _deliver(self, data: bytes, *, text: bool) -> None:
        if self.closing:
            return
        if text:
            try:
                data.decode()
            except UnicodeDecodeError:
                self._fail(INVALID_DATA, "The text is not UTF-8.")
                return
        try:
            self.on_message(data, text=text)
        except Exception:
            log.exception("a message could not be handled")
            self.close(INTERNAL, "The server failed.")

    def _judge(self, frame: bytes) -> None:
        """Let the protocol of `websockets` decide about a fragment or a close frame."""
        fragments = self._fragments = self._fragments or Fragments(self.max_message_bytes)
        protocol = fragments.protocol
        protocol.receive_data(frame)
        if protocol.parser_exc is not None:
            sent = protocol.close_sent
            self._fail(int(sent.code) if sent else PROTOCOL_ERROR, sent.reason if sent else "")
        elif protocol.close_rcvd is not None:
            self._answer_close(protocol, protocol.close_rcvd)
        else:
            for event in protocol.events_received():
                if isinstance(event, Frame):
                    self._add_fragment(fragments, event)

    def _add_fragment(self, fragments: Fragments, frame: Frame) -> None:
        try:
            fragments.add(frame)
        except UnicodeDecodeError:
            self._fail(INVALID_DATA, "The text is not UTF-8.")
            return
        if frame.fin:
            self._fragments = None
            self._deliver(bytes(fragments.data), text=fragments.text)

    # Closing.

    def _fail(self, code: int, reason: str) -> None:
        """The peer has broken a rule: what it sends from here on is not looked at, and it is told to hang up."""
        self._deaf = True
        self.close(code, reason)
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _answer_close(self, protocol: Protocol, received: Close) -> None:
        """The peer closes, or has answered our close frame. The server hangs up first (RFC 6455 section 7.1.1)."""
        self._deaf = True
        if not self.closing:
            self.flush()
            self._begin_closing(int(received.code))
            self.transport.write(b"".join(protocol.data_to_send()))
        self.transport.close()

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and stop; the peer has `CLOSE_SECONDS` to answer it."""
        if self.closing:
            return
        self.flush()
        self._begin_closing(code)
        told = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
        self.transport.write(framed(_FIN | CLOSE, code.to_bytes(2) + told))
        self.node.wheel.arm(self, CLOSE_SECONDS)

    def _begin_closing(self, code: int) -> None:
        self.closing = True
        self._code = code
        self._regulate()
        self.on_gone()

    def shutdown(self) -> None:
        """uvicorn asks for this when the server ends."""
        self.close(RESTART, "The node restarts.")

    def connection_lost(self, exc: Exception | None) -> None:
        node = self.node
        node.wheel.disarm(self)
        node.sockets.discard(self)
        node.unsettled.discard(self)
        if not node.sockets:
            node.all_gone.set()
        node.connections.discard(self)
        node.census.leave(self._address)
        node.metrics.connection_closed(self.face, self._code or ABNORMAL)
        self._rest = self._fragments = None
        if not self.closing:
            self.closing = True
            self.on_gone()

    # Deadlines.

    def on_due(self) -> None:
        if self.closing:
            self.transport.abort()
            return
        verdict = self.overdue()
        if verdict is not None:
            self.close(*verdict)
            return
        wait = self._keep_alive()
        if not self.closing:
            self.node.wheel.arm(self, min(wait, self.due_in(), LOOK_SECONDS))

    def _keep_alive(self) -> float:
        """Ping a silent peer, close one that has not answered, and return the seconds until the next look."""
        wheel, ping_seconds = self.node.wheel, self.ping_seconds
        if ping_seconds == math.inf:
            return math.inf
        now = wheel.now
        if self._stopped:
            # Its pong may lie in the kernel's buffer. A peer that is gone is found by TCP's own timeout.
            self._heard = now
        if self._pinged > self._heard:
            left = self._pinged + wheel.turns(self.node.limits.pong_seconds) - now
            if left <= 0:
                self.close(*self.unanswered)
            return left * wheel.grain_seconds
        left = self._heard + wheel.turns(ping_seconds) - now
        if left > 0:
            return left * wheel.grain_seconds
        self._pinged = now
        self.answer(framed(_FIN | PING, b""))
        return self.node.limits.pong_seconds
