"""Route selection expressions: the contract's rules (section 8) and AWS's own examples, as tables."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.application.selection import DEFAULT, MAX_STEPS, STANDARD, InvalidExpression, parse

CHAT = (
    '{"service": "chat", "a$b": "odd", "action": "join",'
    ' "data": {"room": "room1234", "users": ["ann", {"name": "bob"}]}}'
)


@pytest.mark.parametrize(
    ("expression", "key"),
    [
        ("$request.body.action", "join"),
        ("${request.body.action}", "join"),
        ("${request.body.service}/${request.body.action}", "chat/join"),
        ("${request.body.action}-${request.body.nothing}", "join-"),
        ("${request.body.version}-beta", "-beta"),
        ("action", "action"),
        (r"\$default", "$default"),
        (r"\$${request.body.action}\$", "$join$"),
        (r"\${request.body.action}", "${request.body.action}"),
        (r"a\b", r"a\b"),
        ("$request.body.data.room", "room1234"),
        ("$request.body.data.users[0]", "ann"),
        ("$request.body.data.users[1].name", "bob"),
        ("$request.body.data['room']", "room1234"),
        ('$request.body["data"]["room"]', "room1234"),
        ("${request.body['a$b']}!", "odd!"),
        ("$request.body.data.users[2]", ""),
        ("$request.body.data[0]", ""),
        ("$request.body.action.deeper", ""),
        ("$request.body.data.users.name", ""),
        ("$request.body.data.users", '["ann",{"name":"bob"}]'),
        ("$request.body.data.users[1]", '{"name":"bob"}'),
    ],
)
def test_an_expression_is_evaluated(expression: str, key: str) -> None:
    assert parse(expression).evaluate(CHAT) == key


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("1", "1"),
        ("1.5", "1.5"),
        ("-7", "-7"),
        ("true", "true"),
        ("false", "false"),
        ("null", "null"),
        ("[1, 2]", "[1,2]"),
        ("[]", "[]"),
        ('"1"', "1"),
        ('""', ""),
        (r'"\u00e4"', "ä"),
    ],
)
def test_what_is_no_text_becomes_one(value: str, key: str) -> None:
    assert parse(STANDARD).evaluate(f'{{"action": {value}}}') == key


ROUTES = {"join", "1", "$connect", "$disconnect", "$request.body.other", "${request.body.other}", "action"}


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        ('{"action": "join"}', "join"),
        ('{"action": "Join"}', None),
        ('{"action": "join "}', None),
        ('{"action": 1}', "1"),
        ('{"action": 1.0}', None),
        ("{}", None),
        ("join", None),
        ('"join"', None),
        ("[]", None),
        ("", None),
        ("{'action': 'join'}", None),
        ('{"action": "$connect"}', None),
        ('{"action": "$disconnect"}', None),
        ('{"action": "$request.body.other", "other": "join"}', "$request.body.other"),
        ('{"action": "${request.body.other}", "other": "join"}', "${request.body.other}"),
        ("[" * 100_000, None),
        (r'{"action": "\ud800"}', None),
    ],
)
def test_one_route_or_the_default_takes_a_message(body: str, taken: str | None) -> None:
    selection = parse(STANDARD)
    assert selection.route_of(body, ROUTES) == taken
    assert selection.route_of(body, ROUTES | {DEFAULT}) == (taken or DEFAULT)


def test_a_message_may_ask_for_the_default_by_its_name() -> None:
    assert parse(STANDARD).route_of('{"action": "$default"}', {DEFAULT, "join"}) == DEFAULT
    assert parse(r"\$default").route_of("not JSON", {DEFAULT}) == DEFAULT


def test_plain_text_selects_its_route_whatever_comes() -> None:
    for body in ("", "not JSON", '{"action": "join"}', b"\xff\x00"):
        assert parse("action").route_of(body, ROUTES) == "action"


def test_bytes_are_read_as_their_text() -> None:
    assert parse(STANDARD).evaluate(b'{"action": "join"}') == "join"
    assert parse(STANDARD).evaluate(b"\xff") is None


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "$",
        "$default",
        "${default}",
        "$request",
        "$request.body",
        "$request.body.",
        "$request.bodyaction",
        "$request.header.action",
        "$context.routeKey",
        "${request.body.action",
        "$request.body.action}",
        "$request.body.action/x y",
        "$request.body.a$request.body.b",
        "a$request.body.action",
        "${}",
        "$request.body.a..b",
        "$request.body.a[]",
        "$request.body.a[-1]",
        "$request.body.a[*]",
        "$request.body['a'",
        "x" * 1025,
        "$request.body" + ".a" * (MAX_STEPS + 1),
    ],
)
def test_what_is_no_expression_is_told_so(expression: str) -> None:
    with pytest.raises(InvalidExpression) as refused:
        parse(expression)
    assert str(refused.value).endswith((".", "…"))


def test_the_bounds_are_inside() -> None:
    assert parse("x" * 1024).evaluate("") == "x" * 1024
    assert parse("$request.body" + ".a" * MAX_STEPS).evaluate("{}") == ""


names = st.text(
    st.characters(codec="utf-8", exclude_characters=".[]'\"${}\\", exclude_categories=("Z", "C")), min_size=1
)


@given(st.lists(names, min_size=1, max_size=6), st.text(st.characters(codec="utf-8")))
def test_a_value_is_found_as_deep_as_it_lies(path: list[str], value: str) -> None:
    document: object = value
    for name in reversed(path):
        document = {name: document}
    selection = parse("$request.body." + ".".join(path))
    assert selection.evaluate(json.dumps(document)) == value


@given(st.text(), st.text(max_size=30))
def test_no_message_breaks_an_expression_and_no_expression_breaks_otherwise(body: str, expression: str) -> None:
    parse(STANDARD).evaluate(body)
    try:
        selection = parse(expression)
    except InvalidExpression:
        return
    selection.evaluate(body)
