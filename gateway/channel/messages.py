"""The messages of App Engine's remote calls and of its service `channel`, as bytes (contracts/channel 2). Pure.

Protocol Buffers, as much of them as these flat proto2 messages need: https://protobuf.dev/programming-guides/encoding/
Unknown fields are skipped, of a repeated one the last counts, groups are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from broker.errors import InvalidRequest

MAX_TOPICS = 100
"""Topics in one request to create a channel."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}

_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = 2**29 - 1

Value = int | bytes


class ServiceError(IntEnum):
    """`ChannelServiceError`: what the service itself refuses. 5, for an application's alias, is never ours to say."""

    INTERNAL_ERROR = 1
    INVALID_CHANNEL_KEY = 2
    BAD_MESSAGE = 3
    INVALID_CHANNEL_TOKEN_DURATION = 4


class RpcError(IntEnum):
    """Why a call did not come to the service, or did not come back."""

    UNKNOWN = 0
    CALL_NOT_FOUND = 1
    PARSE_ERROR = 2
    OVER_QUOTA = 4
    REQUEST_TOO_LARGE = 5
    DEADLINE_EXCEEDED = 12


@dataclass(frozen=True, slots=True)
class Call:
    """A remote call. `ticket` is its `request_id`: a credential where the client cannot send another."""

    service: str
    method: str
    request: bytes = field(repr=False)
    ticket: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Creation:
    """`CreateChannelRequest`; `topics`, field 1000, is ours."""

    client_id: bytes
    minutes: int | None = None
    topics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sending:
    """`SendMessageRequest`: the key is a client id or a token."""

    key: bytes = field(repr=False)
    message: bytes = field(repr=False)


def read_call(data: bytes) -> Call:
    """Raises `InvalidRequest`."""
    given = _last(data)
    service, method = _text(given, 2), _text(given, 3)
    return Call(service, method, _bytes(given, 4), _text(given, 5) if 5 in given else "")


def read_creation(data: bytes) -> Creation:
    """Raises `InvalidRequest`."""
    given = _last(data)
    minutes = given.get(2)
    topics = [value for number, value in _fields(data) if number == 1000 and isinstance(value, bytes)]
    if len(topics) > MAX_TOPICS:
        raise InvalidRequest(f"A channel is bound to at most {MAX_TOPICS} topics in one request.")
    return Creation(
        _bytes(given, 1), _signed32(minutes) if isinstance(minutes, int) else None, tuple(map(_utf8, topics))
    )


def read_sending(data: bytes) -> Sending:
    """Raises `InvalidRequest`."""
    given = _last(data)
    return Sending(_bytes(given, 1), _bytes(given, 2))


def write_created(token: str, *, minutes: int) -> bytes:
    """Return a `CreateChannelResponse`."""
    return _field(2, token.encode()) + _field(3, minutes)


def write_response(response: bytes) -> bytes:
    """Return the answer to a call that went well."""
    return _field(1, response)


def write_application_error(code: ServiceError, detail: str) -> bytes:
    """Return the answer to a call that the service refused."""
    return _field(3, _field(1, code) + _field(2, detail.encode()))


def write_rpc_error(code: RpcError, detail: str) -> bytes:
    """Return the answer to a call that did not reach the service."""
    return _field(5, _field(1, code) + _field(2, detail.encode()))


def _last(data: bytes) -> dict[int, Value]:
    return dict(_fields(data))


def _bytes(given: dict[int, Value], number: int) -> bytes:
    value = given.get(number)
    if not isinstance(value, bytes):
        raise InvalidRequest(f"The message lacks its required field {number}.")
    return value


def _text(given: dict[int, Value], number: int) -> str:
    return _utf8(_bytes(given, number))


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("A text is not valid UTF-8.") from None


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Iterate (number, value) in their order: varints unsigned, all else as bytes."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if not 1 <= number <= _MAX_FIELD_NUMBER:
            raise InvalidRequest("The message is not valid: a field's number.")
        if wire_type == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire_type == _BYTES:
            length, at = _read_varint(data, at)
        elif wire_type in _FIXED:
            length = _FIXED[wire_type]
        else:
            raise InvalidRequest("The message is not valid: a field's type.")
        if length > len(data) - at:
            raise InvalidRequest("The message is cut short.")
        if wire_type == _BYTES:
            yield number, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned number and the place after it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(data):
            raise InvalidRequest("The message is cut short.")
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise InvalidRequest("The message is not valid: a number.")


def _signed32(value: int) -> int:
    """Return the `int32` that a varint stands for."""
    low = value & (2**32 - 1)
    return low - 2**32 if low >= 2**31 else low


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
