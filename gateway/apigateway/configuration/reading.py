"""From a table of the configuration to an `Api` or a `Credential`, with every mistake in it."""
# ruff: noqa: RUF009 - `option` makes a dataclass field, as `field` does; it is no default value.

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gateway.apigateway.application.models import Model, read_model
from gateway.apigateway.application.selection import STANDARD, parse
from gateway.apigateway.configuration.definitions import (
    PREDEFINED,
    PROFILES,
    Api,
    ApiLimits,
    AuthorizerSettings,
    Credential,
    Integration,
    IntegrationType,
    KeySource,
    Ordering,
    Profile,
    Route,
    Stage,
)
from gateway.apigateway.configuration.stages import MAX_VARIABLES, check_path, check_stage
from gateway.apigateway.configuration.targets import Targets
from gateway.options import Mistake, Mistakes, Secret, option
from gateway.tables import quoted, read_members, read_named, unknown, with_mistakes

MAX_ROUTES = 300
MAX_INTEGRATIONS = 300
MAX_MODELS = 300
MAX_STAGES = 10
MAX_ROUTE_KEY_CHARS = 128
MAX_API_KEYS = 1000

MIN_API_KEY_CHARS = 20
"""As at AWS."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DOMAIN = re.compile(r"([A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:\d{1,5})?", re.ASCII)
_ACCESS_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _as_it_is(given: object) -> object:
    return given


def _read_texts(given: object) -> Mapping[str, str]:
    if not isinstance(given, Mapping) or len(given) > MAX_VARIABLES:
        raise ValueError(f"this must be a table of at most {MAX_VARIABLES} texts")
    if not all(isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_]{1,64}", key) for key, value in given.items()):
        raise ValueError("this must be a table of texts, their names letters, digits and '_'")
    return dict(given)


def read_domain(given: object) -> str:
    """Read what events call domainName: a host, perhaps with a port. Raises `ValueError`."""
    if not isinstance(given, str) or (given and not _DOMAIN.fullmatch(given)):
        raise ValueError("this must be a host, or host:port, with no scheme and no path")
    return given


def _read_api_keys(given: object) -> tuple[Secret, ...]:
    if not isinstance(given, list) or len(given) > MAX_API_KEYS:
        raise ValueError(f"this must be a list of at most {MAX_API_KEYS} texts")
    if not all(isinstance(key, str) and len(key) >= MIN_API_KEY_CHARS and key.isascii() for key in given):
        raise ValueError(f"each must be a text of at least {MIN_API_KEY_CHARS} ASCII characters")
    return tuple(Secret(key) for key in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """One route as it is written; a text alone is the name of its integration."""

    integration: object = option(None, "The name of an integration, or one in place.", read=_as_it_is)
    route_response: bool = option(False, "Send the integration's answer back to the client.")
    model: str = option("", "The name of the model that messages must satisfy.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTable:
    """One stage as it is written."""

    path: str = option("", "Where clients connect; empty: the API's path and the stage's name.")
    stage_variables: Mapping[str, str] | None = option(
        None, "Texts that take the place of the API's.", read=_read_texts
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTable:
    """One API as it is written."""

    name: str = option("", "The API's name, and AWS's apiId.")
    stage: str = option("", "Its stage, where there is one.")
    stages: object = option(
        None, "Its stages: a list of names, or a table of name to {path, stage_variables}.", read=_as_it_is
    )
    path: str = option("", "Where clients connect; empty: / and the stage's name. With several stages: before it.")
    profile: Profile = option(Profile.AWS, "Where limits come from that are not given: aws or relaxed.")
    limits: object = option(None, "Limits of its own.", read=_as_it_is)
    route_selection_expression: str = option(STANDARD, "What chooses the route of a message.")
    ordering: Ordering = option(Ordering.NONE, "none: messages of a connection run at once; connection: in order.")
    routes: object = option(
        None, "Route key to integration, or to {integration, route_response, model}.", read=_as_it_is
    )
    integrations: object = option(None, "Integrations by name.", read=_as_it_is)
    models: object = option(None, "JSON schemas (draft 4) by name.", read=_as_it_is)
    authorizer: object = option(None, "Who decides before $connect.", read=_as_it_is)
    stage_variables: Mapping[str, str] | None = option(
        None, "Texts for ${stageVariables.name} in a uri, and for events.", read=_read_texts
    )
    domain: str = option("", "What events call domainName; empty: apigateway.domain.", read=read_domain)
    api_keys: tuple[Secret, ...] = option((), "API keys, one of which a handshake must bring.", read=_read_api_keys)
    api_key_source: KeySource = option(KeySource.HEADER, "header: x-api-key; authorizer: its usageIdentifierKey.")


def read_api(given: object) -> Api:
    """Read one API. Raises `Mistakes`."""
    mistakes: list[Mistake] = []
    members = read_members(ApiTable, given, mistakes)
    table = ApiTable(**members)
    _need(_NAME.fullmatch(table.name), "name", "an API needs a name of 1 to 64 letters, digits, '_' or '-'", mistakes)
    stages = with_mistakes(lambda: _read_stages(table), "", mistakes) or ()
    place = "route_selection_expression"
    with_mistakes(partial(parse, table.route_selection_expression), place, mistakes)
    parts = _Parts(table, stages, mistakes)
    api = Api(
        name=table.name,
        stages=stages,
        limits=parts.limits(),
        authorizer=parts.authorizer(),
        routes=parts.routes(),
        route_selection_expression=table.route_selection_expression,
        ordering=table.ordering,
        domain=table.domain,
        api_keys=table.api_keys,
        api_key_source=table.api_key_source,
    )
    if mistakes:
        raise Mistakes(mistakes)
    return api


def _need(holds: object, place: str, sentence: str, mistakes: list[Mistake]) -> None:
    if not holds:
        mistakes.append(Mistake(place, sentence))


def _read_stages(table: ApiTable) -> tuple[Stage, ...]:
    """Return the stages with their paths. Raises `Mistakes`."""
    given = _stage_tables(table)
    mistakes: list[Mistake] = []
    found: list[Stage] = []
    for name, value in given.items():
        place = f"stages.{quoted(name)}" if table.stages else "stage"
        one = with_mistakes(partial(_stage, table, name, value, len(given)), place, mistakes)
        if one is not None:
            found.append(one)
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(found)


def _stage_tables(table: ApiTable) -> Mapping[str, object]:
    if bool(table.stage) is bool(table.stages):
        raise Mistakes([Mistake("stage", 'an API needs a stage, such as stage = "prod", or stages, and not both')])
    if table.stage:
        return {table.stage: {}}
    if isinstance(table.stages, list) and all(isinstance(name, str) for name in table.stages):
        stages: Mapping[str, object] = {name: {} for name in table.stages}
    elif isinstance(table.stages, Mapping):
        stages = table.stages
    else:
        raise Mistakes(
            [Mistake("stages", "this must be a list of names, or a table of name to {path, stage_variables}")]
        )
    if len(stages) > MAX_STAGES:
        raise Mistakes([Mistake("stages", f"an API has at most {MAX_STAGES} stages")])
    return stages


def _stage(table: ApiTable, name: str, given: object, count: int) -> Stage:
    mistakes: list[Mistake] = []
    own = StageTable(**read_members(StageTable, given, mistakes))
    base = table.path.rstrip("/")
    path = own.path or (base if base and count == 1 else f"{base}/{name}")
    for check, value in ((check_stage, name), (check_path, path)):
        with_mistakes(partial(check, value), "", mistakes)
    if mistakes:
        raise Mistakes(mistakes[:1] if mistakes[0].place == "" else mistakes)
    return Stage(name=name, path=path, variables={**(table.stage_variables or {}), **(own.stage_variables or {})})


class _Parts:
    """Reads what an API is made of; what is wrong goes to `mistakes`."""

    def __init__(self, table: ApiTable, stages: tuple[Stage, ...], mistakes: list[Mistake]) -> None:
        self._table = table
        # URLs are looked at even where the stages are wrong.
        looked_at = stages or (Stage(name=table.stage, path="", variables=table.stage_variables or {}),)
        self._targets = Targets(looked_at, table.profile)
        self._mistakes = mistakes
        self._models = self._named("models", table.models, lambda _, value: read_model(value), MAX_MODELS)
        self._integrations = self._named("integrations", table.integrations, self._integration_named, MAX_INTEGRATIONS)

    def _named(self, place: str, given: object, read: Callable[[str, object], Any], most: int) -> dict[str, Any]:
        if given is None:
            return {}
        if isinstance(given, Mapping) and len(given) > most:
            self._mistakes.append(Mistake(place, f"an API has at most {most} {place}"))
        known = list(given) if isinstance(given, Mapping) else []
        found = with_mistakes(lambda: read_named(given, read), place, self._mistakes)
        # Those that are wrong have been told; a route that names one is no second mistake.
        return found if found is not None else dict.fromkeys(known)

    def limits(self) -> ApiLimits:
        base = PROFILES[self._table.profile]
        inner: list[Mistake] = []
        given = {} if self._table.limits is None else self._table.limits
        own = with_mistakes(partial(read_members, ApiLimits, given, inner), "limits", self._mistakes)
        self._mistakes += Mistakes(inner).under("limits")
        return replace(base, **(own or {}))

    def authorizer(self) -> AuthorizerSettings | None:
        given = self._table.authorizer
        if given is None:
            return None
        return with_mistakes(partial(self._targets.read_authorizer, given), "authorizer", self._mistakes)

    def _integration_named(self, name: str, given: object) -> Integration:
        return self._targets.read_integration(given)

    def routes(self) -> dict[str, Route]:
        given = self._table.routes
        if not isinstance(given, Mapping) or not 1 <= len(given) <= MAX_ROUTES:
            sentence = f'an API needs a table of 1 to {MAX_ROUTES} routes, such as "$default" = "backend"'
            self._mistakes.append(Mistake("routes", sentence))
            return {}
        return with_mistakes(lambda: read_named(given, self._route), "routes", self._mistakes) or {}

    def _route(self, key: str, given: object) -> Route:
        mistakes: list[Mistake] = []
        with_mistakes(partial(_check_route_key, key), "", mistakes)
        table = RouteTable(
            **read_members(RouteTable, {"integration": given} if isinstance(given, str) else given, mistakes)
        )
        integration = with_mistakes(lambda: self._route_integration(table.integration), "integration", mistakes)
        model = self._model(table.model, mistakes)
        if key in PREDEFINED[:2] and (table.route_response or table.model):
            mistakes.append(Mistake("", f"{key} has no route_response and no model: it is no message"))
        if mistakes:
            raise Mistakes(mistakes)
        return Route(
            # None stands for one whose mistakes are told elsewhere: the API is not made then.
            integration=integration or Integration(type=IntegrationType.MOCK),
            route_response=table.route_response,
            model=model,
        )

    def _route_integration(self, given: object) -> Integration | None:
        if not isinstance(given, str):
            if given is None:
                raise ValueError("a route needs an integration")
            return self._targets.read_integration(given)
        if given not in self._integrations:
            raise ValueError(
                unknown(given, list(self._integrations), f"there is no integration {given[:60]!a}").sentence
            )
        found: Integration | None = self._integrations[given]
        return found

    def _model(self, name: str, mistakes: list[Mistake]) -> Model | None:
        if name and name not in self._models:
            found = unknown(name, list(self._models), f"there is no model {name[:60]!a}")
            mistakes.append(Mistake("model", found.sentence))
        return self._models.get(name)


def _check_route_key(key: str) -> None:
    if not 1 <= len(key) <= MAX_ROUTE_KEY_CHARS:
        raise ValueError(f"a route key has 1 to {MAX_ROUTE_KEY_CHARS} characters")
    if key.startswith("$") and key not in PREDEFINED:
        sentence = f"only {', '.join(PREDEFINED)} begin with $"
        raise ValueError(unknown(key, list(PREDEFINED), sentence).sentence)


def read_credential(given: object) -> Credential:
    """Read one credential. Raises `Mistakes`, without anything of its secrets."""
    mistakes: list[Mistake] = []
    credential = Credential(**read_members(Credential, given, mistakes))
    wanted = "a credential needs an access_key of 1 to 128 letters, digits, '_' or '-'"
    _need(_ACCESS_KEY.fullmatch(credential.access_key), "access_key", wanted, mistakes)
    _need(credential.secret, "secret", "a credential needs its secret access key", mistakes)
    if credential.policy is None and not any(mistake.place == "policy" for mistake in mistakes):
        sentence = 'say what it may do, such as policy = [{ action = "execute-api:*", resource = "*" }]'
        mistakes.append(Mistake("policy", sentence))
    if mistakes:
        raise Mistakes(mistakes)
    return credential
