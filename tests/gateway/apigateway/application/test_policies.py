"""Policy documents: who may do what, and which documents are refused."""

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.application.policies import (
    ALL,
    INVOKE,
    MANAGE_CONNECTIONS,
    connections_arn,
    matches,
    read_policy,
    resource_matches,
    route_arn,
)

ARN = route_arn(region="eu-west-1", account="123456789012", api="chat", stage="prod", route_key="$connect")
POST = connections_arn(
    region="eu-west-1", account="123456789012", api="chat", stage="prod", method="POST", connection="L0SM9cOFvHcCIhw="
)


def statement(effect: str = "Allow", action: object = INVOKE, resource: object = ARN) -> dict[str, object]:
    return {"Effect": effect, "Action": action, "Resource": resource}


def document(*statements: dict[str, object]) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def test_arns_are_awss() -> None:
    assert ARN == "arn:aws:execute-api:eu-west-1:123456789012:chat/prod/$connect"
    assert POST == "arn:aws:execute-api:eu-west-1:123456789012:chat/prod/POST/@connections/L0SM9cOFvHcCIhw="


@pytest.mark.parametrize(
    ("statements", "allowed"),
    [
        ([statement()], True),
        ([statement("Deny")], False),
        ([statement(), statement("Deny", resource="*")], False),
        ([statement("Deny", resource="*"), statement()], False),
        ([statement("Deny", action=MANAGE_CONNECTIONS), statement()], True),
        ([statement(action=MANAGE_CONNECTIONS)], False),
        ([statement(action="execute-api:*")], True),
        ([statement(action="EXECUTE-API:invoke")], True),
        ([statement(action="*", resource="*")], True),
        ([statement(action=["execute-api:ManageConnections", "execute-api:Invoke"])], True),
        ([statement(resource=["arn:aws:execute-api:*:*:other/*", ARN])], True),
        ([statement(resource="arn:aws:execute-api:*:*:chat/*")], True),
        ([statement(resource="arn:aws:execute-api:eu-west-1:123456789012:chat/prod/$conn?ct")], True),
        ([statement(resource="arn:aws:execute-api:eu-west-1:123456789012:chat/dev/*")], False),
        ([statement(resource="arn:aws:execute-api:us-east-1:*:*")], False),
        ([statement(resource=ARN.upper())], False),
        ([{"Effect": "Allow", "NotAction": MANAGE_CONNECTIONS, "Resource": "*"}], True),
        ([{"Effect": "Allow", "NotAction": INVOKE, "Resource": "*"}], False),
        ([{"Effect": "Allow", "Action": INVOKE, "NotResource": "arn:aws:execute-api:*:*:other/*"}], True),
        ([{"Effect": "Allow", "Action": INVOKE, "NotResource": ARN}], False),
    ],
)
def test_what_is_allowed(statements: list[dict[str, object]], allowed: bool) -> None:
    assert read_policy(document(*statements)).allows(INVOKE, ARN) is allowed


def test_whoever_may_only_post_may_not_look() -> None:
    policy = read_policy([statement(action=MANAGE_CONNECTIONS, resource="arn:aws:execute-api:*:*:chat/*/POST/*")])
    assert policy.allows(MANAGE_CONNECTIONS, POST)
    assert not policy.allows(MANAGE_CONNECTIONS, POST.replace("/POST/", "/GET/"))


@pytest.mark.parametrize(
    "given",
    [
        document(statement()),
        {"Statement": statement()},
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}',
        [{"action": "execute-api:*", "resource": "*"}],
        {"statement": [{"effect": "Allow", "action": ["execute-api:*"], "resource": ["*"]}]},
        [{"Sid": "a", **statement()}],
    ],
)
def test_the_forms_of_a_document(given: object) -> None:
    assert read_policy(given).allows(INVOKE, ARN)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("{", "must be JSON"),
        (7, "1 to 100 statements"),
        ([], "1 to 100 statements"),
        ([statement()] * 101, "1 to 100 statements"),
        ({"Version": "2012-10-17"}, "needs a Statement"),
        ({"Statement": [statement()], "Extra": 1}, "a policy has 'Extra', which is not supported"),
        (["x"], "statement 1 must be a table"),
        ([statement(), statement("Maybe")], "statement 2: its Effect must be Allow or Deny"),
        ([{**statement(), "Condition": {}}], "statement 1 has 'Condition', which is not supported"),
        ([{"Effect": "Allow", "Resource": "*"}], "it needs Action or NotAction"),
        ([{**statement(), "NotAction": "*"}], "it needs Action or NotAction, and not both"),
        ([{"Effect": "Allow", "Action": "*"}], "it needs Resource or NotResource"),
        ([statement(action=[])], "its Action must be a text or a list"),
        ([statement(action=7)], "its Action must be a text or a list"),
        ([statement(action="")], "texts of 1 to 2048"),
        ([statement(resource=[7])], "texts of 1 to 2048"),
        ([statement(resource="x" * 2049)], "texts of 1 to 2048"),
        ([statement(resource=["x"] * 501)], "up to 500 texts"),
        ([{**statement(), 7: 1}], "has '7'"),
    ],
)
def test_documents_that_are_refused(given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_policy(given)


def test_everything_is_allowed_by_all() -> None:
    assert ALL.allows(INVOKE, ARN)


@pytest.mark.parametrize(
    ("pattern", "resource", "same"),
    [
        ("*", "anything", True),
        ("arn:aws:execute-api", ARN, True),
        ("arn:aws:*", ARN, True),
        ("arn:aws:lambda:*", ARN, False),
        # A part's star ends with its part: an account is no place for the rest of an ARN.
        ("arn:aws:execute-api:*:chat/prod/$connect", ARN, False),
        ("arn:*:chat/prod/*", ARN, False),
        ("arn:aws:execute-api:*:*:*", "no arn", False),
        ("arn:aws:execute-api:*:*:*", "arn:aws", False),
        ("arn:aws:execute-api:*:*:a/b:c/*", "arn:aws:execute-api:x:1:a/b:c/d:e", True),
    ],
)
def test_resources_are_compared_part_by_part(pattern: str, resource: str, same: bool) -> None:
    assert resource_matches(pattern, resource) is same


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_patterns_are_those_of_file_names(pattern: str, text: str) -> None:
    assert matches(pattern, text) is fnmatch.fnmatchcase(text, pattern)


def test_a_star_in_the_text_is_no_pattern() -> None:
    assert matches("*b", "a*b")
    assert not matches("a", "*")


def test_many_stars_cost_no_more_than_both_lengths() -> None:
    assert not matches("*a" * 500 + "b", "a" * 2000)
