"""The payload of a publish: the forms of each dialect, and how deep one may nest. test_wire runs the vectors."""

from typing import Any

import pytest

from broker.errors import HeadraceError
from broker.messages import Kind, Message
from gateway.realtime.payloads import MAX_DEPTH, is_too_deep, json_message, msgpack_message


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(("levels", "too_deep"), [(1, False), (MAX_DEPTH, False), (MAX_DEPTH + 1, True), (900, True)])
def test_nesting_is_counted_in_levels(levels: int, too_deep: bool) -> None:
    assert is_too_deep(nested(levels)) is too_deep
    assert is_too_deep({"a": 1, "b": nested(levels - 1)} if levels > 1 else {}) is too_deep


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"json": {"a": [1, 2]}}, Message(Kind.JSON, b'{"a":[1,2]}')),
        ({"text": "\u00fc", "attributes": {"k": "v"}}, Message(Kind.TEXT, b"\xc3\xbc", {"k": "v"})),
        ({"base64": "AP8="}, Message(Kind.BINARY, b"\x00\xff")),
    ],
)
def test_json_has_three_forms(fields: dict[str, object], message: Message) -> None:
    assert json_message(fields) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": b"\xff"}, Message(Kind.BINARY, b"\xff")),
        ({"data": b"x", "kind": "text"}, Message(Kind.TEXT, b"x")),
        ({"data": b"[1, 2]", "kind": "json"}, Message(Kind.JSON, b"[1,2]")),
    ],
)
def test_messagepack_has_bytes_and_a_kind(fields: dict[str, object], message: Message) -> None:
    assert msgpack_message(fields) == message


@pytest.mark.parametrize(
    "fields", [{}, {"json": 1, "text": "x"}, {"base64": "AP8"}, {"text": 1}, {"text": "x", "attributes": []}]
)
def test_what_is_no_payload_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(HeadraceError):
        json_message(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"data": "x"},
        {"data": b"\xff", "kind": "text"},
        {"data": b"{", "kind": "json"},
        {"data": b"", "kind": "xml"},
    ],
)
def test_what_is_no_packed_payload_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(HeadraceError):
        msgpack_message(fields)
