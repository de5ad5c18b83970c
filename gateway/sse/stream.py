"""One event stream: a `Subscriber` of the hub on one side, an HTTP connection on the other."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.errors import Forbidden, HeadraceError, Unauthorized, UnknownTopic
from broker.hub import Hub
from broker.names import TopicName
from broker.ports import Placed
from broker.rights import Principal
from gateway.auth import Authenticator
from gateway.metrics import Metrics
from gateway.sse.pulse import Pulse
from gateway.sse.wire import EventDialect
from gateway.streams import StreamConnection, StreamHost

MAX_EXPIRY_SECONDS = 24 * 3600.0
"""A token that lives longer is looked at again by then: timers are not made for years."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What all streams of a node share. `retry_ms` draws when one should come back; `now_ms` is the wall clock."""

    hub: Hub
    metrics: Metrics
    pulse: Pulse
    retry_ms: Callable[[], int]
    now_ms: Callable[[], int]
    auth: Authenticator


class EventStream:
    """Follows one topic over one connection, and ends with it, with its topic, or with its caller's rights.

    A topic's end is told by the event `ended` (code `unknown_topic`), a token's likewise (`unauthorized`), and that of
    a user's right to follow (`forbidden`); then the stream is closed. `EventSource` comes back and meets the 404, 401
    or 403, which stops it for good. A node that goes away closes without a word: `EventSource` comes back after its
    `retry` and resumes.
    """

    __slots__ = (
        "_caller",
        "_connection",
        "_expiry",
        "_headers",
        "_host",
        "_shared",
        "_topic",
        "_why",
        "dialect",
        "paused",
    )

    def __init__(
        self,
        shared: Streams,
        topic: TopicName,
        host: StreamHost,
        dialect: EventDialect,
        *,
        headers: Sequence[tuple[bytes, bytes]],
        caller: Principal,
    ) -> None:
        self.dialect = dialect
        self.paused = False
        self._shared = shared
        self._topic = topic
        self._host = host
        self._headers = headers
        self._caller = caller
        self._expiry: asyncio.TimerHandle | None = None
        self._connection: StreamConnection | None = None
        self._why = "lost"

    # What the hub calls: `broker.hub.Subscriber`.

    def on_placed(self, placed: Placed) -> None:
        """The topic is followed: start the response."""
        opening = self.dialect.opening(placed, retry_ms=self._shared.retry_ms())
        self._connection = self._host.start(self._headers, opening)
        self._shared.metrics.connection_opened("sse")
        self._shared.pulse.add(self)
        self._shared.auth.watch(self, self._caller)
        self._watch_expiry()

    def write(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.write(data)

    def topic_ended(self, topic: TopicName) -> None:
        self._end("topic_ended", UnknownTopic("The topic was deleted."))

    # What the connection calls: `gateway.streams.StreamListener`.

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._shared.hub.resume(self)

    def connection_lost(self) -> None:
        shared = self._shared
        shared.hub.leave(self)
        shared.pulse.discard(self)
        shared.auth.unwatch(self, self._caller)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._connection is not None:
            self._connection = None
            shared.metrics.connection_closed("sse", self._why)

    def shutdown(self) -> None:
        self._end("drain")

    # What time brings.

    def on_pulse(self) -> None:
        if not self.paused:
            self.write(self.dialect.comment)

    def on_principal(self, principal: Principal | None) -> None:
        """The caller is a user whose rights have changed, or whose token is known no more."""
        if principal is None:
            self._end("revoked", Unauthorized("The token is known no more."))
            return
        self._caller = principal
        try:
            principal.require_subscribe(self._topic)
        except Forbidden as refusal:
            self._end("forbidden", refusal)

    def _watch_expiry(self) -> None:
        expires_ms = self._caller.expires_ms
        if expires_ms is None:
            return
        left = (expires_ms - self._shared.now_ms()) / 1000
        if left <= 0:
            self._end("expired", Unauthorized("The token has expired."))
        else:
            delay = min(left, MAX_EXPIRY_SECONDS)
            self._expiry = asyncio.get_running_loop().call_later(delay, self._watch_expiry)

    def _end(self, why: str, told: HeadraceError | None = None) -> None:
        connection = self._connection
        if connection is None:
            return
        self._why = why
        self._shared.hub.leave(self)
        if told is not None:
            connection.write(self.dialect.ended(self._topic, told))
        connection.end()
