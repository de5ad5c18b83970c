"""Server frames are what the vectors say, letter by letter, behind a correct header."""

import json
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from broker.errors import (
    Forbidden,
    HeadraceError,
    InvalidRequest,
    Unavailable,
    UnknownSubscription,
    UnknownTopic,
    WrongKind,
)
from broker.messages import Entry, Kind, Message
from broker.names import TopicName
from broker.ports import Placed
from broker.positions import Position, Range, Recovery
from broker.store.base import Appended
from broker.store.subscriptions import Settled
from broker.subscriptions import Delivery
from cluster.servers import Server, Told
from gateway.realtime import frames
from gateway.realtime.frames import MAX_PREFIXES, Attached, Json, Msgpack, Node, RealtimeDialect

VECTORS = json.loads((Path(__file__).parents[3] / "protocol/vectors.json").read_text())["server_frames"]
REFUSALS: dict[str, type[HeadraceError]] = {
    refusal.code: refusal
    for refusal in (Forbidden, InvalidRequest, Unavailable, UnknownSubscription, UnknownTopic, WrongKind)
}


def unframed(data: bytes) -> bytes:
    """Take the header off, by `websockets`' own idea of it."""

    def read_exact(count: int) -> Any:
        nonlocal data
        taken, data = data[:count], data[count:]
        return taken
        yield  # a generator, as the parser wants

    parser = Frame.parse(read_exact, mask=False)
    try:
        next(parser)
    except StopIteration as stop:
        frame: Frame = stop.value
        assert data == b""
        assert frame.fin
        return bytes(frame.data)
    raise AssertionError("the frame is not whole")


def ranges(missing: list[dict[str, int]]) -> tuple[Range, ...]:
    return tuple(Range(lost["epoch"], lost["first"], lost["last"]) for lost in missing)


def written(dialect: RealtimeDialect, vector: dict[str, Any]) -> bytes:
    """Write the frame that a vector describes from its meaning."""
    f = vector["map"]
    id_ = f.get("id")
    if "servers" in f:
        return written_of_cluster(dialect, f)
    match f["op"]:
        case "ok":
            return frames.ok(dialect, id_)
        case "pong":
            return frames.pong(dialect, id_)
        case "subscribed":
            end, after = Position(f["epoch"], f["offset"]), Position(f["after"]["epoch"], f["after"]["offset"])
            recovery, missing = Recovery(f["recovery"]), ranges(f["missing"])
            return frames.subscribed(dialect, id_, Placed(TopicName(f["topic"]), end, recovery, missing, after))
        case "published":
            first = Position(f["epoch"], f["offset"])
            return dialect.published(id_, Appended(first, 1, f["time"], f.get("duplicate", False)))
        case "error":
            refusal = REFUSALS[f["code"]](f["reason"], retry_ms=f.get("retry_ms"))
            if "topic" in f:
                return frames.ended(dialect, f["topic"], refusal)
            if "subscription" in f:
                return frames.released(dialect, f["subscription"], refusal)
            return frames.error(dialect, id_, refusal)
        case "gap":
            return dialect.gap(f["topic"], Recovery(f["recovery"]), ranges(f["missing"]))
        case "attached":
            return frames.attached(dialect, id_, attached_of(f))
        case "settled":
            refused = {ack["ack"]: Settled(ack["code"]) for ack in f["refused"]}
            return frames.settled(dialect, id_, f["subscription"], refused)
        case "delivery":
            told = zip(f["deliveries"], vector["messages"], strict=True)
            deliveries = [Delivery(entry_of(content), d["attempt"], d["ack"]) for d, content in told]
            return dialect.delivery(attached_of(f), deliveries)
    return dialect.message(TopicName(vector["message"]["topic"]), entry_of(vector["message"]))


def written_of_cluster(dialect: RealtimeDialect, f: dict[str, Any]) -> bytes:
    """The same for frames that tell of the cluster."""
    told = Told(tuple(Server(server["url"], server["weight"]) for server in f["servers"]), f["spread_ms"])
    match f["op"]:
        case "welcome":
            node = Node(name=f["node"], ping_ms=f["ping_ms"], **f["limits"])
            return frames.welcome(dialect, f["connection"], node, told)
        case "servers":
            return frames.servers(dialect, told)
    return frames.drain(dialect, told, deadline_ms=f["deadline_ms"])


def entry_of(content: dict[str, Any]) -> Entry:
    message = Message(Kind(content["kind"]), bytes.fromhex(content["hex"]), content["attributes"])
    return Entry(Position(content["epoch"], content["offset"]), content["time"], message)


def attached_of(f: dict[str, Any]) -> Attached:
    return Attached(f["subscription"], f["topic"], f.get("window", 1), f.get("ack_deadline_s", 10))


@pytest.mark.parametrize("vector", [v for v in VECTORS if "json" in v], ids=lambda v: v["name"])
def test_json_is_as_written_down(vector: dict[str, Any]) -> None:
    data = written(Json(), vector)
    assert data[0] == 0x81
    assert unframed(data).decode() == vector["json"]


@pytest.mark.parametrize("vector", [v for v in VECTORS if "msgpack" in v], ids=lambda v: v["name"])
def test_msgpack_is_as_written_down(vector: dict[str, Any]) -> None:
    data = written(Msgpack(), vector)
    assert data[0] == 0x82
    assert unframed(data).hex() == vector["msgpack"]


@pytest.mark.parametrize("dialect", [Json(), Msgpack()], ids=["json", "msgpack"])
@given(
    kind=st.sampled_from(Kind),
    body=st.text() | st.sampled_from(["x" * 100, "x" * 126, "y" * 70_000]),
    attributes=st.dictionaries(st.text(), st.text(), max_size=3),
    place=st.builds(Position, st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1)),
    topic=st.sampled_from(["a/b", 'default/"quoted"', "default/ä/日本"]),
)
def test_any_message_can_be_read_again(  # noqa: PLR0917
    dialect: RealtimeDialect, kind: Kind, body: str, attributes: dict[str, str], place: Position, topic: str
) -> None:
    payload = orjson.dumps(body) if kind is Kind.JSON else body.encode()
    entry = Entry(place, 7, Message(kind, payload, attributes))
    data = unframed(dialect.message(TopicName(topic), entry))
    read = orjson.loads(data) if dialect.is_text else msgpack.unpackb(data)
    assert read.pop("attributes", {}) == attributes
    assert (read.pop("op"), read.pop("topic"), read.pop("time")) == ("message", topic, 7)
    assert Position(read.pop("epoch"), read.pop("offset")) == place
    if not dialect.is_text:
        assert read == {"kind": kind.value, "data": payload}
    elif kind is Kind.BINARY:
        assert list(read) == ["base64"]
    else:
        assert read == {kind.value: body}


@pytest.mark.parametrize("dialect", [Json(), Msgpack()], ids=["json", "msgpack"])
def test_prefixes_are_bounded_and_stay_right(dialect: Any) -> None:
    entry = Entry(Position(1, 2), 3, Message(Kind.TEXT, b"x"))
    for number in range(MAX_PREFIXES + 10):
        data = unframed(dialect.message(TopicName(f"a/{number}"), entry))
        read = orjson.loads(data) if dialect.is_text else msgpack.unpackb(data)
        assert read["topic"] == f"a/{number}"
    assert len(dialect._prefixes) <= MAX_PREFIXES


def test_text_that_is_none_after_all_breaks_no_frame() -> None:
    entry = Entry(Position(1, 2), 3, Message(Kind.TEXT, b"\xff"))
    assert orjson.loads(unframed(Json().message(TopicName("a/b"), entry)))["text"] == "\ufffd"


def test_the_header_is_that_of_an_unmasked_frame() -> None:
    for length in (0, 125, 126, 65535, 65536):
        fields = {"x": "y" * length}
        payload = orjson.dumps(fields)
        assert Json().frame(fields) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@pytest.mark.parametrize(
    ("message", "in_json", "packed"),
    [
        (Message(Kind.JSON, b'{"a":1}'), {"json": {"a": 1}}, {"kind": "json", "data": b'{"a":1}'}),
        (Message(Kind.TEXT, b"x", {"k": "v"}), {"text": "x"}, {"kind": "text", "data": b"x"}),
        (Message(Kind.BINARY, b"\xff"), {"base64": "/w=="}, {"kind": "binary", "data": b"\xff"}),
    ],
)
def test_a_snapshot_stands_in_the_answer_where_it_was_asked_for(
    message: Message, in_json: dict[str, object], packed: dict[str, object]
) -> None:
    end = Position(7, 41)
    placed = Placed(TopicName("a/b"), end, Recovery.NONE, (), end)
    entry = Entry(Position(7, 40), 1755850000123, message)
    attributes = {"attributes": dict(message.attributes)} if message.attributes else {}
    place: dict[str, object] = {"epoch": 7, "offset": 40, "time": 1755850000123}
    for dialect, read, payload in ((Json(), orjson.loads, in_json), (Msgpack(), msgpack.unpackb, packed)):

        def told(snapshot: tuple[Entry, ...] | None, dialect: Any = dialect, read: Any = read) -> dict[str, Any]:
            frame = frames.subscribed(dialect, 1, placed, snapshot=snapshot)
            body: dict[str, Any] = read(frame[2 if frame[1] < 126 else 4 :])
            return body

        assert told((entry,))["snapshot"] == place | payload | attributes
        assert told(())["snapshot"] is None
        assert "snapshot" not in told(None)
