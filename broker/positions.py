"""Positions: where a subscriber stands, and what is true of that place on this primary's history.

The log is one stream a topic and an entry's ID is its position, `<epoch>-<offset>` (DESIGN 4). Offsets count from 0
without holes; an epoch is a stretch of history that one primary wrote without a cut. A topic's chain lists its epochs
with the first offset of each. `place` holds a presented position against chain and end and says how to go on.

IDs are ordered along one history only. Whoever compares two positions of different epochs by number, without the
chain, is wrong: after a failover a fork can carry higher epochs and other messages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_EPOCH = 2**53 - 1
"""JavaScript and Lua keep integers exactly up to here."""

REPLID_BITS = 21
"""Low bits of an epoch, taken from the primary's replication id: two primaries never mint the same one."""

SPARE_LINKS = 64
"""Links a chain keeps besides those with entries in the log: restarts that a subscriber may sleep through."""


@dataclass(frozen=True, slots=True)
class Position:
    """The place of one entry. Offset -1 (or an epoch's first minus one) is the place before its first entry."""

    epoch: int
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"


def parse_position(text: str) -> Position:
    """Read `<epoch>-<offset>` (offset may be -1), or raise `ValueError`."""
    epoch, dash, offset = text.partition("-")
    if not dash or not (epoch.isascii() and epoch.isdigit()) or not (offset == "-1" or _is_decimal(offset)):
        raise ValueError(f"not a position: {text[:64]!r}")
    return checked_position(int(epoch), int(offset))


def checked_position(epoch: int, offset: int) -> Position:
    """Return the position, or raise `ValueError` when it is outside what any log can hold."""
    if not (0 <= epoch <= MAX_EPOCH and -1 <= offset <= MAX_EPOCH):
        raise ValueError("epoch or offset is out of range")
    return Position(epoch, offset)


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 16


@dataclass(frozen=True, slots=True)
class Link:
    """One epoch of a chain: `first` is the offset of its first entry, written or yet to be written."""

    epoch: int
    first: int


@dataclass(frozen=True, slots=True)
class LogState:
    """What a primary said of one log in one script call.

    `chain` is ascending and never empty, its last link is the current epoch. `next_offset` is the offset of the next
    entry. `first` is the oldest retained entry, None when nothing is retained.
    """

    chain: tuple[Link, ...]
    next_offset: int
    first: Position | None

    @property
    def epoch(self) -> int:
        return self.chain[-1].epoch

    @property
    def end(self) -> Position:
        """The place of the last entry ever written: what a subscriber from "now" has seen."""
        return Position(self.epoch, self.next_offset - 1)

    @property
    def first_offset(self) -> int:
        """The offset of the oldest retained entry, or the next one's when nothing is retained."""
        return self.first.offset if self.first else self.next_offset

    def end_of(self, epoch: int) -> int | None:
        """Return the last offset that `epoch` wrote (its first - 1 if none), None when the chain does not hold it."""
        following = self.next_offset
        for link in reversed(self.chain):
            if link.epoch == epoch:
                return following - 1
            following = link.first
        return None

    def before(self, offset: int) -> Position:
        """Return the place right before `offset`, in the epoch that holds `offset`: a read from here begins with it."""
        for link in reversed(self.chain):
            if link.first <= offset:
                return Position(link.epoch, offset - 1)
        return Position(self.chain[0].epoch, self.chain[0].first - 1)

    def ranges(self, first: int, last: int) -> tuple["Range", ...]:
        """Return offsets first..last split by the epochs that wrote them, oldest first."""
        return tuple(self._ranges(first, last))

    def _ranges(self, first: int, last: int) -> Iterator["Range"]:
        for link, following in zip(self.chain, (*self.chain[1:], None), strict=True):
            end = following.first - 1 if following else self.next_offset - 1
            low, high = max(first, link.first), min(last, end)
            if low <= high:
                yield Range(link.epoch, low, high)


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets `first` to `last`, both included, of one epoch: messages that a subscriber will not get."""

    epoch: int
    first: int
    last: int


class Recovery(StrEnum):
    """How the way from the presented position went (DESIGN 8)."""

    COMPLETE = "complete"
    NONE = "none"
    TRIMMED = "trimmed"
    ROLLED_BACK = "rolled_back"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Placement:
    """The verdict on a position: reading starts right after `after`; `missing` is exact and in stream order."""

    recovery: Recovery
    after: Position
    missing: tuple[Range, ...] = ()


def start_of(log: LogState) -> Position:
    """Return the place before the oldest retained entry."""
    return log.before(log.first_offset)


def is_unknown_future(last: Position, log: LogState) -> bool:
    """Tell whether `last` comes from a newer history than this log: the node may sit on a stale primary (DESIGN 4).

    The caller asks the topology again and answers "come back" for up to 15 s before it says `lost`.
    """
    return log.end_of(last.epoch) is None and last.epoch > log.epoch


def mint_epoch(*, now_s: int, previous: int, last: int, replid: str) -> int:
    """Return the epoch that the primary with replication id `replid` (hex) begins (DESIGN 4).

    It is above `previous`, the epoch in the topic's meta, and `last`, that of the log's last entry, in the bits that
    count seconds. The low bits keep apart two promoted replicas that never saw each other. `epoch.lua` does the same.
    """
    span = 1 << REPLID_BITS
    return max(now_s, previous // span + 1, last // span + 1) * span + int(replid[:6], 16) % span


def extend_chain(chain: tuple[Link, ...], link: Link, *, first_offset: int) -> tuple[Link, ...]:
    """Return `chain` with the new epoch `link`: it keeps the epochs still in the log plus `SPARE_LINKS`.

    `first_offset` is that of the oldest retained entry (the next one's when there is none). `epoch.lua` does the same.
    """
    kept, spare, following = [link], SPARE_LINKS, link.first
    for older in reversed(chain):
        in_log = following - 1 >= max(older.first, first_offset)
        if in_log or spare > 0:
            kept.append(older)
        spare -= not in_log
        following = older.first
    return tuple(reversed(kept))


def place(last: Position, log: LogState) -> Placement:
    """Hold the last position that a subscriber saw against the log, and say how it goes on.

    A position in the chain continues right after itself, less what was rolled back (it lies beyond what its epoch
    wrote here) and what retention took. One outside the chain is `lost`: delivery starts at the first retained
    entry, because ID order across histories means nothing.
    """
    end = log.end_of(last.epoch)
    first = next((link.first for link in log.chain if link.epoch == last.epoch), None)
    if end is None or first is None or last.offset < first - 1:
        return Placement(Recovery.LOST, start_of(log))
    missing: tuple[Range, ...] = ()
    recovery = Recovery.COMPLETE
    seen = last.offset
    if last.offset > end:
        recovery, missing, seen = Recovery.ROLLED_BACK, (Range(last.epoch, end + 1, last.offset),), end
    trimmed = log.ranges(seen + 1, log.first_offset - 1)
    if trimmed:
        recovery = Recovery.TRIMMED if recovery is Recovery.COMPLETE else recovery
        return Placement(recovery, start_of(log), missing + trimmed)
    return Placement(recovery, Position(last.epoch, seen), missing)
