"""The port of durable subscriptions: what the broker asks of the place that keeps cursors, leases and acks.

Law: each verb is one atomic step on the primary of the subscription's topic, so that no message is in two hands and
none falls between two. Deadlines are that primary's clock (Redis TIME). Its cost is O(log n) a message and does not
grow with the pending list. `RedisStore` and `MemoryStore` implement this port beside `Store`.

Facts only: what a refused ack means to a face, when an attempt was the last one and how long a retry waits is decided
by `broker.subscriptions` and `broker.redelivery`.

A subscription's record lies in its topic's slot and outlives the topic: pulling then raises `UnknownTopic`, and when
the topic is created again the subscription goes on at its first message, which `restarted` reports once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broker.messages import Entry
from broker.names import ProjectName, SubscriptionName, TopicName
from broker.positions import LogState, Position

DEFAULT_ACK_DEADLINE_S = 10
"""ARGO's (contract ams.md 4.8)."""

MAX_OUTSTANDING = 1_000_000
"""The most that `SubscriptionSettings.max_outstanding` may say: some 300 bytes of the primary's memory each."""

DEFAULT_OUTSTANDING = 250_000
"""Messages of one shared subscription that are leased, held back or waiting; beyond it pulls bring no new one."""

MAX_HELD = 1000
"""Messages held back behind a busy ordering key. As many, and no new message is read until some are settled."""

LEASE_ENTRIES = 1000
"""Messages that one pull returns at most: a script holds its primary for as long as it runs."""

SETTLE_ENTRIES = 1000
"""Settlements that one call takes at most."""

LEASE_SCAN = 1000
"""Entries that one pull passes over at most because they have expired, were trimmed or are held back."""


class SubscriptionKind(StrEnum):
    """`cursor` is ARGO's: one cursor, cumulative acks. `shared` has competing consumers with a lease a message."""

    CURSOR = "cursor"
    SHARED = "shared"


class RetryKind(StrEnum):
    """How the wait before a message is given out again grows with its attempts."""

    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class SubscriptionSettings:
    """What an operator chooses. The kind and the ordering attribute are for life.

    The store itself heeds `kind`, `ack_deadline_s`, `ordering_attribute` and `max_outstanding`; it only keeps the rest.
    """

    kind: SubscriptionKind = SubscriptionKind.CURSOR
    ack_deadline_s: int = DEFAULT_ACK_DEADLINE_S
    max_attempts: int | None = None
    """None: for ever."""
    dead_letter_topic: TopicName | None = None
    retry_kind: RetryKind = RetryKind.LINEAR
    retry_min_ms: int = 0
    retry_max_ms: int = 0
    ordering_attribute: str | None = None
    """Messages with the same value of this attribute are leased one after the other; those without it are free."""
    max_outstanding: int = DEFAULT_OUTSTANDING


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """One subscription as its topic's primary sees it."""

    name: SubscriptionName
    topic: TopicName
    created_ms: int
    settings: SubscriptionSettings
    log: LogState | None
    """The topic's log; None when the topic was deleted, and then `lag` and `pending` are 0."""
    cursor: Position
    """The last entry that is behind it: committed (`cursor`) or given out at least once (`shared`)."""
    generation: int
    """Rises with each seek and each recreation of the topic; tokens of earlier ones are stale."""
    pending: int
    """`shared`: leased, held back, or waiting for a retry. `cursor`: in the window of the last pull."""
    lag: int
    """Retained messages after the cursor."""
    oldest_unacked_ms: int | None
    """Publish time of the oldest message that is pending or after the cursor; None when there is none."""
    trimmed: int
    """Messages that retention took before they were acked, since creation: pending ones and unread ones."""
    restarts: int
    """How often the topic was created again under it."""
    delivered: int
    delivered_bytes: int
    """Messages and envelope bytes given out, each time counted (ARGO counts at the pull)."""
    expired: int = 0
    """Messages that outlived their time to live and were passed over; a cursor's at the head of what it reads."""


@dataclass(frozen=True, slots=True)
class Window:
    """A cursor pull's answer. It stays open until an ack, a seek, another pull, or a new epoch."""

    entries: tuple[Entry, ...]
    trimmed: int
    """Messages that retention took and this pull had to pass over."""
    restarted: bool
    """The topic was created again since the pull before: this begins with its first message."""
    expired: int = 0
    """Messages that were not returned because they outlived their time to live."""


class CursorAck(StrEnum):
    """What became of an ack on a cursor (contract ams.md 6). Only `committed` changed anything."""

    COMMITTED = "committed"
    ALREADY = "already"
    """The cursor is at or past that offset."""
    OUTSIDE = "outside"
    """Beyond what the last pull returned."""
    NOTHING_PENDING = "nothing_pending"
    """No window is open, or it belongs to an earlier epoch."""
    TIMEOUT = "timeout"
    """More whole seconds than the ack deadline have passed since the pull."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One message in one consumer's hands until `deadline_ms` (the primary's clock, Unix ms).

    `attempt` counts from 1. `token` is opaque ASCII without `:` or spaces and names this attempt alone.
    """

    entry: Entry
    attempt: int
    token: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Leased:
    """A shared pull's answer, with the settings in force, so that policy needs no second call."""

    leases: tuple[Lease, ...]
    settings: SubscriptionSettings
    now_ms: int
    """The primary's clock."""
    next_deadline_ms: int | None
    """When the next lease or retry falls due, if nothing changes; what a waiting pull need not sleep beyond."""
    more: bool
    """The pull stopped at a bound, and another one may bring messages at once."""
    trimmed: int
    restarted: bool
    expired: int = 0


@dataclass(frozen=True, slots=True)
class Ack:
    """Done with this message."""

    offset: int
    token: str


@dataclass(frozen=True, slots=True)
class Nack:
    """Give it out again after `delay_ms`. The attempt counts."""

    offset: int
    token: str
    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Extend:
    """Keep the lease until `deadline_ms` from now."""

    offset: int
    token: str
    deadline_ms: int


@dataclass(frozen=True, slots=True)
class Release:
    """It was never delivered: give it out again at once, and the attempt does not count."""

    offset: int
    token: str


Settlement = Ack | Nack | Extend | Release


class Settled(StrEnum):
    """What became of one settlement."""

    OK = "ok"
    STALE = "stale"
    """The token is of an earlier attempt, epoch or generation; whoever holds the message now is not disturbed."""
    UNKNOWN = "unknown"
    """This message is not pending: acked already, or never given out."""


class SubscriptionStore(Protocol):
    """All calls raise `Unavailable` when Redis could not be asked, and `UnknownSubscription`.

    Each may run twice when its answer was lost: an ack that did comes back as `already` or `unknown`.
    """

    async def create_subscription(
        self,
        name: SubscriptionName,
        topic: TopicName,
        settings: SubscriptionSettings,
        *,
        after: Position | None = None,
    ) -> SubscriptionInfo:
        """Begin right after `after`, by default at the log's end: only later messages are seen.

        Raises `AlreadyExists`, `UnknownTopic`, `OutOfBounds` (`after` is no place of this log), `OutOfMemory`.
        """

    async def subscription(self, name: SubscriptionName) -> SubscriptionInfo: ...

    async def subscriptions(self, project: ProjectName) -> list[SubscriptionInfo]:
        """All of a project, newest first."""

    async def subscriptions_of(self, topic: TopicName) -> list[SubscriptionName]:
        """The names of a topic's subscriptions, sorted; also of a topic that was deleted."""

    async def subscription_count(self, project: ProjectName) -> int: ...

    async def configure_subscription(self, name: SubscriptionName, settings: SubscriptionSettings) -> SubscriptionInfo:
        """Replace the settings. Raises `WrongKind` when the kind or the ordering attribute differs."""

    async def delete_subscription(self, name: SubscriptionName) -> None: ...

    async def pull_cursor(self, name: SubscriptionName, *, max_entries: int, max_bytes: int) -> Window:
        """Return the entries after the cursor and open their window. The cursor stays, except over trimmed ones.

        At least one entry is returned where there is one, whatever `max_bytes` says.
        Raises `WrongKind`, `UnknownTopic` (it was deleted).
        """

    async def ack_cursor(self, name: SubscriptionName, offset: int) -> CursorAck:
        """Commit everything up to `offset` and close the window. Raises `WrongKind`, `UnknownTopic`."""

    async def lease(
        self, name: SubscriptionName, *, max_entries: int, max_bytes: int, deadline_ms: int | None = None
    ) -> Leased:
        """Lease messages for `deadline_ms` (None: the ack deadline): those that fell due first, then new ones.

        `max_entries` 0 leases nothing and tells `now_ms` and `next_deadline_ms`. At least one message is returned
        where there is one, whatever `max_bytes` says. Raises `WrongKind`, `UnknownTopic` (it was deleted).
        """

    async def settle(self, name: SubscriptionName, settlements: Sequence[Settlement]) -> list[Settled]:
        """Settle leases, each by itself and in order. Raises `WrongKind`, `UnknownTopic` (it was deleted)."""

    async def seek(self, name: SubscriptionName, to: Position | int) -> SubscriptionInfo:
        """Move the cursor: `to` is the last entry to be behind it, or the offset of the first one to come.

        Whatever is pending is forgotten and its tokens are stale. A position is held against the chain, an offset
        against first and next; outside of them raises `OutOfBounds` and changes nothing. For a time, ask
        `Store.find_time` first. Raises `UnknownTopic` (it was deleted).
        """
