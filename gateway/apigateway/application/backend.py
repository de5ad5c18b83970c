"""The application behind one stage of an API: authorizer, routes and integrations, as the configuration has them.

Nothing is called twice, and nothing is kept of a connection here: what authorizer and `$connect` said is in its facts.
"""

import hmac
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from gateway.apigateway.application import events
from gateway.apigateway.application.authorizers import (
    Authorizer,
    IamAuthorizer,
    JwtAuthorizer,
    ReadClaims,
    RequestAuthorizer,
)
from gateway.apigateway.application.callables import Callables
from gateway.apigateway.application.callbacks import Callbacks, callbacks
from gateway.apigateway.application.grants import Grant, Refused
from gateway.apigateway.application.integrations import Call, Invoker, Services
from gateway.apigateway.application.outcomes import SUBPROTOCOL, IntegrationError, Outcome, Unreached, denied
from gateway.apigateway.application.policies import route_arn
from gateway.apigateway.application.reports import Reports
from gateway.apigateway.application.selection import CONNECT, DISCONNECT, parse
from gateway.apigateway.configuration.definitions import Api, AuthorizerType, KeySource, Route, Stage
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.management.credentials import Credentials
from gateway.apigateway.ports import Admitted, ConnectRequest, Denied, Facts, Reply
from gateway.apigateway.ports import Stage as StageName
from gateway.apigateway.sockets.frames import FORBIDDEN, INTERNAL_ERROR
from gateway.options import ConfigError, Mistake
from gateway.tables import quoted, with_mistakes

BAD_REQUEST_BODY = "Bad request body"
"""What a message is told that its route's model refuses (contracts/apigateway 13)."""

API_KEY = "x-api-key"

log = logging.getLogger(__name__)


class StageBackend:
    """Implements `ports.Backend` for one stage."""

    def __init__(
        self, api: Api, stage: Stage, *, invokers: Mapping[str, Invoker], authorizer: Authorizer | None, method_arn: str
    ) -> None:
        """`invokers` are by route key."""
        self._api = api
        self._stage = stage
        self._invokers = invokers
        self._authorizer = authorizer
        self._method_arn = method_arn
        self._selection = parse(api.route_selection_expression)
        self._reports = Reports()

    async def connect(self, request: ConnectRequest) -> Admitted | Denied:
        """Ask the authorizer, then `$connect`: what neither of them refuses is let in."""
        grant = await self._authorizer.decide(request, method_arn=self._method_arn) if self._authorizer else None
        if isinstance(grant, Refused):
            return denied(grant.status)
        if not self._has_api_key(request, grant):
            return denied(403)
        facts = _granted(request.facts, grant)
        if CONNECT not in self._invokers:
            return Admitted(facts=facts)
        request = replace(request, facts=facts)
        call = Call(
            event=events.connect(request, stage_variables=self._stage.variables),
            event_id=request.request_id,
            headers=request.headers,
            query=request.query,
            opens=True,
        )
        try:
            outcome = await self._invokers[CONNECT].invoke(call, reads=True)
        except IntegrationError as error:
            self._report(CONNECT, error)
            return denied(error.status)
        return _admitted(facts, outcome) if outcome.is_good else denied(outcome.status)

    def _has_api_key(self, request: ConnectRequest, grant: Grant | None) -> bool:
        if not self._api.api_keys:
            return True
        if self._api.api_key_source is KeySource.AUTHORIZER:
            shown = grant.usage_key if grant else None
        else:
            shown = next((value for name, value in request.headers if name.lower() == API_KEY), None)
        given = (shown or "").encode(errors="replace")
        return any(hmac.compare_digest(key.value.encode(), given) for key in self._api.api_keys)

    async def receive(self, facts: Facts, body: str | bytes, *, request_id: str, message_id: str, now_ms: int) -> Reply:
        """Select the message's route and have its integration called. Never raises."""
        key = self._selection.route_of(body, self._api.routes)
        if key is None:
            return Reply(error=FORBIDDEN)
        route = self._api.routes[key]
        if not _satisfies(route, body):
            return Reply(error=BAD_REQUEST_BODY)
        event = events.message(
            facts,
            body,
            route_key=key,
            request_id=request_id,
            message_id=message_id,
            now_ms=now_ms,
            stage_variables=self._stage.variables,
        )
        try:
            call = Call(event=event, event_id=request_id, body=body)
            outcome = await self._invokers[key].invoke(call, reads=route.route_response)
        except IntegrationError as error:
            self._report(key, error)
            return Reply(error=error.told)
        except Exception:
            log.exception("a message could not be handled")
            return Reply(error=INTERNAL_ERROR)
        return Reply(body=outcome.body if route.route_response else None)

    async def disconnect(self, facts: Facts, *, code: int, reason: str, event_id: str, now_ms: int) -> None:
        """Tell the application of an end. Raises `Unreached` where it may not have heard; its answer is its own."""
        invoker = self._invokers.get(DISCONNECT)
        if invoker is None:
            return
        event = events.disconnect(
            facts,
            code=code,
            reason=reason,
            event_id=event_id,
            now_ms=now_ms,
            stage_variables=self._stage.variables,
        )
        try:
            await invoker.invoke(Call(event=event, event_id=events.id_for(event_id)), reads=False)
        except Unreached:
            raise
        except IntegrationError as error:
            self._report(DISCONNECT, error)

    def _report(self, route_key: str, error: IntegrationError) -> None:
        times = self._reports.due(route_key, time.monotonic())
        if times:
            where = {"api": self._api.name, "stage": self._stage.name, "route": route_key}
            log.warning("an integration failed", extra={**where, "reason": error.reason, "times": times})


def _granted(facts: Facts, grant: Grant | None) -> Facts:
    if grant is None:
        return facts
    return replace(
        facts,
        principal_id=grant.principal_id,
        authorizer=grant.context,
        user=grant.principal_id,
        expires_ms=grant.expires_ms,
    )


def _admitted(facts: Facts, outcome: Outcome) -> Admitted:
    completed = replace(facts, user=outcome.user or facts.user, tags=outcome.tags)
    return Admitted(facts=completed, subprotocol=outcome.headers.get(SUBPROTOCOL))


def _satisfies(route: Route, body: str | bytes) -> bool:
    if route.model is None:
        return True
    if isinstance(body, str):
        return route.model.allows(body)
    with suppress(UnicodeDecodeError):
        return route.model.allows(body.decode())
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What back ends need of the node: its clock, its keys, its metrics.

    `observe` is given the API's name, and what `integrations.Observe` is given.
    """

    now_ms: Callable[[], int]
    read_claims: ReadClaims
    credentials: Credentials
    observe: Callable[[str, str, str, float], None]


class Backends:
    """Every stage's application. Raises `ConfigError` where functions that it names cannot be found."""

    def __init__(self, section: ApiGateway, node: Node) -> None:
        self._section = section
        self._node = node
        self._callables = Callables()
        self._callbacks: Callbacks = callbacks(now_ms=node.now_ms)
        mistakes: list[Mistake] = []
        self._by_stage: dict[StageName, StageBackend] = {}
        for api in section.apis:
            for stage in api.stages:
                self._by_stage[StageName(api.name, stage.name)] = self._built(api, stage, mistakes)
        if mistakes:
            raise ConfigError(list(dict.fromkeys(mistakes)))

    def of(self, stage: StageName) -> StageBackend | None:
        """Return the application behind a stage, None where there is no such stage any more."""
        return self._by_stage.get(stage)

    async def close(self) -> None:
        self._callables.close()
        await self._callbacks.close()

    def _built(self, api: Api, stage: Stage, mistakes: list[Mistake]) -> StageBackend:
        services = Services(self._callables, self._callbacks, partial(self._node.observe, api.name))
        place = f"apigateway.apis.{quoted(api.name)}"
        invokers: dict[str, Invoker] = {}
        for key, route in api.routes.items():
            where = f"{place}.routes.{quoted(key)}.integration.handler"
            found = with_mistakes(partial(Invoker, route.integration, stage, api.limits, services), where, mistakes)
            if found is not None:
                invokers[key] = found
        authorizer = with_mistakes(
            partial(self._authorizer, api, stage, services), f"{place}.authorizer.handler", mistakes
        )
        arn = route_arn(
            region=self._section.region,
            account=self._section.account,
            api=api.name,
            stage=stage.name,
            route_key=CONNECT,
        )
        return StageBackend(api, stage, invokers=invokers, authorizer=authorizer, method_arn=arn)

    def _authorizer(self, api: Api, stage: Stage, services: Services) -> Authorizer | None:
        settings = api.authorizer
        if settings is None:
            return None
        match settings.type:
            case AuthorizerType.REQUEST:
                return RequestAuthorizer(settings, stage, services)
            case AuthorizerType.JWT:
                return JwtAuthorizer(settings, stage, self._node.read_claims)
            case AuthorizerType.IAM:
                return IamAuthorizer(self._node.credentials, now_ms=self._node.now_ms)
