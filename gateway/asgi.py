"""What the lean ASGI routes share: types, the credential, the body, the answer.

No framework stands on these paths, and the common case takes no detour: one dict of headers, one look at the token.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from broker.errors import Forbidden, InvalidRequest, TooLarge, Unauthorized
from broker.rights import Principal
from gateway.auth import Authenticator
from gateway.streams import EXTENSION, StreamHost

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]

MAX_QUERY_FIELDS = 20

MAX_TOKEN_CHARS = 16_384

JSON_TYPE = (b"content-type", b"application/json; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Besides type and length."""


class PeerGone(Exception):
    """The peer left before its request was complete: there is nobody to answer."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the request's headers by lower-case name; of a repeated one the last."""
    return dict(scope["headers"])


def query_of(scope: Scope) -> dict[str, str]:
    """Return the query's fields, of a repeated one the last. Raises `InvalidRequest`."""
    raw: bytes = scope["query_string"]
    if not raw:
        return {}
    try:
        return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS))
    except ValueError:
        raise InvalidRequest("The query is not valid.") from None


def token_of(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> str | None:
    """Return the presented credential (DESIGN 8), None where there is none.

    `Authorization: Bearer`, `x-api-key`, `?token=` and ARGO's `?key=`; the first of these that is not empty counts.
    """
    scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and bearer.strip():
        return bearer.strip().decode("latin-1")
    if key := headers.get(b"x-api-key"):
        return key.decode("latin-1")
    return query.get("token") or query.get("key") or None


async def principal_of(auth: Authenticator, token: str | None) -> Principal:
    """Return who is calling, the anonymous principal where no token was presented. Raises `Unauthorized`."""
    if token is None:
        return auth.anonymous
    if len(token) > MAX_TOKEN_CHARS:
        raise Unauthorized("The token is too long.")
    return auth.known(token) or await auth.authenticate(token)


async def permitted(auth: Authenticator, token: str | None, check: Callable[[Principal], None]) -> Principal:
    """Return who is calling once `check` raises nothing. Raises `Unauthorized` and what `check` raises.

    No user is refused from memory: a script that grants a right and uses it in the next breath works.
    """
    caller = await principal_of(auth, token)
    try:
        check(caller)
    except (Forbidden, Unauthorized):
        if caller.account is None or token is None:
            raise
        caller = await auth.read_again(token)
        check(caller)
    return caller


async def read_body(receive: Receive, *, max_bytes: int) -> bytes:
    """Return the whole body. Raises `TooLarge`, `PeerGone`. How long it may take is the HTTP protocol's business."""
    event = await receive()
    if event["type"] != "http.request":
        raise PeerGone
    body: bytes = event.get("body", b"")
    if not event.get("more_body", False) and len(body) <= max_bytes:
        return body
    parts, size = [body], len(body)
    while event.get("more_body", False):
        if size > max_bytes:
            break
        event = await receive()
        if event["type"] != "http.request":
            raise PeerGone
        parts.append(event.get("body", b""))
        size += len(parts[-1])
    if size > max_bytes:
        raise TooLarge(f"The body has more than {max_bytes} bytes.")
    return b"".join(parts)


def answered_at_once(scope: Scope, answer: Answer) -> bool:
    """Write the whole answer past `send` where the server is ours; a page's answer gets more headers on its way."""
    host: StreamHost | None = scope.get("extensions", {}).get(EXTENSION)
    if host is None or any(name == b"origin" for name, _ in scope["headers"]):
        return False
    return host.answer(answer.status, (JSON_TYPE, *answer.headers), answer.body)


async def send_answer(send: Send, answer: Answer) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": [JSON_TYPE, length, *answer.headers]}
    )
    await send({"type": "http.response.body", "body": answer.body})


def retry_after(retry_ms: int | None) -> HeaderList:
    """Return the header `Retry-After`, in whole seconds, at least one; nothing for None."""
    if retry_ms is None:
        return []
    return [(b"retry-after", b"%d" % max(1, -(-retry_ms // 1000)))]
