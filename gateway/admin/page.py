"""The pages of a node: `/` (live tail and publish box) and `/docs` (the HTTP API), all from files in `assets/`.

No byte comes from elsewhere, no script or style stands inline, so a strict Content-Security-Policy holds; the scripts
show broker-supplied strings by `textContent` alone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files

from fastapi import APIRouter, Request, Response

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
"""On every page and asset."""

PAGES = {"/": "index.html", "/docs": "docs.html"}

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""What `assets/` may hold."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served. `etag` is of its bytes, so that a browser asks again but loads once."""

    body: bytes
    media_type: str
    etag: str


def load() -> dict[str, Asset]:
    """Read every asset once, by path: `/`, `/docs`, `/assets/page.js`, ..."""
    shown = {name: path for path, name in PAGES.items()}
    found = {}
    for entry in files("gateway.admin").joinpath("assets").iterdir():
        kind = MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if kind is not None:
            body = entry.read_bytes()
            path = shown.get(entry.name, f"/assets/{entry.name}")
            found[path] = Asset(body, kind, f'"{blake2b(body, digest_size=12).hexdigest()}"')
    return found


def build() -> APIRouter:
    """Return the routes of all pages and assets."""
    router = APIRouter(include_in_schema=False)
    for path, asset in load().items():
        router.add_api_route(path, _served(asset), methods=["GET", "HEAD"])
    return router


def _served(asset: Asset) -> Callable[[Request], Awaitable[Response]]:
    headers = {**SECURITY_HEADERS, "etag": asset.etag, "cache-control": "no-cache"}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == asset.etag:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, media_type=asset.media_type, headers=headers)

    return serve
