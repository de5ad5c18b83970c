"""What the scripts take and answer, from and to values."""

import msgpack
import pytest
from logs import envelope, keyed, numbered, request

from broker.errors import (
    HeadraceError,
    KeyConflict,
    OutOfMemory,
    StaleSequence,
    Unavailable,
    UnknownOutcome,
    UnknownProject,
)
from broker.messages import Entry, Kind, Message
from broker.names import DEFAULT_PROJECT, ProjectName, TopicName
from broker.positions import Link, LogState, Position
from broker.store import wire
from broker.store.base import (
    SEQUENCE_WINDOW,
    Appended,
    AppendRequest,
    ProjectInfo,
    ProjectLimits,
    ReplyError,
    Retention,
    TopicInfo,
)


def test_requests_name_their_fields_first() -> None:
    a, b = envelope("a"), envelope("b")
    assert wire.publish_args([request("a")]) == [0, 1, "", a]
    assert wire.publish_args([AppendRequest((a, a), lives_ms=(0, 5))]) == [0, 2, "t", 0, 5, a, a]
    assert wire.publish_args([keyed("k", "a", "b"), request("b")]) == [
        *(1, b"k2:mek"),
        *(2, "k", b"a|b", a, b),
        *(1, "", b),
    ]
    sequence = SEQUENCE_WINDOW * 3 + 5
    assert wire.publish_args([numbered(sequence, "a"), keyed("k", "b")]) == [
        *(3, b"h2:mep", b"p2:mep#5", b"k2:mek"),
        *(1, "s", b"a", sequence, a),
        *(1, "k", b"b", b),
    ]


def test_outcomes_follow_the_requests() -> None:
    requests = [request("a", "b"), keyed("k", "a"), keyed("l", "a"), numbered(1)]
    reply = [0, 9, 3, 77, 1, 8, 2, 66, 2, 0, 0, 0, 3, 0, 0, 0]
    appended, duplicate, conflict, stale = wire.read_outcomes(requests, reply)
    assert appended == Appended(Position(9, 3), 2, 77)
    assert duplicate == Appended(Position(8, 2), 1, 66, duplicate=True)
    assert isinstance(conflict, KeyConflict)
    assert isinstance(stale, StaleSequence)
    with pytest.raises(ValueError, match="zip"):
        wire.read_outcomes(requests, reply[:-4])


@pytest.mark.parametrize(("after", "start"), [(None, "-"), (Position(5, -1), "5-0"), (Position(5, 7), "5-8")])
def test_a_read_starts_right_after_a_place(after: Position | None, start: str) -> None:
    assert wire.start_id(after) == start


@pytest.mark.parametrize(
    ("reply", "log"),
    [
        ([b"5:0", 0, b""], LogState((Link(5, 0),), 0, None)),
        ([b"5:0,7:3", 9, b"5-2"], LogState((Link(5, 0), Link(7, 3)), 9, Position(5, 2))),
    ],
)
def test_a_logs_state_is_read(reply: list[object], log: LogState) -> None:
    assert wire.read_log_state(reply) == log


def test_entries_are_read() -> None:
    reply = [b"5-0", b"10", envelope("a"), b"7-1", b"11", envelope("b")]
    assert list(wire.read_entries(reply)) == [
        Entry(Position(5, 0), 10, Message(Kind.TEXT, b"a")),
        Entry(Position(7, 1), 11, Message(Kind.TEXT, b"b")),
    ]
    assert list(wire.read_entries([])) == []


def test_a_topic_is_read() -> None:
    reply = [b"5:0", 0, b"", b"12", b"99", b"", b"7", b""]
    log = LogState((Link(5, 0),), 0, None)
    expected = TopicInfo(TopicName("p/t"), 99, Retention(max_bytes=7), log, 12)
    assert wire.read_topic_info(TopicName("p/t"), reply) == expected
    assert wire.retention_args(expected.retention) == ["", 7, ""]
    assert wire.retention_args(Retention(0, 0, 0)) == [0, 0, 0]


def test_a_project_is_written_and_read() -> None:
    project = ProjectInfo(
        ProjectName("p"), 1, 2, "ü", True, Retention(1, None, 3), "me", ProjectLimits(4, None, 2.5, 5)
    )
    record = wire.pack_project(project, b"n")
    assert wire.read_project(project.name, record) == project
    assert record != wire.pack_project(project, b"o")
    assert wire.read_project(DEFAULT_PROJECT, None) == ProjectInfo(DEFAULT_PROJECT, 0, 0)
    with pytest.raises(UnknownProject):
        wire.read_project(ProjectName("p"), b"")


def test_a_project_from_before_there_were_limits_has_none() -> None:
    record = msgpack.packb([1, 2, "text", True, [1, None, 3], "me", b"n"])
    expected = ProjectInfo(ProjectName("p"), 1, 2, "text", True, Retention(1, None, 3), "me")
    assert wire.read_project(ProjectName("p"), record) == expected


@pytest.mark.parametrize(
    ("text", "repeatable", "append"),
    [
        ("OOM command not allowed", OutOfMemory, OutOfMemory),
        ("NOREPLICAS Not enough good replicas", Unavailable, Unavailable),
        ("MISCONF Redis is configured", Unavailable, Unavailable),
        ("READONLY You can't write", Unavailable, Unavailable),
        ("NOPERM no", Unavailable, Unavailable),
        ("ERR The ID specified in XADD", Unavailable, UnknownOutcome),
        ("WRONGTYPE Operation", Unavailable, UnknownOutcome),
    ],
)
def test_errors_become_refusals_by_their_code(
    text: str, repeatable: type[HeadraceError], append: type[HeadraceError]
) -> None:
    for found, expected in ((wire.refusal, repeatable), (wire.append_refusal, append)):
        refusal = found(ReplyError(text))
        assert type(refusal) is expected
        assert refusal.retry_ms
        assert text not in str(refusal), "Redis' own words are no answer for a caller"
