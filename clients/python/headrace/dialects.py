"""The two ways to write a frame: MessagePack (the default, quicker, bytes stay bytes) and JSON. Pure.

`Dialect` is the seam: the state machines above it see maps, the wire below it sees bytes.
"""

import base64
import json
from typing import Protocol

import msgpack

from headrace.errors import BadFrame
from headrace.messages import Kind, Message
from headrace.positions import Position

Frame = dict[str, object]

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_KINDS: dict[object, Kind] = {"json": "json", "text": "text", "binary": "binary"}


class Dialect(Protocol):
    @property
    def subprotocol(self) -> str: ...

    @property
    def binary(self) -> bool:
        """True where frames travel as binary WebSocket messages."""

    def encode(self, frame: Frame) -> bytes: ...

    def decode(self, data: bytes) -> Frame:
        """Return the map, or raise `BadFrame`."""

    def payload(self, kind: Kind, data: bytes) -> Frame:
        """Return the fields of a publish that hold this payload."""

    def message(self, frame: Frame) -> Message:
        """Read a `message` frame, or raise `BadFrame`."""


class MessagePack:
    subprotocol = "headrace.v1+msgpack"
    binary = True

    def encode(self, frame: Frame) -> bytes:
        packed: bytes = msgpack.packb(frame)
        return packed

    def decode(self, data: bytes) -> Frame:
        try:
            return _as_frame(msgpack.unpackb(data))
        except (ValueError, msgpack.UnpackException) as error:
            raise BadFrame(f"not MessagePack: {error}") from error

    def payload(self, kind: Kind, data: bytes) -> Frame:
        return {"kind": kind, "data": data}

    def message(self, frame: Frame) -> Message:
        try:
            kind, data = _KINDS[frame["kind"]], frame["data"]
        except (KeyError, TypeError) as error:
            raise BadFrame("a message frame without kind and data") from error
        if not isinstance(data, bytes):
            raise BadFrame("a message frame whose data is not bytes")
        return _message(frame, kind, data)


class Json:
    subprotocol = "headrace.v1+json"
    binary = False

    def encode(self, frame: Frame) -> bytes:
        return _encode_json(frame).encode()

    def decode(self, data: bytes) -> Frame:
        try:
            return _as_frame(json.loads(data))
        except (ValueError, RecursionError) as error:
            raise BadFrame(f"not JSON: {error}") from error

    def payload(self, kind: Kind, data: bytes) -> Frame:
        if kind == "json":
            return {"json": json.loads(data)}
        return {"text": data.decode()} if kind == "text" else {"base64": base64.b64encode(data).decode()}

    def message(self, frame: Frame) -> Message:
        """A JSON payload's bytes are written anew, compact: its value is kept, not its spelling."""
        try:
            return _message(frame, *_json_payload(frame))
        except (TypeError, ValueError) as error:
            raise BadFrame("a message frame with a malformed payload") from error


def _json_payload(frame: Frame) -> tuple[Kind, bytes]:
    if "text" in frame:
        return "text", _as_string(frame["text"]).encode()
    if "base64" in frame:
        return "binary", base64.b64decode(_as_string(frame["base64"]), validate=True)
    if "json" in frame:
        return "json", _encode_json(frame["json"]).encode()
    raise BadFrame("a message frame without a payload")


def _message(frame: Frame, kind: Kind, data: bytes) -> Message:
    topic, epoch, offset, time_ms = frame.get("topic"), frame.get("epoch"), frame.get("offset"), frame.get("time")
    attributes = frame.get("attributes", {})
    if (
        isinstance(topic, str)
        and isinstance(epoch, int)
        and isinstance(offset, int)
        and isinstance(time_ms, int)
        and isinstance(attributes, dict)
    ):
        return Message(topic, Position(epoch, offset), time_ms, kind, data, attributes)
    raise BadFrame("a message frame with a missing or malformed field")


def _as_frame(value: object) -> Frame:
    if isinstance(value, dict):
        return value
    raise BadFrame("a frame that is not a map")


def _as_string(value: object) -> str:
    if isinstance(value, str):
        return value
    raise BadFrame("a field that is not a string")


DIALECTS: dict[str, Dialect] = {"msgpack": MessagePack(), "json": Json()}
