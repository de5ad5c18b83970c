"""The course of a feed: how a node follows one topic's log by announcements, and repairs itself from the log.

A feed has a place. Announcements move it where they prove that they continue it; anything else makes it read the log
and hold its place against the chain (DESIGN 4). What it passes is a line of steps, entries and gaps, and the ring keeps
the last of them with the place after each. A place in the ring is a proof: whoever stands exactly there has had the
same as everyone who was joined then, so the steps after it are his too, gaps included. That is the whole hand-over.

Positions are matched by identity and never by number, because a fork can carry higher IDs and other messages.
Pure: pages, announcements and `now` (seconds of a monotonic clock) come in, `Progress` says what to do.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice

from broker.messages import Entry
from broker.positions import (
    LogState,
    Placement,
    Position,
    Range,
    Recovery,
    is_unknown_future,
    place,
)
from broker.store.base import Announcement, Page

MAX_RING_STEPS = 512
"""Steps that a feed keeps: what a busy topic announces while one page is on its way."""

MAX_RING_BYTES = 256 * 1024
"""Their payloads and attributes; the latest step stays whatever its size."""

MAX_BUFFERED = 1024
"""Announcements kept while the log is being read. One more, and the log is read again instead."""

MAX_BUFFERED_BYTES = 4 * 1024 * 1024
"""Their payloads and attributes."""

STEP_BYTES = 200
"""What a step costs besides its payload, about: keeps empty messages from being free."""

FUTURE_SECONDS = 15.0
"""How long a place of an unknown newer history is retried before it counts as lost (DESIGN 4)."""

FUTURE_RETRY_SECONDS = 1.0
"""Between two such tries; the topology is asked each time."""

FUTURE_MEMORY_SECONDS = 60.0
"""How long the first sight of an unknown epoch is remembered."""

MAX_FUTURES = 64
"""Unknown epochs remembered a topic; more of them share the oldest one's clock, so they are lost sooner."""


SOUND = frozenset({Recovery.COMPLETE, Recovery.TRIMMED})
"""Verdicts that stay true when they are late: the place was on the history. Any other needs a read begun after it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A step without a message: `missing` will not come, the stream goes on right after `position`."""

    recovery: Recovery
    missing: tuple[Range, ...]
    position: Position


Step = Entry | Gap
"""Both have `position`: the place of whoever has had the step."""


class State(Enum):
    STARTING = auto()
    """The channel is followed, the log's end is being read: there is no place yet."""
    FOLLOWING = auto()
    REPAIRING = auto()
    """The log is being read after `place`; announcements wait."""
    OVER = auto()
    """The topic is gone."""


class Ring:
    """The latest steps, and the places before and after each of them. A place passed twice means its latest passing."""

    def __init__(self, *, max_steps: int = MAX_RING_STEPS, max_bytes: int = MAX_RING_BYTES) -> None:
        self._max_steps = max_steps
        self._max_bytes = max_bytes
        self._steps: deque[Step] = deque()
        self._bytes = 0
        self.start(Position(0, -1))

    def start(self, at: Position) -> None:
        """Begin at a place, with nothing passed."""
        self._steps.clear()
        self._bytes = 0
        self.place = self._base = at
        self._oldest = 0
        self._seats = {at: 0}
        self._names: dict[Position, int] = {}

    @property
    def latest(self) -> int:
        """The seat of `place`; seats count steps."""
        return self._oldest + len(self._steps)

    def append(self, step: Step) -> None:
        self._steps.append(step)
        self._bytes += step_bytes(step)
        self.place = step.position
        self._seats[self.place] = self.latest
        while len(self._steps) > self._max_steps or (self._bytes > self._max_bytes and len(self._steps) > 1):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        if self._seats.get(self._base) == self._oldest:
            del self._seats[self._base]
        step = self._steps.popleft()
        self._bytes -= step_bytes(step)
        self._base = step.position
        self._oldest += 1

    def name(self, also: Position) -> None:
        """Note another name of `place`: the epoch that began right after it counts from there too."""
        self._names = {name: seat for name, seat in self._names.items() if seat >= self._oldest}
        if also != self.place:
            self._names[also] = self.latest

    def find(self, position: Position) -> int | None:
        """Return the seat of a place, None when it was never passed or is forgotten."""
        seat = self._seats.get(position)
        if seat is None:
            seat = self._names.get(position)
        return seat if seat is not None and seat >= self._oldest else None

    def after(self, seat: int) -> list[Step]:
        """Return the steps that whoever has that seat has not had."""
        return list(islice(self._steps, seat - self._oldest, None))


@dataclass(slots=True)
class Progress:
    """What one input did to a feed: it passed `steps`, standing at `before`; the rest is to be done."""

    before: Position
    steps: list[Step] = field(default_factory=list)
    read: bool = False
    """Read the log after the feed's place, begun after this moment."""
    delay_seconds: float = 0.0
    """Before that read."""
    ask_topology: bool = False
    settled: bool = False
    """A comparison with the log ended: whatever waits for it must look again."""
    repaired: str = ""
    """The reason of a comparison that found what no announcement had brought."""


class Feed:
    """One topic on one node. In REPAIRING exactly one read is under way, else none."""

    def __init__(self, ring: Ring | None = None) -> None:
        self.state = State.STARTING
        self.ring = ring or Ring()
        self._buffer: deque[Announcement] = deque()
        self._buffered_bytes = 0
        self._again = False
        self._found = False
        self._reason = ""
        self._suspect: Position | None = None
        self._futures: dict[int, float] = {}

    @property
    def place(self) -> Position:
        return self.ring.place

    def start(self, log: LogState) -> Progress:
        """Begin at the log's end, which was read after the channel was followed."""
        self.ring.start(own_name(log.end, log))
        progress = Progress(self.place)
        self.state = State.REPAIRING
        self._settle(log, progress)
        return progress

    def announce(self, batch: Iterable[Announcement]) -> Progress:
        """Take announcements in the order in which they came."""
        progress = Progress(self.place)
        self._take(batch, progress)
        return progress

    def _take(self, batch: Iterable[Announcement], progress: Progress) -> None:
        for announcement in batch:
            if self.state is not State.FOLLOWING:
                self._keep(announcement)
            elif announcement.ended:
                self._end_or_read(announcement, progress)
            else:
                entries = self._continuation(announcement)
                if entries is None:
                    self._repair("no_bodies" if announcement.entries is None else "announcement", progress)
                else:
                    self._advance(entries, progress)

    def _end_or_read(self, announcement: Announcement, progress: Progress) -> None:
        # Of another epoch: the end of an earlier topic of that name, perhaps. The log knows.
        if announcement.last.epoch == self.place.epoch or self.ring.find(announcement.last) is not None:
            self.over()
        else:
            self._repair("ended", progress)

    def _continuation(self, announcement: Announcement) -> Sequence[Entry] | None:
        """Return what is new in an announcement that provably continues this feed, None when the log must be read.

        Only offsets of the same epoch are dropped as known: after a fork a lower epoch can be the truth (DESIGN 4).
        """
        entries, last = announcement.entries, announcement.last
        if entries is not None and self.ring.find(announcement.previous) == self.ring.latest:
            return entries
        if last.epoch != self.place.epoch:
            return None
        if last.offset <= self.place.offset:
            return ()
        if entries is None or entries[0].position.offset > self.place.offset + 1:
            return None
        return entries[self.place.offset + 1 - entries[0].position.offset :]

    def _keep(self, announcement: Announcement) -> None:
        size = sum(map(step_bytes, announcement.entries or ()))
        if len(self._buffer) >= MAX_BUFFERED or self._buffered_bytes + size > MAX_BUFFERED_BYTES:
            self._buffer.clear()
            self._buffered_bytes = 0
            self._again = True
        else:
            self._buffer.append(announcement)
            self._buffered_bytes += size

    def receive(self, page: Page, *, now: float) -> Progress:
        """Take the answer to this feed's read. It must have been begun after it was asked for."""
        progress = Progress(self.place)
        if self.state is State.REPAIRING:
            self._follow(page, now, progress)
        return progress

    def _follow(self, page: Page, now: float, progress: Progress) -> None:
        if self.is_future(self.place, page.log, now=now):
            progress.ask_topology = progress.read = True
            progress.delay_seconds = FUTURE_RETRY_SECONDS
            return
        self._advance(steps_of(place(self.place, page.log), page), progress)
        self._found |= bool(progress.steps)
        if self.place.offset < page.log.next_offset - 1:
            progress.read = True
        else:
            self._settle(page.log, progress)

    def _settle(self, log: LogState, progress: Progress) -> None:
        """The log's end is reached: go on with what was announced meanwhile, or read again if that is not known."""
        self.ring.name(log.end)
        if self._again:
            self._again = False
            progress.read = True
            return
        self.state = State.FOLLOWING
        progress.settled = True
        progress.repaired = self._reason if self._found and self._reason != "no_bodies" else ""
        waiting, self._buffer, self._buffered_bytes = self._buffer, deque(), 0
        self._take(waiting, progress)

    def possible_gap(self, reason: str) -> Progress:
        """Announcements may have been missed up to this moment: compare with the log."""
        progress = Progress(self.place)
        self._repair(reason, progress)
        return progress

    def watch(self, asked_at: Position, end: Position | None) -> Progress:
        """Hold the log's end (None: no such topic) against the feed. `asked_at`: its place when the end was asked for.

        An end that is further on is only suspected: its announcement may be on the way. `confirm` decides, a bit later.
        """
        progress = Progress(self.place)
        if self.state is State.FOLLOWING and (end is None or self.ring.find(end) != self.ring.latest):
            if (
                end is None
                or end.epoch != self.place.epoch
                or (end.epoch == asked_at.epoch and end.offset < asked_at.offset)
            ):
                self._repair("watchdog", progress)
            elif end.offset > self.place.offset:
                self._suspect = end
        return progress

    def confirm(self) -> Progress:
        """The announcement of what `watch` saw had its time: read the log if it did not come."""
        progress = Progress(self.place)
        suspect, self._suspect = self._suspect, None
        if suspect is not None and self.place.epoch == suspect.epoch and self.place.offset < suspect.offset:
            self._repair("watchdog", progress)
        return progress

    def over(self) -> None:
        """The topic is gone."""
        self.state = State.OVER

    def _repair(self, reason: str, progress: Progress) -> None:
        if self.state is State.FOLLOWING:
            self.state = State.REPAIRING
            self._reason, self._found = reason, False
            progress.read = True
        else:
            # The read under way may have been answered before what is suspected now.
            self._again = True

    def _advance(self, steps: Sequence[Step], progress: Progress) -> None:
        for step in steps:
            self.ring.append(step)
        progress.steps.extend(steps)

    def limit(self, log: LogState) -> float | None:
        """Return the offset up to which this feed has come on the history of `log`, as read a while ago.

        Infinite when the feed has only gone further in the same epoch; None when its place is not on that history: then
        either is out of date, and numbers say nothing.
        """
        verdict = place(self.place, log).recovery
        if verdict in SOUND:
            return self.place.offset
        return math.inf if verdict is Recovery.ROLLED_BACK and self.place.epoch == log.epoch else None

    def is_future(self, position: Position, log: LogState, *, now: float) -> bool:
        """Tell whether `position` is of a newer history than this log's, and is not to be called lost yet."""
        if not is_unknown_future(position, log):
            return False
        since = self._futures.get(position.epoch)
        if since is None:
            self._futures = {e: at for e, at in self._futures.items() if now - at < FUTURE_MEMORY_SECONDS}
            since = now if len(self._futures) < MAX_FUTURES else min(self._futures.values())
            if len(self._futures) < MAX_FUTURES:
                self._futures[position.epoch] = since
        return now - since < FUTURE_SECONDS


def steps_of(verdict: Placement, page: Page, *, limit: float = math.inf) -> list[Step]:
    """Return what a page holds for whoever got `verdict` on it: its gap, then the entries up to offset `limit`.

    After `lost` the entries are of no use: they were read after an ID of another history. An entry that is missing in
    the middle (somebody removed it by hand) becomes a gap like what retention took.
    """
    steps: list[Step] = []
    if verdict.recovery is not Recovery.COMPLETE:
        steps.append(Gap(verdict.recovery, verdict.missing, own_name(verdict.after, page.log)))
    if verdict.recovery is Recovery.LOST:
        return steps
    expected = verdict.after.offset + 1
    for entry in page.entries:
        offset = entry.position.offset
        if expected <= offset <= limit:
            if offset > expected:
                steps.append(_hole(page.log, expected, offset))
            steps.append(entry)
            expected = offset + 1
    if not page.entries and expected < page.log.next_offset <= limit + 1:
        steps.append(_hole(page.log, expected, page.log.next_offset))
    return steps


def own_name(at: Position, log: LogState) -> Position:
    """Return a place on `log` by the name of the entry that it follows, where the chain still tells.

    An epoch that began right after that entry names the place too, but such an epoch may vanish in the next failover
    without having written anything: whoever stood there by its name would be lost for no reason.
    """
    for link in reversed(log.chain):
        if link.first <= at.offset:
            return Position(link.epoch, at.offset)
    return at


def _hole(log: LogState, first: int, following: int) -> Gap:
    return Gap(Recovery.TRIMMED, log.ranges(first, following - 1), own_name(log.before(following), log))


def step_bytes(step: Step) -> int:
    """Return about what a step keeps in memory."""
    if isinstance(step, Gap):
        return STEP_BYTES
    message = step.message
    size = STEP_BYTES + len(message.payload)
    return size + sum(len(k) + len(v) for k, v in message.attributes.items()) if message.attributes else size
