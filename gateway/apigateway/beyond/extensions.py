"""What AWS does not offer, under `/headrace/v1` so that the SDKs' space stays as it is (contracts/apigateway 18).

    POST    /headrace/v1/connections:post     one message to many connections, or to all that fit
    POST    /headrace/v1/connections:close    close them, with code and reason
    GET     /headrace/v1/connections:count    how many fit
    GET     /headrace/v1/connections          which, in pages
    GET     /headrace/v1/connections/{id}     one of them
    DELETE  /headrace/v1/connections/{id}     close it
    POST    /headrace/v1/groups:join, :leave  let connections follow a topic, or no more
    POST    /headrace/v1/groups:publish       publish to the topic: members on every node and of every face get it

Connections are the operator's, whose service token this asks for. A group is a topic: joining and leaving need the
rights to publish to it and to follow it, publishing the first of them.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import orjson

from broker.errors import (
    Forbidden,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    ServerError,
    TooLarge,
    Unauthorized,
    UnknownOperation,
    UnknownOutcome,
    UnknownProject,
    UnknownTopic,
)
from broker.names import TopicName
from broker.publish import PublishRequest
from broker.rights import Principal
from broker.store.base import IdempotencyKey
from gateway.apigateway.beyond import wire
from gateway.apigateway.beyond.deeds import CLOSE, JOIN, LEAVE, POST, Deed, Tally
from gateway.apigateway.beyond.many import Many
from gateway.apigateway.errors import Gone
from gateway.apigateway.ports import Connections
from gateway.asgi import (
    Answer,
    AsgiApp,
    PeerGone,
    Receive,
    Scope,
    Send,
    headers_of,
    permitted,
    query_of,
    read_body,
    retry_after,
    send_answer,
    token_of,
)
from gateway.context import Context

PREFIX = "/headrace/v1/"

MAX_BODY_BYTES = 2 * 1024 * 1024
"""A message in base64, or 10,000 ids, and room."""

MAX_KEY_CHARS = 128
"""Of an `Idempotency-Key`."""

DEFAULT_RETRY_MS = 1000

_STATUS: dict[type[HeadraceError], int] = {
    Unauthorized: 401,
    Forbidden: 403,
    UnknownTopic: 404,
    UnknownProject: 404,
    UnknownOperation: 404,
    Gone: 410,
    TooLarge: 413,
    LimitExceeded: 429,
    UnknownOutcome: 504,
    ServerError: 503,
}

log = logging.getLogger(__name__)


class WrongMethod(UnknownOperation):
    code = "method_not_allowed"
    sentence = "This path knows another method."


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose body is read and whose caller is not known yet."""

    token: str | None
    query: Mapping[str, str]
    key: str | None
    body: bytes


def takes(scope: Scope) -> bool:
    """Tell whether a request is of this room's own space."""
    return bool(scope["path"].startswith(PREFIX))


class Extensions:
    """The ASGI app of every path under `PREFIX`."""

    def __init__(self, context: Context, connections: Connections, many: Many) -> None:
        self._context = context
        self._connections = connections
        self._many = many
        self._verbs = {
            ("POST", "connections:post"): self._post,
            ("POST", "connections:close"): self._close,
            ("GET", "connections:count"): self._count,
            ("GET", "connections"): self._page,
            ("POST", "groups:join"): self._join,
            ("POST", "groups:leave"): self._leave,
            ("POST", "groups:publish"): self._publish,
        }
        self._paths = {path for _, path in self._verbs}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._answer(scope, receive)
        except PeerGone:
            return
        except HeadraceError as refusal:
            self._context.metrics.refused(refusal.code)
            await send_answer(send, answer_to(refusal))
        except Exception:
            log.exception("a call about connections failed")
            await send_answer(send, envelope(500, "internal", "The request failed."))
        else:
            await send_answer(send, Answer(200, body))

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        headers = headers_of(scope)
        self._check_origin(headers)
        method, path = scope["method"], scope["raw_path"].decode("latin-1").removeprefix(PREFIX)
        query = query_of(scope)
        key = headers.get(b"idempotency-key", b"").decode("latin-1") or None
        if key is not None and len(key) > MAX_KEY_CHARS:
            raise InvalidRequest(f"Idempotency-Key has more than {MAX_KEY_CHARS} characters.")
        body = await read_body(receive, max_bytes=MAX_BODY_BYTES)
        call = Call(token_of(headers, query), query, key, body)
        verb = self._verbs.get((method, path))
        if verb is not None:
            return await verb(call)
        kind, _, name = path.partition("/")
        if kind == "connections" and name and "/" not in name:
            return await self._of_one(method, unquote(name), call)
        raise WrongMethod if path in self._paths else UnknownOperation("There is nothing under this path.")

    def _check_origin(self, headers: Mapping[bytes, bytes]) -> None:
        origin = headers.get(b"origin")
        if origin is None:
            return
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._context.auth.allows_origin(origin.decode("latin-1"), host):
            raise Forbidden("Pages of this origin may not use this node.")

    # Connections.

    async def _post(self, call: Call) -> bytes:
        caller = await self._operator(call)
        told = wire.read_body(call.body, (*wire.TARGET, *wire.MESSAGE))
        target, message = wire.read_target(told), wire.read_message(told)
        # An SDK's ids and these keys must not meet.
        invocation = None if call.key is None else f"{caller.name} {call.key}"
        deed = Deed(kind=POST, data=message.payload, invocation=invocation)
        return wire.tally_json(await self._many.do(target, deed), done="posted")

    async def _close(self, call: Call) -> bytes:
        await self._operator(call)
        told = wire.read_body(call.body, (*wire.TARGET, "code", "reason"))
        code, reason = wire.read_close(told)
        deed = Deed(kind=CLOSE, code=code, reason=reason)
        return wire.tally_json(await self._many.do(wire.read_target(told), deed), done="closed")

    async def _count(self, call: Call) -> bytes:
        await self._operator(call)
        return orjson.dumps({"count": await self._many.count(wire.query_criteria(call.query))})

    async def _page(self, call: Call) -> bytes:
        await self._operator(call)
        criteria = wire.query_criteria(call.query, besides=("limit", "after"))
        limit = wire.query_limit(call.query)
        page, is_last = await self._many.page(criteria, after=call.query.get("after", ""), limit=limit)
        return wire.page_json(page, is_last=is_last)

    async def _of_one(self, method: str, connection: str, call: Call) -> bytes:
        await self._operator(call)
        if method == "GET":
            return wire.standing_json(await self._connections.describe(connection))
        if method != "DELETE":
            raise WrongMethod
        wire.check_query(call.query, ("code", "reason"))
        given = {name: value for name, value in call.query.items() if name in ("code", "reason")}
        digits = given.get("code", "1000")
        is_code = digits.isascii() and digits.isdecimal() and len(digits) == 4
        code, reason = wire.read_close({**given, "code": int(digits) if is_code else 0})
        await self._connections.delete(connection, code=code, reason=reason)
        return b"{}"

    # Groups.

    async def _join(self, call: Call) -> bytes:
        return wire.tally_json(await self._change(call, JOIN), done="joined")

    async def _leave(self, call: Call) -> bytes:
        return wire.tally_json(await self._change(call, LEAVE), done="left")

    async def _change(self, call: Call, kind: str) -> Tally:
        told = wire.read_body(call.body, (*wire.TARGET, "group"))
        group = wire.read_group(told)
        await self._permitted(call, _both(group))
        return await self._many.do(wire.read_target(told), Deed(kind=kind, group=group))

    async def _publish(self, call: Call) -> bytes:
        told = wire.read_body(call.body, ("group", *wire.MESSAGE))
        group, message = wire.read_group(told), wire.read_message(told)
        caller = await self._permitted(call, lambda principal: principal.require_publish(group))
        once = None if call.key is None else IdempotencyKey(caller.name, call.key)
        appended = await self._context.publisher.publish(PublishRequest(group, (message,), once))
        first = appended.first
        return orjson.dumps({"epoch": first.epoch, "offset": first.offset})

    # Who is calling.

    async def _operator(self, call: Call) -> Principal:
        return await self._permitted(call, lambda principal: principal.require_operator())

    async def _permitted(self, call: Call, check: Callable[[Principal], None]) -> Principal:
        try:
            return await permitted(self._context.auth, call.token, check)
        except Forbidden:
            if call.token is None:
                raise Unauthorized from None
            raise


def build(context: Context, connections: Connections, many: Many) -> AsgiApp:
    return Extensions(context, connections, many)


def _both(group: TopicName) -> Callable[[Principal], None]:
    def check(principal: Principal) -> None:
        principal.require_publish(group)
        principal.require_subscribe(group)

    return check


def answer_to(refusal: HeadraceError) -> Answer:
    """Return the answer to any refusal: `{"error": {"code", "message"}}`."""
    status = next((_STATUS[kind] for kind in type(refusal).__mro__ if kind in _STATUS), 400)
    if isinstance(refusal, WrongMethod):
        status = 405
    retry_ms = refusal.retry_ms
    if retry_ms is None and isinstance(refusal, ServerError):
        retry_ms = DEFAULT_RETRY_MS
    made = envelope(status, refusal.code, refusal.reason)
    return Answer(made.status, made.body, retry_after(retry_ms))


def envelope(status: int, code: str, message: str) -> Answer:
    return Answer(status, orjson.dumps({"error": {"code": code, "message": message}}))
