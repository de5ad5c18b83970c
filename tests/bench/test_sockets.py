"""The load generator's own frames and numbers."""

import os

import pytest
from websockets.frames import Frame
from websockets.streams import StreamReader

from bench.sockets import Frames, cpu_seconds, frame, masked, resident_bytes, upgrade_request


def parsed(data: bytes) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    steps = Frame.parse(reader.read_exact, mask=True, max_size=None)
    with pytest.raises(StopIteration) as done:
        next(steps)
    result = done.value.value
    assert isinstance(result, Frame)
    return result


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_masked_frame_is_a_frame(size: int) -> None:
    assert parsed(masked(b"y" * size)).data == b"y" * size


def test_an_operation_is_json_in_a_text_frame() -> None:
    assert parsed(frame({"op": "ping"})).data == b'{"op":"ping"}'


def test_answers_are_split_however_they_arrive() -> None:
    texts: list[bytes] = []
    frames = Frames(texts.append)
    for byte in b"\x81\x02ab\x89\x00\x81\x01c":
        frames.receive(bytes([byte]))
    assert texts == [b"ab", b"c"]


def test_the_token_is_in_a_header_and_not_in_the_url() -> None:
    first, *headers = upgrade_request("http://127.0.0.1:8080", "s3cret").decode().split("\r\n")
    assert "s3cret" not in first
    assert "Authorization: Bearer s3cret" in headers


def test_a_process_has_memory_and_time() -> None:
    assert resident_bytes(os.getpid()) > 1_000_000
    assert cpu_seconds(os.getpid()) > 0
