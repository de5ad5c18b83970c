"""Users in ARGO's form, over HTTP, each row of the contract (ams.md 4.2)."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from http_node import OPERATOR, Node, Served, token

from gateway.bearers import KEPT_SECONDS

USER_ARGUMENTS = {"code": 400, "message": "Invalid User Arguments", "status": "INVALID_ARGUMENT"}
NO_USER = {"code": 404, "message": "User doesn't exist", "status": "NOT_FOUND"}
UNAUTHORIZED = {"code": 401, "message": "Unauthorized", "status": "UNAUTHORIZED"}
FORBIDDEN = {"code": 403, "message": "Access to this resource is forbidden", "status": "FORBIDDEN"}

Make = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def make(argo: httpx.AsyncClient) -> Make:
    """Create a user and return its document."""

    async def create(name: str, **body: object) -> dict[str, Any]:
        answer = await argo.post(f"/users/{name}", json=body)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    return create


def member(*roles: str, project: str = "p") -> list[dict[str, Any]]:
    return [{"project": project, "roles": [*roles]}]


async def names(argo: httpx.AsyncClient) -> list[str]:
    return sorted(user["name"] for user in (await argo.get("/users")).json()["users"])


# Creating and showing.


async def test_a_user_is_made_with_uuid_and_token(argo: httpx.AsyncClient, make: Make) -> None:
    made = await make(
        "ann",
        email="a@x",
        first_name="Ann",
        last_name="B",
        organization="o",
        description="d",
        projects=member("consumer", "publisher"),
        service_roles=["metrics_viewer"],
    )
    assert re.fullmatch("[0-9a-f]{64}", made.pop("token"))
    assert re.fullmatch("[0-9a-f-]{36}", made.pop("uuid"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made.pop("created_on"))
    assert made.pop("modified_on")
    assert made == {
        "projects": [{"project": "p", "roles": ["consumer", "publisher"], "topics": [], "subscriptions": []}],
        "name": "ann",
        "email": "a@x",
        "first_name": "Ann",
        "last_name": "B",
        "organization": "o",
        "description": "d",
        "service_roles": ["metrics_viewer"],
    }


async def test_an_empty_object_is_enough_and_what_is_empty_is_left_out(make: Make) -> None:
    made = await make("ann")
    assert set(made) == {"uuid", "name", "token", "email", "service_roles", "created_on", "modified_on"}
    assert (made["email"], made["service_roles"]) == ("", [])


async def test_keys_are_matched_without_regard_to_case(argo: httpx.AsyncClient) -> None:
    body = b'{"Email":"a@x","SERVICE_ROLES":["admin_viewer"],"Projects":[{"Project":"p","Roles":["consumer"]}],"x":1}'
    made = (await argo.post("/users/ann", content=body)).json()
    assert (made["email"], made["service_roles"], made["projects"][0]["roles"]) == (
        "a@x",
        ["admin_viewer"],
        ["consumer"],
    )


async def test_a_user_is_shown_in_four_ways(argo: httpx.AsyncClient, make: Make) -> None:
    made = await make("ann")
    assert (await argo.get("/users/ann")).json() == made
    assert (await argo.get(f"/users:byToken/{made['token']}")).json() == made
    assert (await argo.get(f"/users:byUUID/{made['uuid']}")).json() == made
    own = await argo.get("/users/profile", headers={"x-api-key": made["token"]})
    assert (own.status_code, own.json()) == (200, made)


@pytest.mark.parametrize("path", ["/users/bob", "/users:byToken/abc", "/users:byUUID/abc"])
async def test_a_user_that_is_not_there(argo: httpx.AsyncClient, make: Make, path: str) -> None:
    await make("ann")
    assert (await argo.get(path)).json()["error"] == NO_USER


async def test_the_creator_is_named_if_it_is_a_user(argo: httpx.AsyncClient, make: Make) -> None:
    root = await make("root", service_roles=["service_admin"])
    argo.headers["x-api-key"] = root["token"]
    assert (await make("ann"))["created_by"] == "root"
    await argo.put("/users/root", json={"name": "boss"})
    assert (await argo.get("/users/ann")).json()["created_by"] == "boss"


async def test_resources_whose_lists_hold_the_user_are_shown(argo: httpx.AsyncClient, node: Node, make: Make) -> None:
    await make("ann", projects=member("publisher"))
    assert (await argo.post("/projects/p/topics/t:modifyAcl", json={"authorized_users": ["ann"]})).content == b""
    assert (await argo.get("/users/ann")).json()["projects"] == [
        {"project": "p", "roles": ["publisher"], "topics": ["t"], "subscriptions": []}
    ]


BAD: list[tuple[bytes, dict[str, Any]]] = [
    (b"nonsense", USER_ARGUMENTS),
    (b"[]", USER_ARGUMENTS),
    (b'{"email":1}', USER_ARGUMENTS),
    (b'{"projects":{}}', USER_ARGUMENTS),
    (b'{"projects":["p"]}', USER_ARGUMENTS),
    (b'{"projects":[{"project":1}]}', USER_ARGUMENTS),
    (b'{"projects":[{"project":"p","roles":"consumer"}]}', USER_ARGUMENTS),
    (b'{"projects":[{"project":"p","roles":[1]}]}', USER_ARGUMENTS),
    (b'{"service_roles":[1]}', USER_ARGUMENTS),
    (b'{"projects":[{"project":"absent","roles":[]}]}', {"message": "invalid project: absent"}),
    (b'{"projects":[{"project":"p","roles":["boss"]}]}', {"message": "invalid role: boss"}),
    (b'{"projects":[{"project":"p","roles":["_admin_"]}]}', {"message": "invalid role: _admin_"}),
    (b'{"projects":[{"project":"p","roles":["service_admin"]}]}', {"message": "invalid role: service_admin"}),
    (b'{"service_roles":["publisher"]}', {"message": "invalid role: publisher"}),
    (b'{"projects":[{"project":"p"},{"project":"p"}]}', {"message": "duplicate reference of project p"}),
]


@pytest.mark.parametrize(("body", "error"), BAD)
async def test_a_wrong_body_changes_nothing(
    argo: httpx.AsyncClient, make: Make, body: bytes, error: dict[str, Any]
) -> None:
    ann = await make("ann", email="a@x")
    expected = {"code": 400, "status": "INVALID_ARGUMENT", **error}
    for answer in (await argo.post("/users/bob", content=body), await argo.put("/users/ann", content=body)):
        assert (answer.status_code, answer.json()["error"]) == (400, expected)
    assert await names(argo) == ["ann"]
    assert (await argo.get("/users/ann")).json() == ann


async def test_creating_needs_a_body(argo: httpx.AsyncClient) -> None:
    assert (await argo.post("/users/ann")).json()["error"] == USER_ARGUMENTS


async def test_a_name_is_taken_once(argo: httpx.AsyncClient, make: Make) -> None:
    ann = await make("ann")
    for body in ({}, {"service_roles": ["nothing"]}):
        again = await argo.post("/users/ann", json=body)
        assert again.json()["error"] == {"code": 409, "message": "User already exists", "status": "ALREADY_EXISTS"}
    assert (await argo.get("/users/ann")).json() == ann


@pytest.mark.parametrize(
    ("path", "variable"), [("/users/a.b", "user"), ("/users:byToken/a.b", "token"), ("/users:byUUID/a.b", "uuid")]
)
async def test_names_in_paths_are_checked(argo: httpx.AsyncClient, path: str, variable: str) -> None:
    error = {"code": 400, "message": f"Invalid {variable} name", "status": "INVALID_ARGUMENT"}
    assert (await argo.get(path)).json()["error"] == error


# Changing.


async def test_what_is_there_replaces_and_what_is_absent_stays(argo: httpx.AsyncClient, make: Make) -> None:
    made = await make("ann", email="a@x", first_name="Ann", projects=member("consumer"), service_roles=["admin_viewer"])
    changed = (await argo.put("/users/ann", json={"name": "anna", "email": "", "first_name": "Anna"})).json()
    assert changed["name"] == "anna"
    assert {**changed, "modified_on": "", "name": "ann", "first_name": "Ann"} == {**made, "modified_on": ""}
    replaced = (await argo.put("/users/anna", json={"projects": [], "service_roles": []})).json()
    assert "projects" not in replaced
    assert replaced["service_roles"] == []


async def test_a_name_that_is_taken_cannot_be_changed_to(argo: httpx.AsyncClient, make: Make) -> None:
    await make("ann")
    await make("bob")
    answer = await argo.put("/users/bob", json={"name": "ann", "email": "new"})
    assert answer.json()["error"] == {
        "code": 400,
        "message": "invalid user name change, name already exists",
        "status": "INVALID_ARGUMENT",
    }
    assert (await argo.get("/users/bob")).json()["email"] == ""
    assert (await argo.put("/users/bob", json={"name": "b/b"})).json()["error"]["message"] == "Invalid user name"


async def test_who_is_not_there_is_not_changed(argo: httpx.AsyncClient, make: Make) -> None:
    ann = await make("ann")
    for answer in (
        await argo.put("/users/bob", json={}),
        await argo.post("/users/bob:refreshToken"),
        await argo.delete("/users/bob"),
    ):
        assert answer.json()["error"] == NO_USER
    assert (await argo.get("/users/ann")).json() == ann


async def test_a_new_token_replaces_the_old_one(argo: httpx.AsyncClient, make: Make) -> None:
    made = await make("ann")
    new = (await argo.post("/users/ann:refreshToken", headers={"content-length": "0"})).json()
    assert new["token"] != made["token"]
    assert (await argo.get(f"/users:byToken/{made['token']}")).status_code == 404
    own = await argo.get("/users/profile", headers={"x-api-key": new["token"]})
    assert own.json() == new
    assert (await argo.get("/users/profile", headers={"x-api-key": made["token"]})).json()["error"] == UNAUTHORIZED


async def test_a_deleted_user_is_gone(argo: httpx.AsyncClient, make: Make) -> None:
    made = await make("ann")
    deleted = await argo.delete("/users/ann")
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert await names(argo) == []
    assert (await argo.get("/users/profile", headers={"x-api-key": made["token"]})).json()["error"] == UNAUTHORIZED


# Listing.


async def test_pages_go_from_new_to_old(argo: httpx.AsyncClient, node: Node, make: Make) -> None:
    for name in ("a", "b", "c"):
        await make(name)
    seen, page_token = [], ""
    for _ in range(2):
        page = (await argo.get("/users", params={"pageSize": "2", "pageToken": page_token})).json()
        seen += [user["name"] for user in page["users"]]
        page_token = page["nextPageToken"]
        assert page["totalSize"] == 3
    assert (sorted(seen), page_token) == (["a", "b", "c"], "")


async def test_the_clients_paging_works(argo: httpx.AsyncClient, make: Make) -> None:
    """argo-ams-library 1.0.0 sends `details=True`, and the next page's token under the name of the answer's field."""
    for name in ("a", "b"):
        await make(name, projects=member("consumer"))
    first = (await argo.get("/users", params={"details": "True", "pageSize": "1"})).json()
    second = (await argo.get("/users", params={"pageSize": "1", "nextPageToken": first["nextPageToken"]})).json()
    assert first["users"][0]["projects"][0]["project"] == "p"
    assert "projects" not in second["users"][0]
    assert first["users"][0]["name"] != second["users"][0]["name"]
    everyone = (await argo.get("/users", params={"details": "True", "pageSize": "0"})).json()
    assert (len(everyone["users"]), everyone["nextPageToken"]) == (2, "")
    assert all(user["projects"] for user in everyone["users"])


async def test_a_projects_users(argo: httpx.AsyncClient, make: Make) -> None:
    await make("ann", projects=member("consumer"))
    await make("bob")
    page = (await argo.get("/users", params={"project": "p"})).json()
    assert ([user["name"] for user in page["users"]], page["totalSize"]) == (["ann"], 1)
    absent = await argo.get("/users", params={"project": "absent"})
    assert absent.json()["error"] == {"code": 404, "message": "ProjectUUID doesn't exist", "status": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"pageSize": "x"}, "Invalid page size"),
        ({"pageSize": "-1"}, "Invalid page size"),
        ({"pageToken": "!"}, "Invalid page token"),
        ({"pageToken": "YQ=="}, "Invalid page token"),
    ],
)
async def test_a_wrong_page(argo: httpx.AsyncClient, query: dict[str, str], message: str) -> None:
    answer = await argo.get("/users", params=query)
    assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}


# Who may.


@pytest.mark.parametrize(
    ("roles", "service_roles", "allowed"),
    [
        ([], ["service_admin"], {"list", "show", "byToken", "byUUID", "create", "update", "refresh", "delete"}),
        ([], ["argo_api_authn"], {"byUUID"}),
        ([], ["push_worker"], {"byToken"}),
        ([], ["metrics_viewer"], set()),
    ],
)
async def test_roles_decide(
    argo: httpx.AsyncClient, make: Make, roles: list[str], service_roles: list[str], allowed: set[str]
) -> None:
    ann = await make("ann")
    caller = await make("caller", projects=member(*roles), service_roles=service_roles)
    argo.headers["x-api-key"] = caller["token"]
    answers = {
        "list": await argo.get("/users"),
        "show": await argo.get("/users/ann"),
        "byToken": await argo.get(f"/users:byToken/{ann['token']}"),
        "byUUID": await argo.get(f"/users:byUUID/{ann['uuid']}"),
        "create": await argo.post("/users/new", json={}),
        "update": await argo.put("/users/ann", json={}),
        "refresh": await argo.post("/users/ann:refreshToken"),
        "delete": await argo.delete("/users/ann"),
    }
    assert {what for what, answer in answers.items() if answer.status_code == 200} == allowed
    assert all(a.json()["error"] == FORBIDDEN for a in answers.values() if a.status_code != 200)


async def test_roles_in_projects_do_not_count_here(argo: httpx.AsyncClient, make: Make) -> None:
    caller = await make("caller", projects=member("project_admin"))
    assert (await argo.get("/users", headers={"x-api-key": caller["token"]})).json()["error"] == UNAUTHORIZED


@pytest.mark.parametrize("key", [None, OPERATOR, "nonsense", "0" * 64, token(publish=("p/*",))])
async def test_a_profile_is_a_users(served: Served, key: str | None) -> None:
    headers = {} if key is None else {"x-api-key": key}
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{served.url}/v1/users/profile", headers=headers)
    assert answer.json()["error"] == UNAUTHORIZED


async def test_a_profile_needs_no_role_and_may_stand_in_the_query(served: Served, make: Make) -> None:
    made = await make("ann")
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{served.url}/v1/users/profile", params={"key": made["token"]})
    assert answer.json() == made


async def test_a_role_that_was_given_counts_at_once(argo: httpx.AsyncClient, make: Make) -> None:
    """A refusal is never made from memory, so that a script which grants and then uses what it granted works."""
    assert KEPT_SECONDS > 0
    caller = {"x-api-key": (await make("caller"))["token"]}
    assert (await argo.get("/projects/p", headers=caller)).status_code == 401
    await argo.put("/users/caller", json={"projects": member("publisher")})
    assert (await argo.get("/projects/p", headers=caller)).status_code == 403
    message = {"messages": [{"data": "YQ=="}]}
    assert (await argo.post("/projects/p/topics/t:publish", json=message, headers=caller)).status_code == 403
    await argo.post("/projects/p/topics/t:modifyAcl", json={"authorized_users": ["caller"]})
    assert (await argo.post("/projects/p/topics/t:publish", json=message, headers=caller)).status_code == 200
    await argo.put("/users/caller", json={"projects": member("project_admin")})
    assert (await argo.get("/projects/p", headers=caller)).status_code == 200
