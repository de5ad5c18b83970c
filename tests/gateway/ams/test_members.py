"""A project's members in ARGO's form, over HTTP, each row of the contract (ams.md 4.5)."""

from typing import Any

import httpx
import pytest
from http_node import Node

from broker.names import ProjectName
from broker.store.base import ProjectInfo

NO_USER = {"code": 404, "message": "User doesn't exist", "status": "NOT_FOUND"}
NOT_MEMBER = {
    "code": 403,
    "message": "Access to this resource is forbidden. User is not a member of the project",
    "status": "FORBIDDEN",
}
MEMBERS = "/projects/p/members"


async def make(argo: httpx.AsyncClient, name: str, *roles: str, projects: tuple[str, ...] = ("p",)) -> dict[str, Any]:
    body = {"projects": [{"project": project, "roles": [*roles]} for project in projects], "first_name": "F"}
    answer = await argo.post(f"/users/{name}", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.fixture
async def admin(argo: httpx.AsyncClient, node: Node) -> dict[str, str]:
    """The headers of a project admin of `p`; there is a project `q` too."""
    await node.catalog.create_project(ProjectInfo(ProjectName("q"), 0, 0))
    return {"x-api-key": (await make(argo, "admin", "project_admin"))["token"]}


async def test_a_service_admin_sees_all_of_a_member(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    ann = await make(argo, "ann", "consumer", projects=("p", "q"))
    assert (await argo.get(f"{MEMBERS}/ann")).json() == ann
    page = (await argo.get(MEMBERS, params={"details": "true"})).json()
    assert (page["totalSize"], page["nextPageToken"]) == (2, "")
    assert ann in page["users"]


async def test_a_project_admin_sees_what_concerns_the_project(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    ann = await make(argo, "ann", "consumer", projects=("p", "q"))
    await argo.put("/users/ann", json={"service_roles": ["admin_viewer"]})
    await argo.post("/projects/p/topics/t:modifyAcl", json={"authorized_users": ["ann"]})
    seen = (await argo.get(f"{MEMBERS}/ann", headers=admin)).json()
    seen.pop("modified_on")
    assert seen == {
        "uuid": ann["uuid"],
        "name": "ann",
        "projects": [{"project": "p", "roles": ["consumer"], "topics": ["t"], "subscriptions": []}],
        "first_name": "F",
        "email": "",
        "service_roles": [],
        "created_on": ann["created_on"],
    }
    page = (await argo.get(MEMBERS, params={"details": "true", "pageSize": "5"}, headers=admin)).json()
    assert {user["name"]: user["projects"][0]["topics"] for user in page["users"]} == {"ann": ["t"], "admin": []}
    assert not any("token" in user or "created_by" in user for user in page["users"])
    bare = (await argo.get(MEMBERS, headers=admin)).json()
    assert not any("projects" in user for user in bare["users"])


async def test_pages_of_members(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    await make(argo, "other", "consumer", projects=("q",))
    await make(argo, "ann", "consumer")
    first = (await argo.get(MEMBERS, params={"pageSize": "1"}, headers=admin)).json()
    last = (await argo.get(MEMBERS, params={"pageSize": "1", "pageToken": first["nextPageToken"]})).json()
    assert {first["users"][0]["name"], last["users"][0]["name"]} == {"ann", "admin"}
    assert (first["totalSize"], last["nextPageToken"]) == (2, "")
    for query, message in (({"pageSize": "x"}, "size"), ({"pageToken": "x"}, "token")):
        error = (await argo.get(MEMBERS, params=query, headers=admin)).json()["error"]
        assert error == {"code": 400, "message": f"Invalid page {message}", "status": "INVALID_ARGUMENT"}


async def test_who_is_no_member_is_not_there(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    await make(argo, "other", "consumer", projects=("q",))
    for name in ("other", "nobody"):
        assert (await argo.get(f"{MEMBERS}/{name}", headers=admin)).json()["error"] == NO_USER


async def test_a_project_admin_makes_a_user_of_its_project_alone(
    argo: httpx.AsyncClient, admin: dict[str, str]
) -> None:
    body = {
        "projects": [{"project": "q", "roles": ["project_admin"]}, {"project": "p", "roles": ["consumer"]}],
        "email": "a@x",
        "first_name": "Ann",
        "service_roles": ["service_admin"],
    }
    made = (await argo.post(f"{MEMBERS}/ann", json=body, headers=admin)).json()
    assert len(made["token"]) == 64
    assert (made["email"], made["service_roles"], made["created_by"]) == ("a@x", [], "admin")
    assert [(each["project"], each["roles"]) for each in made["projects"]] == [("p", ["consumer"])]
    assert "first_name" not in made
    bare = (await argo.post(f"{MEMBERS}/bob", json={}, headers=admin)).json()
    assert [(each["project"], each["roles"]) for each in bare["projects"]] == [("p", [])]


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("admin", b"{}", (409, "User already exists")),
        ("ann", b"", (400, "Invalid User Arguments")),
        ("ann", b'{"projects":1}', (400, "Invalid User Arguments")),
        ("ann", b'{"projects":[{"project":"p","roles":["boss"]}]}', (400, "invalid role: boss")),
        ("ann", b'{"projects":[{"project":"p","roles":["service_admin"]}]}', (400, "invalid role: service_admin")),
    ],
)
async def test_a_refused_creation_makes_nobody(
    argo: httpx.AsyncClient, admin: dict[str, str], name: str, body: bytes, error: tuple[int, str]
) -> None:
    answer = await argo.post(f"{MEMBERS}/{name}", content=body, headers=admin)
    assert (answer.status_code, answer.json()["error"]["message"]) == error
    assert (await argo.get("/users")).json()["totalSize"] == 1


async def test_roles_in_this_project_are_replaced(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    await make(argo, "ann", "consumer", projects=("p", "q"))
    body = {
        "projects": [{"project": "q", "roles": []}, {"project": "p", "roles": ["publisher"]}],
        "email": "new",
        "name": "new",
        "service_roles": ["service_admin"],
    }
    changed = (await argo.put(f"{MEMBERS}/ann", json=body, headers=admin)).json()
    assert "token" not in changed
    assert [(each["project"], each["roles"]) for each in changed["projects"]] == [("p", ["publisher"])]
    whole = (await argo.get("/users/ann")).json()
    assert {each["project"]: each["roles"] for each in whole["projects"]} == {"p": ["publisher"], "q": ["consumer"]}
    assert (whole["email"], whole["service_roles"]) == ("", [])


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("nobody", b'{"projects":[{"project":"p","roles":[]}]}', NO_USER),
        ("nobody", b"{}", NO_USER),
        ("ann", b"{}", NOT_MEMBER),
        ("ann", b'{"projects":[{"project":"q","roles":[]}]}', NOT_MEMBER),
        ("other", b'{"projects":[{"project":"p","roles":["boss"]}]}', NOT_MEMBER),
        ("ann", b'{"projects":[{"project":"p","roles":["boss"]}]}', {"code": 400, "message": "invalid role: boss"}),
        ("ann", b"x", {"code": 400, "message": "Invalid User Arguments"}),
    ],
)
async def test_a_refused_change_changes_nothing(
    argo: httpx.AsyncClient, admin: dict[str, str], name: str, body: bytes, error: dict[str, Any]
) -> None:
    ann = await make(argo, "ann", "consumer")
    await make(argo, "other", "consumer", projects=("q",))
    answer = await argo.put(f"{MEMBERS}/{name}", content=body, headers=admin)
    assert answer.json()["error"] == {"status": "INVALID_ARGUMENT", **error}
    assert (await argo.get("/users/ann")).json() == ann


async def test_a_user_is_added_and_removed(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    await make(argo, "ann", "consumer", projects=("q",))
    added = await argo.post(f"{MEMBERS}/ann:add", json={"roles": ["publisher"], "topics": ["t"]}, headers=admin)
    assert added.json()["projects"] == [{"project": "p", "roles": ["publisher"], "topics": [], "subscriptions": []}]
    removed = await argo.post(f"{MEMBERS}/ann:remove", headers={**admin, "content-length": "0"})
    assert (removed.status_code, removed.content) == (200, b"{}")
    assert [each["project"] for each in (await argo.get("/users/ann")).json()["projects"]] == ["q"]


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("nobody", b'{"roles":[]}', NO_USER),
        (
            "admin",
            b'{"roles":[]}',
            {"code": 409, "message": "User is already a member of the project", "status": "CONFLICT"},
        ),
        ("admin", b"", {"code": 409, "message": "User is already a member of the project", "status": "CONFLICT"}),
        ("other", b"", {"code": 400, "message": "Invalid Request Body", "status": "BAD_REQUEST"}),
        ("other", b'{"roles":"x"}', {"code": 400, "message": "Invalid Request Body", "status": "BAD_REQUEST"}),
        ("other", b'{"roles":["boss"]}', {"code": 400, "message": "invalid role: boss", "status": "INVALID_ARGUMENT"}),
    ],
)
async def test_a_refused_addition_adds_nobody(
    argo: httpx.AsyncClient, admin: dict[str, str], name: str, body: bytes, error: dict[str, Any]
) -> None:
    await make(argo, "other", "consumer", projects=("q",))
    answer = await argo.post(f"{MEMBERS}/{name}:add", content=body, headers=admin)
    assert answer.json()["error"] == error
    assert (await argo.get(MEMBERS)).json()["totalSize"] == 1


async def test_who_is_no_member_cannot_be_removed(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    await make(argo, "other", "consumer", projects=("q",))
    assert (await argo.post(f"{MEMBERS}/other:remove", headers=admin)).json()["error"] == NOT_MEMBER
    assert (await argo.post(f"{MEMBERS}/nobody:remove", headers=admin)).json()["error"] == NO_USER


@pytest.mark.parametrize("roles", [["publisher"], ["consumer"], ["push_worker"]])
async def test_only_admins_manage_members(argo: httpx.AsyncClient, admin: dict[str, str], roles: list[str]) -> None:
    caller = {"x-api-key": (await make(argo, "caller", *roles))["token"]}
    answers = [
        await argo.get(MEMBERS, headers=caller),
        await argo.get(f"{MEMBERS}/admin", headers=caller),
        await argo.post(f"{MEMBERS}/new", json={}, headers=caller),
        await argo.put(f"{MEMBERS}/admin", json={}, headers=caller),
        await argo.post(f"{MEMBERS}/admin:add", json={}, headers=caller),
        await argo.post(f"{MEMBERS}/admin:remove", headers=caller),
    ]
    assert {answer.json()["error"]["message"] for answer in answers} == {"Access to this resource is forbidden"}


async def test_an_admin_of_another_project_has_no_role_here(argo: httpx.AsyncClient, admin: dict[str, str]) -> None:
    caller = {"x-api-key": (await make(argo, "caller", "project_admin", projects=("q",)))["token"]}
    assert (await argo.get(MEMBERS, headers=caller)).json()["error"]["message"] == "Unauthorized"
