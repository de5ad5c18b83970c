"""Request parameters: where values come from, and what they may not do to a request."""

import json
import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.apigateway.application.mapping import Mapped, Sources, apply, read_parameters, read_template, values_of
from gateway.options import Mistakes

SOURCES = Sources(
    headers=[("X-Trace", "1"), ("x-trace", "2"), ("Empty", "")],
    query=[("room", "a"), ("room", "b"), ("Room", "c")],
    body='{"user": {"name": "Ada", "tags": ["x", "y"]}, "n": 7, "yes": true, "none": null, "odd key": 1}',
    stage_variables={"version": "v2"},
    context={"connectionId": "L0SM9cOFvHcCIhw=", "identity": {"sourceIp": "10.0.0.1"}, "requestTimeEpoch": 5},
)


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("route.request.header.x-trace", ["2"]),
        ("route.request.multivalueheader.X-TRACE", ["1", "2"]),
        ("route.request.header.none", []),
        ("route.request.header.empty", [""]),
        ("route.request.querystring.room", ["b"]),
        ("route.request.multivaluequerystring.room", ["a", "b"]),
        ("route.request.querystring.ROOM", []),
        ("route.request.body", [SOURCES.body]),
        ("route.request.body.user.name", ["Ada"]),
        ("route.request.body.user.tags[1]", ["y"]),
        ("route.request.body.user.tags[2]", []),
        ("route.request.body.user.tags", ['["x","y"]']),
        ("route.request.body.n", ["7"]),
        ("route.request.body.yes", ["true"]),
        ("route.request.body.none", ["null"]),
        ("route.request.body.user['name']", ["Ada"]),
        ("route.request.body.missing.deeper", []),
        ("stageVariables.version", ["v2"]),
        ("stageVariables.none", []),
        ("context.connectionId", ["L0SM9cOFvHcCIhw="]),
        ("context.identity.sourceIp", ["10.0.0.1"]),
        ("context.requestTimeEpoch", ["5"]),
        ("context.authorizer.principalId", []),
        ("'a literal'", ["a literal"]),
        ("''", [""]),
    ],
)
def test_sources(source: str, values: list[str]) -> None:
    assert values_of(source, SOURCES) == values


def test_a_message_that_is_no_json_has_no_members() -> None:
    assert values_of("route.request.body.a", Sources(body="hello")) == []
    assert values_of("route.request.body", Sources(body="hello")) == ["hello"]
    assert values_of("route.request.body", Sources()) == []


@pytest.mark.parametrize(
    ("target", "source", "sentence"),
    [
        ("header.x", "'a'", "a target is"),
        ("integration.request.body.x", "'a'", "a target is"),
        ("integration.request.header.", "'a'", "a target is"),
        ("integration.request.header.a b", "'a'", "a target is"),
        ("integration.request.header.Host", "'a'", "belongs to the connection"),
        ("integration.request.header.content-length", "'a'", "belongs to the connection"),
        ("integration.request.header.x", "context", "a source is"),
        ("integration.request.header.x", "context.", "a source is"),
        ("integration.request.header.x", "'a", "a source is"),
        ("integration.request.header.x", "'", "a source is"),
        ("integration.request.header.x", "$context.x", "a source is"),
        ("integration.request.header.x", "route.request.cookie.x", "a source is"),
        ("integration.request.header.x", "context.a..b", "no path"),
        ("integration.request.header.x", "context.conectionId", r"did you mean connectionId\?"),
        ("integration.request.header.x", 7, "a source is a text"),
        ("integration.request.header.x", "'" + "x" * 1024, "a source is a text of at most"),
    ],
)
def test_mistakes_are_told_by_their_target(target: str, source: object, sentence: str) -> None:
    with pytest.raises(Mistakes) as error:
        read_parameters({"integration.request.header.good": "'x'", target: source})
    (mistake,) = error.value.mistakes
    assert mistake.place == f'"{target}"'
    assert re.search(sentence, mistake.sentence)


def test_parameters_are_a_table_of_bounded_size() -> None:
    for given_ in ([], "x", {f"integration.request.header.h{number}": "'a'" for number in range(101)}):
        with pytest.raises(ValueError, match="a table of at most 100"):
            read_parameters(given_)


def mapped(parameters: dict[str, str], url: str = "http://app/in", sources: Sources = SOURCES) -> Mapped:
    return apply(read_parameters(parameters), url, sources)


def test_a_request_gets_its_parameters() -> None:
    request = mapped(
        {
            "integration.request.header.connectionId": "context.connectionId",
            "integration.request.header.x-none": "context.messageId",
            "integration.request.header.trace": "route.request.multivalueheader.x-trace",
            "integration.request.querystring.name": "route.request.body.user.name",
            "integration.request.querystring.room": "route.request.multivaluequerystring.room",
            "integration.request.path.version": "stageVariables.version",
        },
        "http://app/{version}/in?a=1#part",
    )
    assert request.headers == (("connectionId", "L0SM9cOFvHcCIhw="), ("trace", "1"), ("trace", "2"))
    assert request.url == "http://app/v2/in?a=1&name=Ada&room=a&room=b#part"
    assert mapped({}) == Mapped("http://app/in", ())


def of_message(target: str, name: str) -> Mapped:
    sources = Sources(body=name)
    return mapped({target: "route.request.body"}, "http://app/users/{user}/in", sources)


@given(st.text(min_size=1))
def test_a_header_never_ends_its_line(name: str) -> None:
    ((_, value),) = of_message("integration.request.header.user", name).headers
    assert not set(value) & {"\r", "\n", "\0"}
    value.encode("latin-1")


def test_beyond_ascii_a_header_is_utf_8() -> None:
    ((_, value),) = of_message("integration.request.header.user", "Zoë\r\nX: y").headers
    assert value.encode("latin-1").decode() == "Zoë  X: y"


@given(st.text(min_size=1))
def test_a_query_parameter_stays_one(name: str) -> None:
    url = of_message("integration.request.querystring.user", name).url
    ((_, value),) = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    assert value == name.encode(errors="replace").decode()


@given(st.text(min_size=1).filter(lambda name: name not in (".", "..")))
def test_a_path_parameter_stays_one_segment(name: str) -> None:
    path = urlsplit(of_message("integration.request.path.user", name).url).path
    assert path.count("/") == 3
    assert path.isascii()


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_path_parameter_needs_a_good_value(name: str) -> None:
    with pytest.raises(ValueError, match="a path parameter"):
        of_message("integration.request.path.user", name)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("pong", "pong"),
        ("", ""),
        ('{"id": "${context.connectionId}"}', '{"id": "L0SM9cOFvHcCIhw="}'),
        ("${route.request.body.user.name}${route.request.body.none.x}!", "Ada!"),
        ("${'a'}$b{c}", "a$b{c}"),
    ],
)
def test_templates(text: str, filled: str) -> None:
    assert read_template(text).fill(SOURCES) == filled


@given(st.text())
@example('"')
def test_what_a_client_sends_stays_inside_its_json_text(name: str) -> None:
    sources = Sources(body=json.dumps({"name": name}))
    assert json.loads(read_template('{"hello": "${route.request.body.name}"}').fill(sources)) == {"hello": name}


@pytest.mark.parametrize("text", ["${}", "${context}", "${request.body.x}", 7])
def test_templates_that_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"a source is|must be a text"):
        read_template(text)
