"""The ways in for applications as they are: `POST /rpc_http` and `/_ah/remote_api` (contracts/channel 2).

Both take one remote call, `CreateChannel` or `SendChannelMessage` of the service `channel`, which production called
`xmpp`. A refusal of the service travels as an application error, of the call as an rpc error, both in a 200: that is
what the clients read. A caller without a valid credential gets 401 or 403.

The credential may come as everywhere (DESIGN 8), as the password of `Authorization: Basic`, and as the call's
`request_id`: the one thing that an unmodified client can be made to send. For `/rpc_http` that is the API ticket.
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping

from broker.errors import (
    CallerError,
    Forbidden,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    OutOfMemory,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownOutcome,
)
from broker.names import TopicName, parse_topic
from broker.rights import Principal, matches
from gateway.asgi import (
    AsgiApp,
    PeerGone,
    Receive,
    Scope,
    Send,
    headers_of,
    permitted,
    query_of,
    read_body,
    token_of,
)
from gateway.auth import Authenticator
from gateway.channel import messages
from gateway.channel.errors import BadMessage, InvalidClientId, InvalidDuration
from gateway.channel.messages import Call, RpcError, ServiceError
from gateway.channel.ports import Channels
from gateway.metrics import Metrics

RPC_PATH = "/rpc_http"
REMOTE_API_PATH = "/_ah/remote_api"
PATHS = frozenset({RPC_PATH, REMOTE_API_PATH})

SERVICES = frozenset({"channel", "xmpp"})

RIGHT = TopicName("@channel")
"""What a token's `pub` has to cover to create channels and send. No topic has a name without a slash."""

MAX_REQUEST_BYTES = 1 << 20
"""A request inside a call, as in the original."""

MAX_CALL_BYTES = MAX_REQUEST_BYTES + 64 * 1024
"""The call around it."""

MAX_UNKNOWN_BYTES = 64 * 1024
"""A call whose credential is inside it: the longest message fits."""

MAX_SECONDS = 60.0
"""The longest that a call takes; the client may ask for less."""

DEADLINE_HEADER = b"x-google-rpc-service-deadline"
VERSION_HEADER = b"x-appcfg-api-version"

_RTOK = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_BINARY = b"application/octet-stream"
_PLAIN = b"text/plain; charset=utf-8"

_SERVICE_ERRORS: dict[type[HeadraceError], ServiceError] = {
    InvalidClientId: ServiceError.INVALID_CHANNEL_KEY,
    BadMessage: ServiceError.BAD_MESSAGE,
    InvalidDuration: ServiceError.INVALID_CHANNEL_TOKEN_DURATION,
}

_RPC_ERRORS: tuple[tuple[type[HeadraceError], RpcError], ...] = (
    (TooLarge, RpcError.REQUEST_TOO_LARGE),
    (LimitExceeded, RpcError.OVER_QUOTA),
    (OutOfMemory, RpcError.OVER_QUOTA),
    (UnknownOutcome, RpcError.DEADLINE_EXCEEDED),
    # Nothing was changed: our own client goes to the next server.
    (Unavailable, RpcError.UNKNOWN),
    (CallerError, RpcError.PARSE_ERROR),
)


class NoSuchCall(CallerError):
    code = "unknown_call"
    sentence = "The service has no such method."


class Rpc:
    """The ASGI application of `PATHS`. `default_minutes` is a token's life where none was asked for."""

    def __init__(
        self, auth: Authenticator, channels: Channels, *, application: str, default_minutes: int, metrics: Metrics
    ) -> None:
        self._auth = auth
        self._channels = channels
        self._application = application
        self._default_minutes = default_minutes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            return await _answer(send, *refusal)
        if scope["method"] == "GET":
            return await _answer(send, *self._application_info(scope))
        try:
            answer = await self._called(scope, headers, receive)
        except PeerGone:
            return None
        except (Unauthorized, Forbidden) as error:
            self._metrics.refused(error.code)
            return await _answer(send, 401 if isinstance(error, Unauthorized) else 403, error.reason.encode())
        return await _answer(send, 200, answer, _BINARY)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> tuple[int, bytes] | None:
        """Return why a request is refused before it is read."""
        methods = ("POST",) if scope["path"] == RPC_PATH else ("GET", "POST")
        if scope["method"] not in methods:
            return 405, b"Method not allowed."
        origin, host = headers.get(b"origin"), headers.get(b"host", b"").decode("latin-1")
        if origin is not None and not self._auth.allows_origin(origin.decode("latin-1"), host):
            return 403, b"Pages of this origin may not use this node."
        if scope["path"] == REMOTE_API_PATH and VERSION_HEADER not in headers:
            # The original asks for it too: a page of another site cannot send it.
            return 403, b"The header X-appcfg-api-version is missing."
        return None

    def _application_info(self, scope: Scope) -> tuple[int, bytes]:
        """Return the YAML by which a client knows whom it talks to; it compares `rtok` with what it sent."""
        try:
            query = query_of(scope)
        except InvalidRequest:
            query = {"rtok": ""}
        # The old client puts `?rtok=` behind whatever path it was given, one with `?token=` included.
        behind = query.get("token", "").partition("?rtok=")[2]
        rtok = query.get("rtok", behind or "0")
        if not _RTOK.fullmatch(rtok):
            return 400, b"rtok is not valid."
        return 200, f"{{app_id: {self._application}, rtok: '{rtok}'}}\n".encode()

    async def _called(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return the answer to a call. Raises `Unauthorized`, `Forbidden`, `PeerGone`."""
        try:
            async with asyncio.timeout(_seconds(headers)):
                call, caller = await self._received(receive, credential(headers, query_of(scope)))
                return messages.write_response(await self._serve(call, caller))
        except (Unauthorized, Forbidden):
            raise
        except TimeoutError:
            return messages.write_rpc_error(RpcError.DEADLINE_EXCEEDED, "The time for this call is over.")
        except HeadraceError as error:
            self._metrics.refused(error.code)
            return refused(error)

    async def _received(self, receive: Receive, token: str | None) -> tuple[Call, Principal]:
        """Return the call and who makes it; without a token outside, the ticket inside it is the credential."""
        if token is None:
            call = messages.read_call(await read_body(receive, max_bytes=MAX_UNKNOWN_BYTES))
            return call, await permitted(self._auth, call.ticket or None, require_right)
        caller = await permitted(self._auth, token, require_right)
        return messages.read_call(await read_body(receive, max_bytes=MAX_CALL_BYTES)), caller

    async def _serve(self, call: Call, caller: Principal) -> bytes:
        if len(call.request) > MAX_REQUEST_BYTES:
            raise TooLarge(f"The request has more than {MAX_REQUEST_BYTES} bytes.")
        if call.service not in SERVICES:
            raise NoSuchCall("There is no such service.")
        if call.method == "CreateChannel":
            return await self._create(call.request, caller)
        if call.method == "SendChannelMessage":
            sending = messages.read_sending(call.request)
            await self._channels.send(sending.key, sending.message)
            return b""
        raise NoSuchCall

    async def _create(self, request: bytes, caller: Principal) -> bytes:
        creation = messages.read_creation(request)
        topics = [parse_topic(topic) for topic in creation.topics]
        for topic in topics:
            caller.require_subscribe(topic)
        token = await self._channels.create(creation.client_id, minutes=creation.minutes, topics=topics)
        return messages.write_created(token, minutes=creation.minutes or self._default_minutes)


def credential(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> str | None:
    """Return what the caller shows besides its call, None for nothing."""
    return token_of(headers, query) or _password(headers.get(b"authorization", b"")) or None


def require_right(caller: Principal) -> None:
    """Raise `Forbidden` unless the caller may create channels and send."""
    if not (caller.operator or matches(caller.publish, RIGHT)):
        raise Forbidden("The token does not grant channels.")


def refused(error: HeadraceError) -> bytes:
    """Return the answer that stands for `error`."""
    code = _SERVICE_ERRORS.get(type(error))
    if code is not None:
        return messages.write_application_error(code, error.reason)
    if isinstance(error, NoSuchCall):
        return messages.write_rpc_error(RpcError.CALL_NOT_FOUND, error.reason)
    for kind, rpc_error in _RPC_ERRORS:
        if isinstance(error, kind):
            return messages.write_rpc_error(rpc_error, error.reason)
    return messages.write_application_error(ServiceError.INTERNAL_ERROR, error.reason)


def _password(authorization: bytes) -> str:
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).partition(b":")[2].decode("latin-1")
    except binascii.Error:
        return ""


def _seconds(headers: Mapping[bytes, bytes]) -> float:
    try:
        wanted = float(headers.get(DEADLINE_HEADER, b""))
    except ValueError:
        return MAX_SECONDS
    return wanted if 0 < wanted <= MAX_SECONDS else MAX_SECONDS


async def _answer(send: Send, status: int, body: bytes, kind: bytes = _PLAIN) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def build(
    auth: Authenticator, channels: Channels, *, application: str, default_minutes: int, metrics: Metrics
) -> AsgiApp:
    """Return the application that takes what is sent to `PATHS`."""
    return Rpc(auth, channels, application=application, default_minutes=default_minutes, metrics=metrics)
