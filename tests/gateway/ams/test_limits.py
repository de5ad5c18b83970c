"""A project's limits over HTTP: who may change them, and that they hold."""

import httpx
import pytest

NONE = {"topics": None, "subscriptions": None, "publishPerSecond": None, "retainedBytes": None, "noSubscriber": None}


async def test_limits_are_shown_and_changed_one_by_one(argo: httpx.AsyncClient) -> None:
    assert (await argo.get("/projects/p:limits")).json() == NONE
    changed = await argo.post("/projects/p:modifyLimits", content=b'{"Topics":3,"publishPerSecond":2.5}')
    assert (changed.status_code, changed.json()) == (200, {**NONE, "topics": 3, "publishPerSecond": 2.5})
    changed = await argo.post("/projects/p:modifyLimits", json={"topics": None, "retainedBytes": 0, "subscriptions": 1})
    assert changed.json() == {**NONE, "subscriptions": 1, "publishPerSecond": 2.5, "retainedBytes": 0}
    assert (await argo.get("/projects/p:limits")).json() == changed.json()
    assert "limits" not in (await argo.get("/projects/p")).json()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"topics":-1}',
        b'{"topics":"3"}',
        b'{"topics":true}',
        b'{"topics":1.5}',
        b'{"publishPerSecond":0}',
        b'{"subscriptions":1,"retainedBytes":[]}',
        b'{"noSubscriber":"maybe"}',
        b'{"noSubscriber":["refuse"]}',
        b'{"noSubscriber":1}',
    ],
)
async def test_what_is_no_limit_is_refused_and_changes_nothing(argo: httpx.AsyncClient, body: bytes) -> None:
    answer = await argo.post("/projects/p:modifyLimits", content=body)
    assert answer.json()["error"] == {"code": 400, "message": "Invalid Project Arguments", "status": "INVALID_ARGUMENT"}
    assert (await argo.get("/projects/p:limits")).json() == NONE


async def test_a_project_is_held_to_its_limits(argo: httpx.AsyncClient) -> None:
    await argo.post("/projects/p:modifyLimits", json={"topics": 1, "subscriptions": 1})
    assert (await argo.put("/projects/p/topics/more")).status_code == 429
    body = {"topic": "projects/p/topics/t"}
    assert (await argo.put("/projects/p/subscriptions/one", json=body)).status_code == 200
    assert (await argo.put("/projects/p/subscriptions/two", json=body)).status_code == 429
    assert (await argo.get("/projects/p/subscriptions/two")).status_code == 404


async def test_a_project_reads_its_limits_and_the_service_sets_them(argo: httpx.AsyncClient) -> None:
    made = await argo.post("/users/boss", json={"projects": [{"project": "p", "roles": ["project_admin"]}]})
    own = {"x-api-key": made.json()["token"]}
    assert (await argo.get("/projects/p:limits", headers=own)).status_code == 200
    assert (await argo.post("/projects/p:modifyLimits", json={}, headers=own)).status_code == 403
    assert (await argo.get("/projects/none:limits")).status_code == 404


async def test_a_project_may_have_publishes_refused_that_nobody_would_get(argo: httpx.AsyncClient) -> None:
    changed = await argo.post("/projects/p:modifyLimits", json={"noSubscriber": "refuse"})
    assert changed.json() == {**NONE, "noSubscriber": "refuse"}
    message = {"messages": [{"data": "aGVsbG8="}]}
    refused = await argo.post("/projects/p/topics/t:publish", json=message)
    assert refused.status_code == 409
    assert refused.json()["error"]["message"] == "Nobody is subscribed to the topic."
    assert (await argo.put("/projects/p/subscriptions/s", json={"topic": "projects/p/topics/t"})).status_code == 200
    assert (await argo.post("/projects/p/topics/t:publish", json=message)).json() == {"messageIds": ["0"]}
    await argo.delete("/projects/p/subscriptions/s")
    await argo.post("/projects/p:modifyLimits", json={"noSubscriber": "accept"})
    assert (await argo.post("/projects/p/topics/t:publish", json=message)).json() == {"messageIds": ["1"]}
