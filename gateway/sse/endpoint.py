"""`GET /v1/projects/{project}/topics/{topic}:stream`: a topic as server-sent events (DESIGN 8).

Where to start: `Last-Event-ID`, which a browser sends by itself after a broken connection, else `?since=`, else now.

A browser's `EventSource` gives up for good at any status but 200. So where coming back helps (Redis is away, the place
is newer than what this node knows yet), a caller that accepts `text/event-stream` gets a stream that ends at once and
only says when to come back; other callers get a 503. Where coming back is useless, everybody gets the refusal.
"""

import asyncio
import logging
import random
import re
from collections.abc import Mapping
from urllib.parse import unquote

from broker.errors import Forbidden, HeadraceError, InvalidName, ServerError, Unauthorized, Unavailable
from broker.names import TopicName, parse_project, topic_of
from broker.ports import Since
from broker.rights import Principal
from gateway.asgi import (
    AsgiApp,
    HeaderList,
    Receive,
    Scope,
    Send,
    headers_of,
    permitted,
    query_of,
    send_answer,
    token_of,
)
from gateway.context import Context
from gateway.sse import errors
from gateway.sse.pulse import Pulse
from gateway.sse.stream import EventStream, Streams
from gateway.sse.wire import EventDialect, come_back, read_since
from gateway.streams import EXTENSION, StreamHost

log = logging.getLogger(__name__)

MIN_RETRY_MS = 1000
MAX_RETRY_MS = 3000
"""When an `EventSource` comes back, drawn for each, so that a restart does not bring them all at once."""

SUBSCRIBE_SECONDS = 30.0
"""A last bound on a subscribe; the hub's own deadlines are shorter."""

EVENT_STREAM = b"text/event-stream"

STREAM_HEADERS: HeaderList = [
    (b"content-type", EVENT_STREAM + b"; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx would otherwise collect events until its buffer is full.
    (b"x-accel-buffering", b"no"),
]

_PATH = re.compile(rb"/v1/projects/([^/]+)/topics/([^/]+):stream")


class StreamApp:
    """The ASGI app of event streams; needs `gateway.http` as uvicorn's HTTP protocol."""

    def __init__(self, context: Context, *, pulse: Pulse | None = None) -> None:
        self._context = context
        self._streams = Streams(context.hub, context.metrics, pulse or Pulse(), _retry_ms, context.now_ms, context.auth)
        self._chunked = EventDialect(chunked=True)
        self._bare = EventDialect(chunked=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._follow(scope)
        except ConnectionError:
            # The peer left before its stream began.
            return
        except HeadraceError as refusal:
            self._context.metrics.refused(refusal.code)
            if isinstance(refusal, ServerError) and EVENT_STREAM in headers_of(scope).get(b"accept", b""):
                await _come_back(send, refusal)
            else:
                await send_answer(send, errors.answer_to(refusal))
        except Exception:
            log.exception("a stream could not begin")
            await send_answer(send, errors.internal_error())

    async def _follow(self, scope: Scope) -> None:
        topic = _topic(scope["raw_path"])
        if scope["method"] != "GET":
            raise errors.WrongMethod
        headers, query = headers_of(scope), query_of(scope)
        caller = await self._caller(headers, query, topic)
        since = _since(headers, query)
        host: StreamHost = scope["extensions"][EXTENSION]
        stream = EventStream(
            self._streams,
            topic,
            host,
            self._chunked if scope["http_version"] == "1.1" else self._bare,
            headers=[*STREAM_HEADERS, *self._cors(headers)],
            caller=caller,
        )
        host.attach(stream)
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await self._context.hub.subscribe(stream, topic, since, placed=stream.on_placed)
        except TimeoutError:
            host.detach()
            raise Unavailable from None
        except BaseException:
            host.detach()
            raise

    async def _caller(self, headers: Mapping[bytes, bytes], query: Mapping[str, str], topic: TopicName) -> Principal:
        token = token_of(headers, query)
        try:
            return await permitted(self._context.auth, token, lambda caller: caller.require_subscribe(topic))
        except Forbidden:
            if token is None:
                raise Unauthorized from None
            raise

    def _cors(self, headers: Mapping[bytes, bytes]) -> HeaderList:
        """The response does not pass through the dispatcher's `send`, which adds these to all others."""
        origin = headers.get(b"origin")
        if origin is None:
            return []
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._context.auth.allows_origin(origin.decode("latin-1"), host):
            raise Forbidden("Pages of this origin may not use this node.")
        return [(b"access-control-allow-origin", origin), (b"vary", b"origin")]


def build(context: Context) -> AsgiApp:
    return StreamApp(context)


async def _come_back(send: Send, why: HeadraceError) -> None:
    body = come_back(why, retry_ms=(why.retry_ms or 0) + _retry_ms())
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, length]})
    await send({"type": "http.response.body", "body": body})


def _retry_ms() -> int:
    return random.randint(MIN_RETRY_MS, MAX_RETRY_MS)


def _topic(raw_path: bytes) -> TopicName:
    found = _PATH.fullmatch(raw_path)
    if found is None:
        raise errors.NotFound
    try:
        project, local = (unquote(part.decode("ascii"), errors="strict") for part in found.groups())
    except UnicodeDecodeError:
        raise InvalidName("The name is not UTF-8.") from None
    return topic_of(parse_project(project), local)


def _since(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> Since:
    text = headers.get(b"last-event-id", b"").decode("latin-1") or query.get("since") or "now"
    return read_since(text)
