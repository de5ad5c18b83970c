"""APIs and credentials as they are written: what they become, and every mistake with its place."""

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.apigateway.application.mapping import read_template
from gateway.apigateway.application.policies import INVOKE, MANAGE_CONNECTIONS
from gateway.apigateway.configuration.definitions import (
    Api,
    ApiLimits,
    AuthorizerSettings,
    Credential,
    Integration,
    IntegrationType,
    KeySource,
    Ordering,
    Stage,
)
from gateway.apigateway.configuration.reading import ApiTable, RouteTable, StageTable, read_api, read_credential
from gateway.options import Mistakes, Secret, options_of

CHAT = """
name = "chat"
stage = "prod"
profile = "relaxed"
stage_variables = { host = "app:9000" }
domain = "push.example.com"
api_keys = ["a-key-of-at-least-20-characters"]
api_key_source = "authorizer"
ordering = "connection"

[limits]
idle_seconds = 30
binary = false

[models.send]
type = "object"
required = ["text"]

[authorizer]
uri = "http://${stageVariables.host}/authorize"
identity_sources = ["route.request.querystring.token"]

[integrations.backend]
uri = "http://${stageVariables.host}/events"
secret = "hush-hush"
timeout_ms = 60_000

[integrations.code]
handler = "chat.app:handler"

[integrations.raw]
type = "http_proxy"
uri = "https://example.com/{id}"
[integrations.raw.request_parameters]
"integration.request.path.id" = "context.connectionId"

[routes]
"$connect" = "backend"
"$default" = { integration = "raw" }
send = { integration = "code", route_response = true, model = "send" }
ping = { integration = { type = "mock", response = "pong" }, route_response = true }
"""


def chat() -> Api:
    return read_api(tomllib.loads(CHAT))


def test_an_api_is_read() -> None:
    api = chat()
    assert (api.name, api.domain, api.api_key_source) == ("chat", "push.example.com", KeySource.AUTHORIZER)
    assert api.stages == (Stage(name="prod", path="/prod", variables={"host": "app:9000"}),)
    assert api.ordering is Ordering.CONNECTION
    assert api.api_keys == (Secret("a-key-of-at-least-20-characters"),)
    assert (api.limits.idle_seconds, api.limits.binary, api.limits.message_bytes) == (30, False, 1_000_000)
    assert api.authorizer == AuthorizerSettings(
        uri="http://${stageVariables.host}/authorize", identity_sources=("route.request.querystring.token",)
    )
    assert list(api.routes) == ["$connect", "$default", "send", "ping"]


def test_its_routes_have_their_integrations() -> None:
    routes = chat().routes
    backend = routes["$connect"].integration
    assert (backend.type, backend.timeout_ms, backend.secret) == (
        IntegrationType.AWS_PROXY,
        60_000,
        Secret("hush-hush"),
    )
    assert routes["send"].integration == Integration(type=IntegrationType.CALLABLE, handler="chat.app:handler")
    assert routes["$default"].integration.request_parameters[0].source == "context.connectionId"
    assert routes["ping"].integration == Integration(type=IntegrationType.MOCK, response=read_template("pong"))
    assert [key for key, route in routes.items() if route.route_response] == ["send", "ping"]
    model = routes["send"].model
    assert model is not None
    assert model.allows('{"text": "a"}')
    assert not model.allows("{}")


def test_nothing_secret_shows() -> None:
    shown = repr(chat())
    assert "hush-hush" not in shown
    assert "a-key-of" not in shown


def an_api(**members: object) -> dict[str, object]:
    return {
        "name": "chat",
        "stage": "prod",
        "routes": {"$default": "backend"},
        "integrations": {"backend": {"uri": "http://app/"}},
        **members,
    }


def test_an_api_is_awss_by_default() -> None:
    api = read_api(an_api())
    assert api.limits == ApiLimits()
    assert api.route_selection_expression == "$request.body.action"
    assert (api.authorizer, api.api_keys, api.ordering) == (None, (), Ordering.NONE)


@pytest.mark.parametrize(
    ("members", "paths"),
    [
        ({}, ["/prod"]),
        ({"path": "/"}, ["/prod"]),
        ({"path": "/ws"}, ["/ws"]),
        ({"path": "/ws/"}, ["/ws"]),
        ({"stage": "", "stages": ["dev", "prod"]}, ["/dev", "/prod"]),
        ({"stage": "", "stages": ["dev", "prod"], "path": "/ws"}, ["/ws/dev", "/ws/prod"]),
        ({"stage": "", "stages": {"dev": {}, "prod": {"path": "/live"}}}, ["/dev", "/live"]),
        ({"stage": "v1", "path": "/ws/v1"}, ["/ws/v1"]),
    ],
)
def test_paths_of_stages(members: dict[str, object], paths: list[str]) -> None:
    assert [stage.path for stage in read_api(an_api(**members)).stages] == paths


def test_a_stage_has_variables_of_its_own() -> None:
    stages = {"dev": {"stage_variables": {"host": "dev"}}, "prod": {}}
    api = read_api(an_api(stage="", stages=stages, stage_variables={"host": "app", "a": "b"}))
    assert [stage.variables for stage in api.stages] == [{"host": "dev", "a": "b"}, {"host": "app", "a": "b"}]


def mistakes_of(**members: object) -> list[str]:
    with pytest.raises(Mistakes) as error:
        read_api(an_api(**members))
    return [str(mistake) for mistake in error.value.mistakes]


ONE_MISTAKE: list[tuple[dict[str, object], str]] = [
    ({"name": ""}, "name: an API needs a name"),
    ({"name": "a b"}, "name: an API needs a name"),
    ({"nmae": "x"}, "nmae: there is no such member; did you mean name\\?"),
    ({"stage": ""}, "stage: an API needs a stage"),
    ({"stages": ["dev"]}, "stage: an API needs a stage, .* and not both"),
    ({"stage": "", "stages": 7}, "stages: this must be a list of names"),
    ({"stage": "", "stages": [f"s{number}" for number in range(11)]}, "stages: an API has at most 10"),
    ({"stage": "a b"}, "stage: a stage's name is"),
    ({"stage": "v1"}, r"stage: /v1 is one of this node's own paths.*path = \"/ws/v1\""),
    ({"stage": "", "stages": ["dev", "docs"]}, "stages.docs: /docs is one of this node's own"),
    (
        {"stage": "", "stages": {"dev": {"paht": "/x"}}},
        "stages.dev.paht: there is no such member; did you mean path\\?",
    ),
    ({"path": "/headrace/x"}, "stage: /headrace is one of this node's own"),
    ({"path": "no"}, "stage: a path is"),
    ({"profile": "awss"}, "profile: this must be one of aws, relaxed"),
    ({"limits": {"idle": 3}}, "limits.idle: there is no such member"),
    ({"limits": {"frame_bytes": 0}}, "limits.frame_bytes: this must be at least 125"),
    ({"limits": 7}, "limits: this must be a table"),
    ({"route_selection_expression": "$request.header.x"}, "route_selection_expression: .*request.body"),
    ({"ordering": "strict"}, "ordering: this must be one of none, connection"),
    ({"stage_variables": {"a": 1}}, "stage_variables: this must be a table of texts"),
    ({"stage_variables": []}, "stage_variables: this must be a table of at most"),
    ({"api_keys": ["short"]}, "api_keys: each must be a text of at least 20"),
    ({"api_keys": "x"}, "api_keys: this must be a list"),
    ({"routes": {}}, "routes: an API needs a table of 1 to 300 routes"),
    ({"routes": []}, "routes: an API needs a table of 1 to 300 routes"),
    ({"routes": {f"r{number}": "backend" for number in range(301)}}, "routes: an API needs"),
    ({"routes": {"$defualt": "backend"}}, r'routes."\$defualt": only .* begin with \$; did you mean \$default\?'),
    ({"routes": {"": "backend"}}, "a route key has 1 to 128"),
    ({"routes": {"a": "bakend"}}, "routes.a.integration: there is no integration 'bakend'; did you mean backend\\?"),
    ({"routes": {"a": {}}}, "routes.a.integration: a route needs an integration"),
    ({"routes": {"a": {"integration": "backend", "respond": True}}}, "routes.a.respond: there is no such member"),
    ({"routes": {"a": {"integration": "backend", "model": "m"}}}, "routes.a.model: there is no model 'm'"),
    ({"routes": {"a": {"integration": {"uri": "ftp://x"}}}}, "routes.a.integration.uri: must be an http"),
    ({"routes": {"$connect": {"integration": "backend", "route_response": True}}}, r"\$connect has no route_response"),
    ({"routes": {"$disconnect": {"integration": "backend", "model": ""}, "a": 7}}, "routes.a: this must be a table"),
    ({"models": {"m": {"type": "x"}}}, "models.m: "),
    ({"models": {f"m{number}": {} for number in range(301)}}, "models: an API has at most 300 models"),
    ({"models": 7}, "models: this must be a table"),
    ({"authorizer": {}}, "authorizer.uri: it needs a uri, or a handler"),
    ({"integrations": {"backend": 7}}, "integrations.backend: this must be a table"),
    ({"domain": "https://push.example.com"}, "domain: this must be a host, or host:port"),
    ({"domain": "push.example.com/prod"}, "domain: this must be a host, or host:port"),
    ({"domain": "push example"}, "domain: this must be a host, or host:port"),
    ({"domain": 7}, "domain: this must be a host, or host:port"),
]


@pytest.mark.parametrize(("members", "sentence"), ONE_MISTAKE, ids=[sentence for _, sentence in ONE_MISTAKE])
def test_each_mistake_is_told_once_with_its_place(members: dict[str, object], sentence: str) -> None:
    (told,) = mistakes_of(**members)
    assert re.search(sentence, told), told


def test_mistakes_are_told_all_at_once() -> None:
    told = mistakes_of(
        name="",
        stage="docs",
        integrations={"backend": {"uri": "x"}, "other": {"timeout_ms": 1, "uri": "y"}},
        authorizer={"handler": "no"},
        routes={"a": "bakend", "$b": "backend"},
    )
    assert [mistake.partition(": ")[0] for mistake in told] == [
        "name",
        "stage",
        "integrations.backend.uri",
        "integrations.other.timeout_ms",
        "integrations.other.uri",
        "authorizer.handler",
        "routes.a.integration",
        'routes."$b"',
    ]


def test_a_route_with_a_wrong_key_is_read_all_the_same() -> None:
    routes = {"$defualt": {"integration": {"handler": "no"}, "model": "m"}}
    assert [mistake.partition(": ")[0] for mistake in mistakes_of(routes=routes)] == [
        'routes."$defualt"',
        'routes."$defualt".integration.handler',
        'routes."$defualt".model',
    ]


@pytest.mark.parametrize("domain", ["", "localhost:8080", "push.example.com", "10.0.0.1:80", "[::1]:8080"])
def test_domains(domain: str) -> None:
    assert read_api(an_api(domain=domain)).domain == domain


def credential(**members: object) -> Credential:
    whole = {
        "access_key": "AKIAEXAMPLE",
        "secret": "hush-hush",
        "policy": [{"action": "*", "resource": "*"}],
        **members,
    }
    return read_credential({key: value for key, value in whole.items() if value is not None})


def test_a_credential_is_read_and_hides_its_secrets() -> None:
    found = credential(session_token="token-token")
    assert (found.access_key, found.secret, found.session_token) == (
        "AKIAEXAMPLE",
        Secret("hush-hush"),
        Secret("token-token"),
    )
    assert found.policy.allows(INVOKE, "arn:aws:execute-api:us-east-1:1:a/b/$connect")
    assert found.policy.allows(MANAGE_CONNECTIONS, "x")
    assert "hush-hush" not in repr(found)
    assert "token-token" not in repr(found)


@pytest.mark.parametrize(
    "given", ["2026-12-31T01:00:00+01:00", "2026-12-31T00:00:00Z", datetime(2026, 12, 31, tzinfo=UTC)]
)
def test_a_credential_may_expire(given: object) -> None:
    assert credential(expires=given).expires == datetime(2026, 12, 31, tzinfo=UTC)
    assert credential().expires is None


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"access_key": None}, "access_key: a credential needs an access_key"),
        ({"access_key": "a/b"}, "access_key: a credential needs an access_key"),
        ({"secret": None}, "secret: a credential needs its secret access key"),
        ({"secret": ""}, "secret: a credential needs its secret access key"),
        ({"policy": None}, "policy: say what it may do, such as policy = "),
        ({"policy": [{"action": "*"}]}, "policy: statement 1: it needs Resource"),
        ({"expires": "tomorrow"}, "expires: this must be a time with its zone"),
        ({"expires": "2026-12-31T00:00:00"}, "expires: this must be a time with its zone"),
        ({"expires": 1_800_000_000}, "expires: this must be a time with its zone"),
        ({"polcy": []}, "polcy: there is no such member; did you mean policy"),
    ],
)
def test_mistakes_of_a_credential(members: dict[str, object], sentence: str) -> None:
    with pytest.raises(Mistakes) as error:
        credential(**members)
    (told,) = map(str, error.value.mistakes)
    assert sentence in told
    assert "hush-hush" not in told


def test_the_page_for_operators_lists_every_member_with_its_meaning() -> None:
    page = (Path(__file__).parents[4] / "docs" / "configuration.md").read_text()
    for table in (ApiTable, StageTable, RouteTable, ApiLimits, Integration, AuthorizerSettings, Credential):
        for member in options_of(table):
            assert f"| {member.key} |" in page, member.key
            assert member.meaning in page, member.key
