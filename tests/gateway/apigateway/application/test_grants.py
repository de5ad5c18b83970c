"""Answers of authorizers: who is let in, with what, and which answers are none."""

import pytest
from application import ARN, allowing

from gateway.apigateway.application.grants import (
    BadAnswer,
    Grant,
    Refused,
    first_token,
    grant_of_claims,
    has_all,
    read_grant,
)
from gateway.apigateway.application.mapping import Sources

SOURCES = Sources(
    headers=[("authorization", "Bearer abc"), ("X-Empty", ""), ("x-token", "t")],
    query=[("token", "q")],
    stage_variables={"a": "b"},
    context={"identity": {"sourceIp": "10.0.0.1"}},
)


def test_who_is_allowed_is_let_in_with_a_context() -> None:
    context = {"room": "blue", "level": 7, "share": 0.5, "admin": True}
    answer = allowing(context=context, usageIdentifierKey="key")
    assert read_grant(answer, method_arn=ARN) == Grant(principal_id="ada", context=context, usage_key="key")
    assert read_grant(allowing(), method_arn=ARN) == Grant(principal_id="ada")
    assert read_grant(allowing(context=None), method_arn=ARN) == Grant(principal_id="ada")
    assert read_grant({**allowing(), "principalId": 7}, method_arn=ARN) == Grant(principal_id="7")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"errorMessage": "Unauthorized"}, 401),
        ({}, 403),
        (allowing(""), 403),
        ({**allowing(), "principalId": None}, 403),
        ({**allowing(), "principalId": True}, 403),
        (allowing(effect="Deny"), 403),
        (allowing(resource="arn:aws:execute-api:*:*:chat/dev/*"), 403),
    ],
)
def test_who_is_not_is_refused(answer: object, status: int) -> None:
    assert read_grant(answer, method_arn=ARN) == Refused(status)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "Allow",
        {"principalId": "ada"},
        {"principalId": "ada", "policyDocument": {}},
        {"principalId": "ada", "policyDocument": {"Statement": [{"Effect": "Maybe"}]}},
        allowing(context={"a": [1]}),
        allowing(context={"a": None}),
        allowing(context=["a"]),
        allowing(context={"a": object()}),
        allowing(usageIdentifierKey=7),
        allowing(context={"a": "x" * 8192}),
        {**allowing(), 7: object()},
    ],
)
def test_answers_that_are_none(answer: object) -> None:
    with pytest.raises(BadAnswer):
        read_grant(answer, method_arn=ARN)


def test_an_answer_of_8_kib_is_not_too_large() -> None:
    size = 8192 - len(str(allowing(context={"a": ""})).replace(" ", ""))
    grant = read_grant(allowing(context={"a": "x" * size}), method_arn=ARN)
    assert isinstance(grant, Grant)
    with pytest.raises(BadAnswer, match="8192"):
        read_grant(allowing(context={"a": "x" * (size + 1)}), method_arn=ARN)


def test_claims_are_the_context_of_a_token() -> None:
    claims = {
        "sub": "ada",
        "exp": 7,
        "admin": True,
        "aud": ["a", "b"],
        "permissions": {"pub": []},
        "odd": [1],
        "n": None,
    }
    grant = grant_of_claims(claims)
    context = {"sub": "ada", "exp": 7, "admin": True, "aud": "a b"}
    assert grant == Grant(principal_id="ada", context=context, expires_ms=7000)
    assert grant_of_claims({"sub": "ada"}).expires_ms is None


@pytest.mark.parametrize(
    ("sources", "all_there"),
    [
        ([], True),
        (["route.request.header.Authorization"], True),
        (["route.request.header.x-none"], False),
        (["route.request.header.x-empty"], False),
        (["route.request.header.x-token", "route.request.querystring.token"], True),
        (["route.request.header.x-token", "route.request.querystring.other"], False),
        (["stageVariables.a", "context.identity.sourceIp"], True),
        (["stageVariables.b"], False),
    ],
)
def test_identity_sources_must_all_be_there(sources: list[str], all_there: bool) -> None:
    assert has_all(sources, SOURCES) is all_there


@pytest.mark.parametrize(
    ("sources", "token"),
    [
        (["route.request.header.Authorization"], "abc"),
        (["route.request.header.x-token"], "t"),
        (["route.request.header.x-none", "route.request.querystring.token"], "q"),
        (["route.request.header.x-empty"], None),
        ([], None),
    ],
)
def test_the_first_token_counts(sources: list[str], token: str | None) -> None:
    assert first_token(sources, SOURCES) == token


def test_a_scheme_alone_is_no_token() -> None:
    assert first_token(["route.request.header.a"], Sources(headers=[("a", "Bearer ")])) is None
    assert first_token(["route.request.header.a"], Sources(headers=[("a", "bearer  x ")])) == "x"
    assert first_token(["route.request.header.a"], Sources(headers=[("a", "Basic x")])) == "Basic x"
