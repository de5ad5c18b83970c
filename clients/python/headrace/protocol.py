"""One client's side of the realtime protocol, without a socket: frames in, events and frames out. Pure.

It outlives connections. `connect` and `disconnect` tell it of them; what was asked for and what is unanswered carries
over. Time is passed in as monotonic seconds. The shell's loop is: hand received frames to `receive`, act on the events,
write what `outgoing` returns, and call `poll` when `next_due` says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Generic

from headrace.consuming import Consumings
from headrace.dialects import Dialect, Frame
from headrace.errors import BadFrame, Dropped, HeadraceError, QueueFull, TooLarge, is_temporary
from headrace.events import Answered, Broken, Complained, Draining, Event, F, Listed, P, Presented, Welcomed
from headrace.followings import Followings
from headrace.frames import (
    Welcome,
    read_error,
    read_published,
    read_servers,
    read_spread,
    read_subscription,
    read_topic,
    read_welcome,
)
from headrace.messages import Durability, Kind
from headrace.outbox import Outbox, Pending
from headrace.positions import Since
from headrace.requests import NO_NUMBER, Requests, number_of

MAX_PENDING = 10_000
"""Unanswered publishes of a client, sent or queued."""

MAX_PENDING_BYTES = 8 * 1024 * 1024
"""Their frames' bytes; one larger publish goes alone."""


class Protocol(Generic[P, F]):
    """The state of one client. `publisher` is its random identity, kept for life.

    A connection that brings nothing for `half_open_s` seconds is dead. After half of it the node is pinged: any byte
    counts as an answer.
    """

    def __init__(
        self,
        *,
        dialect: Dialect,
        publisher: str,
        client: str,
        half_open_s: float = 10.0,
        max_pending: int = MAX_PENDING,
        max_pending_bytes: int = MAX_PENDING_BYTES,
    ) -> None:
        self.welcome = Welcome()
        self._pong_s = half_open_s / 2
        self._max_pending = max_pending
        self._max_pending_bytes = max_pending_bytes
        self._dialect = dialect
        self._publisher = publisher
        self._client = client
        self._requests = Requests(dialect)
        self._outbox: Outbox[P] = Outbox()
        self._followings: Followings[P, F] = Followings(self._requests, dialect)
        self.consumings = Consumings(self._requests, dialect)
        self._presented = 0
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
        return max(self._max_pending - len(self._outbox), 0) if self._outbox.bytes < self._max_pending_bytes else 0

    @property
    def places(self) -> dict[str, Since]:
        """What is followed, and from where it would go on."""
        return self._followings.places

    def connect(self, now: float) -> None:
        """A socket is open: say who we are, ask again for everything followed, send the unanswered again."""
        self._begin(now)
        self._followings.restart()
        self.consumings.restart()

    def _begin(self, now: float) -> None:
        self._welcomed, self._heard_at, self._pinged_at = False, now, None
        self._requests.open()
        self._requests.send({"op": "hello", "client": self._client})
        self._outbox.restart()

    def move(self, now: float) -> None:
        """A socket to another node is open: as `connect`, while what the old one still brings counts."""
        self._begin(now)
        self._followings.move()
        self.consumings.move()

    @property
    def is_moving(self) -> bool:
        """Whether the old connection is still of use."""
        return self._followings.are_moving or self.consumings.are_moving

    def leave(self) -> None:
        """The old connection is gone, or no longer waited for."""
        self._followings.leave()
        self.consumings.leave()

    def present(self, token: str) -> int:
        """Show a fresh token on the connection that there is, and return the number that its answer has.

        0 where there is no connection. A refused one ends the connection.
        """
        if not self._requests.connected:
            return 0
        self._presented = self._requests.number()
        self._requests.send({"op": "hello", "client": self._client, "token": token}, number=self._presented)
        return self._presented

    def disconnect(self) -> None:
        """The socket is gone: nothing that it still says counts."""
        self._pinged_at = None
        self._requests.close()
        self._followings.drop()
        self.consumings.drop()

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
        retained: bool = False,
    ) -> int:
        """Queue a publish and return its number. Raises `QueueFull` and `TooLarge`, and then has queued nothing."""
        if len(self._outbox) >= self._max_pending:
            raise QueueFull
        sequence = self._requests.peek()
        frame: Frame = {"op": "publish", "id": sequence, "topic": topic, **self._dialect.payload(kind, data)}
        if attributes:
            frame["attributes"] = dict(attributes)
        if key is None:
            frame["publisher"], frame["seq"] = self._publisher, sequence
        else:
            frame["key"] = key
        if durability is not None:
            frame["durability"] = durability
        if retained:
            frame["retained"] = True
        encoded = self._dialect.encode(frame)
        self._check_size(encoded)
        self._requests.number()
        self._outbox.add(Pending(sequence, topic, encoded, deadline, handle))
        return sequence

    def _check_size(self, frame: bytes) -> None:
        if len(frame) > self.welcome.frame_bytes:
            raise TooLarge(f"The publish takes {len(frame)} bytes, the node allows {self.welcome.frame_bytes} a frame.")
        if len(self._outbox) and self._outbox.bytes + len(frame) > self._max_pending_bytes:
            raise QueueFull

    def publish_again(self, unsettled: Pending[P], *, handle: P, deadline: float) -> int:
        """Queue a publish that was given up under its old number, so that it is stored once. Raises `QueueFull`."""
        if len(self._outbox) >= self._max_pending or unsettled.sequence in self._outbox.pending:
            raise QueueFull
        self._check_size(unsettled.frame)
        again = replace(unsettled, handle=handle, deadline=deadline, in_flight=False, done=False, unsure=True)
        self._outbox.add_again(again)
        return again.sequence

    def drop_oldest(self, now: float) -> list[Event[P, F]]:
        """Give up the oldest publish that was never sent; nothing where all were."""
        number = self._outbox.oldest_unsent()
        entry = None if number is None else self._outbox.finish(number, now)
        return [Answered(entry.handle, Dropped())] if entry else []

    def withdraw(self, sequence: int, now: float) -> None:
        """Nobody waits for this publish any more: it is not sent again."""
        self._outbox.finish(sequence, now)

    def follow(self, topic: str, since: Since, handle: F, *, snapshot: bool = False) -> None:
        """Follow a topic over all connections to come. Raises `AlreadySubscribed`."""
        self._followings.follow(topic, since, handle, snapshot=snapshot)

    def unfollow(self, topic: str) -> None:
        """Raises `NotSubscribed`."""
        self._followings.unfollow(topic)

    def park(self, topic: str) -> None:
        """The application is far behind: have the node stop sending; the place is kept for `unpark`."""
        self._followings.park(topic)

    def unpark(self, topic: str) -> None:
        self._followings.unpark(topic)

    def outgoing(self) -> list[bytes]:
        """Return the frames to write now. Empty without a connection."""
        if not self._requests.connected:
            return []
        self.consumings.flush()
        frames = self._requests.take()
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

    def receive_old(self, frames: Iterable[bytes], now: float) -> list[Event[P, F]]:
        """Take what the connection that is being left still brings. What makes no sense ends it."""
        events: list[Event[P, F]] = []
        try:
            for data in frames:
                self._receive_old(self._dialect.decode(data), now, events)
        except BadFrame:
            self.leave()
        return events

    def _receive_old(self, frame: Frame, now: float, events: list[Event[P, F]]) -> None:
        match frame.get("op"):
            case "message":
                self._followings.receive_message(self._dialect.message(frame), events, leaving=True)
            case "gap":
                self._followings.receive_gap(frame, events, leaving=True)
            case "published":
                self._receive_published(frame, now, events)
            case "delivery":
                events += self.consumings.receive_delivery(frame, leaving=True)
            case "settled":
                events += self.consumings.receive_settled(frame)
            case _:  # the new connection says the rest
                pass

    def heard(self, now: float) -> None:
        """Anything came from the node, a WebSocket ping perhaps: it lives."""
        self._heard_at, self._pinged_at = now, None

    def _receive(self, frame: Frame, now: float, events: list[Event[P, F]]) -> None:
        match frame.get("op"):
            case "message":
                self._followings.receive_message(self._dialect.message(frame), events)
            case "published":
                self._receive_published(frame, now, events)
            case "subscribed":
                self._followings.receive_subscribed(frame, events)
            case "gap":
                self._followings.receive_gap(frame, events)
            case "attached":
                events += self.consumings.receive_attached(frame)
            case "delivery":
                events += self.consumings.receive_delivery(frame)
            case "settled":
                events += self.consumings.receive_settled(frame)
            case "error":
                self._receive_error(frame, now, events)
            case "welcome":
                self._welcomed, self.welcome = True, read_welcome(frame)
                events.append(Welcomed(self.welcome))
            case "servers" | "drain":
                self._receive_advice(frame, events)
            case "ok" if number_of(frame) == self._presented:
                events.append(Presented(self._presented, None))
            case _:  # any other ok, pong, and what later servers may say
                pass

    def _receive_advice(self, frame: Frame, events: list[Event[P, F]]) -> None:
        servers, spread_ms = read_servers(frame), read_spread(frame)
        if frame["op"] == "drain":
            events += [Listed(servers), Draining(spread_ms or 0)]
            return
        self.welcome = replace(self.welcome, servers=servers, spread_ms=spread_ms)
        events.append(Listed(servers))

    def _receive_published(self, frame: Frame, now: float, events: list[Event[P, F]]) -> None:
        entry = self._outbox.finish(number_of(frame), now)
        if entry:
            events.append(Answered(entry.handle, read_published(frame)))

    def _receive_error(self, frame: Frame, now: float, events: list[Event[P, F]]) -> None:
        error, number = read_error(frame), number_of(frame)
        if "topic" in frame:
            self._followings.end(read_topic(frame), error, events)
        elif "subscription" in frame:
            events += self.consumings.end(read_subscription(frame), error)
        elif self._followings.receive_refusal(number, error, now, events):
            pass
        elif (consumed := self.consumings.receive_refusal(number, error, now)) is not None:
            events += consumed
        elif number in self._outbox.pending:
            self._receive_publish_error(number, error, now, events)
        elif number == self._presented:
            events += [Complained(error), Presented(number, error)]
        elif number == NO_NUMBER:
            events.append(Complained(error))

    def _receive_publish_error(self, number: int, error: HeadraceError, now: float, events: list[Event[P, F]]) -> None:
        if is_temporary(error):
            self._outbox.retry(number, error, now)
            return
        entry = self._outbox.finish(number, now)
        if entry:
            error.maybe_stored = error.maybe_stored or entry.unsure
            events.append(Answered(entry.handle, error))

    def poll(self, now: float) -> list[Event[P, F]]:
        """Do what time asks for: retries, timeouts of publishes, pings, and giving up a dead connection."""
        self._outbox.wake(now)
        events: list[Event[P, F]] = [Answered(entry.handle, error) for entry, error in self._outbox.expire(now)]
        self._followings.poll(now)
        events += self.consumings.poll(now)
        if self._requests.connected:
            events += self._watch(now)
        return events

    def _watch(self, now: float) -> list[Event[P, F]]:
        if self._pinged_at is not None:
            return [Broken("no answer to a ping")] if now - self._pinged_at >= self._pong_s else []
        if not self._welcomed:
            return [Broken("no welcome")] if now - self._heard_at >= self._pong_s else []
        if now - self._heard_at >= self._patience():
            self.probe(now)
        return []

    def probe(self, now: float) -> None:
        """Ask the node for a sign of life, now."""
        if self._pinged_at is None:
            self._pinged_at = now
            self._requests.send({"op": "ping"})

    def _patience(self) -> float:
        return min(self.welcome.ping_ms / 1000, self._pong_s)

    def next_due(self, now: float) -> float | None:
        """Return when `poll` has something to do, in monotonic seconds."""
        dues = [*self._followings.dues(), *self.consumings.dues(), self._outbox.next_due(now)]
        if self._requests.connected:
            dues.append(self._watch_due())
        return min((due for due in dues if due is not None), default=None)

    def _watch_due(self) -> float:
        if self._pinged_at is not None:
            return self._pinged_at + self._pong_s
        return self._heard_at + (self._patience() if self._welcomed else self._pong_s)

    def fail(self, error: HeadraceError) -> list[Event[P, F]]:
        """The client is over: everything that is asked for or unanswered ends with `error`."""
        events: list[Event[P, F]] = [Answered(entry.handle, told) for entry, told in self._outbox.fail(error)]
        self._followings.fail(error, events)
        return events + self.consumings.fail(error)
