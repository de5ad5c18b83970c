"""The members of a feed: who is joined, and who is on the way there, with the one rule by which they join.

Joined members have no state but a slot in a set. Everyone else stands at a place: paused (the socket is full), in a
cohort that reads the log from there, or in one that is parked because the feed has not come so far. All members at one
place share the page and what follows from it.

The rule (DESIGN 7): log entries are sent only up to the feed's place as of the reply, and a member joins only where his
place *is* the feed's, or one that the ring remembers. (Seen: "read to the end, then join" loses and repeats, "join when
past the feed" repeats.)

Pure. Inputs return effects, to be carried out in order and at once; a `Send` is reported by `fell` for whoever could
not take all of it, then by `sent`, which has effects of its own.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from broker.live import FUTURE_RETRY_SECONDS, SOUND, Feed, Progress, State, Step, steps_of
from broker.positions import LogState, Position, place
from broker.store.base import Announcement, Page

M = TypeVar("M")
"""A member: hashable by identity."""

G = TypeVar("G")
"""What joined members are sorted by."""


@dataclass(slots=True, eq=False)
class Cohort(Generic[M]):
    """Members that stand at the same place and go on together."""

    place: Position
    members: set[M]
    late: bool = False
    """The page may have been read before some of them stood here: only a sound verdict on it counts."""
    stuck: bool = False
    """The last page brought nothing: the next one must be read anew."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Write `steps` to everyone joined. Whoever is paused fell where the last chunk ended, at first `before`."""

    before: Position
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class Send(Generic[M]):
    """Write `steps` to a cohort, starting at its place; then call `sent`."""

    cohort: Cohort[M]
    steps: list[Step]
    log: LogState | None
    joins: bool


@dataclass(frozen=True, slots=True)
class ReadForFeed:
    """Read the log after the feed's place; begun after this effect. Answer: `receive`."""

    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadForCohort(Generic[M]):
    """Read the log after the cohort's place. Answer: `receive_page`. Unless `fresh`, a page read lately does."""

    cohort: Cohort[M]
    fresh: bool
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AskTopology:
    """This node may sit on a stale primary."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """For the observer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The topic is gone: `clear` and tell everyone."""


Effect = Deliver | Send[M] | ReadForFeed | ReadForCohort[M] | AskTopology | Repaired | Ended


@dataclass(slots=True)
class Members(Generic[M, G]):
    """Everyone on this node who follows one topic, and the feed. `group_of` sorts joined members (by dialect)."""

    group_of: Callable[[M], G]
    feed: Feed = field(default_factory=Feed)
    joined: dict[G, set[M]] = field(default_factory=dict)
    _paused: dict[M, Position] = field(default_factory=dict)
    _behind: dict[M, Cohort[M]] = field(default_factory=dict)
    _reading: dict[Position, Cohort[M]] = field(default_factory=dict)
    _parked: dict[Position, Cohort[M]] = field(default_factory=dict)

    def __contains__(self, member: M) -> bool:
        return member in self._behind or member in self._paused or self.is_joined(member)

    def __bool__(self) -> bool:
        return bool(self.joined or self._behind or self._paused)

    def is_joined(self, member: M) -> bool:
        return member in self.joined.get(self.group_of(member), ())

    @property
    def waiting(self) -> bool:
        """Somebody is parked: the log was seen further on than the feed."""
        return bool(self._parked)

    # The feed's inputs.

    def start(self, log: LogState) -> list[Effect[M]]:
        """Start the feed at the log's end, which was read after the channel was followed."""
        return self._after(self.feed.start(log))

    def announce(self, batch: Iterable[Announcement]) -> list[Effect[M]]:
        return self._after(self.feed.announce(batch))

    def receive(self, page: Page, *, now: float) -> list[Effect[M]]:
        """Take the answer to `ReadForFeed`."""
        return self._after(self.feed.receive(page, now=now))

    def possible_gap(self, reason: str) -> list[Effect[M]]:
        return self._after(self.feed.possible_gap(reason))

    def watch(self, asked_at: Position, end: Position | None) -> list[Effect[M]]:
        return self._after(self.feed.watch(asked_at, end))

    def confirm(self) -> list[Effect[M]]:
        return self._after(self.feed.confirm())

    def unknown(self) -> list[Effect[M]]:
        """A read said that the topic does not exist."""
        self.feed.over()
        return [Ended()]

    def _after(self, progress: Progress) -> list[Effect[M]]:
        effects: list[Effect[M]] = []
        if progress.steps:
            effects.append(Deliver(progress.before, progress.steps))
        if self.feed.state is State.OVER:
            return [*effects, Ended()]
        if progress.repaired:
            effects.append(Repaired(progress.repaired))
        if progress.ask_topology:
            effects.append(AskTopology())
        if progress.read:
            effects.append(ReadForFeed(delay_seconds=progress.delay_seconds))
        if self._parked and (progress.steps or progress.settled):
            self._unpark(progress, effects)
        return effects

    def _unpark(self, progress: Progress, effects: list[Effect[M]]) -> None:
        """Let in whom the feed has reached; let those look again that it will perhaps never reach."""
        here = self.feed.place
        for cohort in list(self._parked.values()):
            passed = here.epoch != progress.before.epoch or here.offset >= cohort.place.offset
            if self.feed.ring.find(cohort.place) is not None:
                del self._parked[cohort.place]
                self._go_on(cohort, None, effects)
            elif progress.settled or passed:
                del self._parked[cohort.place]
                self._read(cohort, effects, fresh=True)

    # The members' inputs.

    def enter(self, member: M, at: Position, log: LogState) -> list[Effect[M]]:
        """Let a member in who has had everything up to `at`, a place that is sound on `log`."""
        cohort = self._behind[member] = Cohort(at, {member})
        return self._going_on(cohort, log)

    def resume(self, member: M) -> list[Effect[M]]:
        """A paused member's socket has room again."""
        at = self._paused.pop(member, None)
        if at is None:
            return []
        cohort = self._behind[member] = Cohort(at, {member})
        return self._going_on(cohort, None)

    def fell(self, member: M, at: Position) -> None:
        """A member's socket was full when he had had everything up to `at`."""
        self._forget(member)
        self._paused[member] = at

    def leave(self, member: M) -> bool:
        """Forget a member; tell whether there was one."""
        return self._paused.pop(member, None) is not None or self._forget(member)

    def clear(self) -> list[M]:
        """Forget all members and return them."""
        gone = [*self._paused, *self._behind, *(member for group in self.joined.values() for member in group)]
        for record in (self._paused, self._behind, self.joined, self._reading, self._parked):
            record.clear()
        return gone

    def _forget(self, member: M) -> bool:
        cohort = self._behind.pop(member, None)
        if cohort is not None:
            cohort.members.discard(member)
            if not cohort.members and self._parked.get(cohort.place) is cohort:
                del self._parked[cohort.place]
            return True
        group = self.joined.get(self.group_of(member), set())
        if member not in group:
            return False
        group.remove(member)
        if not group:
            del self.joined[self.group_of(member)]
        return True

    def abandon(self, cohort: Cohort[M]) -> bool:
        """Drop a cohort that everyone has left, before its page is read; tell whether it was dropped."""
        if cohort.members:
            return False
        if self._reading.get(cohort.place) is cohort:
            del self._reading[cohort.place]
        return True

    def receive_page(self, cohort: Cohort[M], page: Page, *, now: float) -> list[Effect[M]]:
        """Take the answer to `ReadForCohort`."""
        if self._reading.get(cohort.place) is not cohort:
            return []
        del self._reading[cohort.place]
        if not cohort.members:
            return []
        if self.feed.ring.find(cohort.place) is not None:
            return self._going_on(cohort, page.log)
        effects: list[Effect[M]] = []
        self._follow(cohort, page, now, effects)
        return effects

    def _follow(self, cohort: Cohort[M], page: Page, now: float, effects: list[Effect[M]]) -> None:
        log = page.log
        verdict = place(cohort.place, log)
        if cohort.late and verdict.recovery not in SOUND:
            self._read(cohort, effects, fresh=True)
        elif self.feed.is_future(cohort.place, log, now=now):
            effects.append(AskTopology())
            self._read(cohort, effects, fresh=True, delay_seconds=FUTURE_RETRY_SECONDS)
        elif (limit := self._limit(log)) is None:
            self._wait_for_repair(cohort, effects)
        else:
            steps = steps_of(verdict, page, limit=limit)
            cohort.stuck = not steps
            effects.append(Send(cohort, steps, log, joins=False))

    def sent(self, send: Send[M]) -> list[Effect[M]]:
        """The steps were written; whoever could not take all of them was reported by `fell`."""
        cohort = send.cohort
        if send.steps:
            cohort.place = send.steps[-1].position
        if not cohort.members:
            return []
        if not send.joins:
            return self._going_on(cohort, send.log)
        for member in cohort.members:
            del self._behind[member]
            self.joined.setdefault(self.group_of(member), set()).add(member)
        return []

    def _going_on(self, cohort: Cohort[M], log: LogState | None) -> list[Effect[M]]:
        effects: list[Effect[M]] = []
        self._go_on(cohort, log, effects)
        return effects

    def _go_on(self, cohort: Cohort[M], log: LogState | None, effects: list[Effect[M]]) -> None:
        """Decide how a cohort goes on from its place, which is sound on `log` if one was just read."""
        seat = self._seat(cohort.place, log)
        if seat is not None:
            effects.append(Send(cohort, self.feed.ring.after(seat), log, joins=True))
        elif log is None:
            self._read(cohort, effects, fresh=False)
        elif (limit := self._limit(log)) is None:
            self._wait_for_repair(cohort, effects)
        elif cohort.place.offset > limit:
            self._stand(cohort, self._parked)
        else:
            self._read(cohort, effects, fresh=cohort.stuck)

    def _limit(self, log: LogState) -> float | None:
        return self.feed.limit(log)

    def _seat(self, at: Position, log: LogState | None) -> int | None:
        """Return the seat in the ring of whoever stands at `at`, by either name that the place has on `log`."""
        ring = self.feed.ring
        seat = ring.find(at)
        if seat is None and log is not None:
            seat = ring.find(log.before(at.offset + 1))
            if seat is None and at.offset == self._limit(log):
                seat = ring.latest
        return seat

    def _wait_for_repair(self, cohort: Cohort[M], effects: list[Effect[M]]) -> None:
        """The feed's place is not on the history that was just read: wait until it has looked too."""
        self._stand(cohort, self._parked)
        effects.extend(self._after(self.feed.possible_gap("history")))

    def _read(self, cohort: Cohort[M], effects: list[Effect[M]], *, fresh: bool, delay_seconds: float = 0.0) -> None:
        if self._stand(cohort, self._reading):
            cohort.late = not fresh
            effects.append(ReadForCohort(cohort, fresh, delay_seconds))

    def _stand(self, cohort: Cohort[M], here: dict[Position, Cohort[M]]) -> bool:
        """Put a cohort down at its place, or its members into the one that is there; tell whether it is a new one."""
        there = self._reading.get(cohort.place) or self._parked.get(cohort.place)
        if there is None:
            here[cohort.place] = cohort
            return True
        there.members |= cohort.members
        there.late = True
        for member in cohort.members:
            self._behind[member] = there
        return False
