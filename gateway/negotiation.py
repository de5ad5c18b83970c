"""What a handshake says: whose it is, which subprotocols it offers, and the words in which it is refused.

Everything here looks at one request and touches no socket; `gateway.handshake` does.
"""

from collections.abc import Sequence
from http import HTTPStatus
from math import ceil
from urllib.parse import parse_qs

from websockets import http11
from websockets.exceptions import NegotiationError
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from broker.errors import HeadraceError

VERSION = "13"
"""Of RFC 6455."""

MAX_HEAD_BYTES = 65_536
"""Request line and headers; uvicorn's HTTP protocol has bounds of its own before."""

# A token in a URL or a cookie may be longer than the 8 KiB that `websockets` takes, and it would look for another bound
# in the environment alone. The whole head has been bounded when it is parsed here.
http11.MAX_LINE_LENGTH = MAX_HEAD_BYTES

RETRY_MS = 5000
"""When to come again where there are too many."""

LEAVING_MS = 1000
"""When a node that leaves may be asked again: behind one address there may be another by then."""


class Refusal(Exception):
    """A handshake's refusal as an HTTP answer; `code` is its stable word."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        retry_ms: int | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.retry_ms = retry_ms
        super().__init__(message)

    @property
    def document(self) -> dict[str, object]:
        """The answer's body in our own words."""
        told: dict[str, object] = {"code": self.code, "message": self.message}
        return {"error": told if self.retry_ms is None else {**told, "retry_ms": self.retry_ms}}


class Negotiation(ServerProtocol):
    """`websockets`' handshake, with our rule for subprotocols: the client's first that the room speaks."""

    spoken: Sequence[str] | None = None
    """None: somebody else selects."""

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        if not subprotocols or self.spoken is None:
            return None
        for name in subprotocols:
            if name in self.spoken:
                return name
        raise NegotiationError(f"invalid subprotocol; expected one of {', '.join(self.spoken)}")


def credential(request: Request) -> str | None:
    """Return a handshake's token: `Authorization: Bearer`, `x-api-key`, `?token=`, the first that is not empty."""
    for value in request.headers.get_all("Authorization"):
        scheme, _, token = value.strip().partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
    for value in request.headers.get_all("x-api-key"):
        if value.strip():
            return value.strip()
    query = parse_qs(request.path.partition("?")[2], max_num_fields=100)
    return query["token"][0] if "token" in query else None


def host_of(request: Request) -> str | None:
    given = request.headers.get_all("Host")
    return given[0] if given else None


def malformed(response: Response, why: Exception | None) -> Refusal:
    kept = tuple((name, value) for name, value in response.headers.raw_items() if name in ("Upgrade", "Allow"))
    status = HTTPStatus(response.status_code)
    return Refusal(status, "invalid_request", f"The handshake is malformed: {why}.", kept)


def wrong_version() -> Refusal:
    wanted = (("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket"))
    return Refusal(HTTPStatus.UPGRADE_REQUIRED, "invalid_request", "The WebSocket version must be 13.", wanted)


def unauthorized(error: HeadraceError) -> Refusal:
    return Refusal(HTTPStatus.UNAUTHORIZED, error.code, error.reason, (("WWW-Authenticate", "Bearer"),))


def full(message: str, *, code: str = "limit_exceeded", retry_ms: int = RETRY_MS) -> Refusal:
    retry = (("Retry-After", str(ceil(retry_ms / 1000))),)
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, code, message, retry, retry_ms=retry_ms)


def leaving() -> Refusal:
    return full("The node restarts.", code="unavailable", retry_ms=LEAVING_MS)
