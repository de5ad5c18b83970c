"""Thousands of seeded interleavings: every subscriber gets every message once, in order, or is told what is missing.

A small world plays the log with its failovers, trims, deletions and stale primaries, the channel that loses, repeats
and reorders, replies that take their time, and sockets that fill up. The checker knows the parent of every entry ever
written: an entry may reach a subscriber only if its parent is where that subscriber stands. So a loss, a repeat and a
disorder are all the same mistake, and none can be silent.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from broker import live
from broker.live import SOUND, Feed, Gap, Ring, Step
from broker.members import (
    AskTopology,
    Cohort,
    Deliver,
    Effect,
    Ended,
    Members,
    ReadForCohort,
    ReadForFeed,
    Repaired,
    Send,
)
from broker.messages import Entry, Kind, Message
from broker.positions import Link, LogState, Position, Range, Recovery, place, start_of
from broker.store.base import Announcement, Page

SEEDS = int(os.environ.get("HEADRACE_INTERLEAVINGS", "4000"))
"""How many interleavings each run plays."""

BATCHES = 8
"""Test cases that they are split into, so that a failure names its part."""

EVENTS = 120
"""Random events of one interleaving, before the faults stop."""


class World:
    """One topic's log: its current history, and the parent of every entry that was ever written."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.epoch = 100
        self.parent: dict[Position, Position] = {}
        self.cut_at: dict[Position, Position] = {}
        self.starts: dict[int, tuple[int, Position]] = {}
        self.start_places: set[Position] = set()
        self.stale: LogState | None = None
        self.stale_history: list[Position] = []
        self.recreate()

    def recreate(self) -> None:
        """Delete the topic and make it again: its offsets begin anew, its epoch is higher."""
        self.epoch += 1
        self.root = Position(self.epoch, -1)
        self.starts[self.epoch] = (0, self.root)
        self.history: list[Position] = []
        self.chain = [Link(self.epoch, 0)]
        self.first = 0
        self.new_primary = False

    @property
    def tip(self) -> Position:
        return self.history[-1] if self.history else self.root

    def begin_epoch(self) -> None:
        if self.new_primary:
            self.new_primary = False
            self.epoch += self.rng.randint(1, 3)
            self.chain.append(Link(self.epoch, len(self.history)))
            self.starts[self.epoch] = (len(self.history), self.tip)

    def append(self, count: int) -> Announcement:
        self.begin_epoch()
        previous = self.log().end if self.rng.random() < 0.5 else self.place_of_tip()
        entries = []
        for _ in range(count):
            position = Position(self.chain[-1].epoch, len(self.history))
            self.parent[position] = self.tip
            self.history.append(position)
            entries.append(entry_at(position))
        with_bodies = self.rng.random() < 0.9
        return Announcement(previous, entries[-1].position, tuple(entries) if with_bodies else None)

    def place_of_tip(self) -> Position:
        return self.history[-1] if self.history else self.log().end

    def fail_over(self, lost: int) -> None:
        """A replica that is some entries behind becomes the primary; its epoch begins with the next append or read."""
        if self.rng.random() < 0.3:
            self.stale, self.stale_history = self.log(), list(self.history)
        keep = max(len(self.history) - lost, self.first)
        dead, self.history = self.history[keep:], self.history[:keep]
        for position in dead:
            self.cut_at[position] = self.tip
        self.chain = [link for link in self.chain if link.first < keep or link.first == 0] or self.chain[:1]
        self.new_primary = True

    def trim(self, count: int) -> None:
        self.first = min(self.first + count, len(self.history))

    def log(self) -> LogState:
        first = self.history[self.first] if self.first < len(self.history) else None
        return LogState(tuple(self.chain), len(self.history), first)

    def end(self) -> Position:
        return self.log().end

    def read(self, after: Position | None, limit: int) -> Page:
        """What XRANGE gives: retained IDs above `after`, by number, whatever their history."""
        if self.stale is not None and self.rng.random() < 0.7:
            log, history = self.stale, self.stale_history
        else:
            self.begin_epoch()
            log, history = self.log(), self.history
        self.start_places.add(self.node(start_of(log)))
        retained = history[log.first_offset :]
        low = (-1, -1) if after is None else (after.epoch, after.offset)
        found = [p for p in retained if (p.epoch, p.offset) > low]
        return Page(log, tuple(entry_at(p) for p in found[:limit]))

    def node(self, position: Position) -> Position:
        """Return the entry (or root) after which `position` stands, by whatever name."""
        if position in self.parent:
            return position
        first, before = self.starts[position.epoch]
        assert position.offset == first - 1, f"{position} is no place that ever was"
        return before


def entry_at(position: Position) -> Entry:
    return Entry(position, 0, Message(Kind.TEXT, str(position).encode()))


class Wrong(AssertionError):
    """The checker saw a loss, a repeat, a disorder or a lie."""


@dataclass(eq=False)
class Client:
    """A subscriber as it sees itself: where it stands, by the frames that it was sent."""

    world: World
    at: Position
    paused: bool = False
    over: bool = False
    frames: int = 0

    def __post_init__(self) -> None:
        self.node = self.world.node(self.at)

    def take(self, step: Step) -> None:
        self.frames += 1
        if isinstance(step, Gap):
            self.take_gap(step.recovery, step.missing, step.position)
        else:
            self._require(self.world.parent[step.position] == self.node, f"{step.position} after {self.node}")
            self.node = self.at = step.position

    def take_gap(self, recovery: Recovery, missing: tuple[Range, ...], after: Position) -> None:
        if recovery is Recovery.LOST:
            self._require(
                all(link.epoch != self.at.epoch for link in self.world.chain), f"lost, but {self.at} is known"
            )
            self._require(self.world.node(after) in self.world.start_places, f"{after} was never the first place")
            self.node = self.world.node(after)
        else:
            self._require(bool(missing), "a gap without a range")
            rest = list(missing)
            if recovery is Recovery.ROLLED_BACK:
                self._take_back(rest.pop(0))
            for trimmed in rest:
                self._skip(trimmed)
        self._require(self.world.node(after) == self.node, f"goes on after {after}, stands at {self.node}")
        self.at = after

    def _take_back(self, gone: Range) -> None:
        # By place and not by name: an epoch that wrote nothing gives the entry before it a second name.
        self._require(Position(gone.epoch, gone.last) == self.node, f"rolled back {gone}, stands at {self.at}")
        first = Position(gone.epoch, gone.first)
        before = self.world.parent[first]
        self._require(self.world.cut_at.get(first) == before, f"{first} was not the first to be rolled back")
        self.node = before

    def _skip(self, trimmed: Range) -> None:
        for offset in range(trimmed.first, trimmed.last + 1):
            position = Position(trimmed.epoch, offset)
            self._require(offset < self.world.first or position not in self.world.history, f"{position} is retained")
            self._require(self.world.parent[position] == self.node, f"trimmed {position} after {self.node}")
            self.node = position

    def _require(self, truth: bool, what: str) -> None:
        if not truth:
            raise Wrong(what)


@dataclass(eq=False)
class Reading:
    """A read under way: `page` is there once the log was asked, the reply comes later still."""

    cohort: Cohort[Client] | None
    fresh: bool
    page: Page | None = None


@dataclass
class Node:
    """Carries effects out as the hub does, but when the dice say so."""

    rng: random.Random
    members_type: type[Members[Client, int]]
    calm: bool = False
    """No failover, no trim, no lost or repeated announcement: nothing but late replies and slow sockets."""
    world: World = field(init=False)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.world = World(self.rng)
        self.slow = self.rng.random() * 0.4
        self.clients: list[Client] = []
        self.channel: list[Announcement] = []
        self.readings: list[Reading] = []
        self.cache: dict[Position, Page] = {}
        self.suspects = False
        self.bodies = 1
        for _ in range(self.rng.randint(0, 4)):
            self.world.append(self.rng.randint(1, 3))
        self.follow()

    def follow(self) -> None:
        ring = Ring(max_steps=self.rng.randint(1, 8))
        self.members = self.members_type(lambda client: id(client) % 2, Feed(ring))
        self.readings.clear()
        self.clients.clear()
        log = self.world.read(None, 0).log
        for _ in range(self.rng.randint(0, 3)):
            self.publish()
            self.hear()
        self.perform(self.members.start(log))

    # Effects.

    def perform(self, effects: list[Effect[Client]]) -> None:
        for effect in effects:
            match effect:
                case Deliver(before, steps):
                    joined = {client for group in self.members.joined.values() for client in group}
                    self.write(joined, before, steps)
                case Send(cohort, steps):
                    self.write(cohort.members, cohort.place, steps)
                    self.perform(self.members.sent(effect))
                case ReadForFeed():
                    self.readings.append(Reading(None, fresh=True))
                case ReadForCohort(cohort, fresh):
                    self.readings.append(Reading(cohort, fresh=fresh))
                case Ended():
                    for client in self.members.clear():
                        client.over = True
                case AskTopology() | Repaired():
                    pass

    def write(self, clients: set[Client], before: Position, steps: list[Step]) -> None:
        for at, chunk in self.chunks(before, steps):
            for client in sorted(clients, key=self.clients.index):
                if client.paused:
                    if client in self.members and self.stands(client):
                        self.members.fell(client, at)
                else:
                    for step in chunk:
                        client.take(step)
                    client.paused = self.rng.random() < self.slow

    def stands(self, client: Client) -> bool:
        return client not in self.members._paused

    def chunks(self, before: Position, steps: list[Step]) -> Iterator[tuple[Position, list[Step]]]:
        rest = list(steps)
        while rest:
            size = self.rng.randint(1, 4)
            yield before, rest[:size]
            before, rest = rest[:size][-1].position, rest[size:]

    # Events.

    def event(self) -> None:
        dice = self.rng.random()
        self.now += self.rng.random() * 0.1
        if dice < 0.30:
            self.publish()
        elif dice < 0.50:
            self.hear()
        elif dice < 0.62:
            self.serve()
        elif dice < 0.76:
            self.reply_any()
        elif dice < 0.82:
            self.subscribe()
        elif dice < 0.90:
            self.resume_any()
        else:
            self.rare_event()

    def rare_event(self) -> None:
        dice = self.rng.random()
        if dice < 0.35 or self.calm:
            self.watch()
        elif dice < 0.50:
            self.world.fail_over(self.rng.choice((0, 0, 1, 2, 4)))
        elif dice < 0.65:
            self.world.trim(self.rng.randint(1, 4))
        elif dice < 0.75:
            self.world.stale = None
        elif dice < 0.80:
            self.perform(self.members.possible_gap("reconnected"))
        elif dice < 0.85 and self.clients:
            self.leave(self.rng.choice(self.clients))
        elif dice < 0.87:
            self.world.recreate()
            self.world.stale = None

    def publish(self) -> None:
        announcement = self.world.append(self.rng.randint(1, 3))
        if self.calm or self.rng.random() < 0.85:
            self.channel.append(announcement)
        if self.calm:
            return
        if self.rng.random() < 0.05:
            self.channel.append(announcement)
        if self.rng.random() < 0.08:
            self.rng.shuffle(self.channel)

    def hear(self) -> None:
        count = self.rng.randint(1, 4)
        batch, self.channel = self.channel[:count], self.channel[count:]
        self.perform(self.members.announce(batch))

    def serve(self) -> None:
        """The log answers one of the reads; the answer is on its way then."""
        asked = [reading for reading in self.readings if reading.page is None]
        if asked:
            self.answer(self.rng.choice(asked))

    def answer(self, reading: Reading) -> None:
        if reading.cohort is None:
            reading.page = self.world.read(self.members.feed.place, self.rng.randint(1, 6))
            return
        after = reading.cohort.place
        if not reading.fresh and after in self.cache and self.rng.random() < 0.5:
            reading.page = self.cache[after]
        else:
            reading.page = self.cache[after] = self.world.read(after, self.rng.randint(1, 6))

    def reply_any(self) -> None:
        if self.readings:
            self.reply(self.rng.randrange(len(self.readings)))

    def reply(self, index: int) -> None:
        reading = self.readings.pop(index)
        if reading.page is None:
            self.answer(reading)
        assert reading.page is not None
        if reading.cohort is None:
            self.perform(self.members.receive(reading.page, now=self.now))
        else:
            self.perform(self.members.receive_page(reading.cohort, reading.page, now=self.now))

    def subscribe(self) -> None:
        """Somebody comes from anywhere: the end, the beginning, another node's place, a place that was rolled back."""
        self.world.begin_epoch()
        known = [*self.world.parent, self.world.root, self.world.end(), start_of(self.world.log())]
        position = self.rng.choice(known[-8:] if self.rng.random() < 0.7 else known)
        client = Client(self.world, position, paused=self.rng.random() < 0.1)
        page = self.world.read(position, 1)
        verdict = place(position, page.log)
        if self.members.feed.is_future(position, page.log, now=self.now):
            return
        self.clients.append(client)
        if verdict.recovery is not Recovery.COMPLETE:
            client.take_gap(verdict.recovery, verdict.missing, verdict.after)
        self.perform(self.members.enter(client, verdict.after, page.log))

    def resume_any(self) -> None:
        slow = [client for client in self.clients if client.paused]
        if slow:
            self.resume(self.rng.choice(slow))

    def resume(self, client: Client) -> None:
        client.paused = False
        self.perform(self.members.resume(client))

    def leave(self, client: Client) -> None:
        assert self.members.leave(client) or client.over
        self.clients.remove(client)

    def watch(self) -> None:
        if self.suspects:
            self.suspects = False
            self.perform(self.members.confirm())
        else:
            self.suspects = True
            self.perform(self.members.watch(self.members.feed.place, self.world.end()))

    # The end.

    def settle(self) -> None:
        """The faults stop: within bounded time everyone must be joined at the log's end."""
        self.slow = 0.0
        self.world.stale = None
        if self.rng.random() < 0.5:
            self.channel.clear()
        while self.channel:
            self.hear()
        for _ in range(6):
            for client in self.clients:
                self.resume(client)
            self.watch()
            self.watch()
            for _ in range(500):
                if not self.readings:
                    break
                self.now += 0.05
                self.reply_any()
        self.check()

    def check(self) -> None:
        if self.readings:
            raise Wrong("it reads for ever")
        for client in self.clients:
            if not self.members.is_joined(client):
                raise Wrong(f"a member at {client.at} never joined the feed at {self.members.feed.place}")
            if client.node != self.world.tip:
                raise Wrong(f"a member stands at {client.at}, the log's end is {self.world.end()}")


def play(seed: int, members_type: type[Members[Client, int]] = Members, *, calm: bool = False) -> Node:
    node = Node(random.Random(seed), members_type, calm)
    for _ in range(EVENTS):
        node.event()
    node.settle()
    return node


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_subscriber_gets_everything_once_in_order_or_is_told(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_BUFFERED", 5)
    frames = 0
    for seed in range(batch, SEEDS, BATCHES):
        try:
            frames += sum(client.frames for client in play(seed).clients)
        except AssertionError as wrong:
            raise Wrong(f"seed {seed}: {wrong}") from wrong
    assert frames > SEEDS // BATCHES


class ReadsToTheEndThenJoins(Members[Client, int]):
    """Known to be wrong: sends what the page has and joins at its end, wherever the feed is."""

    def _limit(self, log: LogState) -> float | None:
        return float("inf")

    def _seat(self, at: Position, log: LogState | None) -> int | None:
        return self.feed.ring.latest if log is not None and at == log.end else None


class JoinsWhenPast(Members[Client, int]):
    """Known to be wrong: sends what the page has and joins as soon as it is not behind the feed."""

    def _limit(self, log: LogState) -> float | None:
        return float("inf")

    def _seat(self, at: Position, log: LogState | None) -> int | None:
        here = self.feed.place
        return self.feed.ring.latest if log is not None and (at.epoch, at.offset) >= (here.epoch, here.offset) else None


class NeverLooksAgain(Members[Client, int]):
    """Wrong: a parked member waits for its place even when the log was rolled back behind it."""

    def _unpark(self, progress: live.Progress, effects: list[Effect[Client]]) -> None:
        for cohort in list(self._parked.values()):
            if self.feed.ring.find(cohort.place) is not None:
                del self._parked[cohort.place]
                self._go_on(cohort, None, effects)


def caught(wrong: type[Members[Client, int]], *, calm: bool) -> int:
    """Return in how many of a hundred interleavings the checker found fault with a rule."""
    found = 0
    for seed in range(100):
        try:
            play(seed, wrong, calm=calm)
        except Wrong:
            found += 1
    return found


@pytest.mark.parametrize("wrong", [ReadsToTheEndThenJoins, JoinsWhenPast])
def test_the_checker_catches_hand_over_rules_that_are_known_to_be_wrong(wrong: type[Members[Client, int]]) -> None:
    """Without any fault, so that nothing but the hand-over itself can be what goes wrong."""
    assert caught(wrong, calm=True) >= 10
    assert caught(Members, calm=True) == 0


def test_the_checker_catches_a_park_that_does_not_end() -> None:
    assert caught(NeverLooksAgain, calm=False) >= 10


def test_the_interleavings_reach_what_they_are_about() -> None:
    """Guards the dice: gaps of every kind, slow sockets and parked members must all occur."""
    seen: dict[str, int] = dict.fromkeys((*Recovery, "fell", "parked", "late"), 0)

    class Counting(Members[Client, int]):
        def fell(self, member: Client, at: Position) -> None:
            seen["fell"] += 1
            super().fell(member, at)

        def _stand(self, cohort: Cohort[Client], here: dict[Position, Cohort[Client]]) -> bool:
            seen["parked"] += here is self._parked
            return super()._stand(cohort, here)

        def _follow(self, cohort: Cohort[Client], page: Page, *args: object) -> None:
            verdict = place(cohort.place, page.log).recovery
            seen[verdict] += 1
            seen["late"] += cohort.late and verdict not in SOUND
            super()._follow(cohort, page, *args)  # type: ignore[arg-type]

    for seed in range(300):
        play(seed, Counting)
    del seen[Recovery.NONE]
    assert min(seen.values()) > 0, seen
