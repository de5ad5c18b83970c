"""Which row a method and a path mean, as a table."""

import pytest

from gateway.ams.requests import Request
from gateway.ams.table import Row, Table, WrongVerb


async def handle(request: Request) -> bytes:
    return request.body


PATHS = [
    ("GET", "/users"),
    ("GET", "/users/profile"),
    ("GET", "/users/{user}"),
    ("POST", "/users/{user}:refreshToken"),
    ("GET", "/users:byToken/{token}"),
    ("GET", "/projects/{project}"),
    ("GET", "/projects/{project}:metrics"),
    ("GET", "/projects/{project}/topics/{topic}"),
    ("PUT", "/projects/{project}/topics/{topic}"),
    ("GET", "/projects/{project}/topics/{topic}:acl"),
    ("POST", "/projects/{project}/topics/{topic}:modifyAcl"),
    ("GET", "/projects/{project}/topics/{topic}/subscriptions"),
    ("POST", "/projects/{project}/subscriptions/{subscription}:pull"),
]
TABLE = Table([Row(method, path, path, handle) for method, path in PATHS])


@pytest.mark.parametrize(
    ("method", "path", "row", "values"),
    [
        ("GET", "users", "/users", {}),
        ("GET", "users/profile", "/users/profile", {}),
        ("GET", "users/ann", "/users/{user}", {"user": b"ann"}),
        ("POST", "users/profile:refreshToken", "/users/{user}:refreshToken", {"user": b"profile"}),
        ("GET", "users:byToken/abc", "/users:byToken/{token}", {"token": b"abc"}),
        ("GET", "projects/p", "/projects/{project}", {"project": b"p"}),
        ("GET", "projects/p:metrics", "/projects/{project}:metrics", {"project": b"p"}),
        ("GET", "projects/p:other", "/projects/{project}", {"project": b"p:other"}),
        ("GET", "projects/p:a:metrics", "/projects/{project}:metrics", {"project": b"p:a"}),
        ("PUT", "projects/p/topics/t:acl", "/projects/{project}/topics/{topic}", {"project": b"p", "topic": b"t:acl"}),
        ("GET", "projects/p/topics/t:acl", "/projects/{project}/topics/{topic}:acl", {"project": b"p", "topic": b"t"}),
        (
            "POST",
            "projects/a:b/subscriptions/s:pull",
            "/projects/{project}/subscriptions/{subscription}:pull",
            {"project": b"a:b", "subscription": b"s"},
        ),
        (
            "GET",
            "projects/p/topics/t/subscriptions",
            "/projects/{project}/topics/{topic}/subscriptions",
            {"project": b"p", "topic": b"t"},
        ),
    ],
)
def test_a_path_means_its_most_specific_row(method: str, path: str, row: str, values: dict[str, bytes]) -> None:
    found = TABLE.find(method, path.encode().split(b"/"))
    assert found is not None
    assert (found.row.path, found.values) == (row, values)


@pytest.mark.parametrize("path", ["", "nothing", "users/ann/more", "projects/p/nothing/t", "a/b/c/d/e/f"])
def test_an_unknown_path_has_no_row(path: str) -> None:
    assert TABLE.find("GET", path.encode().split(b"/")) is None


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "users", ["GET"]),
        ("POST", "projects/p/topics/t:unknown", ["GET", "PUT"]),
        ("DELETE", "projects/p/topics/t:acl", ["GET", "PUT"]),
        ("DELETE", "projects/p/topics/t:modifyAcl", ["POST", "GET", "PUT"]),
    ],
)
def test_a_known_path_names_its_methods(method: str, path: str, allowed: list[str]) -> None:
    with pytest.raises(WrongVerb) as raised:
        TABLE.find(method, path.encode().split(b"/"))
    assert raised.value.allowed == allowed


def test_a_row_stands_once_and_its_variables_have_rules() -> None:
    with pytest.raises(ValueError, match="two rows"):
        Table([Row("GET", "/users/{user}", "a", handle), Row("GET", "/users/{user}", "b", handle)])
    with pytest.raises(ValueError, match="no rule"):
        Table([Row("GET", "/users/{person}", "a", handle)])
