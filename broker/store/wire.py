"""What the scripts take and answer, from and to values. Pure. The scripts' headers are the other half of this file."""

from collections.abc import Iterator, Sequence
from typing import cast

import msgpack

from broker.errors import (
    HeadraceError,
    KeyConflict,
    NoSubscriber,
    OutOfMemory,
    StaleSequence,
    Unavailable,
    UnknownOutcome,
    UnknownProject,
)
from broker.messages import Entry, unpack
from broker.names import DEFAULT_PROJECT, ProjectName, TopicName
from broker.positions import Link, LogState, Position, parse_position
from broker.store.base import (
    SEQUENCE_WINDOW,
    Appended,
    AppendOutcome,
    AppendRequest,
    IdempotencyKey,
    ProjectInfo,
    ProjectLimits,
    PublisherSequence,
    ReplyError,
    Retention,
    TopicInfo,
    Unheard,
)
from broker.store.keys import once_id
from broker.traffic import Traffic, daily

Word = bytes | str | int

RETRY_MS = 1000
"""When to come back after a refusal that Redis gave for all writes of a server."""

_STATE_CODES = frozenset({"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "READONLY"})
_REFUSED_UNTOUCHED = _STATE_CODES | {"NOREPLICAS", "MISCONF", "NOAUTH", "NOPERM"}
"""Codes with which Redis refuses a script before it begins."""

_APPENDED, _DUPLICATE, _CONFLICT, _STALE, _UNHEARD = range(5)


def start_id(after: Position | None) -> str:
    """Return the ID at which a read after that place starts: inclusive, because the place itself may be offset -1."""
    return f"{after.epoch}-{after.offset + 1}" if after else "-"


def publish_args(requests: Sequence[AppendRequest]) -> list[Word]:
    """Return the requests as `publish` takes them: the once fields that they touch, then each of them."""
    fields: list[Word] = []
    args: list[Word] = []
    for request in requests:
        args.append(len(request.envelopes))
        flags = _flags(request)
        match request.once:
            case IdempotencyKey(scope, key):
                fields.append(b"k" + once_id(scope, key))
                args += ["k" + flags, request.digest]
            case PublisherSequence(scope, publisher, sequence):
                name = once_id(scope, publisher)
                fields += [b"h" + name, b"p%s#%d" % (name, sequence % SEQUENCE_WINDOW)]
                args += ["s" + flags, request.digest, sequence]
            case None:
                args.append(flags)
        if request.retained is not None:
            args.append(request.retained)
        args += request.lives_ms
        args += request.envelopes
    return [len(fields), *fields, *args]


def _flags(request: AppendRequest) -> str:
    heard, retained = "h" if request.heard else "", "r" if request.retained is not None else ""
    return heard + retained + ("t" if request.lives_ms else "")


def read_outcomes(requests: Sequence[AppendRequest], reply: Sequence[int]) -> list[AppendOutcome]:
    rows = zip(requests, reply[::4], reply[1::4], reply[2::4], reply[3::4], strict=True)
    return [_outcome(request, *row) for request, *row in rows]


def _outcome(request: AppendRequest, status: int, epoch: int, offset: int, time_ms: int) -> AppendOutcome:
    if status == _CONFLICT:
        return KeyConflict()
    if status == _STALE:
        return StaleSequence()
    if status == _UNHEARD:
        return NoSubscriber()
    return Appended(Position(epoch, offset), len(request.envelopes), time_ms, duplicate=status == _DUPLICATE)


def read_log_state(reply: Sequence[object]) -> LogState:
    """Read chain, next offset and first ID, with which most answers begin."""
    chain, next_offset, first = cast("tuple[bytes, int, bytes]", tuple(reply[:3]))
    links = (link.split(b":") for link in chain.split(b","))
    return LogState(
        tuple(Link(int(epoch), int(offset)) for epoch, offset in links),
        next_offset,
        parse_position(first.decode()) if first else None,
    )


def read_entries(reply: Sequence[object]) -> Iterator[Entry]:
    """Read ID, time and envelope of each entry."""
    flat = cast("Sequence[bytes]", reply)
    for name, time_ms, envelope in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        epoch, offset = name.split(b"-")
        yield Entry(Position(int(epoch), int(offset)), int(time_ms), unpack(envelope))


def retention_args(retention: Retention) -> list[Word]:
    limits = (retention.max_messages, retention.max_bytes, retention.max_age_ms)
    return ["" if limit is None else limit for limit in limits]


def read_topic_info(topic: TopicName, reply: Sequence[object]) -> TopicInfo:
    size, created, *limits = cast("list[bytes]", reply[3:])
    retention = Retention(*(int(limit) if limit else None for limit in limits))
    return TopicInfo(topic, int(created), retention, read_log_state(reply), int(size))


def read_traffic(reply: Sequence[object]) -> Traffic:
    """Read what `traffic.lua` tells."""
    numbers = [int(value) for value in cast("list[bytes]", reply)]
    following, written, last_ms, previous_ms, last_messages, *marks = numbers
    days = daily(zip(marks[::2], marks[1::2], strict=True), following)
    return Traffic(following, written, last_ms, previous_ms, last_messages, days)


def pack_project(project: ProjectInfo, nonce: bytes) -> bytes:
    """Return a project's record. The nonce makes it the writer's own, so that a repeated write finds its own work."""
    retention, limits = project.retention, project.limits
    record: bytes = msgpack.packb(
        [
            project.created_ms,
            project.modified_ms,
            project.description,
            project.auto_create_topics,
            [retention.max_messages, retention.max_bytes, retention.max_age_ms],
            project.created_by,
            nonce,
            [
                limits.topics,
                limits.subscriptions,
                limits.publish_per_second,
                limits.retained_bytes,
                limits.no_subscriber,
            ],
        ]
    )
    return record


def read_project(name: ProjectName, record: bytes | None) -> ProjectInfo:
    """Read a project's record. `default` needs none to exist; for others raises `UnknownProject`."""
    if not record:
        if name != DEFAULT_PROJECT:
            raise UnknownProject(f"The project {name} does not exist.")
        return ProjectInfo(name, 0, 0)
    created_ms, modified_ms, description, auto_create, retention, created_by, _, *rest = msgpack.unpackb(record)
    limits = _read_limits(*rest[0]) if rest else ProjectLimits()  # Records from before there were limits end earlier.
    return ProjectInfo(
        name, created_ms, modified_ms, description, auto_create, Retention(*retention), created_by, limits
    )


def _read_limits(
    topics: int | None,
    subscriptions: int | None,
    publish_per_second: float | None,
    retained_bytes: int | None,
    no_subscriber: str | None = None,
) -> ProjectLimits:
    unheard = Unheard(no_subscriber) if no_subscriber is not None else None
    return ProjectLimits(topics, subscriptions, publish_per_second, retained_bytes, unheard)


def refusal(error: ReplyError) -> HeadraceError:
    """Return what an error of Redis means to a call that may be repeated."""
    if error.code == "OOM":
        return OutOfMemory(retry_ms=RETRY_MS)
    return Unavailable(f"Redis refused with {error.code}.", retry_ms=RETRY_MS)


def append_refusal(error: ReplyError) -> HeadraceError:
    """Return what an error of Redis means to an append: a script that stopped half way may have written."""
    if error.code == "OOM" or error.code in _REFUSED_UNTOUCHED:
        return refusal(error)
    return UnknownOutcome(f"Redis failed with {error.code}.", retry_ms=RETRY_MS)
