"""ARGO's bodies of pulling, acknowledging and seeking, as tables."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.messages import Entry
from broker.positions import Position
from gateway.ams.receiving import (
    MAX_PULL_MESSAGES,
    PullOptions,
    ack_prefix,
    acks_of,
    read_ack_ids,
    read_integer,
    read_pull,
    read_time,
    received,
    without_prefix,
    zulu,
)
from gateway.ams.wire import message_of


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", PullOptions(1, waits=False)),
        (b"null", PullOptions(1, waits=False)),
        (b'{"maxMessages":"5","returnImmediately":"false"}', PullOptions(5, waits=True)),
        (b'{"MAXMESSAGES":5,"returnimmediately":false}', PullOptions(5, waits=True)),
        (b'{"maxMessages":5.0,"returnImmediately":true}', PullOptions(5, waits=False)),
        (b'{"maxMessages":"many","returnImmediately":"no"}', PullOptions(1, waits=False)),
        (b'{"maxMessages":"0"}', PullOptions(1, waits=False)),
        (b'{"maxMessages":-3}', PullOptions(1, waits=False)),
        (b'{"maxMessages":"99999999999999999"}', PullOptions(MAX_PULL_MESSAGES, waits=False)),
        (b'{"maxMessages":1e300}', PullOptions(MAX_PULL_MESSAGES, waits=False)),
        (b'{"other":[]}', PullOptions(1, waits=False)),
    ],
)
def test_the_options_of_a_pull(body: bytes, expected: PullOptions) -> None:
    assert read_pull(body) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b'"1"', b'{"maxMessages":true}', b'{"maxMessages":[]}', b'{"returnImmediately":1}'],
)
def test_options_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_pull(body)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_567_431_551_000, "2019-09-02T13:39:11Z"),
        (1_567_431_551_500, "2019-09-02T13:39:11.5Z"),
        (1_567_431_551_001, "2019-09-02T13:39:11.001Z"),
        (1_567_431_551_120, "2019-09-02T13:39:11.12Z"),
    ],
)
def test_a_publish_time_drops_trailing_zeros(time_ms: int, text: str) -> None:
    assert zulu(time_ms) == text
    assert read_time(text) == time_ms


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("2019-09-02 13:39:11.000Z", 1_567_431_551_000),
        ("2019-09-02T13:39:11.Z", 1_567_431_551_000),
        ("2019-09-02T13:39:11.000000001Z", 1_567_431_551_001),
        ("2019-09-02T13:39:11.999999999Z", 1_567_431_552_000),
        ("2019-09-02T13:39:11.500000+00Z", 1_567_431_551_500),
        ("2019-09-02T13:39:11.500000 00Z", 1_567_431_551_500),
        ("2019-09-02T15:39:11+02:00Z", 1_567_431_551_000),
        ("2019-09-02T10:09:11-0330Z", 1_567_431_551_000),
        ("1960-01-01T00:00:00Z", 0),
    ],
)
def test_the_client_writes_times_in_many_ways(text: str, time_ms: int) -> None:
    assert read_time(text) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2019-09-02",
        "2019-09-02T13:39:11",
        "2019-13-02T13:39:11Z",
        "2019-09-02T25:39:11Z",
        "2019-09-02T13:39:11.0123456789Z",
        "2019-09-02T13:39:11.5Zz",
        "0000-09-02T13:39:11Z",
        "٢٠١٩-09-02T13:39:11Z",
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_time(text)


PREFIX = ack_prefix("p", "s")


def test_an_ack_id_belongs_to_its_subscription() -> None:
    assert without_prefix("projects/p/subscriptions/s:12.1-x", PREFIX) == "12.1-x"


@pytest.mark.parametrize(
    "ack_id", ["", 12, None, [], "12", "/projects/p/subscriptions/s:12", "projects/p/subscriptions/other:12"]
)
def test_what_is_no_ack_id_of_it(ack_id: object) -> None:
    with pytest.raises(InvalidRequest):
        without_prefix(ack_id, PREFIX)


def test_ack_ids_may_be_absent_but_not_another_type() -> None:
    assert read_ack_ids(b'{"AckIds":["a",1]}') == ["a", 1]
    assert read_ack_ids(b"{}") is None
    with pytest.raises(InvalidRequest):
        read_ack_ids(b'{"ackIds":"a"}')


@pytest.mark.parametrize("number", [2**63, 2**64 - 1])
def test_an_integer_has_64_bits(number: int) -> None:
    with pytest.raises(InvalidRequest):
        read_integer(b'{"offset":%d}' % number, "offset")
    assert read_integer(b'{"Offset":%d}' % (2**63 - 1), "offset") == 2**63 - 1


def test_acks_need_an_id() -> None:
    assert acks_of(["projects/p/subscriptions/s:1"], "p", "s") == ["1"]
    with pytest.raises(InvalidRequest):
        acks_of([], "p", "s")


@pytest.mark.parametrize(
    "body", [b"{}", b'{"offset":"1"}', b'{"offset":1.5}', b'{"offset":true}', b"", b'{"offset":1e30}']
)
def test_an_integer_must_be_one(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_integer(body, "offset")


@given(data=st.text(), attributes=st.dictionaries(st.text(), st.text(), max_size=3))
def test_a_message_comes_back_byte_for_byte_with_four_keys_at_most(data: str, attributes: dict[str, str]) -> None:
    entry = Entry(Position(1, 7), 1_567_431_551_500, message_of(data, attributes))
    (shown,) = orjson.loads(received([("a", entry)]))["receivedMessages"]
    message = shown["message"]
    assert message.pop("attributes", {}) == attributes
    assert shown == {
        "ackId": "a",
        "message": {"messageId": "7", "data": data, "publishTime": "2019-09-02T13:39:11.5Z"},
    }


def test_nothing_received_is_a_list() -> None:
    assert received([]) == b'{"receivedMessages":[]}'
