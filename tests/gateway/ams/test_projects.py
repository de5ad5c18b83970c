"""Projects in ARGO's form, over HTTP."""

import httpx
import pytest
from http_node import Node, token

from broker.errors import Unavailable


async def test_a_project_is_created_shown_changed_and_deleted(argo: httpx.AsyncClient) -> None:
    made = await argo.post("/projects/new", content=b'{"Description":"for tests"}')
    assert made.status_code == 200
    assert set(made.json()) == {"name", "created_on", "modified_on", "description"}
    assert (await argo.get("/projects/new")).json() == made.json()
    changed = await argo.put("/projects/new", content=b'{"name":"new","description":"for more"}')
    assert (changed.status_code, changed.json()["description"]) == (200, "for more")
    kept = await argo.put("/projects/new", content=b"{}")
    assert kept.json()["description"] == "for more"
    await argo.put("/projects/new/topics/t")
    deleted = await argo.delete("/projects/new")
    assert (deleted.status_code, deleted.content) == (200, b"")
    for path in ("/projects/new", "/projects/new/topics/t", "/projects/new/topics"):
        assert (await argo.get(path)).json()["error"]["message"] == "project doesn't exist"


async def test_a_bare_project_has_no_description(argo: httpx.AsyncClient) -> None:
    assert set((await argo.post("/projects/new", content=b"{}")).json()) == {"name", "created_on", "modified_on"}


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"description":1}'])
async def test_creating_needs_an_object(argo: httpx.AsyncClient, body: bytes) -> None:
    answer = await argo.post("/projects/new", content=body)
    assert answer.json()["error"] == {"code": 400, "message": "Invalid Project Arguments", "status": "INVALID_ARGUMENT"}
    assert (await argo.get("/projects/new")).status_code == 404


@pytest.mark.parametrize("body", [b"", b"nonsense", b'{"name":1}'])
async def test_changing_needs_an_object(argo: httpx.AsyncClient, body: bytes) -> None:
    answer = await argo.put("/projects/p", content=body)
    assert answer.json()["error"] == {"code": 400, "message": "Invalid Request Body", "status": "BAD_REQUEST"}


async def test_a_project_is_renamed_with_its_members(argo: httpx.AsyncClient) -> None:
    made = (await argo.post("/projects/new", content=b'{"description":"d"}')).json()
    await argo.post("/users/ann", json={"projects": [{"project": "new", "roles": ["project_admin"]}]})
    renamed = await argo.put("/projects/new", content=b'{"name":"newer","description":"e"}')
    assert renamed.status_code == 200
    assert {**renamed.json(), "modified_on": ""} == {**made, "name": "newer", "description": "e", "modified_on": ""}
    assert (await argo.get("/projects/newer")).json() == renamed.json()
    assert (await argo.get("/projects/new")).status_code == 404
    [membership] = (await argo.get("/users/ann")).json()["projects"]
    assert (membership["project"], membership["roles"]) == ("newer", ["project_admin"])


TAKEN = "invalid project name change, name already exists"


@pytest.mark.parametrize(
    ("project", "name", "message"),
    [
        ("new", "p", TAKEN),
        ("new", "default", TAKEN),
        ("new", "a b", "Invalid project name"),
        ("new", "a/b", "Invalid project name"),
        ("p", "q", "A project that has topics cannot be renamed"),
        ("default", "q", "The project default keeps its name."),
    ],
)
async def test_a_refused_rename_changes_nothing(argo: httpx.AsyncClient, project: str, name: str, message: str) -> None:
    await argo.post("/projects/new", content=b"{}")
    before = (await argo.get("/projects")).json()
    answer = await argo.put(f"/projects/{project}", json={"name": name, "description": "x"})
    assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    assert (await argo.get("/projects")).json() == before


async def test_a_description_that_is_too_long_keeps_the_name_too(argo: httpx.AsyncClient) -> None:
    made = (await argo.post("/projects/new", content=b"{}")).json()
    answer = await argo.put("/projects/new", json={"name": "newer", "description": "x" * 4097})
    assert answer.status_code == 400
    assert (await argo.get("/projects/new")).json() == made


async def test_a_project_with_a_subscription_left_keeps_its_name(argo: httpx.AsyncClient) -> None:
    await argo.put("/projects/p/subscriptions/s", json={"topic": "projects/p/topics/t"})
    await argo.delete("/projects/p/topics/t")
    answer = await argo.put("/projects/p", json={"name": "q"})
    assert answer.json()["error"]["message"] == "A project that has subscriptions or schemas cannot be renamed"


async def test_a_project_is_created_once(argo: httpx.AsyncClient) -> None:
    answer = await argo.post("/projects/p", content=b"{}")
    assert answer.json()["error"] == {"code": 409, "message": "Project already exists", "status": "ALREADY_EXISTS"}


async def test_the_default_project_stays(argo: httpx.AsyncClient) -> None:
    assert (await argo.delete("/projects/default")).status_code == 400
    assert (await argo.get("/projects/default")).status_code == 200


async def test_projects_are_listed_for_who_reaches_them(argo: httpx.AsyncClient) -> None:
    listed = (await argo.get("/projects")).json()["projects"]
    assert {project["name"] for project in listed} == {"default", "p"}
    argo.headers["x-api-key"] = token(subscribe=("p/t",))
    assert [project["name"] for project in (await argo.get("/projects")).json()["projects"]] == ["p"]
    argo.headers["x-api-key"] = token()
    assert (await argo.get("/projects")).status_code == 401


async def test_the_creator_is_named_if_it_is_a_user(argo: httpx.AsyncClient) -> None:
    root = (await argo.post("/users/root", json={"service_roles": ["service_admin"]})).json()
    made = await argo.post("/projects/new", content=b"{}", headers={"x-api-key": root["token"]})
    assert made.json()["created_by"] == "root"
    await argo.put("/users/root", json={"name": "boss"})
    await argo.put("/projects/new", json={"description": "kept"})
    assert (await argo.get("/projects/new")).json()["created_by"] == "boss"
    listed = {each["name"]: each.get("created_by") for each in (await argo.get("/projects")).json()["projects"]}
    assert listed == {"default": None, "p": None, "new": "boss"}


async def test_nothing_of_a_deleted_project_is_found_under_its_name_again(argo: httpx.AsyncClient) -> None:
    ann = (await argo.post("/users/ann", json={"projects": [{"project": "p", "roles": ["project_admin"]}]})).json()
    await argo.put("/projects/p/subscriptions/s", json={"topic": "projects/p/topics/t"})
    for path in ("topics/t", "subscriptions/s"):
        await argo.post(f"/projects/p/{path}:modifyAcl", json={"authorized_users": ["ann"]})
    own = {"x-api-key": ann["token"]}
    assert (await argo.delete("/projects/p", headers=own)).status_code == 200
    await argo.post("/projects/p", content=b"{}")
    await argo.put("/projects/p/topics/t")
    assert (await argo.get("/projects/p/topics/t:acl")).json() == {"authorized_users": []}
    assert (await argo.get("/projects/p/subscriptions")).json()["totalSize"] == 0
    assert (await argo.get("/projects/p/members")).json()["totalSize"] == 0
    assert (await argo.get("/projects/p", headers=own)).status_code == 401
    assert "projects" not in (await argo.get("/users/ann")).json()


async def test_a_deletion_that_stops_half_way_leaves_no_members_behind(
    argo: httpx.AsyncClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await argo.post("/users/ann", json={"projects": [{"project": "p", "roles": ["project_admin"]}]})

    async def away(_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(node.catalog, "delete_project", away)
    assert (await argo.delete("/projects/p")).status_code == 503
    assert "projects" not in (await argo.get("/users/ann")).json()


async def test_roles_decide(argo: httpx.AsyncClient) -> None:
    for role, allowed in (("project_admin", 200), ("publisher", 403), ("consumer", 403), ("push_worker", 403)):
        made = await argo.post(f"/users/{role}", json={"projects": [{"project": "p", "roles": [role]}]})
        own = {"x-api-key": made.json()["token"]}
        assert (await argo.get("/projects/p", headers=own)).status_code == allowed
        assert (await argo.put("/projects/p", content=b"{}", headers=own)).status_code == allowed
        assert (await argo.get("/projects/default", headers=own)).status_code == 401
        assert (await argo.get("/projects", headers=own)).status_code == 401
        assert (await argo.post("/projects/new", content=b"{}", headers=own)).status_code == 401


async def test_only_the_operator_manages(argo: httpx.AsyncClient) -> None:
    argo.headers["x-api-key"] = token(publish=("p/*",))
    assert (await argo.get("/projects/p")).status_code == 200
    assert (await argo.get("/projects/default")).status_code == 401
    for answer in (
        await argo.post("/projects/new", content=b"{}"),
        await argo.put("/projects/p", content=b"{}"),
        await argo.delete("/projects/p"),
    ):
        assert answer.json()["error"]["status"] == "FORBIDDEN"
