"""One socket of an API: what it may send, what it is sent, and how its end is told.

The limits, times and close codes are AWS's (contracts/apigateway 11 to 15), each from the API's `ApiLimits`. A message
of the client is a task while its integration runs; a socket that waits for nothing has none, and no timer either.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from websockets.frames import Close
from websockets.protocol import Protocol

from broker.errors import InvalidRequest, LimitExceeded
from gateway.apigateway.configuration.definitions import ApiLimits
from gateway.apigateway.management.throttle import Throttle
from gateway.apigateway.ports import Attachments, Backend, Facts, Reply, Stage
from gateway.apigateway.sockets.frames import (
    INTERNAL_ERROR,
    TIMED_OUT,
    TOO_MANY_REQUESTS,
    Fragmenting,
    error_frame,
    is_text,
)
from gateway.websocket import ABNORMAL, Services, WebSocket

GOING_AWAY = (1001, "Going away")
"""How AWS ends a connection that was idle too long, or open."""

TOKEN_EXPIRED = (4501, "The token has expired.")
"""The same as on the realtime face: whoever comes back needs another token."""

UNSUPPORTED_DATA = 1003
NO_STATUS = 1005
"""RFC 6455 section 7.4.1."""

NO_STATUS_REASON = "Client-side close frame status not set"
"""What `$disconnect` is told of a client that closes without a code."""

RECEIVE_SECONDS = 330.0
"""A last bound on an integration; its own timeout is shorter."""

Body = str | bytes

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Deployment:
    """One stage of an API on this node: what all of its sockets share."""

    stage: Stage
    domain_name: str
    """What events say: never what a client calls the node, since back ends post to it."""
    limits: ApiLimits
    backend: Backend
    attachments: Attachments
    node: Services
    now_ms: Callable[[], int]
    """The wall clock, Unix milliseconds."""
    monotonic: Callable[[], float]
    new_request_id: Callable[[], str]
    connects: Throttle
    requests: Throttle
    """Messages, counted together with the calls of `@connections`."""
    ordered: bool = False
    """The messages of a connection are handled one after the other."""
    framing: Fragmenting = field(init=False)
    tasks: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    """Of the messages whose integrations run."""
    about_ms: int = field(default=0, init=False)
    """The wall clock as it was at some moment of `about_turn`: near enough for what many sockets are sent at once."""
    about_turn: int = field(default=-1, init=False)

    def __post_init__(self) -> None:
        self.framing = Fragmenting(self.limits.frame_bytes)

    def look_at_the_clock(self, turn: int) -> None:
        self.about_turn, self.about_ms = turn, self.now_ms()

    def turns(self, seconds: float) -> float:
        """Return how many turns of the node's wheel cover `seconds`; infinite for 0, which means never."""
        return math.ceil(seconds / self.node.wheel.grain_seconds) + 1 if seconds else math.inf


class Socket(WebSocket):
    """Implements `ports.LocalConnection`."""

    __slots__ = (
        "_active",
        "_deployment",
        "_end",
        "_in_hand",
        "_length_in_hand",
        "_opened",
        "_waiting",
        "facts",
        "last_active_at_ms",
    )

    face = "apigateway"
    unanswered = GOING_AWAY

    def __init__(self, transport: asyncio.Transport, deployment: Deployment, facts: Facts, address: str) -> None:
        super().__init__(transport, deployment.node, address)
        high = deployment.limits.buffer_bytes
        transport.set_write_buffer_limits(high=high, low=high // 4)
        self._deployment = deployment
        self.facts = facts
        self.last_active_at_ms = facts.connected_at_ms
        self._opened = self._active = deployment.node.wheel.now
        self._in_hand = 0
        self._length_in_hand = 0
        self._waiting: deque[Body] | None = None
        self._end: tuple[int, str] | None = None

    def start(self) -> None:
        super().start()
        self._deployment.attachments.attach(self)

    # What it is sent.

    @property
    def framing(self) -> Fragmenting:
        return self._deployment.framing

    def send(self, data: bytes) -> bool:
        """Raises `InvalidRequest` for what is no text, where the API has only that."""
        if self.paused or self.closing:
            return False
        if not self._deployment.limits.binary and not is_text(data):
            raise InvalidRequest("The message is not UTF-8, and this API has text messages only.")
        self._note_activity()
        super().write(self.framing.framed(data))
        return True

    def write(self, data: bytes) -> None:
        turn = self._active = self.node.wheel.now
        deployment = self._deployment
        if turn != deployment.about_turn:
            deployment.look_at_the_clock(turn)
        self.last_active_at_ms = max(self.last_active_at_ms, deployment.about_ms)
        super().write(data)

    def _note_activity(self) -> None:
        self._active = self.node.wheel.now
        self.last_active_at_ms = self._deployment.now_ms()

    def on_writable(self) -> None:
        self._deployment.attachments.on_writable(self)

    # What its client sends.

    @property
    def max_frame_bytes(self) -> int:
        limits = self._deployment.limits
        return min(limits.frame_bytes, limits.message_bytes)

    @property
    def max_message_bytes(self) -> int:
        return self._deployment.limits.message_bytes

    def on_message(self, data: bytes, *, text: bool) -> None:
        self._note_activity()
        if not text and not self._deployment.limits.binary:
            self._fail(UNSUPPORTED_DATA, "Binary messages are not supported.")
            return
        try:
            self._deployment.requests.take(self._deployment.monotonic())
        except LimitExceeded:
            self._answer_error(TOO_MANY_REQUESTS, self._deployment.new_request_id())
        else:
            self._take_in_hand(data.decode() if text else data)

    def _has_enough(self) -> bool:
        limits = self._deployment.limits
        return self._in_hand >= limits.waiting_messages or self._length_in_hand >= limits.buffer_bytes

    def _take_in_hand(self, body: Body) -> None:
        self._in_hand += 1
        self._length_in_hand += len(body)
        if self._has_enough():
            self.hold()
        if self._deployment.ordered and self._in_hand > 1:
            self._waiting = self._waiting or deque()
            self._waiting.append(body)
            return
        task = asyncio.get_running_loop().create_task(self._handle(body))
        self._deployment.tasks.add(task)
        task.add_done_callback(self._deployment.tasks.discard)

    async def _handle(self, body: Body) -> None:
        """Have one message handled, and those that have waited for it."""
        while True:
            await self._call(body)
            self._in_hand -= 1
            self._length_in_hand -= len(body)
            if not self._has_enough():
                self.release()
            if not self._waiting:
                self._waiting = None
                return
            body = self._waiting.popleft()

    async def _call(self, body: Body) -> None:
        deployment = self._deployment
        request_id = deployment.new_request_id()
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                reply = await deployment.backend.receive(
                    self.facts,
                    body,
                    request_id=request_id,
                    message_id=deployment.new_request_id(),
                    now_ms=deployment.now_ms(),
                )
        except TimeoutError:
            reply = Reply(error=TIMED_OUT)
        except Exception:
            log.exception("a message could not be handled")
            reply = Reply(error=INTERNAL_ERROR)
        if reply.error is not None:
            self._answer_error(reply.error, request_id)
        elif reply.body is not None:
            self._note_activity()
            self.answer(self.framing.framed(reply.body))

    def _answer_error(self, message: str, request_id: str) -> None:
        self._note_activity()
        self.answer(error_frame(message, connection=self.facts.id, request=request_id))

    # Its end.

    def close(self, code: int, reason: str = "") -> None:
        self._end = (code, reason)
        super().close(code, reason)

    def _answer_close(self, protocol: Protocol, received: Close) -> None:
        told = NO_STATUS_REASON if received.code == NO_STATUS else received.reason
        self._end = (int(received.code), told)
        super()._answer_close(protocol, received)

    def on_gone(self) -> None:
        code, reason = self._end or (ABNORMAL, "")
        self._deployment.attachments.ended(self.facts, code=code, reason=reason)

    # Its times.

    @property
    def ping_seconds(self) -> float:
        return self._deployment.limits.ping_seconds or math.inf

    def overdue(self) -> tuple[int, str] | None:
        if self._token_left() <= 0:
            return TOKEN_EXPIRED
        return GOING_AWAY if self._turns_left() <= 0 else None

    def due_in(self) -> float:
        return min(self._turns_left() * self.node.wheel.grain_seconds, self._token_left())

    def _token_left(self) -> float:
        """Return the seconds for which the token holds that opened this connection."""
        expires_ms = self.facts.expires_ms
        return math.inf if expires_ms is None else (expires_ms - self._deployment.now_ms()) / 1000

    def _turns_left(self) -> float:
        """Return after how many turns of the wheel it has been idle too long, or open, whichever comes first."""
        deployment = self._deployment
        limits = deployment.limits
        heard = max(self._active, self._heard) if limits.idle_counts_control else self._active
        idle = heard + deployment.turns(limits.idle_seconds)
        old = self._opened + deployment.turns(limits.connection_seconds)
        return min(idle, old) - self.node.wheel.now
