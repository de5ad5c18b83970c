"""Status and version, over HTTP (contract ams.md 4.1)."""

import httpx
import pytest
from http_node import OPERATOR, Node, Served, serving

from gateway.ams.routes import build
from gateway.config import Push

UNAUTHORIZED = {"code": 401, "message": "Unauthorized", "status": "UNAUTHORIZED"}
FORBIDDEN = {"code": 403, "message": "Access to this resource is forbidden", "status": "FORBIDDEN"}


@pytest.fixture
async def anybody(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{served.url}/v1")


async def a_token(argo: httpx.AsyncClient, role: str) -> str:
    token: str = (await argo.post(f"/users/{role}", json={"service_roles": [role]})).json()["token"]
    return token


async def test_the_status_needs_no_token(anybody: httpx.AsyncClient) -> None:
    for headers in ({}, {"x-api-key": "nonsense"}):
        answer = await anybody.get("/status", headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_details_are_for_admins_with_the_originals_codes(
    argo: httpx.AsyncClient, anybody: httpx.AsyncClient
) -> None:
    details = "/status?details=true"
    assert (await anybody.get(details)).json()["error"] == FORBIDDEN
    assert (await anybody.get(details, headers={"x-api-key": "0" * 64})).json()["error"] == FORBIDDEN
    viewer = {"x-api-key": await a_token(argo, "metrics_viewer")}
    assert (await anybody.get(details, headers=viewer)).json()["error"] == UNAUTHORIZED
    for key in (await a_token(argo, "admin_viewer"), await a_token(argo, "service_admin"), OPERATOR):
        answer = await anybody.get(details, headers={"x-api-key": key})
        assert answer.json() == {"status": "ok", "push_servers": [{"endpoint": "127.0.0.1:8080", "status": "SERVING"}]}


@pytest.mark.parametrize("path", ["/status", "/status?details=true"])
async def test_a_node_without_pushes_says_so(path: str) -> None:
    headers = {"x-api-key": OPERATOR}
    async with (
        Node(push=Push(enabled=False)) as node,
        serving(build(node.context)) as served,
        httpx.AsyncClient(base_url=f"{served.url}/v1", headers=headers) as client,
    ):
        assert (await client.get(path)).json() == {"status": "ok", "push_functionality": "disabled"}


async def test_the_version_fails_on_no_token(argo: httpx.AsyncClient, anybody: httpx.AsyncClient) -> None:
    keys = {"build_time", "golang", "compiler", "os", "architecture", "hostname"}
    for headers in ({}, {"x-api-key": "nonsense"}, {"x-api-key": await a_token(argo, "metrics_viewer")}):
        answer = await anybody.get("/version", headers=headers)
        assert (answer.status_code, set(answer.json())) == (200, keys)
        assert all(isinstance(value, str) for value in answer.json().values())
    for key in (await a_token(argo, "admin_viewer"), OPERATOR):
        assert set((await anybody.get("/version", headers={"x-api-key": key})).json()) == keys | {"release"}
