"""The management API over HTTP, as boto3's `apigatewaymanagementapi` speaks it (contracts/apigateway 2).

    POST    .../@connections/{id}    the body is one message         200, empty
    GET     .../@connections/{id}    who it is, since when           200, JSON in lower camel case
    DELETE  .../@connections/{id}    close it                        204, empty

The path before may be anything (`reach`). The id is percent-decoded once, the signature is checked over the path as it
came. A refusal names itself in `x-amzn-ErrorType`: the order is signature, throttle, policy, then the connection's own.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import unquote

import orjson

from broker.errors import Forbidden, HeadraceError, InvalidRequest
from gateway.apigateway import errors
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.errors import Malformed, MethodNotAllowed
from gateway.apigateway.management.credentials import Caller, Credentials, credentials_of
from gateway.apigateway.management.reach import Reach, Reaches
from gateway.apigateway.management.sigv4 import SignedRequest
from gateway.apigateway.management.throttle import Throttle
from gateway.apigateway.ports import Connections, Standing
from gateway.asgi import (
    AsgiApp,
    HeaderList,
    PeerGone,
    Receive,
    Scope,
    Send,
    headers_of,
    read_body,
)
from gateway.context import Context
from gateway.streams import EXTENSION, StreamHost

CONNECTIONS = (b"@connections", b"%40connections")
"""The last path segment but one; clients send it raw, awscurl encoded."""

METHODS = ("POST", "GET", "DELETE")

MAX_INVOCATION_CHARS = 128
"""Of `amz-sdk-invocation-id`, which is a UUID."""

MAX_DECISIONS = 16_384
"""What policies said of a call is kept for so many: they do not change, and are read letter by letter."""

log = logging.getLogger(__name__)


def takes(scope: Scope) -> bool:
    """Tell whether a request is of the management API."""
    return _split(scope["raw_path"]) is not None


def build(
    context: Context, section: ApiGateway, connections: Connections, *, throttles: Mapping[str, Throttle]
) -> AsgiApp:
    """`throttles` are the APIs', by name: what their clients send counts against the same (contracts/apigateway 11)."""
    credentials = credentials_of(section)
    if credentials.is_open:
        log.warning("the management API is open: whoever reaches this node may post to, look at and close connections")
    return ManagementApi(context, section, connections, credentials, Reaches(section, throttles))


class ManagementApi:
    """The ASGI app of every path that `takes` says yes to."""

    __slots__ = (
        "_allowed",
        "_connections",
        "_context",
        "_credentials",
        "_monotonic",
        "_new_id",
        "_reaches",
        "_section",
    )

    def __init__(
        self,
        context: Context,
        section: ApiGateway,
        connections: Connections,
        credentials: Credentials,
        reaches: Reaches,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._context = context
        self._section = section
        self._connections = connections
        self._credentials = credentials
        self._reaches = reaches
        self._monotonic = monotonic
        self._new_id = new_id
        self._allowed = lru_cache(maxsize=MAX_DECISIONS)(self._is_allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._new_id()
        try:
            status, body = await self._answer(scope, receive)
        except PeerGone:
            return
        except HeadraceError as refusal:
            self._context.metrics.refused(refusal.code)
            await _refuse(scope, send, errors.error_of(refusal), request_id, retry_ms=refusal.retry_ms)
        except Exception:
            log.exception("a call to @connections failed", extra={"request": request_id})
            await _refuse(scope, send, errors.FAULT, request_id)
        else:
            await _write(scope, send, status, errors.headers_of_success(request_id), body)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        """Return status and body of a call that succeeds."""
        method: str = scope["method"]
        if method not in METHODS:
            raise MethodNotAllowed
        prefix, raw_id = _split(scope["raw_path"]) or (b"", b"")
        headers = headers_of(scope)
        self._check_origin(headers)
        reach = self._reaches.of(prefix)
        body = await read_body(receive, max_bytes=reach.message_bytes)
        connection = self._admit(scope, body, reach, raw_id)
        if method == "POST":
            await self._connections.post(connection, body, invocation=_invocation(headers), within=reach.within)
            return 200, b""
        if method == "GET":
            return 200, document(await self._connections.describe(connection, within=reach.within))
        await self._connections.delete(connection, within=reach.within)
        return 204, b""

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        """A page of a foreign origin is refused, as on every face: in open mode nothing else would stop it."""
        origin = headers.get(b"origin")
        if origin is None:
            return
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._context.auth.allows_origin(origin.decode("latin-1"), host):
            raise Forbidden("Pages of this origin may not use this node.")

    def _admit(self, scope: Scope, body: bytes, reach: Reach, raw_id: bytes) -> str:
        """Return the connection's id, once the caller has shown that they may do this to it."""
        method: str = scope["method"]
        request = SignedRequest(
            method=method, raw_path=scope["raw_path"], query=scope["query_string"], headers=scope["headers"]
        )
        caller = self._credentials.authenticate(request, body, now_ms=self._context.now_ms())
        now = self._monotonic()
        for throttle in reach.throttles:
            throttle.take(now)
        connection = _connection(raw_id)
        if not self._allowed(caller, reach, method, connection):
            raise Forbidden("The access key's policy does not allow this.")
        return connection

    def _is_allowed(self, caller: Caller, reach: Reach, method: str, connection: str) -> bool:
        where = self._section
        return reach.allows(caller.policy, method, connection, region=where.region, account=where.account)


def document(standing: Standing) -> bytes:
    """Return a connection as GetConnection shows it. The SDKs look for exactly these names."""
    facts = standing.facts
    return orjson.dumps(
        {
            "connectedAt": _iso(facts.connected_at_ms),
            "identity": {"sourceIp": facts.source_ip, "userAgent": facts.user_agent or ""},
            "lastActiveAt": _iso(standing.last_active_at_ms),
        }
    )


def _split(raw_path: bytes) -> tuple[bytes, bytes] | None:
    """Return what stands before `/@connections` and the id behind it; None where that is no part of the path.

    An id that is missing, or holds a slash, is this room's to refuse, with a type.
    """
    above, _, last = raw_path.rpartition(b"/")
    prefix, found, name = above.rpartition(b"/")
    if found and name in CONNECTIONS:
        return prefix, last
    for name in CONNECTIONS:
        prefix, found, rest = raw_path.rpartition(b"/" + name)
        if found and (not rest or rest.startswith(b"/")):
            return prefix, rest[1:]
    return None


def _connection(raw: bytes) -> str:
    """Decode an id once. Raises `Malformed`."""
    try:
        connection = raw.decode("ascii")
        if "%" in connection:
            connection = unquote(connection, errors="strict")
    except UnicodeDecodeError:
        raise Malformed from None
    if not connection or "/" in connection:
        raise Malformed(f"Invalid connectionId: '{connection[:64]}'")
    return connection


def _invocation(headers: Mapping[bytes, bytes]) -> str | None:
    """Return what all attempts of one call have in common (contracts/apigateway 4)."""
    given = headers.get(b"amz-sdk-invocation-id")
    if not given:
        return None
    if len(given) > MAX_INVOCATION_CHARS:
        raise InvalidRequest(f"amz-sdk-invocation-id has more than {MAX_INVOCATION_CHARS} characters.")
    return given.decode("latin-1")


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _refuse(
    scope: Scope, send: Send, error: errors.AwsError, request_id: str, *, retry_ms: int | None = None
) -> None:
    headers = errors.headers_of_error(error, request_id, retry_ms=retry_ms)
    if error.status == 405:
        headers.append((b"allow", ", ".join(METHODS).encode()))
    await _write(scope, send, error.status, headers, errors.body_of_error(error))


async def _write(scope: Scope, send: Send, status: int, headers: HeaderList, body: bytes) -> None:
    """Write an answer, past `send` where the server is ours. A 204 has neither length nor type (RFC 9110, 8.6)."""
    if status == 204:
        given = [pair for pair in headers if pair != errors.CONTENT_TYPE]
        await send({"type": "http.response.start", "status": status, "headers": given})
        await send({"type": "http.response.body", "body": b""})
        return
    host: StreamHost | None = scope.get("extensions", {}).get(EXTENSION)
    if host is not None and host.answer(status, headers, body):
        return
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
