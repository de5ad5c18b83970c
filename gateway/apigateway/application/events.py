"""The events of a connection as back ends get them, member by member as AWS sends them. Pure.

contracts/apigateway 10 has the recorded events that these follow. An event is what `json.loads` would make of AWS's:
a handler in this process gets it as it is, one behind HTTP as JSON.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from gateway.apigateway.application.selection import CONNECT, DISCONNECT
from gateway.apigateway.ports import ConnectRequest, Facts

Event = dict[str, object]

MAX_QUERY_FIELDS = 1000
"""Of a handshake; what stands behind them is not looked at. A URL has 8 KiB at most."""

ID_BYTES = 11
"""Of a request or message id: 16 characters, the last of them `=` (contracts/apigateway 7)."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not `strftime`'s, which depend on the locale."""

_HOP_BY_HOP: Final = frozenset({"connection", "upgrade", "content-length", "keep-alive", "proxy-connection"})
_FORWARDED: Final = frozenset({"x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id"})


def connect(request: ConnectRequest, *, stage_variables: Mapping[str, str] | None = None) -> Event:
    """Return the CONNECT event, of a request whose facts the authorizer has completed."""
    event = _headers(_without(_HOP_BY_HOP, forwarded(request)))
    if request.query:
        event |= _query(request.query)
    if stage_variables:
        event["stageVariables"] = dict(stage_variables)
    event["requestContext"] = _opening_context(request)
    event["isBase64Encoded"] = False
    return event


def authorize(request: ConnectRequest, *, method_arn: str, stage_variables: Mapping[str, str] | None = None) -> Event:
    """Return the input of a REQUEST authorizer, which sees the headers of the connection too."""
    headers = forwarded(request)
    if not any(name.lower() == "content-length" for name, _ in headers):
        headers.append(("content-length", "0"))
    return {
        "type": "REQUEST",
        "methodArn": method_arn,
        **_headers(headers),
        **_query(request.query),
        "stageVariables": dict(stage_variables or {}),
        "requestContext": _opening_context(request),
    }


def message(
    facts: Facts,
    body: str | bytes,
    *,
    route_key: str,
    request_id: str,
    message_id: str,
    now_ms: int,
    stage_variables: Mapping[str, str] | None = None,
) -> Event:
    """Return the MESSAGE event. Bytes, which AWS does not let in, become base64."""
    context = _context(facts, route_key=route_key, event_type="MESSAGE", request_id=request_id, now_ms=now_ms)
    event: Event = {"requestContext": {**context, "messageId": message_id}}
    if stage_variables:
        event["stageVariables"] = dict(stage_variables)
    event["body"] = body if isinstance(body, str) else base64.b64encode(body).decode()
    event["isBase64Encoded"] = not isinstance(body, str)
    return event


def disconnect(
    facts: Facts,
    *,
    code: int,
    reason: str,
    event_id: str,
    now_ms: int,
    stage_variables: Mapping[str, str] | None = None,
) -> Event:
    """Return the DISCONNECT event. Its request id follows from `event_id`, so an end told twice is known by it."""
    context = _context(facts, route_key=DISCONNECT, event_type="DISCONNECT", request_id=id_for(event_id), now_ms=now_ms)
    # Exactly these four, whatever the handshake had: that is all that AWS shows of it at the end.
    shown = (("Host", facts.domain_name), ("x-api-key", ""), ("X-Forwarded-For", ""), ("x-restapi", ""))
    event = _headers(shown)
    if stage_variables:
        event["stageVariables"] = dict(stage_variables)
    event["requestContext"] = {**context, "disconnectStatusCode": code, "disconnectReason": reason}
    event["isBase64Encoded"] = False
    return event


def id_for(text: str) -> str:
    """Return the request id that belongs to `text`, the same each time."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:ID_BYTES]).decode()


def forwarded(request: ConnectRequest) -> list[tuple[str, str]]:
    """Return a handshake's headers with those that a gateway adds, as a back end behind HTTP should see them too."""
    given = {name.lower(): value for name, value in request.headers if name.lower() in _FORWARDED}
    before, trace = given.get("x-forwarded-for"), given.get("x-amzn-trace-id")
    address = request.facts.source_ip
    return [
        *_without(_FORWARDED, request.headers),
        ("X-Amzn-Trace-Id", trace or _trace(request)),
        ("X-Forwarded-For", f"{before}, {address}" if before else address),
        ("X-Forwarded-Port", str(request.port)),
        ("X-Forwarded-Proto", "https" if request.secure else "http"),
    ]


def request_time(at_ms: int) -> str:
    """Return the time of a request as the Common Log Format has it, such as `19/Feb/2024:07:11:42 +0000`."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{at.day:02}/{_MONTHS[at.month - 1]}/{at.year}:{at:%H:%M:%S} +0000"


def _opening_context(request: ConnectRequest) -> Event:
    return _context(
        request.facts,
        route_key=CONNECT,
        event_type="CONNECT",
        request_id=request.request_id,
        now_ms=request.requested_at_ms,
    )


def _context(facts: Facts, *, route_key: str, event_type: str, request_id: str, now_ms: int) -> Event:
    """Return the request context's members that all events have."""
    identity = {"sourceIp": facts.source_ip}
    if facts.user_agent is not None:
        identity["userAgent"] = facts.user_agent
    context: Event = {
        "routeKey": route_key,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": request_time(now_ms),
        "messageDirection": "IN",
        "stage": facts.stage,
        "connectedAt": facts.connected_at_ms,
        "requestTimeEpoch": now_ms,
        "identity": identity,
        "requestId": request_id,
        "domainName": facts.domain_name,
        "connectionId": facts.id,
        "apiId": facts.api,
    }
    if facts.authorizer is not None:
        principal = {} if facts.principal_id is None else {"principalId": facts.principal_id}
        context["authorizer"] = {**facts.authorizer, **principal}
    return context


def _headers(pairs: Iterable[tuple[str, str]]) -> Event:
    """Return headers in both forms. Names that differ in their case alone are one header, spelt as it came first."""
    spelt: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(spelt.setdefault(name.lower(), name), []).append(value)
    return {"headers": {name: of_name[-1] for name, of_name in values.items()}, "multiValueHeaders": values}


def _query(query: str) -> Event:
    values: dict[str, list[str]] = {}
    fields = parse_qsl(query, keep_blank_values=True)[:MAX_QUERY_FIELDS]
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return {
        "queryStringParameters": {name: of_name[-1] for name, of_name in values.items()},
        "multiValueQueryStringParameters": values,
    }


def _without(names: frozenset[str], headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in names]


def _trace(request: ConnectRequest) -> str:
    """Return a tracing header as AWS makes one: the second of the request, and 96 bits of its own."""
    own = hashlib.sha256(request.request_id.encode()).hexdigest()[:24]
    return f"Root=1-{request.requested_at_ms // 1000:08x}-{own}"
