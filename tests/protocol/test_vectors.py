"""The vectors agree with themselves and with the page beside them."""

import json
import re
from pathlib import Path
from typing import Any

import msgpack
import pytest

from broker.errors import HeadraceError
from gateway.realtime.errors import CloseCode

PROTOCOL = Path(__file__).parents[2] / "protocol"
VECTORS = json.loads((PROTOCOL / "vectors.json").read_text())
PAGE = (PROTOCOL / "realtime.md").read_text()


def real(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$bytes"}:
            return bytes.fromhex(value["$bytes"])
        return {key: real(item) for key, item in value.items()}
    return [real(item) for item in value] if isinstance(value, list) else value


FRAMES = VECTORS["client_frames"] + VECTORS["server_frames"]


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["name"])
def test_encodings_are_those_of_the_map(vector: dict[str, Any]) -> None:
    if "json" in vector:
        assert json.loads(vector["json"]) == vector["map"]
    if "msgpack" in vector:
        assert msgpack.unpackb(bytes.fromhex(vector["msgpack"])) == real(vector["map"])
    assert "json" in vector or "msgpack" in vector


@pytest.mark.parametrize("key", ["client_frames", "invalid_client_frames", "server_frames", "sequences"])
def test_names_are_unique(key: str) -> None:
    names = [vector["name"] for vector in VECTORS[key]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["name"])
def test_the_page_names_every_op_and_field(vector: dict[str, Any]) -> None:
    assert f"`{vector['map']['op']}`" in PAGE
    for field in vector["map"].keys() - {"colour", "deep"}:
        assert re.search(rf"`{field}\??`|\b{field}\b", PAGE), field


def codes(of: type[HeadraceError]) -> set[str]:
    """Return the broker's codes; a room's own refusals never reach a socket."""
    own = {of.code} if of.__module__ == HeadraceError.__module__ else set()
    return own.union(*map(codes, of.__subclasses__()))


def test_the_page_explains_every_error_code_of_a_frame() -> None:
    not_on_sockets = {"error", "already_exists", "invalid_schema", "out_of_bounds", "unknown_schema"}
    table = PAGE.partition("### 2.3")[2].partition("### 2.4")[0]
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", table)) >= codes(HeadraceError) - not_on_sockets


def test_the_page_explains_every_close_code() -> None:
    table = PAGE.partition("### 2.4")[2].partition("## 3")[0]
    explained = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for code in row.split(",")}
    assert explained >= set(map(int, CloseCode))
    assert explained <= {close["code"] for close in VECTORS["closes"]}


def test_ranges_of_close_codes_decide() -> None:
    for close in VECTORS["closes"]:
        if 4000 <= close["code"] < 4500:
            assert close["comes_back"] is True
        if close["code"] >= 4500:
            assert close["comes_back"] in (False, "fresh_token")


def test_every_outcome_and_recovery_occurs_in_the_sequences() -> None:
    steps = [step for sequence in VECTORS["sequences"] for step in sequence["steps"]]
    assert {step["outcome"] for step in steps} == {"delivered", "dropped", "reported", "ended", "nothing"}
    seen = {step["frame"]["recovery"] for step in steps if step["frame"]["op"] == "subscribed"}
    assert seen == {"none", "complete", "trimmed", "rolled_back", "lost"}


class Follower:
    """The rules of section 4 in the fewest words: shows that the sequences can be kept, and that each is needed."""

    def __init__(self, since: dict[str, Any]) -> None:
        self.resume = dict(since)
        self.placed: set[str] = set()

    def receive(self, frame: dict[str, Any]) -> str:
        topic = frame.get("topic")
        if topic not in self.resume:
            return "nothing"
        match frame["op"]:
            case "subscribed":
                self.placed.add(topic)
                self.resume[topic] = frame["after"]
                return "reported" if frame["recovery"] in ("trimmed", "rolled_back", "lost") else "nothing"
            case "message" | "gap" if topic not in self.placed:
                return "dropped"
            case "message":
                return self._message(topic, frame)
            case "gap":
                self.resume[topic] = self._after_gap(frame)
                return "reported"
            case "error":
                del self.resume[topic]
                return "ended"
        return "nothing"

    def _message(self, topic: str, frame: dict[str, Any]) -> str:
        place = self.resume[topic]
        if isinstance(place, dict) and place.get("epoch") == frame["epoch"] and frame["offset"] <= place["offset"]:
            return "dropped"
        self.resume[topic] = {"epoch": frame["epoch"], "offset": frame["offset"]}
        return "delivered"

    def _after_gap(self, frame: dict[str, Any]) -> Any:
        missing = frame["missing"]
        if frame["recovery"] == "lost":
            return "earliest"
        if frame["recovery"] == "rolled_back" and len(missing) == 1:
            return {"epoch": missing[0]["epoch"], "offset": missing[0]["first"] - 1}
        return {"epoch": missing[-1]["epoch"], "offset": missing[-1]["last"]}


@pytest.mark.parametrize("sequence", VECTORS["sequences"], ids=lambda sequence: sequence["name"])
def test_the_rules_of_the_page_give_the_sequences(sequence: dict[str, Any]) -> None:
    follower = Follower(sequence["since"])
    for step in sequence["steps"]:
        assert follower.receive(step["frame"]) == step["outcome"]
        assert follower.resume == step["resume"]
