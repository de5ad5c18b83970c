"""Protocol Buffers' wire format, as much of it as flat proto2 messages need. Pure.

A message is a run of (key, value) pairs: the key is a varint of field number and wire type, the value a varint or a
length with so many bytes. https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; groups, which nothing of ours has, are refused."""

MAX_VARINT_BYTES = 10
"""Of 64 bits, seven in a byte."""

MAX_FIELD_NUMBER = 2**29 - 1

_FIXED = {FIXED64: 8, FIXED32: 4}

Value = int | bytes


class Malformed(ValueError):
    """These bytes are no message."""


def write_varint(value: int) -> bytes:
    """Return a signed or unsigned 64-bit number; a negative one takes ten bytes."""
    rest = value & (2**64 - 1)
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def write_field(number: int, value: Value) -> bytes:
    """Return one pair: a number as varint, bytes with their length."""
    if isinstance(value, int):
        return write_varint(number << 3 | VARINT) + write_varint(value)
    return write_varint(number << 3 | BYTES) + write_varint(len(value)) + value


def read_fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Iterate (field number, value) in their order: varints unsigned, all else as bytes. Raises `Malformed`."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if not 1 <= number <= MAX_FIELD_NUMBER:
            raise Malformed("a field has a number that no field can have")
        if wire_type == VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire_type == BYTES:
            length, at = _read_varint(data, at)
        elif wire_type in _FIXED:
            length = _FIXED[wire_type]
        else:
            raise Malformed("a field has a wire type that is not known")
        if length > len(data) - at:
            raise Malformed("the message ends within a field")
        if wire_type == BYTES:
            yield number, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(MAX_VARINT_BYTES):
        if at + index >= len(data):
            raise Malformed("the message ends within a number")
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value & (2**64 - 1), at + index + 1
    raise Malformed("a number has more than ten bytes")


def signed32(value: int) -> int:
    """Return an unsigned 64-bit varint as the `int32` that it stands for."""
    low = value & (2**32 - 1)
    return low - 2**32 if low >= 2**31 else low
