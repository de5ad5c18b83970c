"""The written part of the HTTP reference is well formed."""

import re
from typing import Any, cast

from gateway.admin.openapi import paths
from gateway.ams import routes
from gateway.apigateway.beyond.extensions import Extensions
from gateway.apigateway.management import routes as management


def test_every_placeholder_is_described() -> None:
    for path, item in paths().items():
        described = {parameter["name"] for parameter in item.get("parameters", [])}
        assert set(re.findall(r"{(\w+)}", path)) == described, path


def test_every_operation_says_what_it_does_and_how_it_is_refused() -> None:
    for path, item in paths().items():
        for method in item.keys() - {"parameters"}:
            operation = item[method]
            assert operation["summary"].endswith("."), path
            assert {"200", "401", "403"} <= operation["responses"].keys()


def test_the_stream_is_an_event_stream() -> None:
    stream = paths()["/v1/projects/{project}/topics/{topic}:stream"]["get"]

    assert "text/event-stream" in stream["responses"]["200"]["content"]
    assert {p["name"] for p in stream["parameters"]} == {"since", "Last-Event-ID"}


def test_it_names_what_is_served_and_nothing_else() -> None:
    served: dict[str, set[str]] = {}
    for row in routes.rows():
        served.setdefault(f"/v1{row.path}", set()).add(row.method)
    # Two ways of their own: the hot verb, and the room of event streams.
    for action, method in (("publish", "POST"), ("stream", "GET")):
        served[f"/v1/projects/{{project}}/topics/{{topic}}:{action}"] = {method}

    assert {path: methods for path, methods in described().items() if path.startswith("/v1/")} == served


def test_it_names_the_calls_about_connections() -> None:
    served: dict[str, set[str]] = {}
    for method, path in Extensions(cast(Any, None), cast(Any, None), cast(Any, None))._verbs:
        served.setdefault(f"/headrace/v1/{path}", set()).add(method)
    served["/headrace/v1/connections/{connection}"] = {"GET", "DELETE"}
    served["/{stage}/@connections/{connection}"] = set(management.METHODS)

    assert {path: methods for path, methods in described().items() if not path.startswith("/v1/")} == served


def described() -> dict[str, set[str]]:
    return {path: {method.upper() for method in item if method != "parameters"} for path, item in paths().items()}


def test_publishing_says_when_a_retry_is_safe() -> None:
    publish = paths()["/v1/projects/{project}/topics/{topic}:publish"]["post"]
    assert {"409", "413", "503", "504"} <= publish["responses"].keys()
    assert [parameter["name"] for parameter in publish["parameters"]] == ["Idempotency-Key"]
