"""Answers that are made before any room saw the request, each in the envelope of the face that its URL belongs to."""

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

CLOSE = (b"connection", b"close")
EVENT_STREAM = b"text/event-stream"
JSON = (b"content-type", b"application/json; charset=utf-8")

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case."""

_CONNECTIONS = re.compile(rb"/(@|%40)connections(/|\?|$)")
"""In the URLs of API Gateway's management API."""

_AWS_TYPES = {408: "RequestTimeoutException", 413: "PayloadTooLargeException", 503: "ServiceUnavailableException"}
"""What the SDKs take an error's class from (contracts/apigateway 3); any other is a `BadRequestException`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer made before any room saw the request."""

    status: int
    code: str
    word: str
    """The status word of ARGO's envelope."""
    message: str
    retry_ms: int | None = None

    def response(self, url: bytes) -> bytes:
        """Return the whole response, in the envelope of the face that `url` belongs to."""
        if _CONNECTIONS.search(url):
            error_type = _AWS_TYPES.get(self.status, "BadRequestException").encode()
            own = [(b"x-amzn-ErrorType", error_type), (b"x-amzn-RequestId", str(uuid.uuid4()).encode())]
            return self._written({"message": self.message}, own)
        argo = url.startswith(b"/v1/") and not url.startswith(b"/v1/realtime") and b":stream" not in url
        error: dict[str, object] = {"code": self.status if argo else self.code, "message": self.message}
        if argo:
            error["status"] = self.word
        elif self.retry_ms is not None:
            error["retry_ms"] = self.retry_ms
        return self._written({"error": error})

    def _written(self, document: dict[str, object], own: Headers = ()) -> bytes:
        body = orjson.dumps(document)
        headers = [JSON, *own, (b"content-length", b"%d" % len(body)), CLOSE]
        if self.retry_ms is not None:
            headers.append((b"retry-after", b"%d" % ceil(self.retry_ms / 1000)))
        return head(self.status, headers) + body


class ComeAgain(Refusal):
    """For a browser's `EventSource`, which gives up for good at any status but 200, and heeds `retry`."""

    def response(self, url: bytes) -> bytes:
        headers = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-store"), CLOSE]
        return head(200, headers) + b"retry: %d\n\n" % (self.retry_ms or 0)


class HangUp(Refusal):
    """For an `EventSource` that needs CORS headers, which only its room knows: a broken connection brings it back."""

    def response(self, url: bytes) -> bytes:
        return b""


MALFORMED = Refusal(400, "invalid_request", "INVALID_ARGUMENT", "This is not a valid HTTP request.")
TOO_SLOW = Refusal(408, "timeout", "TIMEOUT", "The request took too long.")
BODY_TOO_LARGE = Refusal(413, "too_large", "INVALID_ARGUMENT", "Message size is too large")
URL_TOO_LONG = Refusal(414, "too_large", "INVALID_ARGUMENT", "The URL is too long.")
HEADERS_TOO_LARGE = Refusal(431, "too_large", "INVALID_ARGUMENT", "The headers are too large or too many.")
CROWDED = Refusal(503, "limit_exceeded", "UNAVAILABLE", "There are too many connections.", retry_ms=5000)
_HURRIED = "Too many connections come at once."


def hurried(headers: Headers, wait_ms: int) -> Refusal:
    """Return how one is refused that comes at a rate too high, in the way that brings it back at its time."""
    kind = Refusal
    if is_event_stream(headers):
        kind = HangUp if any(name == b"origin" for name, _ in headers) else ComeAgain
    return kind(503, "limit_exceeded", "UNAVAILABLE", _HURRIED, retry_ms=wait_ms)


def is_event_stream(headers: Headers) -> bool:
    """Tell whether a request asks for an answer that stays."""
    return any(name == b"accept" and EVENT_STREAM in value for name, value in headers)


def declared_length(headers: Headers) -> int:
    """Return the Content-Length, which the parser has checked, or 0."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return 0


def head(status: int, headers: Iterable[tuple[bytes, bytes]], *, reason: bytes = b"") -> bytes:
    """Return status line and headers, the empty line included. `reason`: the standard's phrase where it is empty."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, reason) if reason else STATUS_LINE[status]]
    for name, value in headers:
        lines += [name, b": ", value, b"\r\n"]
    lines.append(b"\r\n")
    return b"".join(lines)
