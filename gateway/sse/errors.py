"""Refusals before a stream begins: `{"error": {"code", "message"}}` with the status that fits."""

import orjson

from broker.errors import (
    Forbidden,
    HeadraceError,
    InvalidName,
    InvalidRequest,
    LimitExceeded,
    ServerError,
    Unauthorized,
    UnknownProject,
    UnknownTopic,
)
from gateway.asgi import Answer, HeaderList, retry_after

DEFAULT_RETRY_MS = 1000

_STATUS: dict[type[HeadraceError], int] = {
    InvalidName: 400,
    InvalidRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    UnknownProject: 404,
    UnknownTopic: 404,
    LimitExceeded: 429,
    ServerError: 503,
}


class NotFound(HeadraceError):
    code = "not_found"
    sentence = "There is nothing under this path."


class WrongMethod(HeadraceError):
    code = "method_not_allowed"
    sentence = "A stream is read with GET."


def answer_to(refusal: HeadraceError) -> Answer:
    """Return the answer to any refusal."""
    if isinstance(refusal, NotFound):
        return envelope(404, refusal.code, refusal.reason)
    if isinstance(refusal, WrongMethod):
        return envelope(405, refusal.code, refusal.reason, [(b"allow", b"GET")])
    status = next((_STATUS[kind] for kind in type(refusal).__mro__ if kind in _STATUS), 400)
    retry_ms = refusal.retry_ms
    if retry_ms is None and isinstance(refusal, ServerError):
        retry_ms = DEFAULT_RETRY_MS
    return envelope(status, refusal.code, refusal.reason, retry_after(retry_ms))


def internal_error() -> Answer:
    """Return the answer to a fault of our own."""
    return envelope(500, "internal", "The request failed.")


def envelope(status: int, code: str, message: str, headers: HeaderList | None = None) -> Answer:
    return Answer(status, orjson.dumps({"error": {"code": code, "message": message}}), headers or [])
