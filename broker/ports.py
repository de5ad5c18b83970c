"""The hub's seams: what it asks of sockets, of their dialects and of the bus, and the words of a subscribe.

Nothing here decides. The rooms of the gateway and `cluster.bus` stand on one side of these, the hub on the other.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from broker.messages import Entry
from broker.names import TopicName
from broker.positions import Position, Range, Recovery


@dataclass(frozen=True, slots=True)
class Last:
    count: int


@dataclass(frozen=True, slots=True)
class FromTime:
    time_ms: int


Since = Literal["now", "earliest"] | Last | FromTime | Position


@dataclass(frozen=True, slots=True)
class Placed:
    """The answer to a subscribe: the log's end, and how the way from the presented position goes.

    Delivery starts right after `after`: a client whose socket breaks before the first message resumes from there.
    """

    topic: TopicName
    end: Position
    recovery: Recovery
    missing: tuple[Range, ...]
    after: Position


class Dialect(Protocol):
    """How one kind of socket sees messages: pure, one instance a format, shared by all sockets that speak it.

    The returned bytes go to every subscriber of the topic as they are (frame header included), so they hold nothing
    that differs between subscribers.
    """

    def message(self, topic: TopicName, entry: Entry) -> bytes: ...

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes: ...


class Subscriber(Protocol):
    """A socket as the hub sees it. Hashable by identity."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def paused(self) -> bool:
        """True while the socket's buffer is above its high-water mark: nothing more is written to it."""

    def write(self, data: bytes) -> None:
        """Hand ready frames to the transport. Never raises, never blocks; `paused` may be true afterwards."""

    def topic_ended(self, topic: TopicName) -> None:
        """The topic was deleted: the subscription is over. Called once, after the last frame."""


class Bus(Protocol):
    """The node's ear on the live channels: `cluster.bus` implements it. Calls back into a `BusListener`."""

    async def follow(self, topic: TopicName) -> None:
        """Return once the subscription is confirmed, or raise `Unavailable` within the deadline."""

    def unfollow(self, topic: TopicName) -> None: ...


class BusListener(Protocol):
    def on_announcements(self, batch: Sequence[tuple[TopicName, bytes]]) -> None:
        """Everything that one read of one primary's connection brought, in order."""

    def on_possible_gap(self, topics: Collection[TopicName], reason: str) -> None:
        """Announcements of these topics may have been missed: compare with the log."""
