"""Authorizers: who may open a connection, decided before `$connect` (contracts/apigateway 6 and 10).

A request authorizer is the application's own, behind HTTP or in this process; a `jwt` one checks a token with the keys
of this node; an `iam` one checks a signature and its key's policy for `execute-api:Invoke`.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl

import orjson

from broker.errors import HeadraceError, Unauthorized
from gateway.apigateway.application import events
from gateway.apigateway.application.callables import Raised, load
from gateway.apigateway.application.events import MAX_QUERY_FIELDS
from gateway.apigateway.application.grants import (
    MAX_ANSWER_BYTES,
    UNAUTHORIZED,
    BadAnswer,
    Grant,
    Refused,
    first_token,
    grant_of_claims,
    has_all,
    read_grant,
)
from gateway.apigateway.application.integrations import JSON_TYPE, Services, check_status
from gateway.apigateway.application.mapping import Sources
from gateway.apigateway.application.outcomes import IntegrationError, Slots, Throttled
from gateway.apigateway.application.policies import INVOKE
from gateway.apigateway.application.reports import Reports
from gateway.apigateway.configuration.definitions import AuthorizerSettings, Stage
from gateway.apigateway.configuration.stages import fill
from gateway.apigateway.management.credentials import Credentials
from gateway.apigateway.management.sigv4 import SignedRequest
from gateway.apigateway.ports import ConnectRequest

JWT_SOURCES = ("route.request.header.Authorization", "route.request.querystring.token")
"""Where a token is looked for where the configuration does not say; browsers cannot set a header."""

log = logging.getLogger(__name__)


class ReadClaims(Protocol):
    """Returns the claims of a token that was verified; an empty issuer or audience is the node's.

    Raises `Unauthorized`, `Unavailable`.
    """

    async def __call__(self, token: str, *, issuer: str, audience: tuple[str, ...]) -> Mapping[str, object]: ...


class Authorizer(Protocol):
    async def decide(self, request: ConnectRequest, *, method_arn: str) -> Grant | Refused:
        """Say whether the connection may open. Never raises."""


class _Reporting:
    """Tells of failures that are not the caller's."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._reports = Reports()

    def _report(self, reason: str) -> None:
        times = self._reports.due(self._stage.path, time.monotonic())
        if times:
            log.warning("an authorizer failed", extra={"path": self._stage.path, "reason": reason, "times": times})


class RequestAuthorizer(_Reporting):
    """Asks the application. Raises `ValueError` where its function cannot be found."""

    def __init__(self, settings: AuthorizerSettings, stage: Stage, services: Services) -> None:
        super().__init__(stage)
        self._settings = settings
        self._services = services
        self._url = fill(settings.uri, stage.variables)
        self._handler = load(settings.handler) if settings.handler else None
        self._slots = Slots(settings.concurrency)

    async def decide(self, request: ConnectRequest, *, method_arn: str) -> Grant | Refused:
        if not has_all(self._settings.identity_sources, sources_of(request, self._stage)):
            return Refused(401)
        event = events.authorize(request, method_arn=method_arn, stage_variables=self._stage.variables)
        try:
            with self._services.counted("authorizer"), self._slots:
                answer = await self._ask(event, request.request_id)
            return read_grant(answer, method_arn=method_arn)
        except Raised as error:
            return Refused(401 if error.message == UNAUTHORIZED else 500)
        except Throttled:
            return Refused(429)
        except (IntegrationError, BadAnswer) as error:
            self._report(str(error))
            return Refused(500)

    async def _ask(self, event: events.Event, request_id: str) -> object:
        seconds = self._settings.timeout_ms / 1000
        if self._handler is not None:
            name = self._settings.handler
            return await self._services.callables.call(
                self._handler, event, name=name, request_id=request_id, seconds=seconds
            )
        reply = await self._services.callbacks.send(
            "POST",
            self._url,
            headers=[("Content-Type", JSON_TYPE)],
            body=orjson.dumps(event),
            secret=self._settings.secret,
            event_id=request_id,
            seconds=seconds,
            max_bytes=MAX_ANSWER_BYTES,
        )
        if reply.status == 401:
            return {"errorMessage": UNAUTHORIZED}
        if reply.status == 403:
            # No principal.
            return {}
        check_status(reply.status)
        try:
            return orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            raise BadAnswer("the answer is not JSON") from None


class JwtAuthorizer(_Reporting):
    """Checks a token; its `sub` is the principal, its claims are the context."""

    def __init__(self, settings: AuthorizerSettings, stage: Stage, read_claims: ReadClaims) -> None:
        super().__init__(stage)
        self._settings = settings
        self._sources = settings.identity_sources or JWT_SOURCES
        self._read_claims = read_claims

    async def decide(self, request: ConnectRequest, *, method_arn: str) -> Grant | Refused:
        token = first_token(self._sources, sources_of(request, self._stage))
        if token is None:
            return Refused(401)
        chosen = self._settings
        try:
            claims = await self._read_claims(token, issuer=chosen.issuer, audience=chosen.audience)
            return grant_of_claims(claims)
        except Unauthorized:
            return Refused(401)
        except HeadraceError as error:
            self._report(error.reason)
            return Refused(500)


class IamAuthorizer:
    """Checks a signature by an access key of the configuration, in headers or in a presigned query."""

    def __init__(self, credentials: Credentials, *, now_ms: Callable[[], int]) -> None:
        self._credentials = credentials
        self._now_ms = now_ms

    async def decide(self, request: ConnectRequest, *, method_arn: str) -> Grant | Refused:
        signed = SignedRequest(
            method="GET",
            raw_path=request.path.encode("latin-1", errors="replace"),
            query=request.query.encode("latin-1", errors="replace"),
            headers=[(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers],
        )
        try:
            caller = self._credentials.authenticate(signed, b"", now_ms=self._now_ms())
        except HeadraceError:
            return Refused(403)
        if not caller.policy.allows(INVOKE, method_arn):
            return Refused(403)
        return Grant(principal_id=caller.access_key)


def sources_of(request: ConnectRequest, stage: Stage) -> Sources:
    """Return where identity sources look."""
    query = parse_qsl(request.query, keep_blank_values=True)[:MAX_QUERY_FIELDS]
    return Sources(headers=request.headers, query=query, stage_variables=stage.variables, context=_context(request))


def _context(request: ConnectRequest) -> Mapping[str, object]:
    context = events.connect(request)["requestContext"]
    assert isinstance(context, Mapping)
    return context
