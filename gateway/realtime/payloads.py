"""The message that a `publish` carries, in either dialect: its payload, its kind, its attributes. Pure.

`protocol/realtime.md` section 2.1 is the source.
"""

import binascii
from collections.abc import Iterable

import orjson

from broker.errors import InvalidMessage, InvalidRequest
from broker.messages import MAX_ATTRIBUTES, Kind, Message
from gateway.realtime.fields import Fields, read_string

MAX_DEPTH = 100
"""Levels of nesting of one frame, its own map included: parsers of other languages recurse."""


def json_message(frame: Fields) -> Message:
    """Return what the JSON dialect's payload key holds; `json` stays a value, stored compact."""
    if ("json" in frame) + ("text" in frame) + ("base64" in frame) != 1:
        raise InvalidRequest("A publish has exactly one of 'json', 'text' and 'base64'.")
    if "json" in frame:
        return Message(Kind.JSON, orjson.dumps(frame["json"]), _attributes(frame))
    if "text" in frame:
        return Message(Kind.TEXT, read_string(frame["text"], "text").encode(), _attributes(frame))
    text = read_string(frame["base64"], "base64")
    try:
        payload = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise InvalidMessage("'base64' is not base64 with the standard alphabet and padding.") from error
    return Message(Kind.BINARY, payload, _attributes(frame))


def msgpack_message(frame: Fields) -> Message:
    data = frame.get("data")
    if not isinstance(data, bytes):
        raise InvalidRequest("A publish has 'data', a bin value.")
    kind = frame.get("kind", "binary")
    if kind == "binary":
        return Message(Kind.BINARY, data, _attributes(frame))
    if kind == "text":
        return Message(Kind.TEXT, _checked_text(data), _attributes(frame))
    if kind == "json":
        return Message(Kind.JSON, _compacted(data), _attributes(frame))
    raise InvalidRequest("'kind' is one of 'json', 'text' and 'binary'.")


def _checked_text(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("A text payload must be UTF-8.") from error
    return data


def _compacted(data: bytes) -> bytes:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidMessage("A json payload must be a JSON document.") from error
    # One level less than a frame's: in the JSON dialect the payload stands inside one.
    if data.count(b"{") + data.count(b"[") >= MAX_DEPTH and is_too_deep([value]):
        raise InvalidMessage(f"The payload nests deeper than {MAX_DEPTH - 1} levels.")
    return orjson.dumps(value)


def _attributes(frame: Fields) -> dict[str, str]:
    if "attributes" not in frame:
        return {}
    given = frame["attributes"]
    if not isinstance(given, dict):
        raise InvalidRequest("'attributes' is a map of strings to strings.")
    if len(given) > MAX_ATTRIBUTES:
        raise InvalidMessage(f"A message may have {MAX_ATTRIBUTES} attributes, this one has {len(given)}.")
    for name, value in given.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise InvalidRequest("'attributes' is a map of strings to strings.")
    return given


def is_too_deep(value: object) -> bool:
    """Tell whether `value` nests deeper than `MAX_DEPTH` levels. Walks level by level, never recurses."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [item for container in level for item in _items(container) if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _items(container: Fields | list[object]) -> Iterable[object]:
    return container.values() if isinstance(container, dict) else container
