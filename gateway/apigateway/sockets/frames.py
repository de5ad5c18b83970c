"""What a socket of this room is sent, byte by byte: messages in fragments, and AWS's error frames. Pure."""

from dataclasses import dataclass

import orjson

from gateway.framing import BINARY, TEXT, framed

_FIN, _CONTINUATION = 0x80, 0x0

FORBIDDEN = "Forbidden"
INTERNAL_ERROR = "Internal server error"
TIMED_OUT = "Endpoint request timed out"
TOO_MANY_REQUESTS = "Too Many Requests"
"""What an error frame or a refused handshake says (contracts/apigateway 13)."""


@dataclass(frozen=True, slots=True)
class Fragmenting:
    """How messages become frames for all sockets with this bound; equal bounds make the same bytes."""

    frame_bytes: int

    def framed(self, data: bytes) -> bytes:
        """Return the frames of one message: text where it is UTF-8, else binary."""
        opcode = TEXT if is_text(data) else BINARY
        if len(data) <= self.frame_bytes:
            return framed(_FIN | opcode, data)
        starts = range(0, len(data), self.frame_bytes)
        pieces = [data[at : at + self.frame_bytes] for at in starts]
        middle = [framed(_CONTINUATION, piece) for piece in pieces[1:-1]]
        return b"".join((framed(opcode, pieces[0]), *middle, framed(_FIN | _CONTINUATION, pieces[-1])))


def is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def error_frame(message: str, *, connection: str, request: str) -> bytes:
    """Return the frame that tells a client that its message failed: three members, spaced as AWS does."""
    ids = f'"connectionId":"{connection}", "requestId":"{request}"}}'
    return framed(_FIN | TEXT, b'{"message": ' + orjson.dumps(message) + f", {ids}".encode())


def denial(message: str) -> bytes:
    """Return the body of a handshake that was not let in."""
    return orjson.dumps({"message": message})
