"""Integrations and authorizers as they are written: what they become, and every mistake once."""

import pytest

from gateway.apigateway.configuration.definitions import (
    AuthorizerSettings,
    AuthorizerType,
    IntegrationType,
    Profile,
    Stage,
)
from gateway.apigateway.configuration.targets import Targets
from gateway.options import Mistakes

PROD = Stage(name="prod", path="/prod", variables={"host": "app:9000"})
DEV = Stage(name="dev", path="/dev", variables={"host": "dev:9000", "only_dev": "x"})
TARGETS = Targets([PROD, DEV], Profile.AWS)

WHOLE = {
    "aws_proxy": {"uri": "http://${stageVariables.host}/in", "secret": "hush", "timeout_ms": 50, "concurrency": 1},
    "http_proxy": {
        "uri": "https://app/{id}",
        "method": "PUT",
        "secret": "hush",
        "request_parameters": {"integration.request.path.id": "context.connectionId"},
    },
    "callable": {"handler": "chat.app:App.handler", "timeout_ms": 29_000},
    "mock": {"status": 204, "response": "${context.connectionId}"},
}


@pytest.mark.parametrize("kind", list(WHOLE))
def test_each_type_with_all_that_it_takes(kind: str) -> None:
    assert TARGETS.read_integration({"type": kind, **WHOLE[kind]}).type == IntegrationType(kind)


def test_the_type_may_follow_from_the_target() -> None:
    assert TARGETS.read_integration({"uri": "http://app/"}).type is IntegrationType.AWS_PROXY
    assert TARGETS.read_integration({"handler": "a:b"}).type is IntegrationType.CALLABLE


def test_only_the_relaxed_profile_waits_longer() -> None:
    relaxed = Targets([PROD], Profile.RELAXED)
    assert relaxed.read_integration({"uri": "http://app/", "timeout_ms": 300_000}).timeout_ms == 300_000


INTEGRATIONS: list[tuple[object, str]] = [
    (7, ": this must be a table"),
    ({}, "uri: it needs a uri"),
    ({"url": "http://a/", "uri": "http://a/"}, r"url: there is no such member; did you mean uri\?"),
    ({"uri": "a"}, "uri: must be an http:// or https:// URL; 'a' is not"),
    ({"uri": "ftp://a/"}, "uri: must be an http"),
    ({"uri": "http://"}, "uri: must be an http"),
    ({"uri": "http://a:b/"}, "uri: must be an http"),
    ({"uri": "http://user:pass@a/"}, "uri: a uri holds no user and no password"),
    ({"uri": "http://é/"}, "uri: must be an http"),
    ({"uri": "http://${stageVariables.hots}/"}, r"uri: stage prod has no variable hots; did you mean host\?"),
    ({"uri": "http://${stageVariables.only_dev}/"}, "uri: stage prod has no variable only_dev"),
    ({"type": "lambda"}, "type: this must be one of aws_proxy, http_proxy, mock, callable"),
    ({"type": "mock", "uri": "http://a/"}, "uri: this has no meaning here: this integration is mock"),
    ({"type": "mock", "secret": "x"}, "secret: this has no meaning here"),
    ({"type": "mock", "response": "${context}"}, "response: a source is"),
    ({"type": "mock", "response": "${context.conectionId}"}, r"response: an event's .*; did you mean connectionId\?"),
    ({"type": "mock", "response": "${stageVariables.hots}"}, r"response: stage prod has .*; did you mean host\?"),
    ({"type": "mock", "response": 7}, "response: this must be a text"),
    ({"type": "mock", "status": 700}, "status: this must be at most 599"),
    ({"type": "callable", "uri": "http://a/", "handler": "a:b"}, "uri: this has no meaning here"),
    ({"type": "callable"}, 'handler: a handler is "module:function"'),
    ({"handler": "a.b"}, "handler: a handler is \"module:function\"; 'a.b' is not"),
    ({"handler": "a:b", "secret": "x"}, "secret: this has no meaning here: this integration is callable"),
    ({"type": "aws_proxy", "uri": "http://a/", "handler": "a:b"}, "handler: this has no meaning here"),
    ({"uri": "http://a/", "method": "GET"}, "method: this has no meaning here: this integration is aws_proxy"),
    ({"uri": "http://a/", "status": 201}, "status: this has no meaning here"),
    ({"uri": "http://a/", "timeout_ms": 49}, "timeout_ms: this must be at least 50"),
    ({"uri": "http://a/", "timeout_ms": 29_001}, 'timeout_ms: more than 29000 needs the API\'s profile = "relaxed"'),
    ({"uri": "http://a/", "concurrency": 0}, "concurrency: this must be at least 1"),
    ({"type": "http_proxy", "uri": "http://a/", "method": "post"}, "method: this must be a method such as POST"),
    (
        {"uri": "http://a/", "request_parameters": {"integration.request.header.x": "'a'"}},
        "request_parameters: this has no meaning here: this integration is aws_proxy",
    ),
    (
        {"type": "http_proxy", "uri": "http://a/", "request_parameters": {"header.x": "'a'"}},
        'request_parameters."header.x": a target is',
    ),
    (
        {
            "type": "http_proxy",
            "uri": "http://a/",
            "request_parameters": {"integration.request.header.x": "stageVariables.only_dev"},
        },
        "request_parameters: stage prod has no variable only_dev",
    ),
    (
        {"type": "http_proxy", "uri": "http://a/{b}"},
        "uri: {b} in the uri and integration.request.path.b belong together",
    ),
    (
        {"type": "http_proxy", "uri": "http://a/", "request_parameters": {"integration.request.path.b": "'x'"}},
        "uri: {b} in the uri and integration.request.path.b belong together",
    ),
    (
        {
            "type": "http_proxy",
            "uri": "http://{host}/",
            "request_parameters": {"integration.request.path.host": "route.request.body.host"},
        },
        "uri: must be an http",
    ),
]

AUTHORIZERS: list[tuple[object, str]] = [
    ([], ": this must be a table"),
    ({}, "uri: it needs a uri, or a handler"),
    ({"uri": "http://a/", "handler": "a:b"}, "uri: .* not both"),
    ({"uri": "a"}, "uri: must be an http"),
    ({"handler": "a"}, 'handler: a handler is "module:function"'),
    ({"type": "token", "uri": "http://a/"}, "type: this must be one of request, jwt, iam"),
    ({"type": "jwt", "uri": "http://a/"}, "uri: this has no meaning here: this authorizer is jwt"),
    ({"type": "jwt", "secret": "x"}, "secret: this has no meaning here"),
    ({"type": "iam", "identity_sources": ["context.stage"]}, "identity_sources: this has no meaning here"),
    ({"uri": "http://a/", "issuer": "x"}, "issuer: this has no meaning here: this authorizer is request"),
    ({"uri": "http://a/", "audience": ["x"]}, "audience: this has no meaning here"),
    ({"uri": "http://a/", "timeout_ms": 29_001}, "timeout_ms: more than 29000"),
    ({"uri": "http://a/", "identity_sources": ["header.x"]}, "identity_sources: an identity source is route.request"),
    ({"uri": "http://a/", "identity_sources": ["route.request.body.x"]}, "identity_sources: an identity source is"),
    ({"uri": "http://a/", "identity_sources": ["'x'"]}, "identity_sources: an identity source is"),
    ({"uri": "http://a/", "identity_sources": ["context.stag"]}, r"identity_sources: .*; did you mean stage\?"),
    ({"uri": "http://a/", "identity_sources": ["stageVariables.hots"]}, "identity_sources: stage prod has no"),
    ({"uri": "http://a/", "identity_sources": ["context.stage"] * 21}, "identity_sources: there are more than 20"),
]


@pytest.mark.parametrize(("given", "sentence"), INTEGRATIONS, ids=[sentence for _, sentence in INTEGRATIONS])
def test_mistakes_of_an_integration(given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.removeprefix(": ")) as error:
        TARGETS.read_integration(given)
    if isinstance(error.value, Mistakes):
        assert len(error.value.mistakes) == 1


def test_a_password_in_a_uri_is_not_repeated() -> None:
    with pytest.raises(Mistakes) as error:
        TARGETS.read_integration({"uri": "http://user:hunter2@app/"})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(("given", "sentence"), AUTHORIZERS, ids=[sentence for _, sentence in AUTHORIZERS])
def test_mistakes_of_an_authorizer(given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.removeprefix(": ")) as error:
        TARGETS.read_authorizer(given)
    if isinstance(error.value, Mistakes):
        assert len(error.value.mistakes) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"uri": "http://${stageVariables.host}/authorize", "secret": "hush", "identity_sources": ["context.stage"]},
        {"handler": "a:b", "concurrency": 2000},
        {"type": "jwt", "issuer": "us", "audience": ["chat"], "identity_sources": ["route.request.querystring.jwt"]},
        {"type": "jwt"},
        {"type": "iam"},
    ],
)
def test_authorizers(given: dict[str, object]) -> None:
    assert TARGETS.read_authorizer(given).type == AuthorizerType(str(given.get("type", "request")))


def test_an_authorizer_is_awss_by_default() -> None:
    settings = TARGETS.read_authorizer({"uri": "http://a/"})
    assert settings == AuthorizerSettings(uri="http://a/")
    assert (settings.timeout_ms, settings.identity_sources) == (29_000, ())


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(Mistakes) as error:
        TARGETS.read_integration({"uri": "x", "handler": "y", "timeout_ms": 1, "type": "aws_proxy", "typo": 1})
    places = sorted(mistake.place for mistake in error.value.mistakes)
    assert places == ["handler", "timeout_ms", "typo", "uri"]
