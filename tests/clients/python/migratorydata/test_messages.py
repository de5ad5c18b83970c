"""Messages: what may be published, and that they come back as they went."""

from dataclasses import replace
from typing import Any

import pytest

from headrace import Message, Position
from headrace.migratorydata import MigratoryDataException, MigratoryDataMessage, QoS
from headrace.migratorydata.constants import MessageType
from headrace.migratorydata.messages import attributes_of, check_message, received

TEXT = Message("a/b", Position(7, 3), 1, "text", b"x", {})


def test_the_constructor_is_version_6s() -> None:
    message = MigratoryDataMessage("/a/b", "x")
    assert (message.get_subject(), message.getContent(), message.get_closure()) == ("/a/b", "x", "")  # type: ignore[attr-defined]
    assert (message.get_qos(), message.is_retained(), message.get_reply_subject()) == (QoS.GUARANTEED, True, "")
    full = MigratoryDataMessage("/a/b", b"x", "c", QoS.STANDARD, False, "/r/s")
    assert (full.get_content(), full.getClosure(), full.get_qos(), full.isRetained()) == (
        b"x",
        "c",
        QoS.STANDARD,
        False,
    )  # type: ignore[attr-defined]
    assert full.get_reply_subject() == full.get_reply_to_subject() == full.getReplySubject() == "/r/s"  # type: ignore[attr-defined]
    assert check_message(full) is full


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (None, 4),
        ("/a/b", 5),
        (MigratoryDataMessage("/a/b", ""), 5),
        (MigratoryDataMessage("/a/b", b""), 5),
        (MigratoryDataMessage("/a/b", 5), 5),  # type: ignore[arg-type]
        (MigratoryDataMessage("/a/b", "x", closure=None), 5),  # type: ignore[arg-type]
        (MigratoryDataMessage("/a/b", "\ud800"), 5),
        (MigratoryDataMessage("/a/b", "x", fields=[("k", "\ud800")]), 6),
        (MigratoryDataMessage("/a/b", "x", qos=2), 5),
        (MigratoryDataMessage("/a", "x"), 1),
        (MigratoryDataMessage("/a/b", "x", reply_subject="r"), 1),
        (MigratoryDataMessage("/a/b", "x", fields=[("", "v")]), 6),
        (MigratoryDataMessage("/a/b", "x", fields=[("md-qos", "v")]), 6),
        (MigratoryDataMessage("/a/b", "x", fields=[("k", 1)]), 6),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_published_says_why(message: Any, code: int) -> None:
    with pytest.raises(MigratoryDataException) as refused:
        check_message(message)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "sent",
    [
        MigratoryDataMessage("/a/b", "x"),
        MigratoryDataMessage("/a/b", "x", "closure", QoS.STANDARD, False, "/r/s", fields=[("bid", "1"), ("ask", "2")]),
    ],
)
def test_a_message_comes_back_as_it_went(sent: MigratoryDataMessage) -> None:
    got = received(replace(TEXT, attributes=attributes_of(sent)), "/a/b", MessageType.RECOVERED)
    for get in ("get_subject", "get_content", "get_qos", "is_retained", "get_reply_subject", "get_fields"):
        assert getattr(got, get)() == getattr(sent, get)()
    assert got.get_closure() == ""
    assert (got.get_epoch(), got.get_seq(), got.get_message_type()) == (7, 3, MessageType.RECOVERED)
    assert (got.is_recovery(), got.is_snapshot(), got.is_compressed()) == (True, False, False)


def test_what_other_faces_publish_is_read_too() -> None:
    as_json = received(replace(TEXT, kind="json", data=b'{"a":1}', attributes={"k": "v"}), "/a/b", MessageType.UPDATE)
    assert (as_json.get_content(), as_json.get_fields(), as_json.is_retained()) == ('{"a":1}', [("k", "v")], True)
    assert received(replace(TEXT, kind="binary", data=b"\xff"), "/a/b", MessageType.UPDATE).get_content() == b"\xff"
