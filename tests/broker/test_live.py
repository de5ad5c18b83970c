"""The feed's course: what each announcement, page and look of the watchdog makes of it."""

import math

import pytest

from broker import live
from broker.live import MAX_FUTURES, Feed, Gap, Ring, State, Step, step_bytes, steps_of
from broker.messages import Entry, Kind, Message
from broker.positions import Link, LogState, Position, Range, Recovery, place
from broker.store.base import Announcement, Page

A, B, C = 1000, 2000, 3000
"""Epochs."""


def at(epoch: int, offset: int) -> Position:
    return Position(epoch, offset)


def entry(epoch: int, offset: int, payload: bytes = b"x") -> Entry:
    return Entry(at(epoch, offset), 0, Message(Kind.TEXT, payload))


def entries(epoch: int, first: int, last: int) -> tuple[Entry, ...]:
    return tuple(entry(epoch, offset) for offset in range(first, last + 1))


def announced(epoch: int, first: int, last: int, *, previous: Position | None = None) -> Announcement:
    return Announcement(previous or at(epoch, first - 1), at(epoch, last), entries(epoch, first, last))


def log(*chain: tuple[int, int], end: int, first: Position | None = None) -> LogState:
    links = tuple(Link(*link) for link in chain)
    return LogState(links, end + 1, first or at(links[0].epoch, 0))


def following(epoch: int = A, offset: int = 9) -> Feed:
    feed = Feed()
    feed.start(log((epoch, 0), end=offset))
    assert feed.state is State.FOLLOWING
    return feed


def offsets(steps: list[Step]) -> list[tuple[int, int]]:
    return [(step.position.epoch, step.position.offset) for step in steps]


# Announcements.


@pytest.mark.parametrize(
    ("what", "announcement", "passed"),
    [
        ("the next ones", announced(A, 10, 12), [10, 11, 12]),
        ("known ones again", announced(A, 5, 9), []),
        ("partly known ones", announced(A, 8, 11), [10, 11]),
        ("a hole", announced(A, 11, 11), None),
        ("a new epoch", announced(B, 10, 10), None),
        ("a lower epoch", announced(A - 1, 10, 10), None),
        ("a lower epoch's known offsets", announced(A - 1, 3, 4), None),
        ("new ones without bodies", Announcement(at(A, 9), at(A, 10), None), None),
        ("known ones without bodies", Announcement(at(A, 8), at(A, 9), None), []),
    ],
)
def test_only_what_provably_continues_is_taken(what: str, announcement: Announcement, passed: list[int] | None) -> None:
    feed = following()
    progress = feed.announce([announcement])
    if passed is None:
        assert (progress.read, feed.state) == (True, State.REPAIRING), what
        assert feed.place == at(A, 9)
    else:
        assert not progress.read, what
        assert [offset for _, offset in offsets(progress.steps)] == passed
        assert progress.before == at(A, 9)


def test_a_new_epoch_that_names_our_very_place_as_its_past_is_taken() -> None:
    feed = following()
    progress = feed.announce([announced(B, 10, 11, previous=at(A, 9))])
    assert offsets(progress.steps) == [(B, 10), (B, 11)]


def test_what_comes_after_a_hole_waits_for_the_log() -> None:
    feed = following()
    assert feed.announce([announced(A, 11, 11), announced(A, 12, 12)]).read
    assert not feed.announce([announced(A, 13, 13)]).read
    progress = feed.receive(Page(log((A, 0), end=11), entries(A, 10, 11)), now=0)
    assert offsets(progress.steps) == [(A, 10), (A, 11), (A, 12), (A, 13)]
    assert (feed.state, progress.repaired) == (State.FOLLOWING, "announcement")


def test_a_repair_reads_page_by_page() -> None:
    feed = following()
    feed.possible_gap("reconnected")
    assert feed.receive(Page(log((A, 0), end=13), entries(A, 10, 11)), now=0).read
    last = feed.receive(Page(log((A, 0), end=13), entries(A, 12, 13)), now=0)
    assert (last.read, last.settled, last.repaired) == (False, True, "reconnected")


def test_a_comparison_that_finds_nothing_is_no_repair() -> None:
    feed = following()
    feed.possible_gap("reconnected")
    progress = feed.receive(Page(log((A, 0), end=9), ()), now=0)
    assert (progress.settled, progress.repaired) == (True, "")


def test_bodies_left_out_are_read_and_no_repair() -> None:
    feed = following()
    feed.announce([Announcement(at(A, 9), at(A, 10), None)])
    progress = feed.receive(Page(log((A, 0), end=10), entries(A, 10, 10)), now=0)
    assert offsets(progress.steps) == [(A, 10)]
    assert progress.repaired == ""


@pytest.mark.parametrize(("name", "bound"), [("MAX_BUFFERED", 3), ("MAX_BUFFERED_BYTES", 3 * step_bytes(entry(A, 0)))])
def test_more_announcements_than_the_buffer_holds_make_it_read_again(
    monkeypatch: pytest.MonkeyPatch, name: str, bound: int
) -> None:
    monkeypatch.setattr(live, name, bound)
    feed = following()
    feed.possible_gap("reconnected")
    feed.announce([announced(A, offset, offset) for offset in range(10, 15)])
    again = feed.receive(Page(log((A, 0), end=9), ()), now=0)
    assert (again.read, again.settled) == (True, False)
    done = feed.receive(Page(log((A, 0), end=14), entries(A, 10, 14)), now=0)
    assert (feed.place, done.settled) == (at(A, 14), True)


def test_a_gap_suspected_while_reading_makes_it_read_again() -> None:
    feed = following()
    assert feed.possible_gap("reconnected").read
    assert not feed.possible_gap("stall").read
    assert feed.receive(Page(log((A, 0), end=9), ()), now=0).read
    assert feed.receive(Page(log((A, 0), end=9), ()), now=0).settled


def test_announcements_before_the_start_are_applied_after_it() -> None:
    feed = Feed()
    assert feed.announce([announced(A, 9, 9), announced(A, 10, 10)]) == live.Progress(at(0, -1))
    progress = feed.start(log((A, 0), end=9))
    assert offsets(progress.steps) == [(A, 10)]
    assert progress.before == at(A, 9)


# What the log says on reading.


def repaired(page: Page) -> list[Step]:
    feed = following()
    feed.possible_gap("x")
    return feed.receive(page, now=0).steps


def test_a_rollback_is_a_step_before_the_next_message() -> None:
    gap, first, *_ = repaired(Page(log((A, 0), (B, 7), end=8), entries(B, 7, 8)))
    assert gap == Gap(Recovery.ROLLED_BACK, (Range(A, 7, 9),), at(A, 6))
    assert first.position == at(B, 7)


def test_a_trim_is_a_step() -> None:
    gap, first, *_ = repaired(Page(log((A, 0), end=13, first=at(A, 12)), entries(A, 12, 13)))
    assert gap == Gap(Recovery.TRIMMED, (Range(A, 10, 11),), at(A, 11))
    assert first.position == at(A, 12)


def test_after_a_lost_history_it_reads_from_the_first_retained_entry_and_believes_no_other() -> None:
    feed = following()
    feed.possible_gap("x")
    progress = feed.receive(Page(log((C, 0), end=3, first=at(C, 2)), entries(C, 3, 3)), now=0)
    assert progress.steps == [Gap(Recovery.LOST, (), at(C, 1))]
    assert progress.read
    assert offsets(feed.receive(Page(log((C, 0), end=3, first=at(C, 2)), entries(C, 2, 3)), now=0).steps) == [
        (C, 2),
        (C, 3),
    ]


def test_a_topic_recreated_empty_is_lost_and_settled() -> None:
    feed = following()
    feed.possible_gap("x")
    progress = feed.receive(Page(LogState((Link(B, 0),), 0, None), ()), now=0)
    assert progress.steps == [Gap(Recovery.LOST, (), at(B, -1))]
    assert (progress.read, progress.settled) == (False, True)


def test_a_page_of_a_stale_primary_is_asked_again_for_15_seconds() -> None:
    feed = following(B)
    feed.possible_gap("x")
    stale = Page(log((A, 0), end=20), entries(A, 10, 12))
    for now in (100.0, 107.0, 114.9):
        progress = feed.receive(stale, now=now)
        assert (progress.ask_topology, progress.read, progress.steps) == (True, True, [])
        assert progress.delay_seconds > 0
    assert feed.receive(stale, now=115.1).steps == [Gap(Recovery.LOST, (), at(A, -1))]


def test_unknown_epochs_are_remembered_within_a_bound() -> None:
    feed, old = following(A), log((A, 0), end=9)
    for n in range(MAX_FUTURES):
        assert feed.is_future(at(B + n, 0), old, now=float(n) / 10)
    assert feed.is_future(at(C, 0), old, now=14.0)
    assert not feed.is_future(at(C, 0), old, now=15.1), "it shares the oldest one's clock"
    assert feed.is_future(at(C, 0), old, now=100.0), "what is long past is forgotten"
    assert not feed.is_future(at(A - 1, 0), old, now=0.0)


def test_an_entry_removed_by_hand_is_told_as_trimmed() -> None:
    state = log((A, 0), (B, 12), end=14)
    page = Page(state, (*entries(A, 10, 10), *entries(B, 13, 14)))
    gap = Gap(Recovery.TRIMMED, (Range(A, 11, 11), Range(B, 12, 12)), at(B, 12))
    assert steps_of(place(at(A, 9), state), page)[1] == gap
    nothing = steps_of(place(at(B, 13), state), Page(state, ()))
    assert nothing == [Gap(Recovery.TRIMMED, (Range(B, 14, 14),), at(B, 14))]
    assert steps_of(place(at(B, 13), state), Page(state, ()), limit=13) == []


def test_a_page_is_taken_up_to_the_limit_only() -> None:
    state = log((A, 0), end=14)
    assert offsets(steps_of(place(at(A, 9), state), Page(state, entries(A, 10, 14)), limit=11)) == [(A, 10), (A, 11)]


# The watchdog.


@pytest.mark.parametrize(
    ("what", "asked_at", "end", "repairs", "confirmed"),
    [
        ("the same", at(A, 9), at(A, 9), False, False),
        ("a late answer", at(A, 7), at(A, 8), False, False),
        ("an end further on", at(A, 9), at(A, 11), False, True),
        ("an end behind where it was when it asked", at(A, 9), at(A, 8), True, False),
        ("another epoch", at(A, 9), at(B, 10), True, False),
        ("no topic", at(A, 9), None, True, False),
    ],
)
def test_the_end_of_the_log_is_held_against_the_feed(
    what: str, asked_at: Position, end: Position | None, repairs: bool, confirmed: bool
) -> None:
    feed = following()
    assert feed.watch(asked_at, end).read is repairs, what
    assert feed.confirm().read is confirmed, what


def test_a_suspicion_is_dropped_when_the_announcement_came() -> None:
    feed = following()
    feed.watch(at(A, 9), at(A, 10))
    feed.announce([announced(A, 10, 10)])
    assert not feed.confirm().read
    feed.watch(at(A, 10), at(A, 11))
    feed.confirm()
    assert not feed.confirm().read, "it was told once"


def test_an_epoch_without_entries_is_another_name_of_the_same_place() -> None:
    feed = following()
    assert feed.watch(at(A, 9), at(B, 9)).read
    feed.receive(Page(log((A, 0), (B, 10), end=9), ()), now=0)
    assert not feed.watch(at(A, 9), at(B, 9)).read
    assert offsets(feed.announce([announced(B, 10, 10)]).steps) == [(B, 10)]


def test_a_feed_is_not_lost_with_an_epoch_that_wrote_nothing() -> None:
    feed = Feed()
    feed.start(log((A, 0), (B, 10), end=9))
    assert feed.place == at(A, 9)
    assert feed.ring.find(at(B, 9)) == feed.ring.latest
    feed.possible_gap("failover")
    progress = feed.receive(Page(log((A, 0), (C, 10), end=10), entries(C, 10, 10)), now=0)
    assert offsets(progress.steps) == [(C, 10)]


@pytest.mark.parametrize(
    ("place", "name"), [(at(B, 9), at(A, 9)), (at(A, 9), at(A, 9)), (at(B, 10), at(B, 10)), (at(A, -1), at(A, -1))]
)
def test_a_place_is_named_after_the_entry_that_it_follows(place: Position, name: Position) -> None:
    assert live.own_name(place, log((A, 0), (B, 10), end=12)) == name


# The end of a topic.


def ended(epoch: int) -> Announcement:
    return Announcement(at(epoch, 9), at(epoch, 9), None, ended=True)


def test_the_end_of_its_own_topic_ends_it() -> None:
    feed = following()
    feed.announce([announced(A, 10, 10), ended(A)])
    assert feed.state is State.OVER


def test_the_end_by_its_other_name_ends_it_too() -> None:
    feed = Feed()
    feed.start(log((A, 0), (B, 10), end=9))
    feed.announce([ended(B)])
    assert feed.state is State.OVER


def test_the_end_of_an_earlier_topic_of_that_name_does_not() -> None:
    feed = following(B)
    assert feed.announce([ended(A)]).read
    assert feed.state is State.REPAIRING


# Where it stands on a history.


@pytest.mark.parametrize(
    ("what", "state", "limit"),
    [
        ("on it", log((A, 0), end=12), 9),
        ("trimmed by it", log((A, 0), end=12, first=at(A, 11)), 9),
        ("further in the same epoch", log((A, 0), end=5), math.inf),
        ("rolled back", log((A, 0), (B, 5), end=12), None),
        ("unknown to it", log((C, 0), end=12), None),
        ("newer than it", log((A - 1, 0), end=12), None),
    ],
)
def test_how_far_it_has_come_on_a_history(what: str, state: LogState, limit: float | None) -> None:
    assert following().limit(state) == limit, what


# The ring.


def test_the_ring_knows_the_places_of_what_it_keeps() -> None:
    ring = Ring(max_steps=3)
    ring.start(at(A, -1))
    for offset in range(5):
        ring.append(entry(A, offset))
    assert [ring.find(at(A, offset)) is not None for offset in range(-1, 5)] == [False, False, True, True, True, True]
    seat = ring.find(at(A, 2))
    assert seat is not None
    assert offsets(ring.after(seat)) == [(A, 3), (A, 4)]
    assert ring.after(ring.latest) == []


def test_the_ring_is_bounded_by_bytes_but_keeps_the_latest() -> None:
    ring = Ring(max_bytes=1000)
    ring.start(at(A, -1))
    ring.append(entry(A, 0, b"x" * 5000))
    assert ring.find(at(A, -1)) is not None
    ring.append(entry(A, 1))
    assert ring.find(at(A, -1)) is None
    assert ring.find(at(A, 0)) is not None


def test_a_place_passed_twice_means_its_latest_passing() -> None:
    ring = Ring()
    ring.start(at(A, 4))
    back = Gap(Recovery.ROLLED_BACK, (Range(A, 5, 5),), at(A, 4))
    for step in (entry(A, 5), back, entry(B, 5)):
        ring.append(step)
    seat = ring.find(at(A, 4))
    assert seat is not None
    assert offsets(ring.after(seat)) == [(B, 5)], "it never had what was rolled back"


def test_another_name_of_a_place_is_forgotten_with_it() -> None:
    ring = Ring(max_steps=1)
    ring.start(at(A, 4))
    ring.name(at(B, 4))
    assert ring.find(at(B, 4)) == ring.latest
    ring.append(entry(B, 5))
    assert ring.find(at(B, 4)) is not None
    ring.append(entry(B, 6))
    assert ring.find(at(B, 4)) is None
