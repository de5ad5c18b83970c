"""The fields of one client frame: each is read with its type and its bound, or refused with a sentence. Pure.

`protocol/realtime.md` section 2 is the source: types are strict, an integer is no float, boolean or string.
"""

import re

from broker.errors import InvalidRequest

MAX_INTEGER = 2**53 - 1
"""JavaScript keeps integers exactly up to here."""

MAX_ID_BYTES = 64

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

RequestId = int | str | None
Fields = dict[str, object]


def read_id(frame: Fields) -> RequestId:
    if "id" not in frame:
        return None
    given = frame["id"]
    if type(given) is int and 0 <= given <= MAX_INTEGER:
        return given
    if isinstance(given, str) and 0 < len(given.encode()) <= MAX_ID_BYTES:
        return given
    raise InvalidRequest(f"'id' is an integer from 0 to 2^53-1, or a string of 1 to {MAX_ID_BYTES} bytes.")


def read_identity(frame: Fields, name: str, most: int) -> str | None:
    text = read_text(frame, name, most)
    if text is not None and _CONTROL.search(text):
        raise InvalidRequest(f"'{name}' holds a control character.")
    return text


def read_text(frame: Fields, name: str, most: int, *, least: int = 1) -> str | None:
    if name not in frame:
        return None
    text = read_string(frame[name], name)
    if not least <= len(text.encode()) <= most:
        raise InvalidRequest(f"'{name}' has {least} to {most} bytes.")
    return text


def read_string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"'{name}' must be a string.")
    return value


def read_flag(frame: Fields, name: str) -> bool:
    """Return a flag, false where it is not given."""
    given = frame.get(name, False)
    if not isinstance(given, bool):
        raise InvalidRequest(f"'{name}' must be true or false.")
    return given


def read_integer(value: object, name: str, *, least: int = 0, most: int = MAX_INTEGER) -> int:
    # `type` and not `isinstance`: True is an int to Python, and nobody means it.
    if type(value) is not int or not least <= value <= most:
        raise InvalidRequest(
            f"'{name}' must be an integer from {least} to {'2^53-1' if most == MAX_INTEGER else most}."
        )
    return value
