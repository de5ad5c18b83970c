"""The node's ASGI application: a lean dispatcher in front of FastAPI.

A FastAPI route costs four times a bare ASGI call (DESIGN 7), so everything under `/v1` goes straight to its room, and
so does what another room claims; pages, health, metrics and the reference are FastAPI's. The dispatcher also holds the
one rule that the rooms of `/v1` share: a browser page of a foreign origin is refused, one of an allowed origin gets its
CORS headers. There is no lifespan protocol here: `gateway.server` starts and ends what the node needs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson
from fastapi import APIRouter, FastAPI, Response

from gateway import metrics as prometheus
from gateway.admin import openapi, page
from gateway.asgi import JSON_TYPE, AsgiApp, Event, HeaderList, Receive, Scope, Send
from gateway.health import Health, alive_response

LEAN_PREFIX = "/v1/"
STREAM_SUFFIX = ":stream"

CONNECTIONS = "/@connections/"
"""In the paths of API Gateway's management API, which may begin with anything: an API's stage may be called v1."""

CORS_MAX_AGE_SECONDS = 600
"""How long a browser may keep the answer to a preflight request."""

CORS_METHODS = b"GET, POST, PUT, DELETE"
CORS_HEADERS = b"authorization, content-type, idempotency-key, last-event-id, x-api-key"
"""What a page of an allowed origin may send."""


class Origins(Protocol):
    """The part of `Authenticator` that knows which pages may use this node."""

    def allows_origin(self, origin: str | None, host: str | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class Claim:
    """What a room outside `/v1` takes: requests whose scope `takes` says yes to. It keeps its own rules of origin.

    Under `/v1` it is asked about `/@connections/` alone.
    """

    takes: Callable[[Scope], bool]
    app: AsgiApp


class Dispatcher:
    """Sends each request to its room: `:stream` to `sse`, the rest of `/v1` to `ams`, what is claimed, else `pages`."""

    __slots__ = ("_ams", "_claims", "_origins", "_pages", "_sse")

    def __init__(
        self, *, ams: AsgiApp, sse: AsgiApp, pages: AsgiApp, origins: Origins, claims: Sequence[Claim] = ()
    ) -> None:
        self._ams = ams
        self._claims = tuple(claims)
        self._sse = sse
        self._pages = pages
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} does not come here")
        path: str = scope["path"]
        is_lean = path.startswith(LEAN_PREFIX)
        if not is_lean or CONNECTIONS in path:
            for claim in self._claims:
                if claim.takes(scope):
                    return await claim.app(scope, receive, send)
        if not is_lean:
            return await self._pages(scope, receive, send)
        room = self._sse if path.endswith(STREAM_SUFFIX) else self._ams
        for name, _ in scope["headers"]:
            if name == b"origin":
                return await self._from_a_browser(room, scope, receive, send)
        return await room(scope, receive, send)

    async def _from_a_browser(self, room: AsgiApp, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        origin = headers[b"origin"].decode("latin-1")
        if not self._origins.allows_origin(origin, headers.get(b"host", b"").decode("latin-1")):
            return await _answer(send, 403, _foreign(scope["path"]), [(b"vary", b"origin")])
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            return await _answer(send, 204, b"", _preflight(headers[b"origin"]))
        return await room(scope, receive, _with_headers(send, _allowed(headers[b"origin"])))


def build(
    *,
    ams: AsgiApp,
    sse: AsgiApp,
    health: Health,
    metrics: prometheus.Metrics,
    origins: Origins,
    claims: Sequence[Claim] = (),
    routers: Sequence[APIRouter] = (),
) -> Dispatcher:
    """Put the rooms, the pages, health and metrics together. Of two claims the first counts."""
    pages = _pages(health, metrics, routers)
    return Dispatcher(ams=ams, sse=sse, pages=pages, origins=origins, claims=claims)


def _pages(health: Health, metrics: prometheus.Metrics, routers: Sequence[APIRouter]) -> AsgiApp:
    app = FastAPI(title="Headrace", version=prometheus.node_version(), docs_url=None, redoc_url=None, openapi_url=None)
    for router in (page.build(), *routers):
        app.include_router(router)
    _add_health(app, health)
    _add_metrics(app, metrics)
    _add_reference(app)
    return app


def _add_health(app: FastAPI, health: Health) -> None:
    @app.get("/healthz", tags=["Node"], summary="The event loop turns.", response_class=Response)
    async def healthz() -> Response:
        return _json(*alive_response())

    @app.get("/readyz", tags=["Node"], summary="A publish reaches this node's own bus, or why not (503).")
    async def readyz() -> Response:
        return _json(*await health.ready_response())


def _add_metrics(app: FastAPI, metrics: prometheus.Metrics) -> None:
    @app.get("/metrics", tags=["Node"], summary="Metrics in Prometheus' text format.", response_class=Response)
    async def show_metrics() -> Response:
        return Response(metrics.text(), headers={"content-type": prometheus.CONTENT_TYPE})


def _add_reference(app: FastAPI) -> None:
    document = app.openapi()
    document["info"]["description"] = openapi.DESCRIPTION
    document["paths"] = {**openapi.paths(), **document["paths"]}
    document.setdefault("components", {})["securitySchemes"] = openapi.SECURITY_SCHEMES
    document["security"] = [{name: []} for name in openapi.SECURITY_SCHEMES]
    body = orjson.dumps(document)

    @app.get("/openapi.json", include_in_schema=False)
    async def reference() -> Response:
        return _json(200, body)


def _json(status: int, body: bytes) -> Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _foreign(path: str) -> bytes:
    """Return the refusal of a foreign origin in the dialect of the room that `path` belongs to."""
    message = "Pages of this origin may not use this node."
    if path.endswith(STREAM_SUFFIX):
        return orjson.dumps({"error": {"code": "forbidden", "message": message}})
    return orjson.dumps({"error": {"code": 403, "message": message, "status": "FORBIDDEN"}})


def _allowed(origin: bytes) -> HeaderList:
    return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]


def _preflight(origin: bytes) -> HeaderList:
    return [
        *_allowed(origin),
        (b"access-control-allow-methods", CORS_METHODS),
        (b"access-control-allow-headers", CORS_HEADERS),
        (b"access-control-max-age", b"%d" % CORS_MAX_AGE_SECONDS),
    ]


def _with_headers(send: Send, extra: HeaderList) -> Send:
    async def send_with_headers(event: Event) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event.get("headers", ()), *extra]}
        await send(event)

    return send_with_headers


async def _answer(send: Send, status: int, body: bytes, headers: HeaderList) -> None:
    given = [*headers, JSON_TYPE] if body else headers
    length = [(b"content-length", b"%d" % len(body))] if body else []
    await send({"type": "http.response.start", "status": status, "headers": [*given, *length]})
    await send({"type": "http.response.body", "body": body})
