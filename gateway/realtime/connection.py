"""One realtime socket: what it asks for, and what it is answered.

`protocol/realtime.md` is the contract. Requests are handled inside `data_received`; a `subscribe` is a short-lived
task, and requests that name its topic wait for it, so that those of one connection to one topic stay in order. A
`hello` whose token needs a fetch stops the reading of its connection until it is answered.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Coroutine
from functools import partial
from secrets import token_urlsafe
from sys import intern

from broker.errors import (
    AlreadySubscribed,
    Expired,
    Forbidden,
    HeadraceError,
    LimitExceeded,
    NotSubscribed,
    Unauthorized,
    Unavailable,
    UnknownTopic,
)
from broker.names import TopicName
from broker.ports import Placed
from broker.publish import PublishRequest
from broker.rights import Principal
from broker.store.base import Appended, IdempotencyKey, PublisherSequence
from gateway.context import Context
from gateway.handshake import Opening
from gateway.realtime import frames
from gateway.realtime.errors import CloseCode, for_the_wire
from gateway.realtime.frames import Json, Msgpack, Node, RealtimeDialect
from gateway.realtime.wire import Hello, Ping, Publish, Refused, Request, RequestId, Subscribe, Unsubscribe
from gateway.session import Bucket
from gateway.websocket import Services, WebSocket

SUBSCRIBE_SECONDS = 30.0
"""A last bound on a subscribe; the hub's own deadlines are shorter."""

AUTHENTICATE_SECONDS = 10.0
"""How long the keys of a hello's token may take to be fetched."""

Following = Subscribe | Unsubscribe | Publish
"""Requests that name a topic."""

log = logging.getLogger(__name__)


class Shared:
    """What all realtime sockets of a node share."""

    def __init__(self, context: Context, node: Services, welcome: Node) -> None:
        self.context = context
        self.node = node
        self.welcome = welcome
        self.dialects: dict[str, RealtimeDialect] = {d.subprotocol: d for d in (Json(), Msgpack())}
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run `work`, which ends by itself and deals with its own errors."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Connection(WebSocket):
    """One client. To the hub it is a `Subscriber`."""

    __slots__ = (
        "_authenticated",
        "_authenticating",
        "_bucket",
        "_opened",
        "_principal",
        "_shared",
        "_topics",
        "_unanswered",
        "_unauthenticated_bytes",
        "_waiting",
        "connection",
        "dialect",
    )

    face = "realtime"

    def __init__(self, transport: asyncio.Transport, shared: Shared, opening: Opening) -> None:
        super().__init__(transport, shared.node, opening.address)
        self._shared = shared
        self.dialect = shared.dialects[opening.subprotocol or Json.subprotocol]
        self.connection = token_urlsafe(12)
        self._principal = opening.principal
        self._authenticated = opening.authenticated or opening.principal.has_rights
        self._authenticating = False
        self._opened = shared.node.wheel.now
        self._topics: set[TopicName] = set()
        self._waiting: dict[TopicName, deque[Following]] | None = None
        self._unanswered = 0
        self._unauthenticated_bytes = 0
        self._bucket: Bucket | None = None

    def greeting(self) -> bytes:
        return frames.welcome(self.dialect, self.connection, self._shared.welcome)

    # The socket's events.

    def data_received(self, data: bytes) -> None:
        if not self._authenticated:
            self._unauthenticated_bytes += len(data)
            if self._unauthenticated_bytes > self.node.limits.unauthenticated_bytes:
                self._fail(CloseCode.TOO_MUCH_UNAUTHENTICATED, "Too many bytes before authentication.")
        super().data_received(data)

    def on_message(self, data: bytes, *, text: bool) -> None:
        if text is not self.dialect.is_text:
            self._fail(CloseCode.UNSUPPORTED_DATA, f"{self.dialect.subprotocol} has the other kind of frames.")
            return
        request = self.dialect.read(data)
        if type(request) is Publish and self._waiting is None:
            self._publish(request)
        else:
            self._receive(request)

    def on_gone(self) -> None:
        self._waiting = None
        self._shared.context.hub.leave(self)

    def on_writable(self) -> None:
        self._shared.context.hub.resume(self)

    def overdue(self) -> tuple[int, str] | None:
        if not self._authenticated and self._credential_due() <= 0:
            return CloseCode.NO_CREDENTIAL, "No credential came in time."
        if self._principal.has_expired(self._shared.context.now_ms()):
            return CloseCode.TOKEN_EXPIRED, "The token has expired."
        return None

    def due_in(self) -> float:
        if not self._authenticated:
            return self._credential_due() * self.node.wheel.grain_seconds
        expires_ms = self._principal.expires_ms
        if expires_ms is None:
            return math.inf
        return max(expires_ms - self._shared.context.now_ms(), 0) / 1000

    def _credential_due(self) -> int:
        """Return how many turns of the wheel are left for a credential."""
        wheel = self.node.wheel
        return self._opened + wheel.turns(self.node.limits.unauthenticated_seconds) - wheel.now

    # Requests.

    def _receive(self, request: Request | Refused) -> None:
        if isinstance(request, Refused):
            self._refuse(request.id, request.error)
        elif isinstance(request, Ping):
            self.answer(frames.pong(self.dialect, request.id))
        elif isinstance(request, Hello):
            self._hello(request)
        elif self._waiting is not None and request.topic in self._waiting:
            self._waiting[request.topic].append(request)
            self._regulate_requests()
        else:
            self._follow(request)

    def _follow(self, request: Following) -> None:
        if isinstance(request, Publish):
            self._publish(request)
        elif isinstance(request, Subscribe):
            self._subscribe(request)
        else:
            self._unsubscribe(request)

    def _refuse(self, id_: RequestId, error: HeadraceError) -> None:
        error = for_the_wire(error, authenticated=self._authenticated)
        self.node.metrics.refused(error.code)
        self.answer(frames.error(self.dialect, id_, error))

    def _publish(self, request: Publish) -> None:
        try:
            self._principal.require_publish(request.topic)
            self._take_rate()
        except HeadraceError as error:
            self._refuse(request.id, error)
            return
        once: IdempotencyKey | PublisherSequence | None = None
        if request.publisher is not None:
            once = PublisherSequence(self._principal.name, request.publisher, request.sequence)
        elif request.key is not None:
            once = IdempotencyKey(self._principal.name, request.key)
        self._unanswered += 1
        if self._unanswered >= self.node.limits.in_flight_publishes:
            self.hold()
        self._shared.context.publisher.submit(
            PublishRequest(request.topic, (request.message,), once, request.durability),
            partial(self._published, request.id),
        )

    def _published(self, id_: RequestId, outcome: Appended | HeadraceError) -> None:
        self._unanswered -= 1
        if self.closing:
            return
        if isinstance(outcome, Appended):
            self.answer(self.dialect.published(id_, outcome))
        else:
            self._refuse(id_, outcome)
        self._regulate_requests()

    def _take_rate(self) -> None:
        rate = self.node.limits.publish_per_second
        if not rate:
            return
        now = asyncio.get_running_loop().time()
        self._bucket = self._bucket or Bucket(rate, now)
        wait = self._bucket.take(now)
        if wait:
            raise LimitExceeded(f"At most {rate:g} publishes a second are taken.", retry_ms=math.ceil(wait * 1000))

    def _regulate_requests(self) -> None:
        """Read on while few enough requests are open."""
        waiting = self._waiting
        held = sum(map(len, waiting.values())) + len(waiting) if waiting else 0
        if self._unanswered + held >= self.node.limits.in_flight_publishes:
            self.hold()
        elif self._busy and not self._authenticating:
            self.release()

    def _subscribe(self, request: Subscribe) -> None:
        try:
            self._principal.require_subscribe(request.topic)
            if request.topic in self._topics:
                raise AlreadySubscribed()
            most = self.node.limits.subscriptions_per_connection
            if len(self._topics) >= most:
                raise LimitExceeded(f"A connection follows {most} topics at most.")
        except HeadraceError as error:
            self._refuse(request.id, error)
            return
        # Thousands of connections follow the same topic: one string for all of them.
        topic = TopicName(intern(request.topic))
        self._topics.add(topic)
        self._waiting = self._waiting or {}
        self._waiting[topic] = deque()
        self._shared.spawn(self._place(request._replace(topic=topic)))
        self._regulate_requests()

    async def _place(self, request: Subscribe) -> None:
        hub, topic = self._shared.context.hub, request.topic
        error: HeadraceError | None = None
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await hub.subscribe(self, topic, request.since, placed=partial(self._placed, request.id))
        except HeadraceError as refusal:
            error = refusal
        except TimeoutError:
            error = Unavailable()
        except Exception:
            log.exception("a subscribe failed")
            error = Unavailable()
        if self.closing:
            return
        if error is not None:
            self._topics.discard(topic)
            self._refuse(request.id, error)
        self._end_if_forbidden(topic)
        self._resume_requests(topic)

    def _placed(self, id_: RequestId, placed: Placed) -> None:
        self.answer(frames.subscribed(self.dialect, id_, placed))

    def _resume_requests(self, topic: TopicName) -> None:
        """Handle what has waited for a subscribe, up to the next one of the same topic."""
        waited = self._waiting.pop(topic, None) if self._waiting else None
        if not self._waiting:
            self._waiting = None
        while waited:
            if self._waiting and topic in self._waiting:
                self._waiting[topic].extend(waited)
                break
            self._follow(waited.popleft())
        self._regulate_requests()

    def _unsubscribe(self, request: Unsubscribe) -> None:
        if request.topic not in self._topics:
            self._refuse(request.id, NotSubscribed())
            return
        self._leave(request.topic)
        self.answer(frames.ok(self.dialect, request.id))

    def _leave(self, topic: TopicName) -> None:
        self._topics.discard(topic)
        try:
            self._shared.context.hub.unsubscribe(self, topic)
        except NotSubscribed:
            log.warning("the hub did not know a subscription of a socket")

    def topic_ended(self, topic: TopicName) -> None:
        """The hub says that the topic was deleted."""
        self._topics.discard(topic)
        self.write(frames.ended(self.dialect, topic, UnknownTopic()))

    # Credentials.

    def _hello(self, request: Hello) -> None:
        if request.token is None:
            self.answer(frames.ok(self.dialect, request.id))
            return
        try:
            principal = self._shared.context.auth.known(request.token)
        except Unauthorized as error:
            self._refuse_token(request.id, error)
            return
        if principal is not None:
            self._admit(request.id, principal)
            return
        self._authenticating = True
        self.hold()
        self._shared.spawn(self._authenticate(request.id, request.token))

    async def _authenticate(self, id_: RequestId, token: str) -> None:
        outcome: Principal | HeadraceError
        try:
            async with asyncio.timeout(AUTHENTICATE_SECONDS):
                outcome = await self._shared.context.auth.authenticate(token)
        except HeadraceError as error:
            outcome = error
        except Exception:
            log.exception("a token could not be read")
            outcome = Unavailable("The keys of the token could not be fetched.")
        self._authenticating = False
        if self.closing:
            return
        if isinstance(outcome, Unauthorized):
            self._refuse_token(id_, outcome)
        elif isinstance(outcome, HeadraceError):
            self._refuse(id_, outcome)
        else:
            self._admit(id_, outcome)
        self._regulate_requests()

    def _refuse_token(self, id_: RequestId, error: Unauthorized) -> None:
        # Never back to anonymous rights: a caller that shows a credential means it.
        self._refuse(id_, error)
        if isinstance(error, Expired):
            self.close(CloseCode.TOKEN_EXPIRED, "The token has expired.")
        else:
            self.close(CloseCode.TOKEN_REFUSED, "The token was refused.")

    def _admit(self, id_: RequestId, principal: Principal) -> None:
        self._principal = principal
        self._authenticated = True
        self.answer(frames.ok(self.dialect, id_))
        for topic in list(self._topics):
            # One that is being placed is looked at when it is.
            if not (self._waiting and topic in self._waiting):
                self._end_if_forbidden(topic)
        self.node.wheel.arm(self, min(self.node.limits.ping_seconds, self.due_in()))

    def _end_if_forbidden(self, topic: TopicName) -> None:
        """End a subscription that a newer token does not grant."""
        try:
            self._principal.require_subscribe(topic)
        except Forbidden as error:
            if topic in self._topics:
                self._leave(topic)
                self.answer(frames.ended(self.dialect, topic, error))
