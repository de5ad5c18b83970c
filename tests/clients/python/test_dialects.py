import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dialects import DIALECTS, Json, MessagePack
from headrace.errors import BadFrame
from headrace.messages import Message
from headrace.positions import Position

MESSAGE = {"op": "message", "topic": "p/t", "epoch": 1, "offset": 2, "time": 3}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(dialect, data) -> None:
    try:
        frame = dialect.decode(data)
    except BadFrame:
        return
    assert isinstance(frame, dict)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@pytest.mark.parametrize(
    ("kind", "data"), [("text", "ü".encode()), ("json", b'{"a":[1,null]}'), ("binary", b"\x00\xff")]
)
def test_payloads_come_back(dialect, kind, data) -> None:
    frame = dialect.decode(dialect.encode(MESSAGE | dialect.payload(kind, data) | {"attributes": {"a": "b"}}))
    assert dialect.message(frame) == Message("p/t", Position(1, 2), 3, kind, data, {"a": "b"})


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"kind": "text"},
        {"kind": "poem", "data": b""},
        {"kind": "text", "data": "text"},
        {"kind": ["text"], "data": b""},
        {"kind": "text", "data": b"", "topic": 1},
        {"kind": "text", "data": b"", "attributes": []},
        {"kind": "text", "data": b"", "offset": "1"},
    ],
)
def test_malformed_messagepack_messages(broken) -> None:
    with pytest.raises(BadFrame):
        MessagePack().message(MESSAGE | broken)


@pytest.mark.parametrize("broken", [{}, {"text": 1}, {"base64": "?"}, {"base64": "YQ"}, {"text": "a", "time": None}])
def test_malformed_json_messages(broken) -> None:
    with pytest.raises(BadFrame):
        Json().message(MESSAGE | broken)


def test_deep_json_is_refused_not_fatal() -> None:
    with pytest.raises(BadFrame):
        Json().decode(b"[" * 200_000)
    with pytest.raises(BadFrame):
        MessagePack().decode(b"\x91" * 5_000 + msgpack.packb(1))
