"""What came of calling an integration: its answer, or one of the ways in which it failed. Pure.

A Lambda-style answer is `{statusCode, headers, multiValueHeaders, body, isBase64Encoded}`; beyond AWS, `$connect`'s may
hold `user` and `tags`, which the connection keeps (contracts/apigateway 9 and 18).
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar

import orjson

from broker.errors import ServerError
from gateway.apigateway.ports import Denied
from gateway.apigateway.sockets.frames import FORBIDDEN, INTERNAL_ERROR, TIMED_OUT, TOO_MANY_REQUESTS

MAX_TAGS = 50
MAX_TAG_CHARS = 128
MAX_TAG_VALUE_CHARS = 1024
MAX_USER_CHARS = 1024

SUBPROTOCOL = "sec-websocket-protocol"

USER_HEADER = "headrace-user"
TAGS_HEADER = "headrace-tags"
"""How a back end that is no function gives a connection its user and its tags, these as a JSON object."""


class IntegrationError(ServerError):
    """The integration gave no answer that could be used. `status` answers a handshake, `told` a message."""

    code = "failed"
    sentence = "The integration failed."
    status: ClassVar[int] = 502
    told: ClassVar[str] = INTERNAL_ERROR


class Broken(IntegrationError):
    """It raised, or answered what cannot be understood: calling it again would change nothing."""

    sentence = "The integration failed, or its answer is malformed."


class Unreached(IntegrationError):
    """The way to it failed, or it answered that it cannot at the moment."""

    code = "unreached"
    sentence = "The integration was not reached."


class TimedOut(Unreached):
    code = "timed_out"
    sentence = "The integration took too long."
    status = 504
    told = TIMED_OUT


class Throttled(Unreached):
    code = "throttled"
    sentence = "The integration has too much to do."
    status = 429
    told = TOO_MANY_REQUESTS


class Slots:
    """How many calls there may be at once. `with slots:` takes one, or raises `Throttled`."""

    def __init__(self, most: int) -> None:
        self._free = most

    def __enter__(self) -> None:
        if not self._free:
            raise Throttled
        self._free -= 1

    def __exit__(self, *_: object) -> None:
        self._free += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An integration's answer. Names of headers are in lower case; of several values the last counts."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


def read_output(output: object) -> Outcome:
    """Read a Lambda-style answer. Raises `Broken`."""
    if not isinstance(output, Mapping):
        raise Broken("The answer is no object {statusCode, headers, body}.")
    return Outcome(
        status=_status(output.get("statusCode")),
        headers=_headers(output),
        body=_body(output),
        user=read_user(output.get("user")),
        tags=read_tags(output.get("tags")),
    )


def _status(given: object) -> int:
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) == 3:
        given = int(given)
    if not isinstance(given, int) or not 200 <= given <= 599:
        raise Broken("statusCode must be a number of 200 to 599.")
    return given


def _headers(output: Mapping[object, object]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _members(output.get("headers"), "headers"):
        found[name.lower()] = _header(value)
    for name, values in _members(output.get("multiValueHeaders"), "multiValueHeaders"):
        if not isinstance(values, list | tuple):
            raise Broken("multiValueHeaders must hold lists.")
        if values:
            found[name.lower()] = _header(values[-1])
    return found


def _members(given: object, called: str) -> list[tuple[str, object]]:
    if given is None:
        return []
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise Broken(f"{called} must be an object.")
    return list(given.items())


def _header(value: object) -> str:
    if not isinstance(value, str | int | float):
        raise Broken("A header's value must be a text, a number or a boolean.")
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _body(output: Mapping[object, object]) -> bytes | None:
    body, encoded = output.get("body"), output.get("isBase64Encoded", False)
    if body is None:
        return None
    if not isinstance(body, str) or not isinstance(encoded, bool | None):
        raise Broken("body must be a text, isBase64Encoded a boolean.")
    if not encoded:
        return body.encode(errors="replace")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise Broken("body is said to be base64 and is not.") from None


def read_user(given: object) -> str | None:
    """Return whose connection it is to be, None where nothing is said. Raises `Broken`."""
    if given is None:
        return None
    if not isinstance(given, str) or not 1 <= len(given) <= MAX_USER_CHARS:
        raise Broken(f"user must be a text of 1 to {MAX_USER_CHARS} characters.")
    return given


def read_tags(given: object) -> dict[str, str]:
    """Return a connection's tags. Raises `Broken`."""
    tags = dict(_members(given, "tags"))
    if len(tags) > MAX_TAGS:
        raise Broken(f"There are more than {MAX_TAGS} tags.")
    found: dict[str, str] = {}
    for name, value in tags.items():
        if not isinstance(value, str) or not 1 <= len(name) <= MAX_TAG_CHARS or len(value) > MAX_TAG_VALUE_CHARS:
            raise Broken(
                f"A tag is a name of up to {MAX_TAG_CHARS} and a text of up to {MAX_TAG_VALUE_CHARS} characters."
            )
        found[name] = value
    return found


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """Read the HTTP answer of a back end that is proxied as it is. Raises `Broken`."""
    tags = headers.get(TAGS_HEADER)
    try:
        told = orjson.loads(tags.encode("latin-1", errors="replace")) if tags else None
    except orjson.JSONDecodeError:
        raise Broken(f"The header {TAGS_HEADER} must be a JSON object.") from None
    return Outcome(
        status=_status(status),
        headers=headers,
        body=body,
        user=read_user(headers.get(USER_HEADER) or None),
        tags=read_tags(told),
    )


def denied(status: int) -> Denied:
    """Return the refusal of a handshake with `status`, in AWS's words where it has some."""
    return Denied(status=status, message=_WORDS.get(status) or _phrase(status))


_WORDS = {
    401: "Unauthorized",
    403: FORBIDDEN,
    429: TOO_MANY_REQUESTS,
    500: INTERNAL_ERROR,
    502: INTERNAL_ERROR,
    504: TIMED_OUT,
}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
