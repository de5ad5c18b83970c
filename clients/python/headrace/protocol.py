"""One client's side of the realtime protocol, without a socket: frames in, events and frames out. Pure.

It outlives connections. `connect` and `disconnect` tell it of them; what was asked for and what is unanswered carries
over. Time is passed in as monotonic seconds. The shell's loop is: hand received frames to `receive`, act on the events,
write what `outgoing` returns, and call `poll` when `next_due` says so.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from headrace.dialects import Dialect, Frame
from headrace.errors import (
    RETRIED_CODES,
    AlreadySubscribed,
    BadFrame,
    HeadraceError,
    NotSubscribed,
    QueueFull,
    TooLarge,
)
from headrace.following import Following, Phase
from headrace.frames import (
    Welcome,
    read_error,
    read_missing,
    read_published,
    read_recovery,
    read_started,
    read_topic,
    read_welcome,
)
from headrace.messages import Durability, Gap, Kind, Message, Published, Started
from headrace.outbox import DEFAULT_RETRY_S, Outbox, Pending
from headrace.positions import Since, since_field

MAX_PENDING = 10_000
"""Unanswered publishes of a client, sent or queued."""

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""Their frames' bytes; one larger publish goes alone."""

PONG_S = 10.0
"""How long a node may be silent after a ping, or before its welcome, until the connection counts as dead."""

IMPATIENT_PING_S = 5.0
"""Silence after which a node that owes an answer is pinged, sooner than an idle one."""

P = TypeVar("P")
"""The caller's handle of a publish."""
F = TypeVar("F")
"""The caller's handle of a subscription."""


class Welcomed(NamedTuple):
    welcome: Welcome


class Answered(NamedTuple, Generic[P]):
    """A publish is over: its place, or why it failed for good."""

    handle: P
    result: Published | HeadraceError


class Arrived(NamedTuple, Generic[F]):
    """Something for a subscription, in stream order. `resume` is what it would present after it."""

    handle: F
    item: Message | Gap | Started
    resume: Since


class Ended(NamedTuple, Generic[F]):
    """A subscription is over, by the server's word."""

    handle: F
    error: HeadraceError


class Complained(NamedTuple):
    """The server refused something that no caller waits for."""

    error: HeadraceError


class Broken(NamedTuple):
    """The connection is of no use any more: drop it and come back."""

    reason: str


Event = Welcomed | Answered[P] | Arrived[F] | Ended[F] | Complained | Broken


class Protocol(Generic[P, F]):
    """The state of one client. `publisher` is its random identity, kept for life."""

    def __init__(self, *, dialect: Dialect, publisher: str, client: str) -> None:
        self.welcome = Welcome()
        self._dialect = dialect
        self._publisher = publisher
        self._client = client
        self._requests = 0
        self._outbox: Outbox[P] = Outbox()
        self._followed: dict[str, tuple[Following, F]] = {}
        self._asked: dict[int, str] = {}
        self._retrying: dict[str, Following] = {}
        self._out: list[bytes] = []
        self._connected = False
        self._welcomed = False
        self._heard_at = 0.0
        self._pinged_at: float | None = None

    @property
    def unanswered(self) -> int:
        """Publishes without an answer, sent or queued."""
        return len(self._outbox)

    @property
    def room(self) -> int:
        """How many more publishes may be queued."""
        return max(MAX_PENDING - len(self._outbox), 0) if self._outbox.bytes < MAX_PENDING_BYTES else 0

    def connect(self, now: float) -> None:
        """A socket is open: say who we are, ask again for everything followed, send the unanswered again."""
        self._connected, self._welcomed, self._heard_at, self._pinged_at = True, False, now, None
        self._out = [self._dialect.encode({"op": "hello", "client": self._client})]
        self._outbox.restart()
        for following, _ in self._followed.values():
            self._ask(following)

    def disconnect(self) -> None:
        """The socket is gone: nothing that it still says counts."""
        self._connected, self._pinged_at = False, None
        self._out = []
        self._asked = {}
        for following, _ in self._followed.values():
            following.drop()

    def publish(
        self,
        topic: str,
        kind: Kind,
        data: bytes,
        *,
        handle: P,
        deadline: float,
        attributes: Mapping[str, str] | None = None,
        key: str | None = None,
        durability: Durability | None = None,
    ) -> int:
        """Queue a publish and return its number. Raises `QueueFull` and `TooLarge`, and then has queued nothing."""
        if len(self._outbox) >= MAX_PENDING:
            raise QueueFull
        sequence = self._requests + 1
        frame: Frame = {"op": "publish", "id": sequence, "topic": topic, **self._dialect.payload(kind, data)}
        if attributes:
            frame["attributes"] = dict(attributes)
        if key is None:
            frame["publisher"], frame["seq"] = self._publisher, sequence
        else:
            frame["key"] = key
        if durability is not None:
            frame["durability"] = durability
        encoded = self._dialect.encode(frame)
        self._check_size(encoded)
        self._requests = sequence
        self._outbox.add(Pending(sequence, topic, encoded, deadline, handle))
        return sequence

    def _check_size(self, frame: bytes) -> None:
        if len(frame) > self.welcome.frame_bytes:
            raise TooLarge(f"The publish takes {len(frame)} bytes, the node allows {self.welcome.frame_bytes} a frame.")
        if len(self._outbox) and self._outbox.bytes + len(frame) > MAX_PENDING_BYTES:
            raise QueueFull

    def withdraw(self, sequence: int, now: float) -> None:
        """Nobody waits for this publish any more: it is not sent again."""
        self._outbox.finish(sequence, now)

    def follow(self, topic: str, since: Since, handle: F) -> None:
        """Follow a topic over all connections to come. Raises `AlreadySubscribed`."""
        if topic in self._followed:
            raise AlreadySubscribed
        following = Following(topic, since)
        self._followed[topic] = following, handle
        self._ask(following)

    def unfollow(self, topic: str) -> None:
        """Raises `NotSubscribed`."""
        if self._followed.pop(topic, None) is None:
            raise NotSubscribed
        self._retrying.pop(topic, None)
        self._request({"op": "unsubscribe", "topic": topic})

    def park(self, topic: str) -> None:
        """The application is far behind: have the node stop sending; the place is kept for `unpark`."""
        following, _ = self._followed[topic]
        if following.phase is not Phase.PARKED:
            following.phase = Phase.PARKED
            self._retrying.pop(topic, None)
            self._request({"op": "unsubscribe", "topic": topic})

    def unpark(self, topic: str) -> None:
        following, _ = self._followed[topic]
        if following.phase is Phase.PARKED:
            following.phase = Phase.IDLE
            self._ask(following)

    def _ask(self, following: Following) -> None:
        if not self._connected or following.phase is not Phase.IDLE:
            return
        self._requests += 1
        following.ask(self._requests)
        self._retrying.pop(following.topic, None)
        self._asked[self._requests] = following.topic
        since = since_field(following.resume)
        self._request({"op": "subscribe", "topic": following.topic, "since": since}, number=self._requests)

    def _request(self, frame: Frame, *, number: int | None = None) -> None:
        """Without a number the answer is of no interest."""
        if self._connected:
            self._out.append(self._dialect.encode(frame if number is None else frame | {"id": number}))

    def outgoing(self) -> list[bytes]:
        """Return the frames to write now. Empty without a connection."""
        if not self._connected:
            return []
        frames, self._out = self._out, []
        frames += self._outbox.release(in_flight=self.welcome.in_flight)
        return frames

    def receive(self, frames: Iterable[bytes], now: float) -> list[Event[P, F]]:
        """Take what one read of the socket brought. A `Broken` event is the last one."""
        self.heard(now)
        events: list[Event[P, F]] = []
        try:
            for data in frames:
                self._receive(self._dialect.decode(data), now, events)
        except BadFrame as error:
            events.append(Broken(error.reason))
        return events

    def heard(self, now: float) -> None:
        """Anything came from the node, a WebSocket ping perhaps: it lives."""
        self._heard_at, self._pinged_at = now, None

    def _receive(self, frame: Frame, now: float, events: list[Event[P, F]]) -> None:
        match frame.get("op"):
            case "message":
                self._receive_message(frame, events)
            case "published":
                self._receive_published(frame, now, events)
            case "subscribed":
                self._receive_subscribed(frame, events)
            case "gap":
                self._receive_gap(frame, events)
            case "error":
                self._receive_error(frame, now, events)
            case "welcome":
                self._welcomed, self.welcome = True, read_welcome(frame)
                events.append(Welcomed(self.welcome))
            case _:  # ok, pong, and what later servers may say
                pass

    def _receive_message(self, frame: Frame, events: list[Event[P, F]]) -> None:
        message = self._dialect.message(frame)
        followed = self._followed.get(message.topic)
        if followed and followed[0].receive_message(message):
            events.append(Arrived(followed[1], message, message.position))

    def _receive_published(self, frame: Frame, now: float, events: list[Event[P, F]]) -> None:
        entry = self._outbox.finish(_number(frame), now)
        if entry:
            events.append(Answered(entry.handle, read_published(frame)))

    def _receive_subscribed(self, frame: Frame, events: list[Event[P, F]]) -> None:
        following, handle = self._followed.get(self._asked.pop(_number(frame), ""), (None, None))
        if (
            following is None
            or handle is None
            or following.request != _number(frame)
            or following.phase is not Phase.ASKED
        ):
            return
        started = read_started(frame)
        gap = following.receive_subscribed(started, read_missing(frame))
        events.append(Arrived(handle, started, following.resume))
        if gap:
            events.append(Arrived(handle, gap, following.resume))

    def _receive_gap(self, frame: Frame, events: list[Event[P, F]]) -> None:
        followed = self._followed.get(read_topic(frame))
        if followed is None:
            return
        following, handle = followed
        gap = following.receive_gap(read_recovery(frame), read_missing(frame))
        if gap:
            events.append(Arrived(handle, gap, following.resume))

    def _receive_error(self, frame: Frame, now: float, events: list[Event[P, F]]) -> None:
        error, number = read_error(frame), _number(frame)
        if "topic" in frame:
            self._end(read_topic(frame), error, events)
        elif number in self._asked:
            self._receive_refusal(self._asked.pop(number), number, error, now, events)
        elif number in self._outbox.pending:
            self._receive_publish_error(number, error, now, events)
        elif number == NO_NUMBER:
            events.append(Complained(error))

    def _receive_refusal(
        self, topic: str, number: int, error: HeadraceError, now: float, events: list[Event[P, F]]
    ) -> None:
        following = self._followed[topic][0] if topic in self._followed else None
        if following is None or following.request != number:
            return
        if not is_temporary(error):
            self._end(topic, error, events)
        elif following.phase is Phase.ASKED:
            self._retrying[topic] = following
            following.wait(now + (DEFAULT_RETRY_S if error.retry_ms is None else error.retry_ms / 1000))

    def _receive_publish_error(self, number: int, error: HeadraceError, now: float, events: list[Event[P, F]]) -> None:
        if is_temporary(error):
            self._outbox.retry(number, error, now)
            return
        entry = self._outbox.finish(number, now)
        if entry:
            events.append(Answered(entry.handle, error))

    def _end(self, topic: str, error: HeadraceError, events: list[Event[P, F]]) -> None:
        followed = self._followed.pop(topic, None)
        self._retrying.pop(topic, None)
        if followed:
            events.append(Ended(followed[1], error))

    def poll(self, now: float) -> list[Event[P, F]]:
        """Do what time asks for: retries, timeouts of publishes, pings, and giving up a dead connection."""
        self._outbox.wake(now)
        events: list[Event[P, F]] = [Answered(entry.handle, error) for entry, error in self._outbox.expire(now)]
        for following in list(self._retrying.values()):
            if following.retry_at is not None and following.retry_at <= now:
                self._ask(following)
        if self._connected:
            events += self._watch(now)
        return events

    def _watch(self, now: float) -> list[Event[P, F]]:
        if self._pinged_at is not None:
            return [Broken("no answer to a ping")] if now - self._pinged_at >= PONG_S else []
        if not self._welcomed:
            return [Broken("no welcome")] if now - self._heard_at >= PONG_S else []
        if now - self._heard_at >= self._patience():
            self._pinged_at = now
            self._request({"op": "ping"})
        return []

    def _patience(self) -> float:
        idle = self.welcome.ping_ms / 1000
        return min(idle, IMPATIENT_PING_S) if self._outbox.pending or self._asked else idle

    def next_due(self, now: float) -> float | None:
        """Return when `poll` has something to do, in monotonic seconds."""
        dues = [following.retry_at for following in self._retrying.values()]
        dues.append(self._outbox.next_due(now))
        if self._connected:
            dues.append(self._watch_due())
        return min((due for due in dues if due is not None), default=None)

    def _watch_due(self) -> float:
        if self._pinged_at is not None:
            return self._pinged_at + PONG_S
        return self._heard_at + (self._patience() if self._welcomed else PONG_S)

    def fail(self, error: HeadraceError) -> list[Event[P, F]]:
        """The client is over: everything that is asked for or unanswered ends with `error`."""
        events: list[Event[P, F]] = []
        for sequence in list(self._outbox.pending):
            entry = self._outbox.finish(sequence, 0.0)
            if entry:
                events.append(Answered(entry.handle, error))
        for topic in list(self._followed):
            self._end(topic, error, events)
        return events


NO_NUMBER = -1


def _number(frame: Frame) -> int:
    number = frame.get("id", NO_NUMBER)
    return number if isinstance(number, int) else NO_NUMBER


def is_temporary(error: HeadraceError) -> bool:
    """Tell whether the same request is to be sent again."""
    return error.retry_ms is not None or error.code in RETRIED_CODES
