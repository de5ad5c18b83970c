"""`headrace nodes` for people and for scripts."""

import json

import httpx
import pytest

from gateway.commands import nodes
from gateway.commands.target import Target
from gateway.commands.topics import Api

ONE = {
    "name": "mill-1",
    "id": "mill-1.0a",
    "url": "http://mill-1:8080",
    "weight": 1,
    "version": "0.3.0",
    "load": 1234,
    "draining": False,
    "age_s": 93_784,
    "this": True,
}
TWO = {**ONE, "name": "m2", "url": "", "version": "", "load": 7, "draining": True, "age_s": None, "this": False}


def api() -> Api:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/nodes"
        return httpx.Response(200, json={"nodes": [ONE, TWO]})

    return Api(Target(("http://a",), "secret"), transport=httpx.MockTransport(answer))


def test_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    nodes.show(api(), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "name      url                 weight  version  load  state     age",
        "mill-1 *  http://mill-1:8080  1       0.3.0    1234  ready     1d2h",
        "m2        -                   1       ?        7     draining  ?",
    ]


def test_a_line_of_json_each_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    nodes.show(api(), as_json=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [ONE, TWO]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "?"),
        (0, "0s"),
        (59, "59s"),
        (60, "1m0s"),
        (3599, "59m59s"),
        (3600, "1h0m"),
        (86_399, "23h59m"),
        (86_400, "1d0h"),
        (183_600, "2d3h"),
    ],
)
def test_ages_in_their_two_largest_units(seconds: int | None, shown: str) -> None:
    assert nodes.age(seconds) == shown
