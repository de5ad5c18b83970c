"""Positions are held against chain and end; chains and epochs are made as the scripts make them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.positions import (
    MAX_EPOCH,
    REPLID_BITS,
    SPARE_LINKS,
    Link,
    LogState,
    Placement,
    Position,
    Range,
    Recovery,
    checked_position,
    extend_chain,
    is_unknown_future,
    mint_epoch,
    parse_position,
    place,
    start_of,
)

P, L, R = Position, Link, Range

# Epoch 1 wrote 0..9, epoch 3 nothing, epoch 5 wrote 10..14.
CHAIN = (L(1, 0), L(3, 10), L(5, 10))
WHOLE = LogState(CHAIN, 15, P(1, 0))
FROM_7 = LogState(CHAIN, 15, P(1, 7))
FROM_12 = LogState(CHAIN, 15, P(5, 12))
NOTHING_LEFT = LogState(CHAIN, 15, None)
EMPTY = LogState((L(5, 0),), 0, None)
# What the chain of a long life keeps: it begins above offset 0.
CUT = LogState((L(3, 10), L(5, 12)), 15, P(5, 13))

PLACEMENTS = [
    # log, last seen, recovery, reading starts after, missing
    (WHOLE, P(1, -1), Recovery.COMPLETE, P(1, -1), ()),
    (WHOLE, P(1, 4), Recovery.COMPLETE, P(1, 4), ()),
    (WHOLE, P(1, 9), Recovery.COMPLETE, P(1, 9), ()),
    (WHOLE, P(3, 9), Recovery.COMPLETE, P(3, 9), ()),
    (WHOLE, P(5, 9), Recovery.COMPLETE, P(5, 9), ()),
    (WHOLE, P(5, 14), Recovery.COMPLETE, P(5, 14), ()),
    (WHOLE, P(1, 10), Recovery.ROLLED_BACK, P(1, 9), (R(1, 10, 10),)),
    (WHOLE, P(1, 12), Recovery.ROLLED_BACK, P(1, 9), (R(1, 10, 12),)),
    (WHOLE, P(3, 12), Recovery.ROLLED_BACK, P(3, 9), (R(3, 10, 12),)),
    # No newer epoch has begun and the client is ahead all the same.
    (WHOLE, P(5, 17), Recovery.ROLLED_BACK, P(5, 14), (R(5, 15, 17),)),
    (EMPTY, P(5, 0), Recovery.ROLLED_BACK, P(5, -1), (R(5, 0, 0),)),
    (EMPTY, P(5, -1), Recovery.COMPLETE, P(5, -1), ()),
    (FROM_7, P(1, 2), Recovery.TRIMMED, P(1, 6), (R(1, 3, 6),)),
    (FROM_7, P(1, 6), Recovery.COMPLETE, P(1, 6), ()),
    (FROM_7, P(1, 12), Recovery.ROLLED_BACK, P(1, 9), (R(1, 10, 12),)),
    (FROM_12, P(1, 8), Recovery.TRIMMED, P(5, 11), (R(1, 9, 9), R(5, 10, 11))),
    (FROM_12, P(1, 9), Recovery.TRIMMED, P(5, 11), (R(5, 10, 11),)),
    (FROM_12, P(5, 11), Recovery.COMPLETE, P(5, 11), ()),
    # Rolled back first, trimmed after: both are told, in stream order.
    (FROM_12, P(1, 20), Recovery.ROLLED_BACK, P(5, 11), (R(1, 10, 20), R(5, 10, 11))),
    (NOTHING_LEFT, P(5, 12), Recovery.TRIMMED, P(5, 14), (R(5, 13, 14),)),
    (NOTHING_LEFT, P(5, 14), Recovery.COMPLETE, P(5, 14), ()),
    # Outside the chain the number of an epoch says nothing.
    (WHOLE, P(2, 4), Recovery.LOST, P(1, -1), ()),
    (WHOLE, P(4, 12), Recovery.LOST, P(1, -1), ()),
    (WHOLE, P(9, 2), Recovery.LOST, P(1, -1), ()),
    (FROM_12, P(9, 2), Recovery.LOST, P(5, 11), ()),
    (NOTHING_LEFT, P(9, 2), Recovery.LOST, P(5, 14), ()),
    # An offset before the epoch's own first: no log has shown that.
    (WHOLE, P(5, 8), Recovery.LOST, P(1, -1), ()),
    (CUT, P(1, 9), Recovery.LOST, P(5, 12), ()),
    (CUT, P(3, 9), Recovery.TRIMMED, P(5, 12), (R(3, 10, 11), R(5, 12, 12))),
]


@pytest.mark.parametrize(("log", "last", "recovery", "after", "missing"), PLACEMENTS)
def test_place(log: LogState, last: Position, recovery: Recovery, after: Position, missing: tuple[Range, ...]) -> None:
    assert place(last, log) == Placement(recovery, after, missing)


@pytest.mark.parametrize(
    ("last", "unknown"), [(P(9, 0), True), (P(6, 0), True), (P(5, 99), False), (P(4, 0), False), (P(1, 0), False)]
)
def test_only_a_newer_epoch_outside_the_chain_is_an_unknown_future(last: Position, unknown: bool) -> None:
    assert is_unknown_future(last, WHOLE) is unknown


def test_a_log_tells_its_ends() -> None:
    assert (WHOLE.epoch, WHOLE.end, WHOLE.first_offset) == (5, P(5, 14), 0)
    assert (NOTHING_LEFT.first_offset, EMPTY.end) == (15, P(5, -1))
    assert [WHOLE.end_of(epoch) for epoch in (1, 2, 3, 5, 6)] == [9, None, 9, 14, None]
    assert [WHOLE.before(offset) for offset in (0, 9, 10, 15)] == [P(1, -1), P(1, 8), P(5, 9), P(5, 14)]
    assert CUT.before(4) == P(3, 9)
    assert [start_of(log) for log in (WHOLE, FROM_7, FROM_12, NOTHING_LEFT)] == [P(1, -1), P(1, 6), P(5, 11), P(5, 14)]


@pytest.mark.parametrize(
    ("first", "last", "ranges"),
    [
        (0, 14, (R(1, 0, 9), R(5, 10, 14))),
        (9, 10, (R(1, 9, 9), R(5, 10, 10))),
        (3, 3, (R(1, 3, 3),)),
        (3, 2, ()),
        (13, 99, (R(5, 13, 14),)),
    ],
)
def test_ranges_are_split_by_epoch(first: int, last: int, ranges: tuple[Range, ...]) -> None:
    assert WHOLE.ranges(first, last) == ranges


# Positions as text.


@pytest.mark.parametrize(
    ("text", "position"),
    [("5-0", P(5, 0)), ("5--1", P(5, -1)), (f"{MAX_EPOCH}-{MAX_EPOCH}", P(MAX_EPOCH, MAX_EPOCH)), ("0-7", P(0, 7))],
)
def test_a_position_is_read_and_written(text: str, position: Position) -> None:
    assert parse_position(text) == position
    assert str(position) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "5-", "-5", "5-x", "x-5", "5-+1", "+5-1", "5--2", "5- 1", "5-1-1", "٣-1", "1-٣", "5_0-1", "5-1_0"),
        *("1-9007199254740992", "9007199254740992-1", "1-" + "9" * 5000, "9" * 5000 + "-1"),
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_position(text)


def test_a_position_is_checked() -> None:
    assert checked_position(MAX_EPOCH, -1) == P(MAX_EPOCH, -1)
    for epoch, offset in ((-1, 0), (MAX_EPOCH + 1, 0), (0, -2), (0, MAX_EPOCH + 1)):
        with pytest.raises(ValueError, match="out of range"):
            checked_position(epoch, offset)


# Epochs and chains.

SPAN = 2**REPLID_BITS


@pytest.mark.parametrize(
    ("now_s", "previous", "last", "high"),
    [
        (1000, 0, 0, 1000),
        (1000, 999 * SPAN + 5, 0, 1000),
        (1000, 1000 * SPAN, 0, 1001),
        (1000, 2000 * SPAN + 5, 0, 2001),
        (1000, 0, 2000 * SPAN + SPAN - 1, 2001),
        (1000, 3000 * SPAN, 2000 * SPAN, 3001),
    ],
)
def test_an_epoch_is_above_the_clock_the_meta_and_the_log(now_s: int, previous: int, last: int, high: int) -> None:
    epoch = mint_epoch(now_s=now_s, previous=previous, last=last, replid="ffffff" + "0" * 34)
    assert epoch == high * SPAN + SPAN - 1
    assert mint_epoch(now_s=now_s, previous=previous, last=last, replid="200001" + "f" * 34) == high * SPAN + 1


def test_epochs_stay_exact_for_eighty_years() -> None:
    in_2106 = 2**32 - 1
    assert mint_epoch(now_s=in_2106, previous=0, last=0, replid="f" * 40) == MAX_EPOCH


def test_a_chain_keeps_the_epochs_in_the_log() -> None:
    chain = tuple(L(number, number) for number in range(200))
    kept = extend_chain(chain, L(500, 200), first_offset=150)
    assert [link.epoch for link in kept] == [*range(150 - SPARE_LINKS, 200), 500]
    kept = extend_chain(chain, L(500, 200), first_offset=200)
    assert [link.epoch for link in kept] == [*range(200 - SPARE_LINKS, 200), 500]
    assert extend_chain(chain, L(500, 200), first_offset=0) == (*chain, L(500, 200))


def test_a_chain_bounds_epochs_that_wrote_nothing() -> None:
    chain: tuple[Link, ...] = (L(1, 0),)
    for epoch in range(2, 300):
        chain = extend_chain(chain, L(epoch, 10), first_offset=0)
    assert [link.epoch for link in chain] == [1, *range(299 - SPARE_LINKS, 300)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[LogState, dict[int, list[int]]]:
    """A log after some epochs, and which offsets each of them wrote."""
    written: dict[int, list[int]] = {}
    chain: tuple[Link, ...] = ()
    offset = 0
    for epoch in draw(st.lists(st.integers(1, 50), min_size=1, max_size=6, unique=True).map(sorted)):
        count = draw(st.integers(0, 6))
        chain = extend_chain(chain, Link(epoch, offset), first_offset=0)
        written[epoch] = list(range(offset, offset + count))
        offset += count
    first = draw(st.integers(0, offset))
    owner = next((epoch for epoch, offsets in written.items() if first in offsets), None)
    return LogState(chain, offset, Position(owner, first) if owner is not None else None), written


@given(histories(), st.integers(1, 50), st.integers(-1, 40))
def test_what_follows_a_place_and_what_is_missing_make_up_the_whole_log(
    history: tuple[LogState, dict[int, list[int]]], epoch: int, offset: int
) -> None:
    """Nothing is told twice, nothing silently left out: missing + seen + read on = everything."""
    log, written = history
    verdict = place(Position(epoch, offset), log)
    read_on = list(range(max(verdict.after.offset + 1, log.first_offset), log.next_offset))
    missing = [(part.epoch, number) for part in verdict.missing for number in range(part.first, part.last + 1)]
    assert len(set(missing)) == len(missing)
    assert (verdict.recovery is Recovery.COMPLETE) <= (not missing)
    if epoch not in written or offset < log.chain[[link.epoch for link in log.chain].index(epoch)].first - 1:
        assert verdict == Placement(Recovery.LOST, start_of(log))
        assert read_on == list(range(log.first_offset, log.next_offset))
        return
    end = log.end_of(epoch)
    assert end is not None
    seen = min(offset, end)
    rolled_back = [(epoch, number) for number in range(end + 1, offset + 1)]
    trimmed = [
        (owner, number) for owner, offsets in written.items() for number in offsets if seen < number < log.first_offset
    ]
    assert missing == rolled_back + trimmed
    assert read_on == list(range(max(seen + 1, log.first_offset), log.next_offset))
    expected = Recovery.ROLLED_BACK if rolled_back else Recovery.TRIMMED if trimmed else Recovery.COMPLETE
    assert verdict.recovery is expected


@given(histories())
def test_every_place_in_a_log_is_in_its_chain(history: tuple[LogState, dict[int, list[int]]]) -> None:
    log, written = history
    for epoch, offsets in written.items():
        for offset in offsets:
            assert log.before(offset) == Position(epoch, offset - 1)
            assert place(Position(epoch, offset), log).recovery in (Recovery.COMPLETE, Recovery.TRIMMED)
    assert place(log.end, log) == Placement(Recovery.COMPLETE, log.end)
