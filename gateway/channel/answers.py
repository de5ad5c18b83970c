"""How this room answers over HTTP: with reason phrases of its own, and with nothing that its contract has not."""

from collections.abc import Sequence
from http import HTTPStatus

from gateway.asgi import HeaderList, Scope, Send
from gateway.channel.errors import Told
from gateway.streams import EXTENSION, StreamHost

NO_CACHE = (b"cache-control", b"no-cache")

JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain")


async def answer(
    scope: Scope,
    send: Send,
    status: int,
    *,
    body: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    reason: str = "",
) -> bool:
    """Write the whole answer; tell whether it went to the transport. Only our own HTTP protocol sends `reason`."""
    given: HeaderList = [NO_CACHE, *headers]
    host: StreamHost | None = scope.get("extensions", {}).get(EXTENSION)
    if host is not None and host.answer(status, given, body, reason=reason.encode("ascii")):
        return True
    given.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})
    return True


async def refuse(
    scope: Scope, send: Send, told: Told, *, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
) -> None:
    """Answer with an error; a 401 says why in its reason phrase, as the page's script shows it."""
    standard = told.status == HTTPStatus.BAD_REQUEST
    await answer(scope, send, told.status, headers=headers, body=body, reason="" if standard else told.description)
