"""The cluster as one node sees it, shown to the operator alone."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from broker.errors import Unauthorized, Unavailable
from broker.rights import Principal
from cluster.membership import Advertised, Member
from gateway.admin import nodes

NOW_MS = 1_755_850_000_000
A = Advertised(name="a", url="http://a", weight=2, version="1.0", load=17, since=NOW_MS - 61_900)
B = Advertised(name="b", draining=True, since=NOW_MS + 5000)
MEMBERS = [Member("b.2", B), Member("a.1", A), Member("a.0", Advertised(name="a"))]


class Auth:
    anonymous = Principal("@anonymous")

    def known(self, token: str) -> Principal | None:
        if token == "away":
            raise Unavailable("The token's keys cannot be fetched.")
        if token not in ("operator", "user"):
            raise Unauthorized("The token is not known.")
        return Principal(token, operator=token == "operator", publish=("*",))


@pytest.fixture
def client() -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(
        nodes.build(Auth(), SimpleNamespace(id="a.1", members=MEMBERS), now_ms=lambda: NOW_MS)  # type: ignore[arg-type]
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://node")


async def test_each_node_with_what_it_tells(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nodes", headers={"x-api-key": "operator"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    before, a, b = answer.json()["nodes"]
    assert a == {
        "name": "a",
        "id": "a.1",
        "url": "http://a",
        "weight": 2,
        "version": "1.0",
        "load": 17,
        "draining": False,
        "age_s": 61,
        "this": True,
    }
    assert (b["name"], b["draining"], b["this"], b["age_s"]) == ("b", True, False, 0), "its clock may be ahead"
    assert (before["id"], before["age_s"]) == ("a.0", None)


@pytest.mark.parametrize(
    ("request_", "status", "word"),
    [
        ({}, 401, "UNAUTHORIZED"),
        ({"headers": {"x-api-key": "user"}}, 403, "FORBIDDEN"),
        ({"headers": {"Authorization": "Bearer nobody"}}, 401, "UNAUTHORIZED"),
        ({"params": {"token": "away"}}, 503, "UNAVAILABLE"),
    ],
)
async def test_nobody_else_is_told(client: httpx.AsyncClient, request_: dict[str, Any], status: int, word: str) -> None:
    answer = await client.get("/nodes", **request_)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (status, status, word)
    assert error["message"]
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_the_token_may_stand_wherever_tokens_stand(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nodes?token=operator")).status_code == 200
    assert (await client.get("/nodes", headers={"Authorization": "Bearer operator"})).status_code == 200
