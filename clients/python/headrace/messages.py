"""What passes through a client: messages, gaps, and the answers to publishes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from headrace.errors import InvalidMessage
from headrace.positions import Position, Range, Recovery

Kind = Literal["json", "text", "binary"]
Durability = Literal["memory", "replica", "disk"]

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(slots=True)
class Message:
    """One message of a topic.

    `data` is the payload's bytes (`kind` says what they are), `time_ms` the publish time in Unix milliseconds, never
    decreasing within a topic.
    """

    topic: str
    position: Position
    time_ms: int
    kind: Kind
    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The payload as UTF-8 text; raises `UnicodeDecodeError` for a binary one that is not."""
        return self.data.decode()

    def json(self) -> object:
        """The payload parsed as JSON; raises `ValueError` when it is not."""
        return json.loads(self.data)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages that this subscriber does not get, or got before they were rolled back.

    `missing` is exact and in stream order. It is empty for `Recovery.LOST`: nothing is known of what lay between.
    """

    topic: str
    recovery: Recovery
    missing: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a subscription: delivery starts right after `after`; the log ended at `end` at that moment.

    `snapshot`, where it was asked for: the newest message that was published with `retained`, None without one.
    """

    after: Position
    end: Position
    recovery: Recovery
    snapshot: Message | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """Where a message stands. `duplicate`: an earlier attempt had stored it already; it is in the log once."""

    epoch: int
    offset: int
    duplicate: bool = False

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class Lease:
    """A message as it was delivered to a consumer. `ack` settles it."""

    ack: str
    attempt: int
    message: Message


@dataclass(frozen=True, slots=True)
class Attached:
    """The answer to consuming a subscription. A lease lasts `ack_deadline_s` seconds unless it is extended."""

    subscription: str
    topic: str
    window: int
    ack_deadline_s: int


class Unset:
    """Says that no `json` was given; `None` would be JSON's null."""


UNSET = Unset()


def payload_of(*, text: str | None, json: object | Unset, data: bytes | None) -> tuple[Kind, bytes]:
    """Return kind and bytes of the one payload that was given, or raise `InvalidMessage`."""
    if (text is not None) + (data is not None) + (json is not UNSET) != 1:
        raise InvalidMessage("Give exactly one of text, json and data.")
    try:
        if text is not None:
            return "text", text.encode()
        if data is not None:
            return "binary", bytes(data)
        return "json", _encode_json(json).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"The payload cannot be encoded: {error}") from error
