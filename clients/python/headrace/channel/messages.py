"""The service's messages, with those methods of a protobuf message that the SDK, or an application, calls.

They need no protobuf: two or three flat fields each (contracts/channel 2). The other way round, the stub takes real
protobuf messages as well, because it only reads and sets attributes.
"""

# ruff: noqa: N802 (the names are those of protobuf's Python API)

import contextlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeVar, overload

from headrace.channel.codec import Malformed, Value, read_fields, signed32, write_field

T = TypeVar("T")


class EncodeError(Exception):
    """A message lacks a required field. Protobuf's class where protobuf is installed."""


class DecodeError(Exception):
    """These bytes are no message of this kind. Protobuf's class where protobuf is installed."""


if not TYPE_CHECKING:
    with contextlib.suppress(ImportError):
        from google.protobuf.message import DecodeError, EncodeError


class ChannelServiceError(IntEnum):
    """The service's own error codes."""

    OK = 0
    INTERNAL_ERROR = 1
    INVALID_CHANNEL_KEY = 2
    BAD_MESSAGE = 3
    INVALID_CHANNEL_TOKEN_DURATION = 4
    APPID_ALIAS_REQUIRED = 5


class Field(Generic[T]):
    """One field of a message, as a descriptor: its default until it is set."""

    wire_type: ClassVar[type] = object
    repeated: ClassVar[bool] = False

    def __init__(self, number: int, default: T, *, required: bool = False) -> None:
        self.number = number
        self.default = default
        self.required = required
        self.name = ""

    def __set_name__(self, owner: "type[Message]", name: str) -> None:
        self.name = name
        owner.fields = (*owner.fields, self)  # type: ignore[arg-type]  # one of the four below

    @overload
    def __get__(self, message: None, owner: "type[Message]") -> Self: ...
    @overload
    def __get__(self, message: "Message", owner: "type[Message]") -> T: ...
    def __get__(self, message: "Message | None", owner: "type[Message]") -> Self | T:
        if message is None:
            return self
        values = message.values.get(self.name)
        return self.default if values is None else self.read(values)

    def __set__(self, message: "Message", value: T) -> None:
        message.values[self.name] = self.write(value)

    def write(self, value: T) -> list[Value]:
        """Return `value` as the wire has it. Raises `TypeError`, `ValueError` as protobuf does."""
        raise NotImplementedError

    def read(self, values: list[Value]) -> T:
        """Return what the wire's values mean: where one is wanted, the last counts."""
        raise NotImplementedError


class Text(Field[str]):
    """A `string`. Bytes that are no UTF-8 become surrogate escapes, so that none is lost; protobuf refuses those."""

    wire_type = bytes

    def write(self, value: str | bytes) -> list[Value]:
        return [_utf8(self.name, value)]

    def read(self, values: list[Value]) -> str:
        return _text(values[-1])


class Texts(Field[tuple[str, ...]]):
    """A `repeated string`."""

    wire_type = bytes
    repeated = True

    def write(self, value: Sequence[str]) -> list[Value]:
        return [_utf8(self.name, one) for one in value]

    def read(self, values: list[Value]) -> tuple[str, ...]:
        return tuple(map(_text, values))


class Bytes(Field[bytes]):
    wire_type = bytes

    def write(self, value: bytes) -> list[Value]:
        if not isinstance(value, bytes):
            raise TypeError(f"{self.name} is bytes")
        return [value]

    def read(self, values: list[Value]) -> bytes:
        last = values[-1]
        assert isinstance(last, bytes)
        return last


class Int32(Field[int]):
    wire_type = int

    def write(self, value: int) -> list[Value]:
        if not isinstance(value, int):
            raise TypeError(f"{self.name} is an integer")
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"{self.name} has 32 bits")
        return [int(value)]

    def read(self, values: list[Value]) -> int:
        last = values[-1]
        assert isinstance(last, int)
        return signed32(last)


def _utf8(name: str, value: str | bytes) -> bytes:
    if not isinstance(value, str | bytes):
        raise TypeError(f"{name} is a string")
    return value.encode(errors="surrogateescape") if isinstance(value, str) else value


def _text(value: Value) -> str:
    assert isinstance(value, bytes)
    return value.decode(errors="surrogateescape")


class Message:
    """A proto2 message. Its names are those of protobuf's Python API."""

    fields: ClassVar[tuple[Text | Texts | Bytes | Int32, ...]] = ()

    def __init__(self, **values: str | bytes | int | Sequence[str]) -> None:
        self.values: dict[str, list[Value]] = {}
        for name, value in values.items():
            if name not in {field.name for field in self.fields}:
                raise ValueError(f"{type(self).__name__} has no field {name}")
            setattr(self, name, value)

    def __repr__(self) -> str:
        # A token is a secret: no value is shown.
        return f"{type(self).__name__}({', '.join(self.values)})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.values == self.values

    __hash__ = None  # type: ignore[assignment]

    def HasField(self, name: str) -> bool:
        return name in self.values

    def ClearField(self, name: str) -> None:
        self.values.pop(name, None)

    def Clear(self) -> None:
        self.values.clear()

    def CopyFrom(self, other: Self) -> None:
        self.values = {name: list(values) for name, values in other.values.items()}

    def MergeFrom(self, other: Self) -> None:
        self.MergeFromString(other.SerializePartialToString())

    def FindInitializationErrors(self) -> list[str]:
        """Return the names of required fields that are not set."""
        return [field.name for field in self.fields if field.required and field.name not in self.values]

    def IsInitialized(self, errors: list[str] | None = None) -> bool:
        """Tell whether every required field is set; the names of others are put into `errors`."""
        missing = self.FindInitializationErrors()
        if errors is not None:
            errors.extend(missing)
        return not missing

    def ByteSize(self) -> int:
        """Raises `EncodeError` as serializing does: so does protobuf."""
        return len(self.SerializeToString())

    def SerializeToString(self) -> bytes:
        """Return the wire's bytes. Raises `EncodeError` where a required field is not set."""
        missing = self.FindInitializationErrors()
        if missing:
            raise EncodeError(f"Message {type(self).__name__} is missing required fields: {','.join(missing)}")
        return self.SerializePartialToString()

    def SerializePartialToString(self) -> bytes:
        return b"".join(self._pairs())

    def ParseFromString(self, data: bytes) -> int:
        """Become what `data` says and return its length. Raises `DecodeError`."""
        self.Clear()
        return self.MergeFromString(data)

    def MergeFromString(self, data: bytes) -> int:
        by_number = {field.number: field for field in self.fields}
        try:
            for number, value in read_fields(data):
                field = by_number.get(number)
                # One of another wire type is skipped, as an unknown one is.
                if field is not None and isinstance(value, field.wire_type):
                    before = self.values.get(field.name, []) if field.repeated else []
                    self.values[field.name] = [*before, value]
        except Malformed as error:
            raise DecodeError(f"Error parsing message: {error}") from None
        return len(data)

    @classmethod
    def FromString(cls, data: bytes) -> Self:
        made = cls()
        made.ParseFromString(data)
        return made

    def _pairs(self) -> Iterator[bytes]:
        for field in sorted(self.fields, key=lambda field: field.number):
            for value in self.values.get(field.name, ()):
                yield write_field(field.number, value)


class CreateChannelRequest(Message):
    application_key = Text(1, "", required=True)
    duration_minutes = Int32(2, 0)
    topics = Texts(1000, ())
    """Not in the original: what is published to these topics reaches the page too."""


class CreateChannelResponse(Message):
    token = Text(2, "")
    duration_minutes = Int32(3, 0)


class SendMessageRequest(Message):
    application_key = Text(1, "", required=True)
    message = Text(2, "", required=True)


class VoidProto(Message):
    pass


class Request(Message):
    """One call of `/rpc_http` and `/_ah/remote_api`."""

    service_name = Text(2, "", required=True)
    method = Text(3, "", required=True)
    request = Bytes(4, b"", required=True)
    request_id = Text(5, "")


class Refusal(Message):
    """An `ApplicationError` or an `RpcError`: they have the same fields."""

    code = Int32(1, 0, required=True)
    detail = Text(2, "")


class Response(Message):
    """Its answer: the method's response, or one of two refusals, as bytes of `Refusal`."""

    response = Bytes(1, b"")
    application_error = Bytes(3, b"")
    rpc_error = Bytes(5, b"")
