"""The client against protocol/vectors.json, which the server's tests read too."""

import json
from pathlib import Path

import msgpack
import pytest

from headrace.dialects import DIALECTS
from headrace.events import Arrived, Ended
from headrace.failover import Verdict, verdict_of_close
from headrace.frames import (
    read_attached,
    read_deliveries,
    read_error,
    read_missing,
    read_published,
    read_recovery,
    read_refused,
    read_servers,
    read_spread,
    read_started,
    read_topic,
    read_welcome,
)
from headrace.messages import Gap
from headrace.positions import checked_since, parse_since, since_field
from headrace.protocol import Protocol

VECTORS = json.loads((Path(__file__).parents[3] / "protocol" / "vectors.json").read_text())
NOW = 100.0


def named(key: str) -> list[object]:
    return [pytest.param(case, id=case["name"]) for case in VECTORS[key]]


def raw(value: object) -> object:
    """Turn `{"$bytes": hex}` into bytes."""
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return bytes.fromhex(value["$bytes"])
        return {key: raw(part) for key, part in value.items()}
    return [raw(part) for part in value] if isinstance(value, list) else value


def forms(case: dict[str, object]) -> list[tuple[str, bytes]]:
    found = [("json", str(case["json"]).encode())] if "json" in case else []
    return found + ([("msgpack", bytes.fromhex(str(case["msgpack"])))] if "msgpack" in case else [])


@pytest.mark.parametrize("case", named("server_frames"))
def test_server_frames_are_read(case) -> None:
    for name, data in forms(case):
        dialect = DIALECTS[name]
        frame = dialect.decode(data)
        if len(forms(case)) == 1 or "$bytes" not in json.dumps(case["map"]):
            assert frame == raw(case["map"])
        match frame["op"]:
            case "message":
                check_message(dialect.message(frame), case["message"])
            case "welcome":
                assert read_welcome(frame).ping_ms == frame["ping_ms"]
            case "subscribed":
                assert since_field(read_started(frame, dialect).after) == frame["after"]
                assert len(read_missing(frame)) == len(frame["missing"])
            case "gap":
                assert read_topic(frame) and read_recovery(frame) and read_missing(frame) is not None
            case "published":
                assert read_published(frame).duplicate is frame.get("duplicate", False)
            case "error":
                error = read_error(frame)
                assert (error.code, error.reason, error.retry_ms) == (
                    frame["code"],
                    frame["reason"],
                    frame.get("retry_ms"),
                )
            case "attached" | "delivery" | "settled":
                check_consumption(dialect, frame, case)
            case "servers" | "drain":
                assert [server.url for server in read_servers(frame)] == [entry["url"] for entry in frame["servers"]]
                assert read_spread(frame) == frame["spread_ms"]
            case op:
                assert op in ("ok", "pong")


def check_consumption(dialect, frame, case) -> None:
    match frame["op"]:
        case "attached":
            assert read_attached(frame).ack_deadline_s == frame["ack_deadline_s"]
        case "delivery":
            leases = read_deliveries(frame, dialect)
            assert [lease.ack for lease in leases] == [entry["ack"] for entry in frame["deliveries"]]
            for lease, content in zip(leases, case["messages"], strict=True):
                check_message(lease.message, content)
        case "settled":
            assert read_refused(frame) == {entry["ack"]: entry["code"] for entry in frame["refused"]}


def check_message(message, content) -> None:
    assert (message.topic, message.position.epoch, message.position.offset, message.time_ms, message.kind) == (
        content["topic"],
        content["epoch"],
        content["offset"],
        content["time"],
        content["kind"],
    )
    assert message.attributes == content.get("attributes", {})
    if message.kind == "json":
        assert message.json() == json.loads(bytes.fromhex(content["hex"]))
    else:
        assert message.data == bytes.fromhex(content["hex"])


PUBLISHES = [case for case in VECTORS["client_frames"] if case["map"]["op"] == "publish"]


@pytest.mark.parametrize("case", PUBLISHES, ids=lambda case: case["name"])
def test_payloads_are_written_as_the_vectors_have_them(case) -> None:
    kind, stored = case["payload"]["kind"], bytes.fromhex(case["payload"]["hex"])
    for name, data in forms(case):
        dialect = DIALECTS[name]
        vector = {"kind": "binary"} | dialect.decode(data)
        for key, value in dialect.payload(kind, stored).items():
            written = (
                json.loads(vector[key]) == json.loads(value) if isinstance(value, bytes) and kind == "json" else None
            )
            assert written or vector[key] == value


@pytest.mark.parametrize("case", named("client_frames"))
def test_frames_are_written_as_the_vectors_have_them(case) -> None:
    for name, data in forms(case):
        dialect = DIALECTS[name]
        frame = json.loads(data) if name == "json" else msgpack.unpackb(data)
        assert dialect.decode(dialect.encode(frame)) == frame
        if data == data.replace(b" ", b""):
            assert dialect.encode(frame) == data


@pytest.mark.parametrize("case", named("sequences"))
def test_sequences_lead_to_the_same_state(case) -> None:
    protocol = Protocol[str, str](dialect=DIALECTS["json"], publisher="p", client="t")
    protocol.connect(NOW)
    for topic, since in case["since"].items():
        protocol.follow(topic, checked_since(since), topic)
    placed: set[str] = set()
    ids = {frame["topic"]: frame["id"] for frame in map(json.loads, protocol.outgoing()) if "topic" in frame}
    for step in case["steps"]:
        frame = step["frame"]
        known = frame.get("topic") in protocol.places
        if frame["op"] == "subscribed":
            if frame["topic"] in placed:
                ids |= reconnected(protocol)
            placed.add(frame["topic"])
            frame = frame | {"id": ids[frame["topic"]]}
        events = protocol.receive([json.dumps(frame).encode()], NOW)
        assert outcome(events, frame, known=known) == step["outcome"]
        assert {topic: since_field(place) for topic, place in protocol.places.items()} == step["resume"]


def reconnected(protocol: Protocol[str, str]) -> dict[str, int]:
    """A second `subscribed` in a vector stands on a new connection."""
    protocol.disconnect()
    protocol.connect(NOW)
    return {frame["topic"]: frame["id"] for frame in map(json.loads, protocol.outgoing()) if "topic" in frame}


def outcome(events: list[object], frame: dict[str, object], *, known: bool) -> str:
    if any(isinstance(event, Ended) for event in events):
        return "ended"
    if any(isinstance(event, Arrived) and isinstance(event.item, Gap) for event in events):
        return "reported"
    if frame["op"] not in ("message", "gap") or not known:
        return "nothing"
    return "delivered" if events else "dropped"


@pytest.mark.parametrize("case", VECTORS["since"], ids=lambda case: case["text"])
def test_since_words(case) -> None:
    assert since_field(parse_since(case["text"])) == case["value"]
    assert since_field(checked_since(case["value"])) == case["value"]


@pytest.mark.parametrize("text", VECTORS["invalid_since"])
def test_invalid_since_words(text) -> None:
    with pytest.raises(ValueError):
        parse_since(text)


@pytest.mark.parametrize("case", VECTORS["closes"], ids=lambda case: str(case["code"]))
def test_close_codes(case) -> None:
    expected = {True: Verdict.COME_BACK, False: Verdict.NEVER, "fresh_token": Verdict.FRESH_TOKEN}
    assert verdict_of_close(case["code"]) is expected[case["comes_back"]]
