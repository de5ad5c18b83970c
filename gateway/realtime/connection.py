"""One realtime socket: what it asks for, and what it is answered.

`protocol/realtime.md` is the contract. Requests are handled inside `data_received`; a `subscribe` is a short-lived
task, and requests that name its topic wait for it, so that those of one connection to one topic stay in order. A
`hello` whose token needs a fetch stops the reading of its connection until it is answered.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from secrets import token_urlsafe
from sys import intern

from broker.errors import (
    AlreadySubscribed,
    Forbidden,
    HeadraceError,
    LimitExceeded,
    NotSubscribed,
    Unavailable,
    UnknownTopic,
)
from broker.messages import Entry
from broker.names import TopicName
from broker.ports import Placed
from broker.positions import Recovery
from broker.publish import PublishRequest
from broker.rights import Principal
from broker.store.base import Appended, IdempotencyKey, PublisherSequence
from gateway.handshake import Opening
from gateway.realtime import frames
from gateway.realtime.consuming import Consuming
from gateway.realtime.errors import CloseCode, for_the_wire
from gateway.realtime.fields import RequestId
from gateway.realtime.frames import Json
from gateway.realtime.shared import FACE, Shared
from gateway.realtime.wire import (
    Consume,
    Hello,
    Ping,
    Publish,
    Refused,
    Request,
    Subscribe,
    Unsubscribe,
)
from gateway.session import Bucket
from gateway.websocket import WebSocket

SUBSCRIBE_SECONDS = 30.0
"""A last bound on a subscribe; the hub's own deadlines are shorter."""

Following = Subscribe | Unsubscribe | Publish
"""Requests that name a topic."""

log = logging.getLogger(__name__)


class Connection(WebSocket):
    """One client. To the hub it is a `Subscriber`."""

    __slots__ = (
        "_authenticated",
        "_bucket",
        "_consumption",
        "_opened",
        "_shared",
        "_topics",
        "_unanswered",
        "_unauthenticated_bytes",
        "_waiting",
        "authenticating",
        "connection",
        "dialect",
        "principal",
    )

    face = FACE

    def __init__(self, transport: asyncio.Transport, shared: Shared, opening: Opening) -> None:
        super().__init__(transport, shared.node, opening.address)
        self._shared = shared
        self.dialect = shared.dialects[opening.subprotocol or Json.subprotocol]
        self.connection = token_urlsafe(12)
        self.principal = opening.principal
        self._authenticated = opening.authenticated or opening.principal.has_rights
        self.authenticating = False
        self._opened = shared.node.wheel.now
        self._topics: set[TopicName] = set()
        self._waiting: dict[TopicName, deque[Following]] | None = None
        self._unanswered = 0
        self._unauthenticated_bytes = 0
        self._bucket: Bucket | None = None
        self._consumption: Consuming | None = None

    def start(self) -> None:
        super().start()
        self._shared.context.auth.watch(self, self.principal)

    def greeting(self) -> bytes:
        return frames.welcome(self.dialect, self.connection, self._shared.welcome, self._shared.bulletin.told)

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
        self._shared.telling.forget(self)
        self._shared.context.hub.leave(self)
        self._shared.context.auth.unwatch(self, self.principal)
        if self._consumption is not None:
            self._consumption.leave()

    def on_writable(self) -> None:
        self._shared.telling.resume(self)
        self._shared.context.hub.resume(self)
        if self._consumption is not None:
            self._consumption.resume()

    def overdue(self) -> tuple[int, str] | None:
        if not self._authenticated and self._credential_due() <= 0:
            return CloseCode.NO_CREDENTIAL, "No credential came in time."
        if self.principal.has_expired(self._shared.context.now_ms()):
            return CloseCode.TOKEN_EXPIRED, "The token has expired."
        return None

    def due_in(self) -> float:
        if not self._authenticated:
            return self._credential_due() * self.node.wheel.grain_seconds
        expires_ms = self.principal.expires_ms
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
            self.refuse(request.id, request.error)
        elif isinstance(request, Ping):
            self.answer(frames.pong(self.dialect, request.id))
        elif isinstance(request, Hello):
            self._shared.admission.receive(self, request)
        elif isinstance(request, Consume):
            self._consumption = self._consumption or Consuming(self, self._shared.consuming)
            self._consumption.receive(request)
            self._regulate_requests()
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

    def refuse(self, id_: RequestId, error: HeadraceError) -> None:
        error = for_the_wire(error, authenticated=self._authenticated)
        self.node.metrics.refused(error.code)
        self.answer(frames.error(self.dialect, id_, error))

    def _publish(self, request: Publish) -> None:
        try:
            self.principal.require_publish(request.topic)
            self._take_rate()
        except HeadraceError as error:
            self.refuse(request.id, error)
            return
        once: IdempotencyKey | PublisherSequence | None = None
        if request.publisher is not None:
            once = PublisherSequence(self.principal.name, request.publisher, request.sequence)
        elif request.key is not None:
            once = IdempotencyKey(self.principal.name, request.key)
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
            self.refuse(id_, outcome)
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

    # What consuming asks of its connection.

    @property
    def followed(self) -> int:
        """How many topics it follows."""
        return len(self._topics)

    def request_done(self) -> None:
        """One request less is open."""
        self._regulate_requests()

    def _regulate_requests(self) -> None:
        """Read on while few enough requests are open."""
        waiting, consuming = self._waiting, self._consumption
        held = sum(map(len, waiting.values())) + len(waiting) if waiting else 0
        held += consuming.open if consuming is not None else 0
        if self._unanswered + held >= self.node.limits.in_flight_publishes:
            self.hold()
        elif self._busy and not self.authenticating:
            self.release()

    def _subscribe(self, request: Subscribe) -> None:
        try:
            self.principal.require_subscribe(request.topic)
            if request.topic in self._topics:
                raise AlreadySubscribed()
            most = self.node.limits.subscriptions_per_connection
            if self.followed + (self._consumption.count if self._consumption is not None else 0) >= most:
                raise LimitExceeded(f"A connection follows and consumes {most} topics and subscriptions at most.")
        except HeadraceError as error:
            self.refuse(request.id, error)
            return
        # Thousands of connections follow the same topic: one string for all of them.
        topic = TopicName(intern(request.topic))
        self._topics.add(topic)
        self._waiting = self._waiting or {}
        self._waiting[topic] = deque()
        self._shared.spawn(self._place(request._replace(topic=topic)))
        self._regulate_requests()

    async def _place(self, request: Subscribe) -> None:
        hub, topic, since = self._shared.context.hub, request.topic, request.since
        error: HeadraceError | None = None
        kept: tuple[Entry, ...] | None = None
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                if request.snapshot:
                    end, snapshot = await self._shared.context.catalog.snapshot(topic)
                    kept = (snapshot,) if snapshot else ()
                    # From where the snapshot was the newest: what is published until we are placed comes after it.
                    if since == "now":
                        since = end or "earliest"
                await hub.subscribe(self, topic, since, placed=partial(self._placed, request, kept))
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
            self.refuse(request.id, error)
        self._end_if_forbidden(topic)
        self._resume_requests(topic)

    def _placed(self, request: Subscribe, snapshot: Sequence[Entry] | None, placed: Placed) -> None:
        if request.since == "now" and placed.recovery is Recovery.COMPLETE:
            placed = replace(placed, recovery=Recovery.NONE)
        self.answer(frames.subscribed(self.dialect, request.id, placed, snapshot=snapshot))

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
            self.refuse(request.id, NotSubscribed())
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

    def admit(self, principal: Principal) -> None:
        """The caller has shown a credential that holds."""
        auth = self._shared.context.auth
        auth.unwatch(self, self.principal)
        auth.watch(self, principal)
        self._authenticated = True
        self._review(principal)
        self.node.wheel.arm(self, min(self.node.limits.ping_seconds, self.due_in()))

    def on_principal(self, principal: Principal | None) -> None:
        """The caller is a user whose rights have changed; None: its token is known no more."""
        if principal is not None:
            self._review(principal)
        elif not self.closing:
            self.close(CloseCode.TOKEN_REFUSED, "The token was revoked.")

    def _review(self, principal: Principal) -> None:
        """Go on with other rights, and end what they do not grant."""
        self.principal = principal
        for topic in list(self._topics):
            # One that is being placed is looked at when it is.
            if not (self._waiting and topic in self._waiting):
                self._end_if_forbidden(topic)
        if self._consumption is not None:
            self._consumption.review()

    def _end_if_forbidden(self, topic: TopicName) -> None:
        """End a subscription that a newer token does not grant."""
        try:
            self.principal.require_subscribe(topic)
        except Forbidden as error:
            if topic in self._topics:
                self._leave(topic)
                self.answer(frames.ended(self.dialect, topic, error))
