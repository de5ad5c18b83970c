"""Authorizers against real back ends, functions, tokens and signatures."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from application import ARN, NOW_MS, Functions, allowing, request
from botocore import auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Keys
from receiver import Answer, Receiver, answering, hanging, hanging_up

from broker.errors import Expired, Unauthorized, Unavailable
from gateway.apigateway.application.authorizers import IamAuthorizer, JwtAuthorizer, RequestAuthorizer
from gateway.apigateway.application.grants import Grant, Refused
from gateway.apigateway.application.integrations import Services
from gateway.apigateway.configuration.definitions import AuthorizerSettings, AuthorizerType, Stage
from gateway.apigateway.configuration.settings import read_credentials
from gateway.apigateway.management.credentials import Credentials
from gateway.apigateway.ports import ConnectRequest
from gateway.options import Secret

STAGE = Stage(name="prod", path="/prod", variables={"a": "b"})


def behind_http(services: Services, receiver: Receiver, **members: Any) -> RequestAuthorizer:
    settings = AuthorizerSettings(uri=f"http://127.0.0.1:{receiver.port}/authorize", **members)
    return RequestAuthorizer(settings, STAGE, services)


def in_process(services: Services, application: Functions, answer: object, **members: Any) -> RequestAuthorizer:
    settings = AuthorizerSettings(handler=application.answer("authorize", answer), **members)
    return RequestAuthorizer(settings, STAGE, services)


async def test_an_application_is_asked_over_http(services: Services, receiver: Receiver) -> None:
    receiver.answer = answering(200, json.dumps(allowing(context={"room": "blue"})).encode())
    authorizer = behind_http(services, receiver, secret=Secret("hush"))
    decision = await authorizer.decide(request(query="token=x", headers=(("X-A", "b"),)), method_arn=ARN)
    assert decision == Grant(principal_id="ada", context={"room": "blue"})
    (asked,) = receiver.received
    assert asked.headers["webhook-signature"].startswith("v1,")
    event = asked.json
    assert (event["type"], event["methodArn"], event["stageVariables"]) == ("REQUEST", ARN, {"a": "b"})
    assert event["queryStringParameters"] == {"token": "x"}
    assert event["headers"]["X-A"] == "b"
    assert event["requestContext"]["eventType"] == "CONNECT"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (answering(401), 401),
        (answering(200, b'{"errorMessage": "Unauthorized"}'), 401),
        (answering(403), 403),
        (answering(200, b"{}"), 403),
        (answering(200, json.dumps(allowing(effect="Deny")).encode()), 403),
        (answering(429), 429),
        (answering(404), 500),
        (answering(500), 500),
        (answering(200, b"no JSON"), 500),
        (answering(200, b'{"principalId": "ada"}'), 500),
        (answering(200, json.dumps(allowing(context={"a": "x" * 9000})).encode()), 500),
        (hanging, 500),
        (hanging_up, 500),
    ],
)
async def test_every_other_answer_is_a_refusal(
    services: Services, receiver: Receiver, answer: Answer, status: int
) -> None:
    receiver.answer = answer
    authorizer = behind_http(services, receiver, timeout_ms=200)
    assert await authorizer.decide(request(), method_arn=ARN) == Refused(status)


async def test_a_function_may_be_asked(services: Services, application: Functions) -> None:
    authorizer = in_process(services, application, lambda event: allowing(resource=event["methodArn"]))
    assert await authorizer.decide(request(), method_arn=ARN) == Grant(principal_id="ada")


@pytest.mark.parametrize(
    ("answer", "status"),
    [(Exception("Unauthorized"), 401), (Exception("unauthorized"), 500), (ValueError("x"), 500), (None, 500)],
)
async def test_what_a_function_raises(services: Services, application: Functions, answer: object, status: int) -> None:
    authorizer = in_process(services, application, answer)
    assert await authorizer.decide(request(), method_arn=ARN) == Refused(status)


async def test_without_its_identity_sources_nobody_is_asked(services: Services, application: Functions) -> None:
    authorizer = in_process(
        services, application, allowing(), identity_sources=("route.request.querystring.token", "stageVariables.a")
    )
    assert await authorizer.decide(request(), method_arn=ARN) == Refused(401)
    assert await authorizer.decide(request(query="token="), method_arn=ARN) == Refused(401)
    assert application.events == []
    assert await authorizer.decide(request(query="token=x"), method_arn=ARN) == Grant(principal_id="ada")


def test_its_function_must_be_there(services: Services) -> None:
    with pytest.raises(ValueError, match="no_such_module"):
        RequestAuthorizer(AuthorizerSettings(handler="no_such_module:f"), STAGE, services)


# Tokens


class Tokens:
    """Knows the token "good"."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.rules: object = None

    async def read(self, token: str, *, issuer: str, audience: tuple[str, ...]) -> Mapping[str, object]:
        self.rules = (issuer, audience)
        if self.failure is not None:
            raise self.failure
        if token != "good":
            raise Unauthorized
        return {"sub": "ada", "room": "blue"}


def of_tokens(tokens: Tokens, **members: Any) -> JwtAuthorizer:
    settings = AuthorizerSettings(type=AuthorizerType.JWT, **members)
    return JwtAuthorizer(settings, STAGE, tokens.read)


BEARER = request(headers=(("Authorization", "Bearer good"),))


@pytest.mark.parametrize(
    ("shown", "members", "decision"),
    [
        (BEARER, {}, Grant(principal_id="ada", context={"sub": "ada", "room": "blue"})),
        (request(query="token=good"), {}, Grant(principal_id="ada", context={"sub": "ada", "room": "blue"})),
        (request(), {}, Refused(401)),
        (request(query="token=bad"), {}, Refused(401)),
        (BEARER, {"identity_sources": ("route.request.querystring.jwt",)}, Refused(401)),
        (
            request(query="jwt=good"),
            {"identity_sources": ("route.request.querystring.jwt",)},
            Grant(principal_id="ada", context={"sub": "ada", "room": "blue"}),
        ),
    ],
)
async def test_a_token_decides(shown: ConnectRequest, members: dict[str, Any], decision: Grant | Refused) -> None:
    assert await of_tokens(Tokens(), **members).decide(shown, method_arn=ARN) == decision


@pytest.mark.parametrize(("failure", "status"), [(Expired(), 401), (Unavailable("no keys"), 500)])
async def test_a_token_that_cannot_be_read(failure: Exception, status: int) -> None:
    assert await of_tokens(Tokens(failure)).decide(BEARER, method_arn=ARN) == Refused(status)


async def test_rules_of_its_own_are_asked_for() -> None:
    tokens = Tokens()
    await of_tokens(tokens).decide(BEARER, method_arn=ARN)
    assert tokens.rules == ("", ())
    await of_tokens(tokens, issuer="us", audience=("chat",)).decide(BEARER, method_arn=ARN)
    assert tokens.rules == ("us", ("chat",))


# Signatures


def signed(*, secret: str = "hush", presigned: bool = False) -> ConnectRequest:
    """Return the handshake as botocore signs one."""
    made = AWSRequest("GET", "https://push.example.com/prod?room=blue", headers={"Host": "push.example.com"})
    kind = SigV4QueryAuth if presigned else SigV4Auth
    at = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    with mock.patch.object(auth, "get_current_datetime", return_value=at):
        kind(Keys("AKIAEXAMPLE", secret), "execute-api", "us-east-1").add_auth(made)
    query = str(made.prepare().url).partition("?")[2]
    return request(query=query, headers=tuple((name, value) for name, value in made.headers.items() if name != "Host"))


def of_signatures(resource: str = "arn:aws:execute-api:*:*:chat/*") -> IamAuthorizer:
    policy = [{"action": "execute-api:Invoke", "resource": resource}]
    known = read_credentials([{"access_key": "AKIAEXAMPLE", "secret": "hush", "policy": policy}])
    return IamAuthorizer(Credentials(known), now_ms=lambda: NOW_MS)


@pytest.mark.parametrize("presigned", [False, True])
async def test_a_signature_decides(presigned: bool) -> None:
    decision = await of_signatures().decide(signed(presigned=presigned), method_arn=ARN)
    assert decision == Grant(principal_id="AKIAEXAMPLE")
    wrong = signed(secret="another", presigned=presigned)
    assert await of_signatures().decide(wrong, method_arn=ARN) == Refused(403)


async def test_a_signature_needs_a_policy_that_allows() -> None:
    other = of_signatures("arn:aws:execute-api:*:*:chat/dev/*")
    assert await other.decide(signed(), method_arn=ARN) == Refused(403)


async def test_without_a_signature_nobody_is_let_in() -> None:
    assert await of_signatures().decide(request(), method_arn=ARN) == Refused(403)
