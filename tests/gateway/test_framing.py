"""Headers as `websockets` writes and reads them, and which frames need no second look."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.framing import Shape, framed, payload, read_header

MAX = 100_000

lengths = st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, MAX]) | st.integers(0, 1000)


@given(st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.CONT]), lengths, st.booleans(), st.binary(max_size=20))
def test_a_frame_is_found_wherever_it_stands(opcode: Opcode, length: int, fin: bool, before: bytes) -> None:
    body = bytes(at % 251 for at in range(length))
    data = before + Frame(opcode, body, fin).serialize(mask=True)
    header = read_header(data + b"next", len(before), MAX)
    assert header is not None
    assert (header.opcode, header.end) == (opcode, len(data))
    assert payload(data, header) == body
    assert payload(bytearray(data), header) == body
    ordinary = fin and opcode is not Opcode.CONT
    assert header.shape is (Shape.ORDINARY if ordinary else Shape.SPECIAL)


@given(lengths, st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
def test_what_we_write_is_what_websockets_writes(length: int, opcode: Opcode) -> None:
    body = b"x" * length
    assert framed(0x80 | opcode, body) == Frame(opcode, body).serialize(mask=False)


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_a_header_in_pieces_says_nothing_too_early(length: int) -> None:
    data = Frame(Opcode.TEXT, b"x" * length).serialize(mask=True)
    size = len(data) - length
    for cut in range(size - 4):
        assert read_header(data[:cut], 0, MAX) is None
    header = read_header(data[: size - 4], 0, MAX)
    assert header is not None
    assert header.end == len(data)


@pytest.mark.parametrize(
    ("first", "second", "shape"),
    [
        (0x81, 0x80, Shape.ORDINARY),
        (0x82, 0x80, Shape.ORDINARY),
        (0x89, 0xFD, Shape.ORDINARY),
        (0x8A, 0x80, Shape.ORDINARY),
        (0x88, 0x82, Shape.SPECIAL),
        (0x01, 0x80, Shape.SPECIAL),
        (0x02, 0x80, Shape.SPECIAL),
        (0x00, 0x80, Shape.SPECIAL),
        (0x80, 0x80, Shape.SPECIAL),
        (0x81, 0x00, Shape.WRONG),
        (0xC1, 0x80, Shape.WRONG),
        (0xA1, 0x80, Shape.WRONG),
        (0x91, 0x80, Shape.WRONG),
        (0x83, 0x80, Shape.WRONG),
        (0x87, 0x80, Shape.WRONG),
        (0x8B, 0x80, Shape.WRONG),
        (0x8F, 0x80, Shape.WRONG),
        (0x09, 0x80, Shape.WRONG),
        (0x08, 0x80, Shape.WRONG),
    ],
)
def test_the_first_two_bytes_decide(first: int, second: int, shape: Shape) -> None:
    header = read_header(bytes((first, second)), 0, MAX)
    assert header is not None
    assert header.shape is shape


@pytest.mark.parametrize("first", [0x88, 0x89, 0x8A])
def test_a_control_frame_has_125_bytes_at_most(first: int) -> None:
    header = read_header(bytes((first, 0xFE, 0, 126)), 0, MAX)
    assert header is not None
    assert header.shape is Shape.WRONG


@pytest.mark.parametrize(
    ("length", "shape"), [(MAX, Shape.ORDINARY), (MAX + 1, Shape.TOO_BIG), (2**64 - 1, Shape.TOO_BIG)]
)
def test_size_is_judged_by_the_header(length: int, shape: Shape) -> None:
    header = read_header(b"\x81\xff" + length.to_bytes(8), 0, MAX)
    assert header is not None
    assert header.shape is shape


@given(st.binary(max_size=20), st.integers(0, 20))
def test_any_bytes_give_a_header_or_wait(data: bytes, at: int) -> None:
    header = read_header(data, min(at, len(data)), MAX)
    assert header is None or header.end >= header.start
