"""Client frames, by the vectors of the protocol and by anything hypothesis comes up with."""

import json
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import CallerError, HeadraceError, InvalidRequest
from broker.messages import Kind, Message
from broker.names import TopicName
from broker.ports import FromTime, Last
from broker.positions import Position
from broker.publish import Durability
from gateway.realtime.payloads import MAX_DEPTH
from gateway.realtime.wire import (
    Ack,
    Attach,
    Detach,
    Extend,
    Hello,
    Nack,
    Ping,
    Publish,
    Refused,
    Release,
    Request,
    Subscribe,
    Unsubscribe,
    read_json,
    read_msgpack,
)

VECTORS = json.loads((Path(__file__).parents[3] / "protocol/vectors.json").read_text())


def since_of(word: Any) -> object:
    match word:
        case {"last": count}:
            return Last(count)
        case {"time": time_ms}:
            return FromTime(time_ms)
        case {"epoch": epoch, "offset": offset}:
            return Position(epoch, offset)
    return word


def expected(vector: dict[str, Any]) -> Request:
    """The request that a vector describes, made without the code under test."""
    frame = vector["map"]
    id_ = frame.get("id")
    match frame["op"]:
        case "hello":
            return Hello(id_, frame.get("token"), frame.get("client"))
        case "subscribe":
            return Subscribe(id_, frame["topic"], since_of(frame.get("since", "now")))  # type: ignore[arg-type]
        case "unsubscribe":
            return Unsubscribe(id_, frame["topic"])
        case "ping":
            return Ping(id_)
        case "attach":
            return Attach(id_, frame["subscription"], frame.get("window", 100))
        case "detach":
            return Detach(id_, frame["subscription"])
        case "ack":
            return Ack(id_, frame["subscription"], tuple(frame["acks"]))
        case "nack":
            return Nack(id_, frame["subscription"], tuple(frame["acks"]), frame.get("delay_ms"))
        case "release":
            return Release(id_, frame["subscription"], tuple(frame["acks"]))
        case "extend":
            return Extend(id_, frame["subscription"], tuple(frame["acks"]), frame["deadline_s"])
    payload = vector["payload"]
    message = Message(Kind(payload["kind"]), bytes.fromhex(payload["hex"]), frame.get("attributes", {}))
    durability = Durability(frame["durability"]) if "durability" in frame else None
    return Publish(
        id_, frame["topic"], message, frame.get("publisher"), frame.get("seq", 0), frame.get("key"), durability
    )


def reads(vectors: list[dict[str, Any]]) -> list[Any]:
    rows = []
    for vector in vectors:
        if "json" in vector:
            rows.append(pytest.param(read_json, vector["json"].encode(), vector, id=f"{vector['name']} (json)"))
        if "msgpack" in vector:
            packed = bytes.fromhex(vector["msgpack"])
            rows.append(pytest.param(read_msgpack, packed, vector, id=f"{vector['name']} (msgpack)"))
    return rows


@pytest.mark.parametrize(("read", "data", "vector"), reads(VECTORS["client_frames"]))
def test_a_valid_frame_is_read(read: Any, data: bytes, vector: dict[str, Any]) -> None:
    assert read(data) == expected(vector)


@pytest.mark.parametrize(("read", "data", "vector"), reads(VECTORS["invalid_client_frames"]))
def test_an_invalid_frame_is_refused(read: Any, data: bytes, vector: dict[str, Any]) -> None:
    refused = read(data)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, CallerError)
    assert refused.error.code == vector["code"]
    assert refused.id == vector.get("id")
    assert refused.error.reason.endswith(".")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [MAX_DEPTH - 1, MAX_DEPTH])
def test_both_dialects_allow_a_payload_the_same_depth(levels: int) -> None:
    document = orjson.dumps(nested(levels))
    in_json = read_json(b'{"op":"publish","topic":"a/b","json":' + document + b"}")
    packed = msgpack.packb({"op": "publish", "topic": "a/b", "kind": "json", "data": document})
    fits = levels < MAX_DEPTH
    assert isinstance(in_json, Publish) is fits
    assert isinstance(read_msgpack(packed), Publish) is fits


def test_many_shallow_brackets_are_no_depth() -> None:
    frame = {"op": "publish", "topic": "a/b", "json": [{"a": []} for _ in range(MAX_DEPTH)]}
    assert isinstance(read_json(orjson.dumps(frame)), Publish)


def test_a_small_frame_cannot_make_the_reader_allocate_much() -> None:
    huge_array = b"\x81\xa1x" + b"\xdd\xff\xff\xff\xff"
    refused = read_msgpack(huge_array)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, InvalidRequest)


def test_an_array_beyond_the_bound_is_refused_even_when_it_is_there() -> None:
    assert isinstance(read_msgpack(msgpack.packb({"op": "ping", "x": [0] * 10_000})), Ping)
    assert isinstance(read_msgpack(msgpack.packb({"op": "ping", "x": [0] * 10_001})), Refused)


def test_extension_types_are_refused() -> None:
    assert isinstance(read_msgpack(msgpack.packb({"op": "ping", "x": msgpack.ExtType(1, b"a")})), Refused)


def test_a_refusal_holds_no_payload() -> None:
    secret = "s3cr3t" * 20
    refused = read_json(orjson.dumps({"op": "hello", "token": [secret]}))
    assert isinstance(refused, Refused)
    assert "s3cr3t" not in str(refused.error)


scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
names = st.sampled_from(
    [
        *("op", "id", "topic", "since", "json", "text", "base64", "data", "kind", "attributes"),
        *("publisher", "seq", "key", "durability", "token", "client"),
    ]
)
ops = st.sampled_from(["hello", "subscribe", "unsubscribe", "publish", "ping", "attach", "dance"])
likely = st.sampled_from(["a/b", "now", "text", {"last": 1}, {"epoch": 1, "offset": -1}, {"k": "v"}, 5, b"x"])
frames = st.builds(lambda op, rest: {**rest, "op": op}, ops, st.dictionaries(names | st.text(), likely | values))


@given(frames)
def test_any_map_is_read_or_refused(frame: dict[str, object]) -> None:
    try:
        packed = msgpack.packb(frame)
    except (OverflowError, UnicodeEncodeError):
        return
    assert is_an_answer(read_msgpack(packed))


@given(st.binary() | frames.map(lambda frame: json.dumps(frame, default=str).encode()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert is_an_answer(read_json(data))
    assert is_an_answer(read_msgpack(data))


def is_an_answer(read: Request | Refused) -> bool:
    if isinstance(read, Refused):
        return isinstance(read.error, HeadraceError)
    return isinstance(read, Hello | Subscribe | Unsubscribe | Publish | Ping)


@given(
    epoch=st.integers(0, 2**53 - 1),
    offset=st.integers(-1, 2**53 - 1),
    topic=st.sampled_from(["a/b", "default/ä/ö"]),
)
def test_a_position_survives_both_dialects(epoch: int, offset: int, topic: str) -> None:
    frame = {"op": "subscribe", "topic": topic, "since": {"epoch": epoch, "offset": offset}}
    wanted = Subscribe(None, TopicName(topic), Position(epoch, offset))
    assert read_json(orjson.dumps(frame)) == wanted
    assert read_msgpack(msgpack.packb(frame)) == wanted


def test_a_message_may_be_retained_and_a_snapshot_asked_for() -> None:
    publish, subscribe = {"op": "publish", "topic": "a/b", "text": "x"}, {"op": "subscribe", "topic": "a/b"}
    for flags, meant in (({}, False), ({"retained": False}, False), ({"retained": True}, True)):
        read = read_json(orjson.dumps(publish | flags))
        assert isinstance(read, Publish)
        assert read.message.retained is meant
    assert read_json(orjson.dumps(subscribe | {"snapshot": True})).snapshot is True  # type: ignore[union-attr]
    assert read_json(orjson.dumps(subscribe)).snapshot is False  # type: ignore[union-attr]
    for wrong in (publish | {"retained": 1}, subscribe | {"snapshot": "yes"}):
        assert isinstance(read_json(orjson.dumps(wrong)), Refused)
