"""What must hold between options: one row a rule."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.apigateway.application.policies import ALL
from gateway.apigateway.configuration.definitions import Api, AuthorizerSettings, AuthorizerType, Credential, Stage
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.channel.settings import Channel
from gateway.checks import MIN_SECRET_KEY_CHARS, MIN_SERVICE_TOKEN_CHARS, contradictions
from gateway.config import Auth, Config, Limits
from gateway.options import Secret
from gateway.sections import Push, RetentionDefaults
from gateway.x509 import X509

TOKEN = Secret("t" * MIN_SERVICE_TOKEN_CHARS)
KEY = Secret("k" * MIN_SECRET_KEY_CHARS)
FULL = Config(redis=Secret("redis://host"), service_token=TOKEN, secret_key=KEY)


def found(config: Config) -> list[str]:
    return [key for key, _ in contradictions(config)]


def test_the_default_holds() -> None:
    assert found(Config()) == []
    assert found(FULL) == []


def test_with_redis_both_secrets_are_needed() -> None:
    assert found(Config(redis=Secret("redis://host"))) == ["service_token", "secret_key"]


IAM = Api(
    name="chat",
    stages=(Stage(name="prod", path="/prod"),),
    authorizer=AuthorizerSettings(type=AuthorizerType.IAM),
)

GOOD: list[dict[str, Any]] = [
    {"redis": Secret("redis://user:pa%20ss@host:6379/0")},
    {"redis": Secret("rediss://[::1]:6379")},
    {"redis": Secret("redis+sentinel://a:26379,b:26379/service")},
    {"redis": Secret("redis+cluster://a,b,c")},
    {"redis": Secret("redis+cluster://user:x@a:7000,b:7001")},
    {"tls_cert": "node.pem", "tls_key": "node-key.pem"},
    {"advertise": "http://node:8080"},
    {"advertise": "https://node/"},
    {"allowed_origins": ("https://a", "http://b:1")},
    {"auth": Auth(jwks_url="https://id/keys")},
    {"auth": Auth(jwks_url="http://localhost:1/keys")},
    {"auth": Auth(jwks_url="http://[::1]:1/keys")},
    {"auth": Auth(jwks_url="http://id/keys", jwks_plain_http=True)},
    {"auth": Auth(anonymous_subscribe=("public/*",))},
    {"apigateway": ApiGateway(apis=(IAM,), open=True)},
    {"apigateway": ApiGateway(apis=(IAM,), credentials=(Credential(access_key="AK", secret=TOKEN, policy=ALL),))},
    {"apigateway": ApiGateway(apis=(replace(IAM, authorizer=None),))},
    {"channel": Channel(presence_url="https://app.example/base")},
    {"channel": Channel(presence_url="http://app.example"), "push": Push(plain_http=True)},
    {"push": Push(allowed_networks=("10.0.0.0/8", "fd00::/8", "127.0.0.1"), ports=("443", "8443"))},
    {"tls_cert": "c", "tls_key": "k", "x509": X509(port=8443, authorities="ca", bindings="b")},
    {"name": "node-1.a_b"},
    {"prefix": "p" * 32},
    {"retention": RetentionDefaults(max_age_seconds=190)},
    {"limits": Limits(ping_seconds=5), "retention": RetentionDefaults(max_age_seconds=150)},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"apigateway": ApiGateway(apis=(IAM,))}, "apigateway.apis"),
    ({"retention": RetentionDefaults(max_age_seconds=189)}, "retention.max_age_seconds"),
    (
        {"limits": Limits(pong_seconds=16), "retention": RetentionDefaults(max_age_seconds=200)},
        "retention.max_age_seconds",
    ),
    ({"service_token": Secret("t" * (MIN_SERVICE_TOKEN_CHARS - 1))}, "service_token"),
    ({"service_token": Secret("t" * 16 + " x")}, "service_token"),
    ({"service_token": Secret("t" * 16 + "ü")}, "service_token"),
    ({"secret_key": Secret("k" * (MIN_SECRET_KEY_CHARS - 1))}, "secret_key"),
    ({"secret_key": Secret("k" * 32 + "\n")}, "secret_key"),
    ({"secret_key_old": Secret("k" * (MIN_SECRET_KEY_CHARS - 1))}, "secret_key_old"),
    ({"redis": Secret("host:6379")}, "redis"),
    ({"redis": Secret("redis://")}, "redis"),
    ({"redis": Secret("mysql://host")}, "redis"),
    ({"redis": Secret("redis://host:port")}, "redis"),
    ({"redis": Secret("redis://[::1")}, "redis"),
    ({"push": Push(allowed_networks=("10.0.0.1/8",))}, "push.allowed_networks"),
    ({"push": Push(allowed_networks=("inside",))}, "push.allowed_networks"),
    ({"push": Push(ports=("0",))}, "push.ports"),
    ({"channel": Channel(presence_url="http://app.example")}, "channel.presence_url"),
    ({"channel": Channel(presence_url="app.example")}, "channel.presence_url"),
    ({"channel": Channel(presence_url="https://[app")}, "channel.presence_url"),
    ({"push": Push(ports=("https",))}, "push.ports"),
    ({"push": Push(ports=("65536",))}, "push.ports"),
    ({"x509": X509(port=8443, authorities="ca", bindings="b")}, "x509.port"),
    ({"tls_cert": "c", "tls_key": "k", "x509": X509(port=8443, bindings="b")}, "x509.authorities"),
    ({"tls_cert": "c", "tls_key": "k", "x509": X509(port=8443, authorities="ca")}, "x509.bindings"),
    ({"host": ""}, "host"),
    ({"data": ""}, "data"),
    ({"prefix": ""}, "prefix"),
    ({"prefix": "a{b"}, "prefix"),
    ({"prefix": "p" * 33}, "prefix"),
    ({"name": "a b"}, "name"),
    ({"name": "n" * 65}, "name"),
    ({"advertise": "node:8080"}, "advertise"),
    ({"advertise": "ws://node"}, "advertise"),
    ({"advertise": "http://node/path"}, "advertise"),
    ({"advertise": "http://user@node"}, "advertise"),
    ({"advertise": "http://node?x=1"}, "advertise"),
    ({"advertise": "http://node:port"}, "advertise"),
    ({"allowed_origins": ("https://a", "*")}, "allowed_origins"),
    ({"allowed_origins": ("https://*.a",)}, "allowed_origins"),
    ({"allowed_origins": ("https://a/path",)}, "allowed_origins"),
    ({"allowed_origins": ("null",)}, "allowed_origins"),
    ({"auth": Auth(anonymous_publish=("*/x",))}, "auth.anonymous_publish"),
    ({"auth": Auth(anonymous_subscribe=("",))}, "auth.anonymous_subscribe"),
    ({"auth": Auth(jwks_url="http://id/keys")}, "auth.jwks_url"),
    ({"auth": Auth(jwks_url="http://localhost.evil/keys")}, "auth.jwks_url"),
    ({"auth": Auth(jwks_url="file:///etc/passwd")}, "auth.jwks_url"),
    ({"auth": Auth(jwks_url="file:///etc/passwd", jwks_plain_http=True)}, "auth.jwks_url"),
    ({"auth": Auth(jwks_url="https://user:pw@id/keys")}, "auth.jwks_url"),
    ({"auth": Auth(jwks_url="https://")}, "auth.jwks_url"),
    ({"auth": Auth(jwks_url="https://[::1")}, "auth.jwks_url"),
    ({"limits": Limits(frame_bytes=100_000)}, "limits.frame_bytes"),
    ({"limits": Limits(waiting_publishes=10)}, "limits.waiting_publishes_per_topic"),
    ({"limits": Limits(waiting_publish_bytes=10)}, "limits.waiting_publish_bytes_per_topic"),
]


@pytest.mark.parametrize("change", GOOD)
def test_what_is_good_holds(change: dict[str, Any]) -> None:
    assert found(replace(FULL, **change)) == []


@pytest.mark.parametrize(("change", "key"), BAD)
def test_what_is_bad_is_found_and_no_secret_is_quoted(change: dict[str, Any], key: str) -> None:
    ((where, sentence),) = contradictions(replace(FULL, **change))
    assert where == key
    for value in change.values():
        assert not isinstance(value, Secret) or value.value not in sentence
    assert "user:pw" not in sentence


@pytest.mark.parametrize(("given", "missing"), [("tls_cert", "tls_key"), ("tls_key", "tls_cert")])
def test_a_certificate_and_its_key_go_together(given: str, missing: str) -> None:
    change: dict[str, Any] = {given: "a.pem"}
    assert found(replace(FULL, **change)) == [missing]
