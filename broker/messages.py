"""Messages: payload, kind, attributes, and the envelope in which the log keeps them.

The envelope is msgpack, `[kind, attributes, payload]` or `[kind, attributes, payload, verbatim]`. Time and position are
not in it: the log assigns them. The same bytes travel in the announcement and are decoded once a node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgpack

from broker.errors import InvalidMessage, TooLarge
from broker.positions import Position

MAX_ENVELOPE_BYTES = 1_500_000
"""Default bound of a stored envelope; ARGO's producer limit (contract ams.md 4.7)."""

MAX_ATTRIBUTES = 100
"""Attributes of one message; their bytes count into the envelope."""


MAX_LIFE_MS = 10 * 365 * 24 * 3_600_000
"""The longest time to live that a message may be given: ten years. Whoever means for ever gives none."""


class Kind(StrEnum):
    """What the payload's bytes are: a JSON document, UTF-8 text, or anything."""

    JSON = "json"
    TEXT = "text"
    BINARY = "binary"


_KINDS = (Kind.BINARY, Kind.TEXT, Kind.JSON)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}


@dataclass(frozen=True, slots=True)
class Message:
    """One message as its publisher gave it.

    `verbatim` marks a payload that ARGO published as `data` that is not canonical base64: stored as it stands, so that
    ARGO returns it byte for byte (DESIGN 8, kinds across faces). `life_ms` is how long it may be given out to
    subscriptions, 0 for ever; `retained` makes it the topic's snapshot until the next such message comes. The log
    keeps both beside the envelope, so that what is read from it has neither.
    """

    kind: Kind
    payload: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    verbatim: bool = False
    life_ms: int = 0
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in the log. `time_ms` is its publish time, Unix milliseconds, never decreasing within a topic."""

    position: Position
    time_ms: int
    message: Message


def pack(message: Message, *, max_bytes: int = MAX_ENVELOPE_BYTES) -> bytes:
    """Return the stored envelope, or raise `TooLarge` / `InvalidMessage`."""
    if len(message.attributes) > MAX_ATTRIBUTES:
        raise InvalidMessage(f"A message may have {MAX_ATTRIBUTES} attributes, this one has {len(message.attributes)}.")
    if len(message.payload) > max_bytes:
        # Before it is copied.
        raise _too_large(len(message.payload), max_bytes)
    parts: list[object] = [_CODES[message.kind], dict(message.attributes), message.payload]
    if message.verbatim:
        parts.append(True)
    try:
        envelope: bytes = msgpack.packb(parts)
    except UnicodeEncodeError:
        raise InvalidMessage("An attribute is not valid Unicode.") from None
    if len(envelope) > max_bytes:
        raise _too_large(len(envelope), max_bytes)
    return envelope


def _too_large(size: int, max_bytes: int) -> TooLarge:
    return TooLarge(f"The message takes {size} bytes, at most {max_bytes} are allowed.")


def unpack(envelope: bytes) -> Message:
    """Read an envelope that `pack` wrote."""
    code, attributes, payload, *verbatim = msgpack.unpackb(envelope)
    return Message(_KINDS[code], payload, attributes, bool(verbatim))


def retained_of(messages: Sequence[Message]) -> int | None:
    """Return the index of the last message that is to be retained, None where none is."""
    return next((index for index in reversed(range(len(messages))) if messages[index].retained), None)


def lives_of(messages: Sequence[Message]) -> tuple[int, ...]:
    """Return the messages' times to live, none where all are for ever. Raises `InvalidMessage`."""
    if not any(message.life_ms for message in messages):
        return ()
    lives = tuple(message.life_ms for message in messages)
    if not all(0 <= life_ms <= MAX_LIFE_MS for life_ms in lives):
        raise InvalidMessage(f"A message lives 1 to {MAX_LIFE_MS} ms, or 0 for ever.")
    return lives
