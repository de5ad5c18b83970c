"""Publishes on their way: the queue, the window, and what is sent again. Pure (protocol/realtime.md 5).

A publish has an identity (the client's publisher id and a rising number, or a key of the caller) and keeps it until it
is answered, so that sending it again never stores it twice. Frames are encoded once. Each topic has a lane: order
within a topic is kept, and one topic that must wait does not hold up the others.

The number rises over all topics of a client, not topic by topic: a counter a topic would have to be remembered for
every topic ever published to. The server's window of 1024 numbers a topic is kept with it.
"""

from collections import deque
from copy import copy
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from headrace.errors import HeadraceError, PublishTimeout

WINDOW = 1024
"""A publisher's sequence numbers of one topic whose outcome the server remembers."""

DEFAULT_RETRY_S = 0.25
"""How long a retried publish waits when the server did not say."""

EXPIRY_STEP_S = 0.25
"""How exact a publish's timeout is: deadlines are looked at this often."""

H = TypeVar("H")


@dataclass(slots=True, eq=False)
class Pending(Generic[H]):
    """One publish that is not answered. `handle` is the caller's, opaque here. `deadline` in monotonic seconds."""

    sequence: int
    topic: str
    frame: bytes
    deadline: float
    handle: H
    in_flight: bool = False
    done: bool = False
    unsure: bool = False
    """Whether it was sent before and the answer did not say that nothing was stored."""

    @property
    def maybe_stored(self) -> bool:
        return self.in_flight or self.unsure


@dataclass(slots=True, eq=False)
class Lane(Generic[H]):
    """A topic with unanswered publishes: all of them in order, and those that must not be sent yet."""

    order: deque[Pending[H]] = field(default_factory=deque)
    waiting: deque[Pending[H]] = field(default_factory=deque)
    hold_until: float = 0.0

    def oldest(self) -> int | None:
        while self.order and self.order[0].done:
            self.order.popleft()
        return self.order[0].sequence if self.order else None


class Outbox(Generic[H]):
    """Every unanswered publish of a client."""

    def __init__(self) -> None:
        self.pending: dict[int, Pending[H]] = {}
        self.bytes = 0
        self._ready: deque[Pending[H]] = deque()
        self._lanes: dict[str, Lane[H]] = {}
        self._in_flight = 0
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self.pending)

    def add(self, entry: Pending[H]) -> None:
        if len(self._ready) > 2 * len(self.pending) + WINDOW:
            self._forget_done()
        self.pending[entry.sequence] = entry
        self.bytes += len(entry.frame)
        self._ready.append(entry)
        lane = self._lanes.get(entry.topic)
        if lane is None:
            lane = self._lanes[entry.topic] = Lane()
        lane.order.append(entry)

    def add_again(self, entry: Pending[H]) -> None:
        """Take a publish back under its old number, in its place before later ones. It is not to be pending."""
        self.add(entry)
        lane = self._lanes[entry.topic]
        lane.order = deque(sorted(lane.order, key=lambda other: other.sequence))
        self._ready.rotate(1)

    def oldest_unsent(self) -> int | None:
        """Return the number of the first publish that is certainly not stored; None when all may be."""
        return next((number for number, entry in self.pending.items() if not entry.maybe_stored), None)

    def release(self, *, in_flight: int) -> list[bytes]:
        """Return the frames that may be sent now, at most `in_flight` unanswered in all."""
        frames: list[bytes] = []
        while self._ready and self._in_flight < in_flight:
            entry = self._ready.popleft()
            if entry.done:
                continue
            lane = self._lanes[entry.topic]
            if self._must_wait(lane, entry):
                lane.waiting.append(entry)
                continue
            entry.in_flight = True
            self._in_flight += 1
            frames.append(entry.frame)
        return frames

    def _must_wait(self, lane: Lane[H], entry: Pending[H]) -> bool:
        oldest = lane.oldest()
        return bool(lane.waiting) or (oldest is not None and entry.sequence - oldest >= WINDOW)

    def finish(self, sequence: int, now: float) -> Pending[H] | None:
        """Take the publish out, answered or given up; None when it is not known (any more)."""
        entry = self.pending.pop(sequence, None)
        if entry is None:
            return None
        entry.done = True
        self.bytes -= len(entry.frame)
        self._in_flight -= entry.in_flight
        lane = self._lanes[entry.topic]
        if lane.oldest() is None:
            del self._lanes[entry.topic]
        elif lane.waiting and lane.hold_until <= now:
            self._unblock(lane)
        return entry

    def retry(self, sequence: int, error: HeadraceError, now: float) -> None:
        """The server asks to send it again later: the topic's other publishes wait with it, in order."""
        entry = self.pending.get(sequence)
        if entry is None or not entry.in_flight:
            return
        entry.in_flight, entry.unsure = False, entry.unsure or error.maybe_stored
        self._in_flight -= 1
        lane = self._lanes[entry.topic]
        wait = DEFAULT_RETRY_S if error.retry_ms is None else error.retry_ms / 1000
        lane.hold_until = max(lane.hold_until, now + wait)
        lane.waiting = deque(sorted([*lane.waiting, entry], key=lambda waiting: waiting.sequence))

    def wake(self, now: float) -> None:
        """Let go of the lanes whose time has come."""
        for lane in self._lanes.values():
            if lane.waiting and 0 < lane.hold_until <= now:
                lane.hold_until = 0.0
                self._unblock(lane)

    def _unblock(self, lane: Lane[H]) -> None:
        self._ready.extendleft(reversed(lane.waiting))
        lane.waiting.clear()

    def restart(self) -> None:
        """A new connection begins: everything unanswered is sent again, in order, before anything new."""
        self._ready = deque(self.pending[sequence] for sequence in sorted(self.pending))
        self._in_flight = 0
        for lane in self._lanes.values():
            lane.waiting.clear()
            lane.hold_until = 0.0
        for entry in self._ready:
            entry.in_flight, entry.unsure = False, entry.maybe_stored

    def expire(self, now: float) -> list[tuple[Pending[H], HeadraceError]]:
        """Take out the publishes whose time is over. Cheap to call often."""
        if now < self._look_at:
            return []
        self._look_at = now + EXPIRY_STEP_S
        late = [entry for entry in self.pending.values() if entry.deadline <= now]
        for entry in late:
            self.finish(entry.sequence, now)
        return [(entry, _told(PublishTimeout(), entry)) for entry in late]

    def fail(self, error: HeadraceError) -> list[tuple[Pending[H], HeadraceError]]:
        """Take out everything: the client is over."""
        entries = list(self.pending.values())
        for entry in entries:
            self.finish(entry.sequence, 0.0)
        return [(entry, _told(copy(error), entry) if entry.maybe_stored else error) for entry in entries]

    def _forget_done(self) -> None:
        """Without a connection nothing is popped: entries that were given up must not pile up."""
        self._ready = deque(entry for entry in self._ready if not entry.done)
        for lane in self._lanes.values():
            lane.order = deque(entry for entry in lane.order if not entry.done)
            lane.waiting = deque(entry for entry in lane.waiting if not entry.done)

    def next_due(self, now: float) -> float | None:
        """Return when `wake` or `expire` has something to do, in monotonic seconds; None when nothing is pending."""
        if not self.pending:
            return None
        holds = [lane.hold_until for lane in self._lanes.values() if lane.waiting and lane.hold_until > now]
        return min([max(self._look_at, now), *holds])


def _told(error: HeadraceError, entry: Pending[H]) -> HeadraceError:
    """Say in the error what is known of this publish."""
    error.maybe_stored = entry.maybe_stored
    error.unsettled = entry if entry.maybe_stored else None
    return error
