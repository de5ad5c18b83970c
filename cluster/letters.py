"""What travels between inboxes: requests and their answers, as msgpack lists. Pure.

Requests: `[1, id, sender, name, body]`. Answers: `[2, id, body]`, or `[3, id, code, reason, retry_ms]` for a refusal.
Elements that a newer version adds at the end are passed over.
"""

from dataclasses import dataclass
from typing import Any

import msgpack

from broker.errors import HeadraceError, ServerError

REQUEST, ANSWER, REFUSAL = 1, 2, 3

ID_BYTES = 16

MAX_ID_BYTES = 64


@dataclass(frozen=True, slots=True)
class Request:
    """What one node asks of another."""

    id: bytes
    """The same in each repetition of the request; at most `MAX_ID_BYTES`."""
    sender: str
    """The id of the node that wants the answer."""
    name: str
    """Which handler."""
    body: bytes

    def packed(self) -> bytes:
        return _pack([REQUEST, self.id, self.sender, self.name, self.body])


@dataclass(frozen=True, slots=True)
class Answer:
    id: bytes
    body: bytes = b""
    refusal: HeadraceError | None = None

    def packed(self) -> bytes:
        if self.refusal is None:
            return _pack([ANSWER, self.id, self.body])
        refusal = self.refusal
        return _pack([REFUSAL, self.id, refusal.code, refusal.reason, refusal.retry_ms])


def read_letter(data: bytes) -> Request | Answer:
    """Raises `ValueError` on what no node of ours wrote."""
    try:
        letter = msgpack.unpackb(data)
    except Exception as error:
        # What msgpack raises is not said to be complete.
        raise ValueError("not a letter") from error
    match letter:
        case [1, bytes(ident), str(sender), str(name), bytes(body), *_] if len(ident) <= MAX_ID_BYTES:
            return Request(ident, sender, name, body)
        case [2, bytes(ident), bytes(body), *_]:
            return Answer(ident, body)
        case [3, bytes(ident), str(code), str(reason), int() | None as retry_ms, *_]:
            return Answer(ident, refusal=refusal_of(code, reason, retry_ms))
    raise ValueError("not a letter")


def refusal_of(code: str, reason: str, retry_ms: int | None) -> HeadraceError:
    """Return the error whose class has this code, or a `ServerError` where this version knows none."""
    known = _by_code(HeadraceError).get(code, ServerError)
    return known(reason, retry_ms=retry_ms)


def _by_code(parent: type[HeadraceError]) -> dict[str, type[HeadraceError]]:
    """The classes by their code; of those that share one, the most general."""
    found: dict[str, type[HeadraceError]] = {}
    for child in parent.__subclasses__():
        if "code" in vars(child):
            found.setdefault(child.code, child)
        for code, known in _by_code(child).items():
            found.setdefault(code, known)
    return found


def _pack(letter: list[Any]) -> bytes:
    return bytes(msgpack.packb(letter))
