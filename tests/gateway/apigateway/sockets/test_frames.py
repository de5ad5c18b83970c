"""Messages as frames: read back by `websockets`, whatever their size and whatever the bound."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from gateway.apigateway.sockets.frames import Fragmenting, denial, error_frame, is_text


def read_back(data: bytes) -> list[Frame]:
    client = Protocol(CLIENT)
    client.receive_data(data)
    assert client.parser_exc is None
    return [event for event in client.events_received() if isinstance(event, Frame)]


def test_an_error_frame_is_spaced_as_aws_does() -> None:
    (frame,) = read_back(error_frame("Forbidden", connection="Zq0lpfIyliACGbQ=", request="Zq1LaGLQliAFsbA="))
    assert frame.opcode is Opcode.TEXT
    assert frame.data == (
        b'{"message": "Forbidden", "connectionId":"Zq0lpfIyliACGbQ=", "requestId":"Zq1LaGLQliAFsbA="}'
    )


def test_an_error_frame_is_json_whatever_it_says() -> None:
    (frame,) = read_back(error_frame('a "b" \n ä', connection="c", request="r"))
    assert json.loads(frame.data) == {"message": 'a "b" \n ä', "connectionId": "c", "requestId": "r"}


def test_a_denial_is_what_aws_says() -> None:
    assert denial("Forbidden") == b'{"message":"Forbidden"}'


@pytest.mark.parametrize(("size", "frames"), [(0, 1), (1, 1), (32_768, 1), (32_769, 2), (65_536, 2), (131_072, 4)])
def test_a_message_above_the_bound_comes_in_fragments(size: int, frames: int) -> None:
    read = read_back(Fragmenting(32_768).framed(b"x" * size))
    assert len(read) == frames
    assert [frame.fin for frame in read] == [False] * (frames - 1) + [True]
    assert [frame.opcode for frame in read] == [Opcode.TEXT] + [Opcode.CONT] * (frames - 1)
    assert all(len(frame.data) <= 32_768 for frame in read)


@pytest.mark.parametrize(
    ("data", "text"), [(b"", True), (b"abc", True), ("ä€😀".encode(), True), (b"\xff", False), (b"\xc3", False)]
)
def test_text_is_what_is_utf_8(data: bytes, text: bool) -> None:
    assert is_text(data) is text
    assert read_back(Fragmenting(100).framed(data))[0].opcode is (Opcode.TEXT if text else Opcode.BINARY)


@given(st.one_of(st.binary(max_size=300), st.text(max_size=100).map(str.encode)), st.integers(1, 120))
def test_fragments_put_together_are_the_message(data: bytes, bound: int) -> None:
    read = read_back(Fragmenting(bound).framed(data))
    assert b"".join(bytes(frame.data) for frame in read) == data


def test_equal_bounds_share_their_frames() -> None:
    assert len({Fragmenting(10): 1, Fragmenting(10): 2, Fragmenting(11): 3}) == 2
