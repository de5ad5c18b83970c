import pytest

from headrace.errors import InvalidMessage
from headrace.messages import UNSET, Message, Published, payload_of
from headrace.positions import Position


def test_a_message_reads_its_payload() -> None:
    message = Message("p/t", Position(1, 2), 3, "json", b'{"a":"\xc3\xbc"}')
    assert message.json() == {"a": "ü"}
    assert message.text == '{"a":"ü"}'
    with pytest.raises(UnicodeDecodeError):
        _ = Message("p/t", Position(1, 2), 3, "binary", b"\xff").text


def test_an_answer_has_a_position() -> None:
    assert Published(1, 2).position == Position(1, 2)


def payload(text=None, json=UNSET, data=None):
    return payload_of(text=text, json=json, data=data)


def test_payloads() -> None:
    assert payload(text="ü") == ("text", b"\xc3\xbc")
    assert payload(json=None) == ("json", b"null")
    assert payload(json={"ü": [1, 2]}) == ("json", '{"ü":[1,2]}'.encode())
    assert payload(data=bytearray(b"x")) == ("binary", b"x")


@pytest.mark.parametrize(
    "given", [{}, {"text": "", "data": b""}, {"json": {1, 2}}, {"text": "\ud800"}, {"json": "\ud800"}]
)
def test_what_is_no_payload(given) -> None:
    with pytest.raises(InvalidMessage):
        payload(**given)


def test_a_circle_is_no_payload() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(InvalidMessage):
        payload(json=circle)
