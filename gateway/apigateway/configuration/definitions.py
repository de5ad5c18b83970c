"""What an API is made of, as the configuration has it: stages, routes, integrations, an authorizer, models, limits.

Every member is an option with its meaning and its bounds: `settings` reads them, docs/configuration.md lists them.
"""
# ruff: noqa: RUF009 - `option` makes a dataclass field, as `field` does; it is no default value.

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gateway.apigateway.application.mapping import Parameter, Template, read_parameters, read_template
from gateway.apigateway.application.models import Model
from gateway.apigateway.application.policies import Policy, read_policy
from gateway.apigateway.application.selection import CONNECT, DEFAULT, DISCONNECT, STANDARD
from gateway.options import Secret, option

MIN_TIMEOUT_MS = 50
MAX_TIMEOUT_MS = 29_000
"""AWS's bounds and default for an integration (contracts/apigateway 11)."""

MAX_RELAXED_TIMEOUT_MS = 300_000

MAX_CALLS = 2000
"""Calls of back ends at once on one node, those that wait for one of the connections included."""

CONCURRENCY = 500
"""Of one integration or authorizer by default: a slow one must not take what the others need."""

PREDEFINED = (CONNECT, DISCONNECT, DEFAULT)


def read_moment(given: object) -> datetime:
    """Read a time with its zone, as TOML has it or as ISO 8601 text. Raises `ValueError`."""
    wanted = "this must be a time with its zone, such as 2026-12-31T00:00:00Z"
    try:
        moment = datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        raise ValueError(wanted) from None
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(wanted)
    return moment


class IntegrationType(StrEnum):
    AWS_PROXY = "aws_proxy"
    """The event as JSON, posted to a URL: what a Lambda function gets."""
    HTTP_PROXY = "http_proxy"
    """The message as it is, posted to a URL, with mapped parameters."""
    MOCK = "mock"
    """No back end: a fixed status and answer."""
    CALLABLE = "callable"
    """A Python function of the event, in this process."""


class AuthorizerType(StrEnum):
    REQUEST = "request"
    JWT = "jwt"
    IAM = "iam"


class Profile(StrEnum):
    AWS = "aws"
    RELAXED = "relaxed"


class Ordering(StrEnum):
    NONE = "none"
    """As at AWS: the messages of a connection run at once."""
    CONNECTION = "connection"
    """One after the other for each connection."""


class KeySource(StrEnum):
    HEADER = "header"
    AUTHORIZER = "authorizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimits:
    """What a client and its messages may cost; the defaults are AWS's (contracts/apigateway 11)."""

    message_bytes: int = option(131_072, "One message, in either direction.", least=1, most=64 * 1024 * 1024)
    frame_bytes: int = option(32_768, "One frame; larger messages come in fragments.", least=125, most=64 * 1024 * 1024)
    idle_seconds: float = option(600, "After this time without data the connection is closed; 0: never.", least=0)
    connection_seconds: float = option(7200, "After this time a connection is closed; 0: never.", least=0)
    idle_counts_control: bool = option(True, "Pings and pongs of the client count against idleness, as data does.")
    ping_seconds: float = option(0, "How often the node pings a connection; 0: never, as AWS.", least=0, most=3600)
    binary: bool = option(False, "Take binary messages; without it they end the connection with 1003.")
    url_chars: int = option(4096, "The request line of a handshake.", least=64, most=65_536)
    connects_per_second: float = option(500, "New connections a second on each node; 0: any number.", least=0)
    requests_per_second: float = option(
        10_000, "Messages and @connections calls a second on each node; 0: any number.", least=0
    )
    requests_burst: int = option(5000, "How many of these may come at once.", least=1)
    buffer_bytes: int = option(
        1_048_576, "What may wait in a socket before a post to it is refused with 429.", least=1024
    )
    waiting_messages: int = option(
        100, "Messages of one connection whose integrations run; above it the socket is not read from.", least=1
    )


RELAXED = ApiLimits(
    message_bytes=1_000_000,
    frame_bytes=1_000_000,
    idle_seconds=0,
    connection_seconds=0,
    ping_seconds=25,
    binary=True,
    url_chars=16_384,
    connects_per_second=0,
    requests_per_second=0,
)
PROFILES = {Profile.AWS: ApiLimits(), Profile.RELAXED: RELAXED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Integration:
    """What stands behind a route."""

    type: IntegrationType = option(None, "aws_proxy, http_proxy, mock or callable; found from uri or handler if empty.")
    uri: str = option("", "The URL that is called; ${stageVariables.name} in it is replaced.")
    method: str = option("POST", "The method of an http_proxy.")
    handler: str = option("", 'A callable, "module:function", called with (event, context).')
    timeout_ms: int = option(
        MAX_TIMEOUT_MS, "How long it may take; at most 29000 at AWS.", least=MIN_TIMEOUT_MS, most=MAX_RELAXED_TIMEOUT_MS
    )
    concurrency: int = option(
        CONCURRENCY, "Calls of it at once on each node, by each route; more are answered 429.", least=1, most=MAX_CALLS
    )
    request_parameters: tuple[Parameter, ...] = option(
        (),
        'What an http_proxy is sent besides: { "integration.request.header.x" = "context.connectionId" }.',
        read=read_parameters,
    )
    secret: Secret | None = option(None, "Requests are signed with it; see apigateway-back-ends.md.")
    status: int = option(200, "The status of a mock.", least=100, most=599)
    response: Template = option(
        Template(()),
        "The answer of a mock; ${context.connectionId} and other sources in it are replaced.",
        read=read_template,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizerSettings:
    """Who decides whether a connection may open, before `$connect`."""

    type: AuthorizerType = option(AuthorizerType.REQUEST, "request, jwt or iam.")
    uri: str = option("", "The URL that a request authorizer is called at.")
    handler: str = option("", 'Or a callable, "module:function".')
    timeout_ms: int = option(MAX_TIMEOUT_MS, "How long it may take.", least=MIN_TIMEOUT_MS, most=MAX_RELAXED_TIMEOUT_MS)
    secret: Secret | None = option(None, "Requests to it are signed with it.")
    concurrency: int = option(CONCURRENCY, "Calls of it at once on each node.", least=1, most=MAX_CALLS)
    identity_sources: tuple[str, ...] = option(
        (), "What a handshake must bring, such as route.request.header.Authorization; for jwt: where its token may be."
    )
    issuer: str = option("", "The iss that a jwt must have; empty: auth.issuer.")
    audience: tuple[str, ...] = option((), "A jwt must name one of these in aud; empty: auth.audience.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What happens with the messages of one route key."""

    integration: Integration
    route_response: bool = option(False, "Send the integration's answer back to the client.")
    model: Model | None = None
    """What messages must satisfy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One deployment of an API: clients connect to its path."""

    name: str
    path: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One WebSocket API."""

    name: str
    """Also AWS's apiId."""
    stages: tuple[Stage, ...]
    routes: Mapping[str, Route] = field(default_factory=dict)
    """By route key, `$connect`, `$disconnect` and `$default` among them."""
    route_selection_expression: str = STANDARD
    authorizer: AuthorizerSettings | None = None
    limits: ApiLimits = field(default_factory=ApiLimits)
    ordering: Ordering = Ordering.NONE
    domain: str = ""
    """What events call domainName; empty: the section's, or the address that the node advertises."""
    api_keys: tuple[Secret, ...] = ()
    """Where there are some, a handshake must bring one."""
    api_key_source: KeySource = KeySource.HEADER


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An access key that signs calls of the management API, or handshakes."""

    access_key: str = option("", "The access key's id.")
    secret: Secret | None = option(None, "The secret access key.")
    session_token: Secret | None = option(None, "The session token that must come with it, if any.")
    expires: datetime | None = option(
        None, "It counts until then: a time with its zone, such as 2026-12-31T00:00:00Z.", read=read_moment
    )
    policy: Policy = option(None, "What it may do: a policy document, or a list of its statements.", read=read_policy)
