"""Where inbound WebSocket frames begin and end, and which of them need no second look. Pure.

`websockets`' sans-I/O protocol judges everything that is not ordinary: fragments, close frames, breaches of RFC 6455.
It costs 3 KiB of memory and several microseconds a frame, so a socket has one only while it needs one. Ordinary is a
whole, masked data frame without reserved bits, or such a ping or pong.
"""

from enum import Enum, auto
from typing import NamedTuple

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled wheel
    from websockets.utils import apply_mask

MAX_CONTROL_BYTES = 125
"""RFC 6455 section 5.5."""

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Shape(Enum):
    ORDINARY = auto()
    """A whole data frame, or a ping or pong: `payload` reads it."""
    SPECIAL = auto()
    """A fragment or a close frame, within its bounds: for the protocol of `websockets`."""
    WRONG = auto()
    """Breaks RFC 6455, as the header shows already."""
    TOO_BIG = auto()


class Header(NamedTuple):
    """One frame's header: its payload stands at `start` to `end` of the buffer, its mask in the four bytes before."""

    shape: Shape
    opcode: int
    start: int
    end: int


def read_header(data: bytes | bytearray, at: int, max_bytes: int) -> Header | None:
    """Read the header at `at`; None where more bytes are needed to say anything."""
    left = len(data) - at
    if left < 2:
        return None
    first, second = data[at], data[at + 1]
    length = second & 0x7F
    start = at + 6
    if length == 126:
        if left < 4:
            return None
        length = int.from_bytes(data[at + 2 : at + 4])
        start = at + 8
    elif length == 127:
        if left < 10:
            return None
        length = int.from_bytes(data[at + 2 : at + 10])
        start = at + 14
    return Header(_shape(first, second, length, max_bytes), first & 0x0F, start, start + length)


def _shape(first: int, second: int, length: int, max_bytes: int) -> Shape:
    opcode = first & 0x0F
    if first & 0x70 or second < 0x80:
        return Shape.WRONG
    if opcode <= BINARY:
        if length > max_bytes:
            return Shape.TOO_BIG
        return Shape.ORDINARY if first in (0x81, 0x82) else Shape.SPECIAL
    if not CLOSE <= opcode <= PONG or first < 0x80 or length > MAX_CONTROL_BYTES:
        return Shape.WRONG
    return Shape.SPECIAL if opcode == CLOSE else Shape.ORDINARY


def payload(data: bytes | bytearray, header: Header) -> bytes:
    """Return the unmasked payload of a frame that is there as a whole."""
    return bytes(apply_mask(data[header.start : header.end], data[header.start - 4 : header.start]))


def framed(first: int, body: bytes) -> bytes:
    """Return `body` behind the header of an unmasked, unfragmented frame whose first byte is `first`."""
    length = len(body)
    if length < 126:
        return bytes((first, length)) + body
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2) + body
    return bytes((first, 127)) + length.to_bytes(8) + body
