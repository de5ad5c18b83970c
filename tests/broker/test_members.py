"""The members: who joins where, who is parked, who falls out. (Interleavings: test_live_property.)"""

import pytest

from broker.live import Gap, Step
from broker.members import AskTopology, Deliver, Effect, Ended, Members, ReadForCohort, ReadForFeed, Repaired, Send
from broker.messages import Entry, Kind, Message
from broker.positions import Link, LogState, Position, Range, Recovery
from broker.store.base import Announcement, Page

A, B = 1000, 2000
"""Epochs."""

Everyone = Members[str, str]


def at(epoch: int, offset: int) -> Position:
    return Position(epoch, offset)


def entries(epoch: int, first: int, last: int) -> tuple[Entry, ...]:
    return tuple(Entry(at(epoch, n), 0, Message(Kind.TEXT, b"x")) for n in range(first, last + 1))


def announced(first: int, last: int, epoch: int = A) -> Announcement:
    return Announcement(at(epoch, first - 1), at(epoch, last), entries(epoch, first, last))


def log(*chain: tuple[int, int], end: int) -> LogState:
    return LogState(tuple(Link(*link) for link in chain), end + 1, at(chain[0][0], 0))


def members(end: int = 9) -> Everyone:
    everyone: Everyone = Members(lambda member: member[0])
    everyone.start(log((A, 0), end=end))
    return everyone


def enter(everyone: Everyone, member: str, place: Position, state: LogState) -> list[Effect[str]]:
    return write(everyone, everyone.enter(member, place, state))


def write(everyone: Everyone, effects: list[Effect[str]], seen: list[Step] | None = None) -> list[Effect[str]]:
    """Carry out the sends among `effects`; return the rest."""
    rest: list[Effect[str]] = []
    for effect in effects:
        if isinstance(effect, Send):
            if seen is not None:
                seen.extend(effect.steps)
            rest += write(everyone, everyone.sent(effect), seen)
        else:
            rest.append(effect)
    return rest


def the_read(effects: list[Effect[str]]) -> ReadForCohort[str]:
    (read,) = effects
    assert isinstance(read, ReadForCohort)
    return read


def test_whoever_stands_where_the_feed_stands_joins_at_once() -> None:
    everyone = members()
    assert enter(everyone, "json-1", at(A, 9), log((A, 0), end=9)) == []
    assert everyone.joined == {"j": {"json-1"}}
    assert everyone.announce([announced(10, 10)]) == [Deliver(at(A, 9), list(entries(A, 10, 10)))]


def test_whoever_stands_in_the_ring_gets_the_rest_of_it_and_joins_without_a_read() -> None:
    everyone, seen = members(), list[Step]()
    everyone.announce([announced(10, 14)])
    assert write(everyone, everyone.enter("a", at(A, 11), log((A, 0), end=11)), seen) == []
    assert seen == list(entries(A, 12, 14))
    assert everyone.is_joined("a")


def test_whoever_is_further_back_reads_up_to_where_the_feed_is_when_the_page_comes() -> None:
    everyone, seen = members(), list[Step]()
    read = the_read(enter(everyone, "a", at(A, 3), log((A, 0), end=9)))
    assert (read.cohort.place, read.fresh) == (at(A, 3), False)
    everyone.announce([announced(10, 10)])
    page = Page(log((A, 0), end=15), entries(A, 4, 15))  # the log is further than this node has heard
    assert write(everyone, everyone.receive_page(read.cohort, page, now=0), seen) == []
    assert seen == list(entries(A, 4, 10))
    assert everyone.is_joined("a")


def test_whoever_is_ahead_of_the_feed_waits_parked_and_joins_exactly_there() -> None:
    everyone, seen = members(), list[Step]()
    assert enter(everyone, "a", at(A, 11), log((A, 0), end=11)) == []
    assert everyone.waiting
    assert not everyone.is_joined("a")
    deliver, *rest = everyone.announce([announced(10, 13)])
    assert isinstance(deliver, Deliver)
    write(everyone, rest, seen)
    assert seen == list(entries(A, 12, 13))
    assert everyone.is_joined("a")
    assert not everyone.waiting


@pytest.mark.parametrize("way", ["the feed settles", "a new epoch", "the feed passes"])
def test_a_park_ends_when_the_place_was_rolled_back(way: str) -> None:
    everyone, seen = members(), list[Step]()
    enter(everyone, "a", at(A, 11), log((A, 0), end=11))
    state = log((A, 0), (B, 10), end=9)
    if way == "the feed settles":
        everyone.possible_gap("reconnected")
        effects = everyone.receive(Page(state, ()), now=0)
    elif way == "a new epoch":
        effects = everyone.announce([Announcement(at(A, 9), at(B, 10), entries(B, 10, 10))])
        state = log((A, 0), (B, 10), end=10)
    else:
        everyone.feed.ring.name(at(B, 9))
        effects = everyone.announce([announced(10, 12, B)])
        state = log((A, 0), (B, 10), end=12)
    read = next(effect for effect in effects if isinstance(effect, ReadForCohort))
    assert read.fresh
    write(everyone, everyone.receive_page(read.cohort, Page(state, ()), now=0), seen)
    assert seen[0] == Gap(Recovery.ROLLED_BACK, (Range(A, 10, 11),), at(A, 9))
    assert everyone.is_joined("a")


def test_a_late_page_must_not_call_a_place_rolled_back() -> None:
    everyone = members()
    everyone.announce([announced(10, 600)])
    read = the_read(enter(everyone, "early", at(A, 20), log((A, 0), end=600)))
    late = Page(log((A, 0), end=15), ())
    again = the_read(everyone.receive_page(read.cohort, late, now=0))
    assert again.fresh
    (send,) = everyone.receive_page(again.cohort, Page(log((A, 0), (B, 16), end=15), ()), now=0)[-1:]
    assert not isinstance(send, Send), "the feed is not on that history: it looks first"
    assert everyone.waiting


def test_whoever_comes_while_a_fresh_page_is_on_its_way_makes_it_late() -> None:
    everyone = members()
    everyone.fell("a", at(A, 20))
    read = the_read(everyone.resume("a"))
    fresh = the_read(everyone.receive_page(read.cohort, Page(log((A, 0), end=9), ()), now=0))
    everyone.fell("b", at(A, 20))  # perhaps the log has come so far since that page was read
    assert everyone.resume("b") == []
    again = the_read(everyone.receive_page(fresh.cohort, Page(log((A, 0), end=9), ()), now=0))
    assert again.fresh
    assert again.cohort.members == {"a", "b"}


def test_members_at_one_place_share_a_page() -> None:
    everyone = members()
    read = the_read(enter(everyone, "a", at(A, 3), log((A, 0), end=9)))
    assert enter(everyone, "b", at(A, 3), log((A, 0), end=9)) == []
    assert read.cohort.members == {"a", "b"}
    write(everyone, everyone.receive_page(read.cohort, Page(log((A, 0), end=9), entries(A, 4, 9)), now=0))
    assert everyone.joined == {"a": {"a"}, "b": {"b"}}


def test_a_page_that_brought_nothing_is_read_anew() -> None:
    everyone = members(end=700)
    everyone.announce([announced(701, 1400)])
    read = the_read(enter(everyone, "a", at(A, 3), log((A, 0), end=3)))
    again = the_read(write(everyone, everyone.receive_page(read.cohort, Page(log((A, 0), end=3), ()), now=0)))
    assert again.fresh


def test_whoever_falls_stands_where_the_shell_says_and_resumes_from_the_ring() -> None:
    everyone, seen = members(), list[Step]()
    enter(everyone, "a", at(A, 9), log((A, 0), end=9))
    everyone.announce([announced(10, 12)])
    everyone.fell("a", at(A, 11))
    assert "a" in everyone
    assert everyone.joined == {}
    assert write(everyone, everyone.resume("a"), seen) == []
    assert seen == list(entries(A, 12, 12))
    assert everyone.is_joined("a")
    assert everyone.resume("a") == []


def test_whoever_falls_while_catching_up_stays_out_of_what_follows() -> None:
    everyone = members()
    read = the_read(enter(everyone, "a", at(A, 3), log((A, 0), end=9)))
    (send,) = everyone.receive_page(read.cohort, Page(log((A, 0), end=9), entries(A, 4, 9)), now=0)
    assert isinstance(send, Send)
    everyone.fell("a", at(A, 5))
    assert everyone.sent(send) == []
    again = the_read(everyone.resume("a"))
    assert again.cohort.place == at(A, 5)


def test_a_feed_that_left_the_history_of_a_page_is_repaired_first() -> None:
    everyone = members()
    assert enter(everyone, "b", at(A, 3), log((A, 0), (B, 6), end=8)) == [ReadForFeed()]
    everyone = members()
    read = the_read(enter(everyone, "a", at(A, 3), log((A, 0), end=9)))
    effects = everyone.receive_page(read.cohort, Page(log((A, 0), (B, 6), end=8), entries(A, 4, 5)), now=0)
    assert effects == [ReadForFeed()]
    assert everyone.waiting


def test_a_member_of_an_unknown_future_asks_the_topology_and_waits() -> None:
    everyone = members()
    everyone.fell("a", at(B, 7))
    read = the_read(everyone.resume("a"))
    stale = Page(log((A, 0), end=9), ())
    read = the_read(everyone.receive_page(read.cohort, stale, now=0))
    ask, again = everyone.receive_page(read.cohort, stale, now=0)
    assert isinstance(ask, AskTopology)
    assert isinstance(again, ReadForCohort)
    assert again.delay_seconds > 0
    (send,) = everyone.receive_page(again.cohort, stale, now=16)
    assert isinstance(send, Send)
    assert send.steps == [Gap(Recovery.LOST, (), at(A, -1))]


def test_a_repair_is_told_to_the_observer_after_its_steps() -> None:
    everyone = members()
    assert everyone.announce([announced(11, 11)]) == [ReadForFeed()]
    effects = everyone.receive(Page(log((A, 0), end=11), entries(A, 10, 11)), now=0)
    assert effects == [Deliver(at(A, 9), list(entries(A, 10, 11))), Repaired("announcement")]


def test_the_end_of_the_topic_comes_after_its_last_steps() -> None:
    everyone = members()
    enter(everyone, "joined", at(A, 9), log((A, 0), end=9))
    enter(everyone, "parked", at(A, 20), log((A, 0), end=20))
    enter(everyone, "reading", at(A, 2), log((A, 0), end=9))
    everyone.fell("paused", at(A, 1))
    end = Announcement(at(A, 10), at(A, 10), None, ended=True)
    deliver, ended = everyone.announce([announced(10, 10), end])
    assert isinstance(deliver, Deliver)
    assert isinstance(ended, Ended)
    assert sorted(everyone.clear()) == ["joined", "parked", "paused", "reading"]
    assert not everyone


def test_a_read_that_finds_no_topic_ends_it() -> None:
    everyone = members()
    assert everyone.unknown() == [Ended()]


def test_leaving_works_from_everywhere() -> None:
    everyone = members()
    enter(everyone, "joined", at(A, 9), log((A, 0), end=9))
    enter(everyone, "parked", at(A, 20), log((A, 0), end=20))
    read = the_read(enter(everyone, "reading", at(A, 2), log((A, 0), end=9)))
    everyone.fell("paused", at(A, 1))
    for member in ("joined", "parked", "reading", "paused"):
        assert member in everyone
        assert everyone.leave(member)
        assert not everyone.leave(member)
        assert member not in everyone
    assert not everyone
    assert not everyone.waiting
    assert everyone.abandon(read.cohort)
    assert everyone.receive_page(read.cohort, Page(log((A, 0), end=9), entries(A, 3, 9)), now=0) == []


def test_a_cohort_that_somebody_waits_in_is_not_abandoned() -> None:
    everyone = members()
    read = the_read(enter(everyone, "a", at(A, 2), log((A, 0), end=9)))
    assert not everyone.abandon(read.cohort)
    assert everyone.receive_page(read.cohort, Page(log((A, 0), end=9), entries(A, 3, 9)), now=0)
    assert everyone.receive_page(read.cohort, Page(log((A, 0), end=9), entries(A, 3, 9)), now=0) == []
