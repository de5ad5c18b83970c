"""Writing: what one read of the bus brought is encoded once a dialect, joined, and written once a session.

The inner loop is `if paused ... else write`, and nothing else happens there. A socket is asked before each write and
takes one chunk at most above its high-water mark; where it is found paused it has had exactly the chunks before.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from broker.live import Gap, Step
from broker.members import Deliver, Members, Send
from broker.messages import Entry
from broker.names import TopicName
from broker.observe import Observer
from broker.ports import Dialect, Subscriber
from broker.positions import Position

CHUNK_BYTES = 64 * 1024
"""Default high-water mark: frames are joined up to here, then written (one larger frame goes alone)."""

MAX_FRAME_BYTES = 8 * 1024 * 1024
"""Encoded frames kept for sockets that catch up from nearby places."""

log = logging.getLogger("headrace.fanout")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Joined frames for whoever has had everything up to `before`."""

    before: Position
    data: bytes
    frames: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a read of the bus brought for the joined members of one topic."""

    topic: TopicName
    members: Members[Subscriber, Dialect]
    deliver: Deliver


class Frames:
    """Frames of entries lately sent to sockets that catch up, so that a herd is encoded for once.

    A position is unique for ever, so it never names another entry.
    """

    def __init__(self, *, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._frames: OrderedDict[tuple[Dialect, TopicName, Position], bytes] = OrderedDict()

    def of(self, dialect: Dialect, topic: TopicName, step: Step) -> bytes:
        if isinstance(step, Gap):
            return dialect.gap(topic, step.recovery, step.missing)
        key = (dialect, topic, step.position)
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = dialect.message(topic, step)
            self._bytes += len(frame)
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._frames.popitem(last=False)[1])
        return frame


def encode(dialect: Dialect, topic: TopicName, step: Step) -> bytes:
    if isinstance(step, Entry):
        return dialect.message(topic, step)
    return dialect.gap(topic, step.recovery, step.missing)


def cut(before: Position, steps: Sequence[Step], frames: Iterable[bytes], *, limit: int) -> list[Chunk]:
    """Join `frames`, one of each step, into chunks of at most `limit` bytes (or one larger frame)."""
    chunks: list[Chunk] = []
    parts: list[bytes] = []
    size = 0
    place = before
    for step, frame in zip(steps, frames, strict=True):
        if parts and size + len(frame) > limit:
            chunks.append(Chunk(before, b"".join(parts), len(parts)))
            before, size = place, 0
            parts.clear()
        parts.append(frame)
        size += len(frame)
        place = step.position
    if parts:
        chunks.append(Chunk(before, b"".join(parts), len(parts)))
    return chunks


class Fanout:
    """Writes effects to sockets. `drop` is told of a socket whose write raised: it must not hurt the others."""

    def __init__(
        self,
        *,
        observer: Observer,
        now_ms: Callable[[], int],
        drop: Callable[[Subscriber], None],
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._observer = observer
        self._now_ms = now_ms
        self._drop = drop
        self._chunk_bytes = chunk_bytes
        self._frames = Frames()

    def send(self, topic: TopicName, members: Members[Subscriber, Dialect], send: Send[Subscriber]) -> None:
        """Write a `Send`; the caller calls `members.sent` afterwards."""
        groups: dict[Dialect, list[Subscriber]] = {}
        for member in send.cohort.members:
            groups.setdefault(member.dialect, []).append(member)
        for dialect, group in groups.items():
            frames = (self._frames.of(dialect, topic, step) for step in send.steps)
            chunks = cut(send.cohort.place, send.steps, frames, limit=self._chunk_bytes)
            self._write(members, group, chunks)
        if not send.joins:
            self._let_fall(members, send)

    def _let_fall(self, members: Members[Subscriber, Dialect], send: Send[Subscriber]) -> None:
        """Whoever is full now is not read another page for."""
        at = send.steps[-1].position if send.steps else send.cohort.place
        for subscriber in [member for member in send.cohort.members if member.paused]:
            members.fell(subscriber, at)

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Write what one read brought to all who are joined, in one write a socket while that stays below the mark."""
        if len(deliveries) == 1:
            self._deliver_one(self._encoded(deliveries[0]))
            return
        waiting: list[_Encoded] = []
        size = 0
        for delivery in deliveries:
            encoded = self._encoded(delivery)
            if size + encoded.bytes > self._chunk_bytes:
                self._deliver_joined(waiting)
                waiting, size = [], 0
            waiting.append(encoded)
            size += encoded.bytes
        self._deliver_joined(waiting)

    def _encoded(self, delivery: Delivery) -> _Encoded:
        topic, deliver = delivery.topic, delivery.deliver
        self._note_latency(deliver.steps)
        chunks = {
            dialect: cut(
                deliver.before,
                deliver.steps,
                [encode(dialect, topic, step) for step in deliver.steps],
                limit=self._chunk_bytes,
            )
            for dialect in delivery.members.joined
        }
        return _Encoded(delivery.members, chunks)

    def _note_latency(self, steps: Sequence[Step]) -> None:
        first = steps[0]
        if isinstance(first, Entry):
            self._observer.delivery_latency(max(0, self._now_ms() - first.time_ms) / 1000)

    def _deliver_one(self, encoded: _Encoded) -> None:
        for dialect, chunks in encoded.chunks.items():
            self._write(encoded.members, encoded.members.joined.get(dialect, ()), chunks)

    def _deliver_joined(self, several: Sequence[_Encoded]) -> None:
        if len(several) == 1:
            self._deliver_one(several[0])
            return
        parts: dict[Subscriber, list[bytes]] = {}
        for encoded in several:
            for dialect, (chunk, *_) in encoded.chunks.items():
                # Below the mark altogether, so one chunk each.
                data = chunk.data
                group = tuple(encoded.members.joined.get(dialect, ()))
                for subscriber in group:
                    if subscriber.paused:
                        self._fell(encoded.members, subscriber, chunk.before)
                    elif subscriber in parts:
                        parts[subscriber].append(data)
                    else:
                        parts[subscriber] = [data]
                self._observer.delivered(chunk.frames * len(group))
        for subscriber, datas in parts.items():
            self._write_one(subscriber, datas[0] if len(datas) == 1 else b"".join(datas))

    def _write_one(self, subscriber: Subscriber, data: bytes) -> None:
        try:
            subscriber.write(data)
        except Exception as error:
            self._broke(subscriber, error)

    def _write(
        self, members: Members[Subscriber, Dialect], group: Collection[Subscriber], chunks: Sequence[Chunk]
    ) -> None:
        writers = tuple(group)
        for chunk in chunks:
            paused, broken = write_all(writers, chunk.data)
            self._observer.delivered(chunk.frames * (len(writers) - len(paused)))
            if paused or broken:
                gone = {*paused, *broken}
                writers = tuple(writer for writer in writers if writer not in gone)
                for subscriber in paused:
                    self._fell(members, subscriber, chunk.before)
                for subscriber, error in broken.items():
                    self._broke(subscriber, error)

    def _fell(self, members: Members[Subscriber, Dialect], subscriber: Subscriber, at: Position) -> None:
        if subscriber in members:
            if members.is_joined(subscriber):
                self._observer.left_feed()
            members.fell(subscriber, at)

    def _broke(self, subscriber: Subscriber, error: Exception) -> None:
        log.warning("a socket's write raised; it is dropped", exc_info=error)
        self._drop(subscriber)


@dataclass(frozen=True, slots=True)
class _Encoded:
    members: Members[Subscriber, Dialect]
    chunks: dict[Dialect, list[Chunk]]

    @property
    def bytes(self) -> int:
        """Of the dialect that takes the most."""
        return max((sum(len(chunk.data) for chunk in chunks) for chunks in self.chunks.values()), default=0)


def write_all(writers: Sequence[Subscriber], data: bytes) -> tuple[list[Subscriber], dict[Subscriber, Exception]]:
    """Write to everyone who has room; return those who are paused and those whose write raised. The hot loop."""
    paused: list[Subscriber] = []
    broken: dict[Subscriber, Exception] = {}
    for writer in writers:
        try:
            if writer.paused:
                paused.append(writer)
            else:
                writer.write(data)
        except Exception as error:
            broken[writer] = error
    return paused, broken
