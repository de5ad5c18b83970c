"""The frames between our own script and the node."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.positions import Position
from broker.store.channels import ChannelMessage
from gateway.channel import wire
from gateway.channel.errors import Told
from gateway.channel.wire import Label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("7.a_B-9", Label("a_B-9", 7)),
        ("1", Label("1")),
        ("conn-AbC_9=", Label("conn-AbC_9=")),
        ("", None),
        ("0.a", None),
        ("7.", None),
        ("a b", None),
        ("a" * 65, None),
        ("9999999999999999.a", None),
    ],
)
def test_labels(text: str, label: Label | None) -> None:
    assert wire.read_label(text) == label
    if label is not None:
        assert str(label) == text


@given(st.text())
def test_any_text_is_a_label_or_none(text: str) -> None:
    label = wire.read_label(text)
    assert label is None or str(label) == text


def test_last_ids() -> None:
    assert wire.read_last_id("") is None
    assert wire.read_last_id("5--1") == Position(5, -1)
    assert wire.read_last_id("5-12") == Position(5, 12)
    for text in ("x", "5", "5-", "5-1-2", "-1", "99999999999999999999-1"):
        with pytest.raises(InvalidRequest):
            wire.read_last_id(text)


def test_a_refresh() -> None:
    assert wire.read_refresh(b'{"token": "t"}') == "t"
    for data in (b"", b"{", b"[]", b'"t"', b'{"token": 1}', b"{}", b'{"token": "' + b"t" * 5000 + b'"}'):
        with pytest.raises(InvalidRequest):
            wire.read_refresh(data)


def test_frames() -> None:
    frames = [
        wire.opened(Label("a", 7), Position(5, -1), expires_s=9),
        wire.message(ChannelMessage(Position(5, 0), 'é"'.encode())),
        wire.message(ChannelMessage(Position(5, 1), b"\xff")),
        wire.gap(3),
        wire.error(Told(401, "Invalid+token.")),
        wire.refreshed(expires_s=10),
    ]
    assert orjson.loads(wire.listed(frames)) == [
        {"open": {"client": "7.a", "last_id": "5--1", "expires": 9}},
        {"id": "5-0", "data": 'é"'},
        {"id": "5-1", "data": "\N{REPLACEMENT CHARACTER}"},
        {"gap": 3},
        {"error": {"code": 401, "description": "Invalid+token."}},
        {"refreshed": {"expires": 10}},
    ]
    assert wire.listed([]) == b"[]"


def test_events() -> None:
    assert wire.event(b"{}") == b"data: {}\n\n"
    assert wire.event(b"{}", id=Position(5, 0)) == b"id: 5-0\ndata: {}\n\n"
