"""What an API calls, as the configuration has it: integrations and the authorizer, with every mistake. Pure."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

from gateway.apigateway.application.mapping import Place, names_in, path_names, read_source
from gateway.apigateway.configuration.definitions import (
    MAX_TIMEOUT_MS,
    AuthorizerSettings,
    AuthorizerType,
    Integration,
    IntegrationType,
    Profile,
    Stage,
)
from gateway.apigateway.configuration.stages import fill, variables_in
from gateway.options import Mistake, Mistakes
from gateway.tables import read_members, unknown, with_mistakes

MAX_IDENTITY_SOURCES = 20

_HANDLER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_METHOD = re.compile(r"[A-Z]{1,20}")

_VARIABLES = "stageVariables."

_IDENTITIES = (
    "route.request.header.",
    "route.request.multivalueheader.",
    "route.request.querystring.",
    "route.request.multivaluequerystring.",
    _VARIABLES,
    "context.",
)
"""Sources that a handshake has: it has no body."""

_OF_ALL = {"type", "timeout_ms", "concurrency"}
_OF_INTEGRATIONS: Mapping[IntegrationType, set[str]] = {
    IntegrationType.AWS_PROXY: {"uri", "secret"},
    IntegrationType.HTTP_PROXY: {"uri", "secret", "method", "request_parameters"},
    IntegrationType.CALLABLE: {"handler"},
    IntegrationType.MOCK: {"status", "response"},
}
_OF_AUTHORIZERS: Mapping[AuthorizerType, set[str]] = {
    AuthorizerType.REQUEST: {"uri", "handler", "secret", "identity_sources"},
    AuthorizerType.JWT: {"identity_sources", "issuer", "audience"},
    AuthorizerType.IAM: set(),
}


class Targets:
    """Reads integrations and authorizers of an API with these stages."""

    def __init__(self, stages: Sequence[Stage], profile: Profile) -> None:
        self._stages = stages
        self._profile = profile

    def read_integration(self, given: object) -> Integration:
        """Raises `Mistakes`."""
        mistakes: list[Mistake] = []
        members = read_members(Integration, given, mistakes)
        if any(mistake.place == "type" for mistake in mistakes):
            # What else it needs depends on it.
            raise Mistakes(mistakes)
        members.setdefault("type", IntegrationType.CALLABLE if members.get("handler") else IntegrationType.AWS_PROXY)
        integration = Integration(**members)
        kind = integration.type
        mistakes += _foreign(members, _OF_INTEGRATIONS[kind], f"this integration is {kind.value}")
        if kind is IntegrationType.CALLABLE:
            mistakes += _handler(integration.handler)
        elif kind is not IntegrationType.MOCK:
            mistakes += self._uri(integration.uri)
        if not _METHOD.fullmatch(integration.method):
            mistakes.append(Mistake("method", "this must be a method such as POST"))
        for name in path_names(integration.uri) ^ names_in(integration.request_parameters, Place.PATH):
            sentence = f"{{{name}}} in the uri and integration.request.path.{name} belong together"
            mistakes.append(Mistake("uri", sentence))
        mapped = [parameter.source for parameter in integration.request_parameters]
        mistakes += self._variables(_names_of(mapped), "request_parameters")
        mistakes += self._variables(_names_of(integration.response.parts[1::2]), "response")
        mistakes += self._timeout(integration.timeout_ms)
        if mistakes:
            raise Mistakes(mistakes)
        return integration

    def read_authorizer(self, given: object) -> AuthorizerSettings:
        """Raises `Mistakes`."""
        mistakes: list[Mistake] = []
        members = read_members(AuthorizerSettings, given, mistakes)
        if any(mistake.place == "type" for mistake in mistakes):
            raise Mistakes(mistakes)
        settings = AuthorizerSettings(**members)
        kind = settings.type
        mistakes += _foreign(members, _OF_AUTHORIZERS[kind], f"this authorizer is {kind.value}")
        if kind is AuthorizerType.REQUEST:
            if bool(settings.uri) is bool(settings.handler):
                mistakes.append(Mistake("uri", "it needs a uri, or a handler, and not both"))
            else:
                mistakes += _handler(settings.handler) if settings.handler else self._uri(settings.uri)
        if len(settings.identity_sources) > MAX_IDENTITY_SOURCES:
            mistakes.append(Mistake("identity_sources", f"there are more than {MAX_IDENTITY_SOURCES}"))
        for source in settings.identity_sources[:MAX_IDENTITY_SOURCES]:
            with_mistakes(partial(_check_identity_source, source), "identity_sources", mistakes)
        mistakes += self._variables(_names_of(settings.identity_sources), "identity_sources")
        mistakes += self._timeout(settings.timeout_ms)
        if mistakes:
            raise Mistakes(mistakes)
        return settings

    def _timeout(self, timeout_ms: int) -> list[Mistake]:
        if timeout_ms <= MAX_TIMEOUT_MS or self._profile is Profile.RELAXED:
            return []
        return [Mistake("timeout_ms", f'more than {MAX_TIMEOUT_MS} needs the API\'s profile = "relaxed"')]

    def _variables(self, names: Sequence[str], place: str) -> list[Mistake]:
        """Return a mistake where one of these stage variables is not set at a stage."""
        for stage in self._stages:
            missing = [name for name in names if name not in stage.variables]
            if missing:
                sentence = f"stage {stage.name} has no variable {missing[0][:60]}"
                return [Mistake(place, unknown(missing[0], list(stage.variables), sentence).sentence)]
        return []

    def _uri(self, uri: str) -> list[Mistake]:
        if not uri:
            return [Mistake("uri", "it needs a uri")]
        missing = self._variables(variables_in(uri), "uri")
        if missing:
            return missing
        for stage in self._stages:
            url = fill(uri, stage.variables)
            if "@" in url.partition("//")[2].partition("/")[0]:
                # What stands before the @ may be a password.
                return [Mistake("uri", "a uri holds no user and no password; a secret signs what is sent instead")]
            if not _is_url(url):
                return [Mistake("uri", f"must be an http:// or https:// URL; {uri[:80]!a} is not")]
        return []


def _names_of(sources: Sequence[str]) -> list[str]:
    """Return the stage variables among sources."""
    return [source.removeprefix(_VARIABLES) for source in sources if source.startswith(_VARIABLES)]


def _check_identity_source(source: str) -> None:
    """Raise `ValueError` for what no handshake can bring: nobody would be let in."""
    if not source.startswith(_IDENTITIES):
        raise ValueError(
            "an identity source is route.request.header.N, route.request.querystring.N, stageVariables.N or context.N; "
            f"{source[:60]!a} is not"
        )
    read_source(source)


def _foreign(members: Mapping[str, object], own: set[str], this: str) -> list[Mistake]:
    """Return a mistake for each member that says nothing here."""
    return [Mistake(name, f"this has no meaning here: {this}") for name in members if name not in own | _OF_ALL]


def _handler(handler: str) -> list[Mistake]:
    if _HANDLER.fullmatch(handler):
        return []
    return [Mistake("handler", f'a handler is "module:function"; {handler[:60]!a} is not')]


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return False
    # Who is called is the operator's choice: no parameter of a message stands in for the host.
    has_host = bool(url.hostname) and not set("@{}") & set(url.netloc)
    return url.scheme in ("http", "https") and has_host and text.isascii()
