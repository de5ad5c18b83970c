"""`headrace topics` against the HTTP API's answers."""

import json
from collections.abc import Callable

import httpx
import pytest
import typer

from gateway.commands import topics
from gateway.commands.target import Target
from gateway.commands.terminal import MISUSED
from gateway.commands.topics import Api, path_of

Answer = Callable[[httpx.Request], httpx.Response]


def api(answer: Answer, *servers: str) -> Api:
    return Api(Target(servers or ("http://a",), "secret"), transport=httpx.MockTransport(answer))


def test_a_slash_inside_a_topic_is_escaped() -> None:
    assert path_of("default/demo") == "/v1/projects/default/topics/demo"
    assert path_of("default/a/b c?") == "/v1/projects/default/topics/a%2Fb%20c%3F"


@pytest.mark.parametrize("name", ["demo", "/demo", "default/", ""])
def test_half_a_name_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        path_of(name)

    assert ended.value.exit_code == MISUSED
    assert "PROJECT/TOPIC" in capsys.readouterr().err


def test_all_pages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["x-api-key"] == "secret"
        last = request.url.params.get("pageToken") == "2"
        page = {"topics": [{"name": f"/projects/p/topics/{'b' if last else 'a'}"}]}
        return httpx.Response(200, json=page if last else {**page, "nextPageToken": "2"})

    topics.show_list(api(answer), "p", as_json=False)

    assert capsys.readouterr().out == "p/a\np/b\n"


def test_a_topic_is_shown_to_people_and_to_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {"name": "/projects/p/topics/a", "created_on": "2026-01-01T00:00:00Z"}
    served = api(lambda _: httpx.Response(200, json=shown))

    topics.show_one(served, "p/a", as_json=False)
    topics.show_one(served, "p/a", as_json=True)

    plain, machine = capsys.readouterr().out.split("{", 1)
    assert plain == "topic: p/a\ncreated_on: 2026-01-01T00:00:00Z\n"
    assert json.loads("{" + machine) == shown


def test_create_and_delete_take_empty_answers() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path))
        return httpx.Response(200)

    topics.create(api(answer), "p/a")
    topics.delete(api(answer), "p/a")

    assert asked == [("PUT", "/v1/projects/p/topics/a"), ("DELETE", "/v1/projects/p/topics/a")]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            httpx.Response(404, json={"error": {"code": 404, "message": "Topic doesn't exist", "status": "NOT_FOUND"}}),
            "headrace: Topic doesn't exist (HTTP 404)\n",
        ),
        (httpx.Response(502, text="<html>bad gateway"), "headrace: the server refused (HTTP 502)\n"),
        (httpx.Response(403, json=["odd"]), "headrace: the server refused (HTTP 403)\n"),
    ],
)
def test_a_refusal_is_a_sentence(answer: httpx.Response, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        topics.create(api(lambda _: answer), "p/a")

    assert capsys.readouterr().err == sentence


def test_the_first_server_that_answers_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "a":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json={"name": "/projects/p/topics/a"})

    topics.show_one(api(answer, "http://a", "http://b"), "p/a", as_json=False)
    assert capsys.readouterr().out == "topic: p/a\n"

    with pytest.raises(typer.Exit):
        topics.create(api(answer, "http://a"), "p/a")
    assert "http://a cannot be reached" in capsys.readouterr().err


def test_a_server_that_pages_in_a_circle_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MAX_PAGES", 3)
    circle = api(lambda _: httpx.Response(200, json={"topics": [], "nextPageToken": "1"}))

    with pytest.raises(typer.Exit):
        topics.show_list(circle, "p", as_json=False)
