"""The event stream's bytes, and the words of `since`."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest, Unavailable, UnknownTopic
from broker.messages import Entry, Kind, Message
from broker.names import TopicName
from broker.ports import FromTime, Last, Placed, Since
from broker.positions import Position, Range, Recovery
from gateway.sse.wire import EventDialect, come_back, event, message_json, read_since, subscribed_json

VECTORS = orjson.loads((Path(__file__).parents[3] / "protocol/vectors.json").read_bytes())
TOPIC = TopicName("p/t")
BARE = EventDialect(chunked=False)
CHUNKED = EventDialect(chunked=True)


def as_value(since: Since) -> object:
    if isinstance(since, Last):
        return {"last": since.count}
    if isinstance(since, FromTime):
        return {"time": since.time_ms}
    if isinstance(since, Position):
        return {"epoch": since.epoch, "offset": since.offset}
    return since


@pytest.mark.parametrize("row", VECTORS["since"], ids=lambda row: row["text"])
def test_a_place_is_read_from_its_text(row: dict[str, Any]) -> None:
    assert as_value(read_since(row["text"])) == row["value"]


@pytest.mark.parametrize("text", [*VECTORS["invalid_since"], "last:" + "9" * 5000, "time:\u0663", "9" * 5000 + "-1"])
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_since(text)


def frames(op: str) -> list[Any]:
    rows = [row for row in VECTORS["server_frames"] if row["map"]["op"] == op and "json" in row]
    assert rows
    return [pytest.param(row, id=row["name"]) for row in rows]


@pytest.mark.parametrize("row", frames("message"))
def test_data_is_the_realtime_protocols_message(row: dict[str, Any]) -> None:
    given = row["message"]
    message = Message(Kind(given["kind"]), bytes.fromhex(given["hex"]), given.get("attributes", {}))
    entry = Entry(Position(given["epoch"], given["offset"]), given["time"], message)
    assert message_json(TopicName(given["topic"]), entry) == row["json"].encode()


def ranges(missing: list[dict[str, int]]) -> tuple[Range, ...]:
    return tuple(Range(r["epoch"], r["first"], r["last"]) for r in missing)


@pytest.mark.parametrize("row", frames("subscribed"))
def test_recovery_carries_the_realtime_protocols_subscribed(row: dict[str, Any]) -> None:
    given = row["map"]
    after = Position(given["after"]["epoch"], given["after"]["offset"])
    end = Position(given["epoch"], given["offset"])
    placed = Placed(TopicName(given["topic"]), end, Recovery(given["recovery"]), ranges(given["missing"]), after)
    expected = {key: value for key, value in given.items() if key != "id"}
    assert orjson.loads(subscribed_json(placed)) == expected
    assert list(orjson.loads(subscribed_json(placed))) == list(expected)


@pytest.mark.parametrize("row", frames("gap"))
def test_gap_carries_the_realtime_protocols_gap(row: dict[str, Any]) -> None:
    given = row["map"]
    made = BARE.gap(TopicName(given["topic"]), Recovery(given["recovery"]), ranges(given["missing"]))
    assert made.startswith(b"event: gap\nid: ")
    assert made.endswith(b"\ndata: " + row["json"].encode() + b"\n\n")


def test_a_message_has_its_position_as_id_and_no_name() -> None:
    entry = Entry(Position(7, 42), 1000, Message(Kind.TEXT, b"a\nb"))
    assert BARE.message(TOPIC, entry) == (
        b'id: 7-42\ndata: {"op":"message","topic":"p/t","epoch":7,"offset":42,"time":1000,"text":"a\\nb"}\n\n'
    )


def test_a_stream_opens_with_when_to_come_back_and_the_place_where_delivery_starts() -> None:
    placed = Placed(TOPIC, Position(7, 42), Recovery.NONE, (), Position(7, 9))
    made = BARE.opening(placed, retry_ms=1500)
    assert made.startswith(b'retry: 1500\nevent: recovery\nid: 7-9\ndata: {"op":"subscribed",')


@pytest.mark.parametrize(
    ("recovery", "missing", "event_id"),
    [
        (Recovery.TRIMMED, (Range(7, 3, 5),), b"7-5"),
        (Recovery.TRIMMED, (Range(7, 3, 5), Range(9, 6, 8)), b"9-8"),
        (Recovery.ROLLED_BACK, (Range(7, 3, 5),), b"7-2"),
        (Recovery.ROLLED_BACK, (Range(7, 0, 5),), b"7--1"),
        (Recovery.ROLLED_BACK, (Range(7, 6, 9), Range(7, 3, 5)), b"7-5"),
        (Recovery.LOST, (), b"earliest"),
    ],
)
def test_a_gap_leaves_the_reader_at_the_place_after_it(
    recovery: Recovery, missing: tuple[Range, ...], event_id: bytes
) -> None:
    assert BARE.gap(TOPIC, recovery, missing).startswith(b"event: gap\nid: " + event_id + b"\ndata: ")
    read_since(event_id.decode())


def test_the_end_names_its_topic_and_why() -> None:
    name, data, *_ = BARE.ended(TOPIC, UnknownTopic()).split(b"\n")
    assert name == b"event: ended"
    assert orjson.loads(data.removeprefix(b"data: ")) == {
        "op": "error",
        "code": "unknown_topic",
        "reason": "The topic does not exist.",
        "topic": "p/t",
    }


def test_who_should_come_back_is_told_when() -> None:
    assert come_back(Unavailable("Off."), retry_ms=200) == (
        b'retry: 200\nevent: unavailable\ndata: {"op":"error","code":"unavailable","reason":"Off.","retry_ms":200}\n\n'
    )


def test_chunks_carry_what_is_sent_bare() -> None:
    entry = Entry(Position(7, 42), 1000, Message(Kind.BINARY, bytes(300)))
    for made, bare in (
        (CHUNKED.message(TOPIC, entry), BARE.message(TOPIC, entry)),
        (CHUNKED.comment, BARE.comment),
        (CHUNKED.ended(TOPIC, UnknownTopic()), BARE.ended(TOPIC, UnknownTopic())),
    ):
        assert made == b"%x\r\n" % len(bare) + bare + b"\r\n"
    assert BARE.comment == b":\n\n"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from([b"\n", b"\r", b"\r\n", b" "]),
)
def test_no_payload_breaks_out_of_its_event(value: object, gap: bytes) -> None:
    document = b"%b[%b,%b1]%b" % (gap, orjson.dumps(value), gap, gap)
    entry = Entry(Position(1, 2), 3, Message(Kind.JSON, document, {"a\nid: 9": "b\r\n\r\n"}))
    lines = BARE.message(TOPIC, entry).split(b"\n")
    assert lines[0] == b"id: 1-2"
    assert lines[-2:] == [b"", b""]
    assert all(line.startswith(b"data: ") for line in lines[1:-2])
    frame = orjson.loads(b"\n".join(line.removeprefix(b"data: ") for line in lines[1:-2]))
    assert frame["json"] == [value, 1]
    assert frame["attributes"] == {"a\nid: 9": "b\r\n\r\n"}


def test_broken_text_is_shown_as_far_as_it_is_text() -> None:
    entry = Entry(Position(1, 2), 3, Message(Kind.TEXT, b"a\xff"))
    assert '"text":"a\ufffd"'.encode() in BARE.message(TOPIC, entry)


def test_an_event_without_an_id_moves_nobody() -> None:
    assert event("x", None, b"1") == b"event: x\ndata: 1\n\n"
