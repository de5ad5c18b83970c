"""Bodies and queries of our own space: read strictly, since a misspelt member would widen whom a call is about."""

import orjson
import pytest
from attached import NOW_MS, facts_of

from broker.errors import HeadraceError, InvalidName, InvalidRequest, TooLarge
from broker.messages import Kind, Message
from broker.names import parse_topic
from gateway.apigateway.beyond import wire
from gateway.apigateway.beyond.criteria import Criteria
from gateway.apigateway.beyond.deeds import Tally, Target
from gateway.apigateway.ports import Standing


def test_a_body_is_an_object_of_known_members() -> None:
    assert wire.read_body(b'{"to": 1}', ("to",)) == {"to": 1}
    for strange in (b"", b"[]", b'"x"', b"{", b'{"tow": 1}'):
        with pytest.raises(InvalidRequest):
            wire.read_body(strange, ("to",))


def test_a_target_is_a_list_of_ids_or_criteria() -> None:
    assert wire.read_target({"connections": ["a", "b", "a"]}) == Target(ids=("a", "b"))
    assert wire.read_target({"to": {"user": "alice"}}) == Target(criteria=Criteria(user="alice"))


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"connections": ["a"], "to": {"user": "alice"}},
        {"connections": []},
        {"connections": "a"},
        {"connections": [1]},
        {"connections": ["a"] * (wire.MAX_CONNECTIONS + 1)},
        {"to": {}},
        {"to": {"tags": {}}},
        {"to": {"users": "alice"}},
        {"to": "alice"},
    ],
)
def test_a_target_that_could_mean_everybody_or_nobody_is_refused(strange: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        wire.read_target(strange)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"text": "hé"}, Message(Kind.TEXT, "hé".encode())),
        ({"text": ""}, Message(Kind.TEXT, b"")),
        ({"json": {"a": [1]}}, Message(Kind.JSON, b'{"a":[1]}')),
        ({"json": None}, Message(Kind.JSON, b"null")),
        ({"base64": "AP8="}, Message(Kind.BINARY, b"\x00\xff")),
    ],
)
def test_a_message_is_text_json_or_base64(told: dict[str, object], message: Message) -> None:
    assert wire.read_message(told) == message


@pytest.mark.parametrize(
    ("strange", "refusal"),
    [
        ({}, InvalidRequest),
        ({"text": "a", "json": 1}, InvalidRequest),
        ({"text": 1}, InvalidRequest),
        ({"text": "\ud800"}, InvalidRequest),
        ({"base64": "AP8"}, InvalidRequest),
        ({"base64": "A P8="}, InvalidRequest),
        ({"base64": "é"}, InvalidRequest),
        ({"text": "x" * (wire.MAX_MESSAGE_BYTES + 1)}, TooLarge),
    ],
)
def test_anything_else_is_no_message(strange: dict[str, object], refusal: type[HeadraceError]) -> None:
    with pytest.raises(refusal):
        wire.read_message(strange)


def test_a_group_is_the_full_name_of_a_topic() -> None:
    assert wire.read_group({"group": "default/room/7"}) == parse_topic("default/room/7")
    for strange in ({}, {"group": 7}):
        with pytest.raises(InvalidRequest):
            wire.read_group(strange)
    with pytest.raises(InvalidName):
        wire.read_group({"group": "room"})


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4999])
def test_a_close_has_a_code_that_a_frame_may_hold(code: int) -> None:
    assert wire.read_close({"code": code, "reason": "x" * 123}) == (code, "x" * 123)


@pytest.mark.parametrize("code", [0, 999, 1002, 1004, 1005, 1006, 1007, 1009, 1015, 2999, 5000, "1000", True, 1e3])
def test_other_codes_are_refused(code: object) -> None:
    with pytest.raises(InvalidRequest):
        wire.read_close({"code": code})


def test_a_reason_fits_into_a_frame() -> None:
    assert wire.read_close({}) == (1000, "")
    for strange in ("x" * 124, "é" * 62, 7):
        with pytest.raises(InvalidRequest):
            wire.read_close({"reason": strange})


def test_criteria_stand_in_a_query() -> None:
    query = {"api": "chat", "user": "alice", "tag.room": "7", "tag.kind": "web", "limit": "5", "token": "t"}
    assert wire.query_criteria(query, besides=("limit",)) == Criteria(
        api="chat", user="alice", tags={"room": "7", "kind": "web"}
    )
    with pytest.raises(InvalidRequest, match=r"group, tag\.NAME, limit"):
        wire.query_criteria({"users": "alice"}, besides=("limit",))
    with pytest.raises(InvalidRequest):
        wire.query_criteria({"tags": "x"})


def test_a_page_has_a_limit() -> None:
    assert wire.query_limit({}) == wire.DEFAULT_PAGE
    assert wire.query_limit({"limit": "1000"}) == 1000
    for strange in ("0", "1001", "-1", "x", "", "٣", "99999"):
        with pytest.raises(InvalidRequest):
            wire.query_limit({"limit": strange})


def test_answers_say_who_was_not_reached() -> None:
    tally = Tally(done=2, not_done=1, failed={"a": "gone"})
    assert orjson.loads(wire.tally_json(tally, done="posted")) == {
        "posted": 2,
        "not_reached": 1,
        "failed": {"a": "gone"},
    }
    tally.unreached.append("b.0")
    assert orjson.loads(wire.tally_json(tally, done="closed"))["unavailable_nodes"] == ["b.0"]


def test_a_page_leads_to_the_next() -> None:
    plain = Standing(facts=facts_of("a", user_agent=None), last_active_at_ms=NOW_MS + 1)
    tagged = Standing(facts=facts_of("b", user="alice", tags={"room": "7"}), last_active_at_ms=NOW_MS)
    shown = orjson.loads(wire.page_json([plain, tagged], is_last=False))
    assert shown["next"] == "b"
    assert shown["connections"][0] == {
        "connection": "a",
        "api": "chat",
        "stage": "prod",
        "connected_at_ms": NOW_MS,
        "last_active_at_ms": NOW_MS + 1,
        "source_ip": "192.0.2.1",
    }
    assert shown["connections"][1]["user"] == "alice"
    assert shown["connections"][1]["tags"] == {"room": "7"}
    assert shown["connections"][1]["user_agent"] == "test"
    assert "next" not in orjson.loads(wire.page_json([plain], is_last=True))
    assert orjson.loads(wire.page_json([], is_last=True)) == {"connections": []}
