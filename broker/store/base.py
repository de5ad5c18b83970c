"""The store's port: what the broker asks of the place that keeps the logs.

Law: one `append` call checks idempotency, appends and announces in one atomic step on the topic's primary. If saving
and announcing could come apart, a subscriber could see an order that the log does not have, or wait for ever for a
message that is there. Whoever implements this port keeps that, and passes `tests/broker/store/`.

Scripts carry facts, policy is pure Python: a store never decides whether a position is good, it reports the
`LogState` and `broker.positions.place` decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broker.errors import HeadraceError
from broker.messages import Entry
from broker.names import ProjectName, TopicName
from broker.positions import LogState, Position
from broker.traffic import Traffic

SEQUENCE_WINDOW = 1024
"""How many of a publisher's latest sequence numbers keep their outcome; a client has at most so many in flight."""

MAX_ONCE_KEYS = 100_000
"""Idempotency records a topic keeps at most; the oldest go first."""

ONCE_AGE_MS = 3_600_000
"""How long an idempotency record is kept within that bound: an hour."""

MAX_APPEND_BYTES = 4 * 1024 * 1024
"""Envelope bytes that the publisher merges into one append call at most (one larger request goes alone)."""

MAX_APPEND_MESSAGES = 1000
"""Messages that the publisher merges into one append call at most, and the most that one request may have."""

MAX_ANNOUNCED_BYTES = 1024 * 1024
"""Above this, an announcement carries no bodies and the feeds read the log: bounds the bus' output buffers."""

TRIM_ENTRIES = 1000
"""Entries that one trim call removes at most: it holds its primary for a millisecond."""

TRIM_BYTES = 16 * 1024 * 1024
"""Envelope bytes that one trim call reads at most."""


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """An idempotency key of an HTTP publish or of a client's single publish, scoped by the caller's name."""

    scope: str
    key: str


@dataclass(frozen=True, slots=True)
class PublisherSequence:
    """A publisher's own counter: cheap for connections. Strictly rising per publisher, gaps allowed."""

    scope: str
    publisher: str
    sequence: int


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """One publish request: its envelopes are appended all or none.

    `digest` is of the payloads (16 bytes or fewer): the same idempotency key with another digest is a `KeyConflict`.
    `lives_ms` is empty, or says for each message how long it may be given out to subscriptions; 0 is for ever.
    `retained` is the index of the envelope that becomes the topic's snapshot. `heard` asks for a `NoSubscriber` instead
    of an append where the cluster has no live follower and no durable subscription of the topic.
    """

    envelopes: tuple[bytes, ...]
    once: IdempotencyKey | PublisherSequence | None = None
    digest: bytes = b""
    lives_ms: tuple[int, ...] = ()
    retained: int | None = None
    heard: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a request's messages stand: offsets `first.offset` .. `first.offset + count - 1` of one epoch."""

    first: Position
    count: int
    time_ms: int
    duplicate: bool = False


AppendOutcome = Appended | HeadraceError


@dataclass(frozen=True, slots=True)
class Announcement:
    """One appended batch as the live channel carries it.

    `previous` is the place before the batch, so that a feed can prove that it missed nothing. `entries` is None when
    the bodies were too large to announce: the feed reads them from the log up to `last`. `ended` says that the topic
    was deleted: `previous` and `last` are its end, and nothing of this log follows.
    """

    previous: Position
    last: Position
    entries: tuple[Entry, ...] | None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One script call's answer: the state of the log, and retained entries right after the asked place."""

    log: LogState
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """What a log keeps; whatever exceeds one bound goes, oldest first. None inherits (topic, project, node)."""

    max_messages: int | None = None
    max_bytes: int | None = None
    max_age_ms: int | None = None


@dataclass(frozen=True, slots=True)
class TopicInfo:
    name: TopicName
    created_ms: int
    retention: Retention
    log: LogState
    bytes: int
    """Envelope bytes retained."""


class Unheard(StrEnum):
    """What becomes of a publish to a topic that nobody follows and no subscription keeps a place in."""

    ACCEPT = "accept"
    """A log takes it: somebody may come and read it."""
    REFUSE = "refuse"
    """`NoSubscriber`, and nothing is appended. What counts as a follower may be two seconds old."""


@dataclass(frozen=True, slots=True)
class ProjectLimits:
    """What a project may have and do. None inherits the node's; where that is None too there is no limit."""

    topics: int | None = None
    subscriptions: int | None = None
    publish_per_second: float | None = None
    """Messages a second, on each node."""
    retained_bytes: int | None = None
    """Envelope bytes in all its topics; above it publishes are refused until retention has taken enough."""
    no_subscriber: Unheard | None = None


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    name: ProjectName
    created_ms: int
    modified_ms: int
    description: str = ""
    auto_create_topics: bool = False
    retention: Retention = Retention()
    created_by: str = ""
    limits: ProjectLimits = ProjectLimits()


@dataclass(frozen=True, slots=True)
class Trimmed:
    removed: int
    more: bool
    """True when the call stopped at its own bound and should be repeated."""


class Store(Protocol):
    """All calls raise `Unavailable` when Redis could not be asked; reads are retried inside their deadline."""

    async def append(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[AppendOutcome]:
        """Append and announce, each request alone: `Appended`, or `KeyConflict`, `StaleSequence`, `NoSubscriber`.

        Raises `UnknownTopic`, `Unavailable` (nothing was sent), `OutOfMemory`, or `UnknownOutcome` (sent, no answer:
        never retried in here).
        """

    def read_announcement(self, payload: bytes) -> Announcement:
        """Decode what the live channel carried. Raises `ValueError` on bytes that no append wrote."""

    async def read(self, topic: TopicName, after: Position | None, *, max_entries: int, max_bytes: int) -> Page:
        """Return the log's state and the entries right after `after` (None: from the oldest; `max_entries` may be 0).

        Goes to the primary and checks its replication id as publishing does, so that a new epoch begins here too.
        At least one entry is returned where there is one, whatever `max_bytes` says. Raises `UnknownTopic`.
        """

    async def snapshot(self, topic: TopicName) -> tuple[Position, Entry | None]:
        """Return the log's end, and the newest message up to it that was published to be retained. `UnknownTopic`.

        Both are of one moment: who goes on from that end misses no later one.
        """

    async def find_time(self, topic: TopicName, time_ms: int) -> Position:
        """Return the place right before the first retained message with publish time >= `time_ms` (or the end)."""

    async def ends(self, topics: Sequence[TopicName]) -> list[Position | None]:
        """Return each log's end as its meta says, None for an unknown topic. One round trip a primary."""

    async def create_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        """Raises `AlreadyExists`, `UnknownProject`. After a deletion its epoch continues from the tombstone."""

    async def topic(self, topic: TopicName) -> TopicInfo:
        """Raises `UnknownTopic`."""

    async def topics(self, project: ProjectName) -> list[TopicInfo]:
        """All topics of a project, newest first. Raises `UnknownProject`."""

    async def topic_count(self, project: ProjectName) -> int:
        """How many topics a project has, 0 for an unknown one. May count one that is just being created or deleted."""

    async def traffic(self, topic: TopicName) -> Traffic:
        """Return what was ever published to `topic`. Raises `UnknownTopic`."""

    async def configure_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        """Replace the topic's retention. Raises `UnknownTopic`."""

    async def delete_topic(self, topic: TopicName) -> None:
        """Drop the log, leave a tombstone with its epoch, and announce the end. Raises `UnknownTopic`."""

    async def create_project(self, project: ProjectInfo) -> ProjectInfo:
        """Raises `AlreadyExists`. Times are the store's."""

    async def project(self, project: ProjectName) -> ProjectInfo:
        """Raises `UnknownProject`. `default` always exists."""

    async def projects(self) -> list[ProjectInfo]: ...

    async def configure_project(self, project: ProjectInfo) -> ProjectInfo:
        """Replace description, auto-creation, retention and limits. Raises `UnknownProject`."""

    async def rename_project(self, project: ProjectName, new: ProjectName) -> ProjectInfo:
        """Give a project's record another name, and nothing else: its topics must be none.

        Raises `UnknownProject`, `AlreadyExists`; `default` raises `InvalidName`.
        """

    async def delete_project(self, project: ProjectName) -> None:
        """Delete its topics, then the project. Raises `UnknownProject`; `default` raises `InvalidName`."""

    async def trim(self, topic: TopicName, retention: Retention) -> Trimmed:
        """Remove what exceeds `retention` (all fields set), a bounded number a call. Raises `UnknownTopic`."""


class Commands(Protocol):
    """Where the Redis store sends commands: `cluster.topology` implements it over one connection a primary.

    Keys of one call share a slot. MOVED, ASK, TRYAGAIN, LOADING, CLUSTERDOWN, READONLY and a missing script are dealt
    with inside, within the deadline. A reply that is any other error is raised as `ReplyError`.
    """

    async def execute(self, key: bytes, *command: bytes | str | int, retry: bool) -> object:
        """Run one command on the primary that serves `key` and return hiredis' decoded reply (bytes, int, list, None).

        `retry=True`: repeated on a lost connection within the deadline (for what may run twice). `retry=False`:
        raises `Unavailable` if it surely did not run, else `UnknownOutcome`.
        """

    async def run(
        self, script: "Script", keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        """Run a script by its digest; loads it where it is missing. Otherwise as `execute`."""

    async def refresh(self) -> None:
        """Ask the topology again: who is primary of what."""


class ReplyError(Exception):
    """Redis answered with an error that is the store's business; the text is Redis' own."""

    @property
    def code(self) -> str:
        """The error's code as the protocol defines it: its first word, such as `OOM`."""
        return str(self).partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script of `broker/store/lua`, by name."""

    name: str
    source: str
    digest: str
