"""Positions: where a subscriber stands in a topic's log, and what it missed.

A position is `(epoch, offset)`. Two positions may be compared by offset only within one epoch: after a failover another
history can carry higher numbers and other messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

MAX_INTEGER = 2**53 - 1
"""The largest epoch or offset of the protocol: what JSON readers keep exactly."""


@dataclass(frozen=True, slots=True)
class Position:
    """The place of one message. Offset -1 (or an epoch's first minus one) is the place before its first message.

    Keep it (`str(position)` and `Position.parse`) and present it as `since` to go on right after it.
    """

    epoch: int
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read `<epoch>-<offset>`, or raise `ValueError`."""
        epoch, dash, offset = text.partition("-")
        if not dash or not _is_decimal(epoch) or not (offset == "-1" or _is_decimal(offset)):
            raise ValueError(f"not a position: {text[:64]!r}")
        return checked_position(int(epoch), int(offset))


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdigit()


def checked_position(epoch: object, offset: object) -> Position:
    """Return the position, or raise `ValueError` when it is outside what any log can hold."""
    if not (_is_integer(epoch, least=0) and _is_integer(offset, least=-1)):
        raise ValueError("a position is an epoch of at least 0 and an offset of at least -1, both below 2**53")
    assert isinstance(epoch, int) and isinstance(offset, int)
    return Position(epoch, offset)


def _is_integer(value: object, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MAX_INTEGER


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets `first` to `last`, both included, of one epoch."""

    epoch: int
    first: int
    last: int


class Recovery(StrEnum):
    """How the way from the presented position went."""

    COMPLETE = "complete"
    """Nothing is missing."""
    NONE = "none"
    """No position was presented."""
    TRIMMED = "trimmed"
    """Retention removed messages before they could be delivered."""
    ROLLED_BACK = "rolled_back"
    """A failover removed messages from the log, perhaps some that were delivered."""
    LOST = "lost"
    """The position belongs to a history that the log does not know: delivery starts at the oldest message kept."""


Since = Literal["now", "earliest"] | Mapping[str, int] | Position
"""Where to start: now, at the oldest message kept, `{"last": n}` messages ago, at publish `{"time": ms}` (Unix
milliseconds), or right after a position (also as `{"epoch": e, "offset": o}`)."""


_NAMED: tuple[Literal["now", "earliest"], ...] = ("now", "earliest")


def checked_since(since: Since) -> Since:
    """Return `since` with a position as a `Position`, or raise `ValueError`."""
    if isinstance(since, Position) or since in _NAMED:
        return since
    if isinstance(since, Mapping):
        if since.keys() == {"epoch", "offset"}:
            return checked_position(since["epoch"], since["offset"])
        if len(since) == 1 and since.keys() <= {"last", "time"} and _is_integer(*since.values(), least=0):
            return dict(since)
    raise ValueError('since is "now", "earliest", {"last": n}, {"time": ms} or a position')


def parse_since(text: str) -> Since:
    """Read `now`, `earliest`, `last:N`, `time:MS` or `EPOCH-OFFSET`, as on a command line; raises `ValueError`."""
    for name in _NAMED:
        if text == name:
            return name
    word, colon, number = text.partition(":")
    if colon and word in ("last", "time") and _is_decimal(number):
        return checked_since({word: int(number)})
    return Position.parse(text)


def since_field(since: Since) -> object:
    """Return `since` as a `subscribe` frame carries it."""
    return {"epoch": since.epoch, "offset": since.offset} if isinstance(since, Position) else since


def after_gap(recovery: Recovery, missing: Sequence[Range]) -> Since:
    """Return what a connected subscriber presents next once it was told of a gap (protocol/realtime.md 4)."""
    if recovery is Recovery.LOST or not missing:
        return "earliest"
    if recovery is Recovery.ROLLED_BACK and len(missing) == 1:
        return Position(missing[0].epoch, missing[0].first - 1)
    return Position(missing[-1].epoch, missing[-1].last)
