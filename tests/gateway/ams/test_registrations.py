"""Registrations in ARGO's form, over HTTP, each row of the contract (ams.md 4.3)."""

import re
from typing import Any

import httpx
import pytest

ANN = {
    "name": "ann",
    "first_name": "Ann",
    "last_name": "B",
    "email": "a@x",
    "organization": "o",
    "description": "d",
}
NOBODY = {"code": 404, "message": "User registration doesn't exist", "status": "NOT_FOUND"}
TAKEN = {"code": 409, "message": "User already exists", "status": "ALREADY_EXISTS"}


async def register(argo: httpx.AsyncClient, **more: str) -> dict[str, Any]:
    answer = await argo.post("/registrations", json={**ANN, **more})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_a_registration_waits(argo: httpx.AsyncClient) -> None:
    made = await register(argo)
    assert (await argo.get(f"/registrations/{made['uuid']}")).json() == made
    assert re.fullmatch("[0-9a-f]{64}", made.pop("activation_token"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made.pop("registered_at"))
    assert made.pop("uuid")
    assert made == {**ANN, "status": "pending"}


async def test_accepting_makes_the_user(argo: httpx.AsyncClient) -> None:
    root = (await argo.post("/users/root", json={"service_roles": ["service_admin"]})).json()
    made = await register(argo)
    path = f"/registrations/{made['uuid']}"
    answer = await argo.post(f"{path}:accept", headers={"x-api-key": root["token"]})
    user = answer.json()
    assert {key: user[key] for key in ANN} == ANN
    assert len(user["token"]) == 64
    assert (user["service_roles"], user["created_by"], "projects" in user) == ([], "root", False)
    accepted = (await argo.get(path)).json()
    assert (accepted["status"], accepted["modified_by"], "activation_token" in accepted) == ("accepted", "root", False)
    assert accepted["modified_at"]
    for late in (await argo.post(f"{path}:accept"), await argo.post(f"{path}:decline", json={})):
        assert late.json()["error"] == NOBODY


async def test_declining_says_why(argo: httpx.AsyncClient) -> None:
    path = f"/registrations/{(await register(argo))['uuid']}"
    answer = await argo.post(f"{path}:decline", json={"comment": "no room"})
    assert (answer.status_code, answer.content) == (200, b"{}")
    declined = (await argo.get(path)).json()
    assert (declined["status"], declined["decline_comment"]) == ("declined", "no room")
    assert not {"activation_token", "modified_by"} & set(declined)
    assert (await argo.get("/users/ann")).status_code == 404


@pytest.mark.parametrize("body", [b"", b"nonsense", b'{"comment":1}'])
async def test_declining_needs_an_object(argo: httpx.AsyncClient, body: bytes) -> None:
    path = f"/registrations/{(await register(argo))['uuid']}"
    answer = await argo.post(f"{path}:decline", content=body)
    assert answer.json()["error"] == {"code": 400, "message": "Invalid Request Body", "status": "BAD_REQUEST"}
    assert (await argo.get(path)).json()["status"] == "pending"


@pytest.mark.parametrize("body", [b"", b"nonsense", b'{"name":1}', b'{"name":"ann","email":[]}'])
async def test_registering_needs_texts(argo: httpx.AsyncClient, body: bytes) -> None:
    answer = await argo.post("/registrations", content=body)
    assert answer.json()["error"] == {"code": 400, "message": "Invalid User Arguments", "status": "INVALID_ARGUMENT"}
    assert (await argo.get("/registrations")).json() == {"user_registrations": []}


@pytest.mark.parametrize("name", ["", "a b", "a/b"])
async def test_the_name_is_one_that_a_user_may_have(argo: httpx.AsyncClient, name: str) -> None:
    answer = await argo.post("/registrations", json={**ANN, "name": name})
    assert answer.json()["error"] == {"code": 400, "message": "Invalid user name", "status": "INVALID_ARGUMENT"}


async def test_a_name_of_a_user_is_taken(argo: httpx.AsyncClient) -> None:
    made = await register(argo)
    await argo.post("/users/ann", json={})
    assert (await argo.post("/registrations", json=ANN)).json()["error"] == TAKEN
    assert (await argo.post(f"/registrations/{made['uuid']}:accept")).json()["error"] == TAKEN
    assert (await argo.get(f"/registrations/{made['uuid']}")).json() == made


async def test_they_are_listed_by_their_texts(argo: httpx.AsyncClient) -> None:
    ann = await register(argo)
    bob = await register(argo, name="bob", email="b@x")
    for query, expected in (
        ({}, [ann, bob]),
        ({"name": "ann"}, [ann]),
        ({"email": "b@x", "status": "pending"}, [bob]),
        ({"status": "accepted"}, []),
        ({"activation_token": ann["activation_token"]}, [ann]),
    ):
        found = (await argo.get("/registrations", params=query)).json()["user_registrations"]
        assert sorted(each["name"] for each in found) == [each["name"] for each in expected]


async def test_a_deleted_one_is_gone(argo: httpx.AsyncClient) -> None:
    path = f"/registrations/{(await register(argo))['uuid']}"
    deleted = await argo.delete(path)
    assert (deleted.status_code, deleted.content) == (200, b"")
    for late in (await argo.get(path), await argo.delete(path), await argo.post(f"{path}:accept")):
        assert late.json()["error"] == NOBODY


@pytest.mark.parametrize(("role", "status"), [("register_admin", 200), ("admin_viewer", 403)])
async def test_registering_is_a_role_of_its_own(argo: httpx.AsyncClient, role: str, status: int) -> None:
    caller = (await argo.post("/users/caller", json={"service_roles": [role]})).json()
    argo.headers["x-api-key"] = caller["token"]
    assert (await argo.post("/registrations", json=ANN)).status_code == status
    assert (await argo.get("/registrations")).status_code == 403
