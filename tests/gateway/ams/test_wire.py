"""ARGO's bodies: every `data` comes back byte for byte, whatever stands in the log."""

import base64
import binascii

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.messages import MAX_LIFE_MS, Kind, Message, pack, unpack
from broker.names import ProjectName, TopicName
from broker.positions import Link, LogState
from broker.store.base import ProjectInfo, Retention, TopicInfo
from gateway.ams import wire

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS | st.binary().map(lambda b: base64.b64encode(b).decode()) | st.from_regex(r"[A-Za-z0-9+/]{0,9}={0,3}"))
def test_every_data_comes_back_byte_for_byte(data: str) -> None:
    assert wire.data_of(unpack(pack(wire.message_of(data)))) == data


@given(st.binary())
def test_canonical_base64_is_stored_decoded(payload: bytes) -> None:
    message = wire.message_of(base64.b64encode(payload).decode())
    assert (message.payload, message.verbatim) == (payload, False)


@pytest.mark.parametrize(
    ("data", "kind", "payload", "verbatim"),
    [
        ("aGVsbG8=", Kind.TEXT, b"hello", False),
        ("/w==", Kind.BINARY, b"\xff", False),
        ("", Kind.TEXT, b"", False),
        ("msg 1", Kind.TEXT, b"msg 1", True),
        ("aGVsbG8", Kind.TEXT, b"aGVsbG8", True),
        ("aGVsbG9=", Kind.TEXT, b"aGVsbG9=", True),
        ("aGVs\nbG8=", Kind.TEXT, b"aGVs\nbG8=", True),
        ("_w==", Kind.TEXT, b"_w==", True),
        ("aA==aA==", Kind.TEXT, b"aA==aA==", True),
        ("====", Kind.TEXT, b"====", True),
        ("é", Kind.TEXT, "é".encode(), True),
    ],
)
def test_only_canonical_base64_is_decoded(data: str, kind: Kind, payload: bytes, verbatim: bool) -> None:
    assert wire.message_of(data) == Message(kind, payload, {}, verbatim)


@pytest.mark.parametrize("kind", Kind)
def test_what_other_faces_published_is_base64_of_its_bytes(kind: Kind) -> None:
    assert base64.b64decode(wire.data_of(Message(kind, b'{"a":1}'))) == b'{"a":1}'


def test_messages_are_read_in_order_with_their_attributes() -> None:
    body = b'{"messages":[{"data":"YQ==","attributes":{"k":"v"}},{"attributes":{"only":"me"}},{"data":"msg 1"},{}]}'
    assert wire.read_publish(body) == (
        Message(Kind.TEXT, b"a", {"k": "v"}),
        Message(Kind.TEXT, b"", {"only": "me"}),
        Message(Kind.TEXT, b"msg 1", {}, verbatim=True),
        Message(Kind.TEXT, b""),
    )


def test_keys_have_no_case_and_unknown_ones_no_meaning() -> None:
    body = b'{"Messages":[{"DATA":"YQ==","Attributes":{"K":"V"},"messageId":"9","publishTime":"x"}],"extra":1}'
    assert wire.read_publish(body) == (Message(Kind.TEXT, b"a", {"K": "V"}),)


def test_an_exact_key_weighs_more_than_another_case() -> None:
    assert wire.read_publish(b'{"messages":[{"DATA":"x y","data":"a b"}]}')[0].payload == b"a b"


@pytest.mark.parametrize("body", [b"{}", b'{"messages":[]}', b'{"messages":null}', b"null", b'{"other":[1]}'])
def test_no_messages_are_no_messages(body: bytes) -> None:
    assert wire.read_publish(body) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'"text"',
        b"7",
        b'{"messages":{}}',
        b'{"messages":"x"}',
        b'{"messages":[null]}',
        b'{"messages":["x"]}',
        b'{"messages":[{"data":1}]}',
        b'{"messages":[{"data":{"a":1}}]}',
        b'{"messages":[{"attributes":[]}]}',
        b'{"messages":[{"attributes":{"k":1}}]}',
        b'{"messages":[{"attributes":{"k":null}}]}',
        b'{"messages":[{"data":"\xff"}]}',
        b'{"messages":[{"data":"\\ud800"}]}',
        b'{"messages":[' + b"[" * 5000,
        b'{"messages":[{"data":"a"}]} trailing',
    ],
)
def test_a_body_that_is_wrong_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.read_publish(body)


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_body_does_worse_than_be_refused(body: bytes) -> None:
    try:
        wire.read_publish(body)
    except InvalidRequest:
        return


@pytest.mark.parametrize(("first", "count", "ids"), [(0, 0, []), (0, 1, ["0"]), (41, 3, ["41", "42", "43"])])
def test_message_ids_are_offsets_in_decimal(first: int, count: int, ids: list[str]) -> None:
    assert orjson.loads(wire.published(first, count)) == {"messageIds": ids}


def topic(name: str, created_ms: int = 1_700_000_000_999) -> TopicInfo:
    return TopicInfo(TopicName(name), created_ms, Retention(), LogState((Link(1, 0),), 0, None), 0)


def test_a_topic_has_its_name_with_a_leading_slash() -> None:
    assert wire.topic_document(topic("p/t")) == {
        "name": "/projects/p/topics/t",
        "created_on": "2023-11-14T22:13:20Z",
    }


def test_a_slash_inside_a_topic_does_not_divide_its_name() -> None:
    assert wire.topic_name(topic("p/a/b%/c")) == "/projects/p/topics/a%2Fb%25%2Fc"


def test_a_project_omits_what_is_empty() -> None:
    bare = ProjectInfo(ProjectName("p"), 0, 61_000)
    assert wire.project_document(bare) == {
        "name": "p",
        "created_on": "1970-01-01T00:00:00Z",
        "modified_on": "1970-01-01T00:01:01Z",
    }
    full = ProjectInfo(ProjectName("p"), 0, 0, description="d", created_by="who")
    assert wire.project_document(full).items() >= {"description": "d", "created_by": "who"}.items()


# Paging.


def names(items: list[TopicInfo]) -> list[str]:
    return [item.name for item in items]


def key(item: TopicInfo) -> tuple[int, str]:
    return item.created_ms, item.name


ITEMS = [topic("p/a", 1), topic("p/b", 2), topic("p/c", 2), topic("p/d", 3), topic("p/e", 3)]
NEWEST_FIRST = ["p/d", "p/e", "p/b", "p/c", "p/a"]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_pages_follow_each_other_without_hole_or_repeat(size: int) -> None:
    seen: list[str] = []
    token = ""
    while True:
        shown, token = wire.cut_page(ITEMS, wire.read_page(str(size), token), key=key)
        seen += names(shown)
        assert len(shown) <= size
        if not token:
            break
    assert seen == NEWEST_FIRST


@pytest.mark.parametrize("size", ["", "0", "5", "99"])
def test_no_size_is_everything(size: str) -> None:
    shown, token = wire.cut_page(ITEMS, wire.read_page(size, ""), key=key)
    assert (names(shown), token) == (NEWEST_FIRST, "")


def test_what_is_made_or_deleted_between_two_pages_moves_nothing() -> None:
    shown, token = wire.cut_page(ITEMS, wire.read_page("2", ""), key=key)
    assert names(shown) == ["p/d", "p/e"]
    changed = [topic("p/new", 9), *[item for item in ITEMS if item.name != "p/e"]]
    rest, token = wire.cut_page(changed, wire.read_page("2", token), key=key)
    assert (names(rest), bool(token)) == (["p/b", "p/c"], True)


@pytest.mark.parametrize("size", ["-1", "x", "1.5", "\u0663", "1" * 10])
def test_a_wrong_page_size_is_named(size: str) -> None:
    with pytest.raises(wire.InvalidPageSize, match="Invalid page size"):
        wire.read_page(size, "")


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "eCB5", base64.urlsafe_b64encode(b"\xff").decode()])
def test_a_wrong_page_token_is_named(token: str) -> None:
    with pytest.raises(wire.InvalidPageToken, match="Invalid page token"):
        wire.read_page("", token)


def test_strict_base64_is_what_this_python_offers() -> None:
    with pytest.raises(binascii.Error):
        binascii.a2b_base64(b"aGVs\nbG8=", strict_mode=True)


@pytest.mark.parametrize(("item", "life_ms"), [('{"data":"x"}', 0), ('{"ttlMs":0}', 0), ('{"TTLMS":5000}', 5000)])
def test_a_message_may_live_for_a_time_only(item: str, life_ms: int) -> None:
    (message,) = wire.read_publish(f'{{"messages":[{item}]}}'.encode())
    assert message.life_ms == life_ms


@pytest.mark.parametrize("value", ["-1", "1.5", "true", '"5"', "[]", str(MAX_LIFE_MS + 1)])
def test_what_is_no_time_to_live_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        wire.read_publish(f'{{"messages":[{{"ttlMs":{value}}}]}}'.encode())
