"""The endpoint of API Gateway's sockets: which stage a handshake is for, what its application decides, the socket.

It is a room that waits (`gateway.admittance`): nothing is answered before authorizer and `$connect` have ended, and a
stage that does not exist is 403, as at AWS (contracts/apigateway 6). From `Attachments.promise` on the application is
owed a `$disconnect`, also when its client has left before the 101.
"""

import asyncio
import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from http.client import responses

from broker.errors import HeadraceError, LimitExceeded
from gateway.admittance import Arrival, Entry, Rejection
from gateway.apigateway.application.events import ID_BYTES
from gateway.apigateway.configuration.stages import RESERVED
from gateway.apigateway.ports import Admitted, ConnectRequest, Denied, Facts
from gateway.apigateway.sockets.frames import FORBIDDEN, INTERNAL_ERROR, TIMED_OUT, TOO_MANY_REQUESTS, denial
from gateway.apigateway.sockets.socket import Deployment, Socket
from gateway.asgi import Answer, AsgiApp, Receive, Scope, Send, send_answer
from gateway.websocket import ABNORMAL

DRAIN_SECONDS = 5.0
"""For the integrations that still run when a node goes; what is left is cut off, as at any end of a node."""

_TYPES = {401: "UnauthorizedException", 403: "ForbiddenException", 429: "LimitExceededException"}
"""What AWS calls these refusals, in the header `x-amzn-ErrorType`."""

_FAULTS = {500: INTERNAL_ERROR, 502: INTERNAL_ERROR, 504: TIMED_OUT}
"""Where AWS does not say HTTP's own words for a status."""

_UPGRADE = ("Upgrade", "websocket")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110 section 5.6.2: what a subprotocol looks like."""


def new_request_id() -> str:
    """Return the id of a request or a message: as random as AWS's, and shaped like them (contracts/apigateway 7)."""
    return base64.urlsafe_b64encode(secrets.token_bytes(ID_BYTES)).decode()


class Entrance:
    """A handshake that the application has let in."""

    def __init__(self, deployment: Deployment, outcome: Admitted, address: str) -> None:
        self.subprotocol = outcome.subprotocol
        self._deployment = deployment
        self._facts = outcome.facts
        self._address = address

    def open(self, transport: asyncio.Transport) -> Socket:
        return Socket(transport, self._deployment, self._facts, self._address)

    def abandon(self, code: int) -> None:
        self._deployment.attachments.ended(self._facts, code=code, reason="")


class Endpoint:
    """The room of all stages. `deployments` are by path, without a slash at its end."""

    def __init__(self, deployments: Mapping[str, Deployment], *, checks_origin: bool = False) -> None:
        self.checks_origin = checks_origin
        self._deployments = deployments
        self._parents = {path.rpartition("/")[0] for path in deployments}

    def claims(self, path: str, host: str | None) -> bool:
        """Take the stages, what lies under them, and what could be another stage beside one of them."""
        path = stage_path(path)
        beside = path.rpartition("/")[0] in self._parents and path.lower().split("/")[1:2] not in _OWN
        return beside or self._is_under_a_stage(path)

    def _is_under_a_stage(self, path: str) -> bool:
        while path and path not in self._deployments:
            path = path.rpartition("/")[0]
        return bool(path)

    async def admit(self, arrival: Arrival) -> Entry | Rejection:
        deployment = self._deployments.get(stage_path(arrival.path))
        if deployment is None:
            return _refused(403, FORBIDDEN, new_request_id())
        if len(arrival.path) + len(arrival.query) + 1 > deployment.limits.url_chars:
            return _refused(414, "Request-URI Too Long", new_request_id())
        try:
            deployment.connects.take(deployment.monotonic())
        except LimitExceeded:
            return _refused(429, TOO_MANY_REQUESTS, new_request_id())
        request = request_of(arrival, deployment)
        outcome = await deployment.backend.connect(request)
        if isinstance(outcome, Denied):
            return _refused(outcome.status, outcome.message, request.request_id)
        return await self._let_in(deployment, outcome, arrival, request)

    async def _let_in(
        self, deployment: Deployment, outcome: Admitted, arrival: Arrival, request: ConnectRequest
    ) -> Entry | Rejection:
        """Promise the end before the beginning is told. Whoever gets no entry is told of no end by anybody else."""
        entrance = Entrance(deployment, outcome, arrival.address)
        try:
            await deployment.attachments.promise(outcome.facts)
        except HeadraceError:
            # Its end is owed already.
            return _refused(503, _words(503), request.request_id)
        except BaseException:
            entrance.abandon(ABNORMAL)
            raise
        if outcome.subprotocol is not None and not _TOKEN.fullmatch(outcome.subprotocol):
            entrance.abandon(ABNORMAL)
            return _refused(502, INTERNAL_ERROR, request.request_id)
        return entrance

    def rejection(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Rejection:
        refused = _refused(status, _words(status), new_request_id())
        return Rejection(status=status, body=refused.body, headers=(*headers, *refused.headers))

    async def drain(self) -> None:
        """Return when the messages in hand have been handled, or `DRAIN_SECONDS` have passed."""
        tasks = {task for deployment in self._deployments.values() for task in deployment.tasks}
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_SECONDS)

    # Over HTTP.

    def takes(self, scope: Scope) -> bool:
        """Tell whether a plain request is for a stage, or for anything under it."""
        return self._is_under_a_stage(scope["path"])

    @property
    def app(self) -> AsgiApp:
        """The ASGI app of what `takes` says yes to: only an upgrade has an answer there."""
        return _ask_for_an_upgrade


_OWN = [[name] for name in RESERVED]


async def _ask_for_an_upgrade(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in (_UPGRADE, ("Connection", "Upgrade"))]
    await send_answer(send, Answer(426, denial(_words(426)), headers))


def stage_path(path: str) -> str:
    """Return the path that a stage is known by: AWS's own examples have a slash behind it."""
    return path.removesuffix("/")


def request_of(arrival: Arrival, deployment: Deployment) -> ConnectRequest:
    """Return what the application is shown of a handshake."""
    now_ms = deployment.now_ms()
    facts = Facts(
        id=deployment.attachments.new_id(),
        api=deployment.stage.api,
        stage=deployment.stage.name,
        connected_at_ms=now_ms,
        source_ip=arrival.address,
        user_agent=arrival.header("User-Agent"),
        domain_name=deployment.domain_name,
    )
    return ConnectRequest(
        facts=facts,
        request_id=new_request_id(),
        requested_at_ms=now_ms,
        path=arrival.path,
        query=arrival.query,
        headers=arrival.headers,
        port=arrival.port,
        secure=arrival.secure,
    )


def _words(status: int) -> str:
    return _FAULTS.get(status) or responses.get(status, INTERNAL_ERROR)


def _refused(status: int, message: str, request_id: str) -> Rejection:
    """Return a refusal in AWS's words."""
    status = status if 300 <= status <= 599 else 502
    headers = [("Content-Type", "application/json"), ("x-amzn-RequestId", request_id)]
    if status in _TYPES:
        headers.append(("x-amzn-ErrorType", _TYPES[status]))
    return Rejection(status=status, body=denial(message), headers=headers)
