"""Subscriptions in ARGO's form, over HTTP."""

from typing import Any

import httpx
import pytest
from http_node import Node

from broker.names import ProjectName, parse_subscription
from gateway.ams.settings import NO_PUSH

S = "/projects/p/subscriptions/s"
TO_T: dict[str, object] = {"topic": "projects/p/topics/t"}


def error(code: int, message: str, status: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "status": status}}


NO_SUBSCRIPTION = error(404, "Subscription doesn't exist", "NOT_FOUND")
BAD_ARGUMENTS = error(400, "Invalid Subscription Arguments", "INVALID_ARGUMENT")
BAD_TOPIC = error(400, "Invalid Topic name", "INVALID_ARGUMENT")
NO_TOPIC = error(404, "Topic doesn't exist", "NOT_FOUND")
BAD_DEADLINE = error(400, "Invalid ackDeadlineSeconds(needs value between 0 and 600) Arguments", "INVALID_ARGUMENT")
BAD_ACK_ID = error(400, "Invalid ack id", "INVALID_ARGUMENT")


async def names(node: Node) -> list[str]:
    return [info.name for info in await node.subscriptions.list(ProjectName("p"))]


async def test_a_subscription_is_created_shown_and_deleted(argo: httpx.AsyncClient) -> None:
    made = await argo.put(S, json={**TO_T, "ackDeadlineSeconds": 30, "pushConfig": {}})
    assert made.status_code == 200
    document: dict[str, Any] = made.json()
    created = document.pop("createdOn")
    assert created.endswith("Z")
    assert document == {
        "name": "/projects/p/subscriptions/s",
        "topic": "/projects/p/topics/t",
        "pushConfig": NO_PUSH,
        "ackDeadlineSeconds": 30,
        "kind": "cursor",
    }
    assert (await argo.get(S)).json() == {**document, "createdOn": created}
    deleted = await argo.delete(S)
    assert (deleted.status_code, deleted.content) == (200, b"")
    for gone in (await argo.get(S), await argo.delete(S)):
        assert gone.json() == NO_SUBSCRIPTION


async def test_it_begins_at_its_topics_end(argo: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "before")
    await argo.put(S, json=TO_T)
    assert (await argo.get(f"{S}:offsets")).json() == {"max": 1, "min": 0, "current": 1}


async def test_a_shared_one_keeps_its_policy(argo: httpx.AsyncClient) -> None:
    policy = {
        "kind": "shared",
        "maxAttempts": 5,
        "deadLetterTopic": "projects/p/topics/dead",
        "retryPolicy": {"type": "exponential", "minimumMs": 100, "maximumMs": 1000},
        "orderingAttribute": "customer",
        "maxOutstanding": 100,
    }
    await argo.put("/projects/p/topics/dead")
    made = await argo.put(S, json={**TO_T, **policy})
    assert made.status_code == 200
    assert made.json().items() >= policy.items()
    assert (await argo.get(S)).json() == made.json()


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", BAD_ARGUMENTS),
        (b"nonsense", BAD_ARGUMENTS),
        (b'{"topic":1}', BAD_ARGUMENTS),
        (b'{"topic":"projects/p/topics/t","ackDeadlineSeconds":"10"}', BAD_ARGUMENTS),
        (b'{"topic":"projects/p/topics/t","ackDeadlineSeconds":601}', BAD_ARGUMENTS),
        (b'{"topic":"projects/p/topics/t","pushConfig":[]}', BAD_ARGUMENTS),
        (b'{"topic":"projects/p/topics/t","kind":"queue"}', BAD_ARGUMENTS),
        (b"{}", BAD_TOPIC),
        (b'{"topic":"t"}', BAD_TOPIC),
        (b'{"topic":"/projects/p/topics/t"}', BAD_TOPIC),
        (b'{"topic":"projects/p/topics/a.b"}', BAD_TOPIC),
        (b'{"topic":"projects/p/topics/absent"}', NO_TOPIC),
        (b'{"topic":"projects/default/topics/t"}', NO_TOPIC),
    ],
)
async def test_any_other_body_creates_nothing(
    argo: httpx.AsyncClient, node: Node, body: bytes, refusal: dict[str, object]
) -> None:
    answer = await argo.put(S, content=body)
    assert (answer.status_code, answer.json()) == (refusal["error"]["code"], refusal)  # type: ignore[index]
    assert await names(node) == []


@pytest.mark.parametrize(
    "policy",
    [
        {"ackDeadlineSeconds": 0, "kind": "shared", "maxAttempts": 3},
        {"kind": "shared", "maxAttempts": 3, "deadLetterTopic": "projects/p/topics/t"},
        {"kind": "shared", "retryPolicy": {"minimumMs": 2, "maximumMs": 1}},
        {"kind": "shared", "orderingAttribute": ""},
        {"kind": "shared", "maxOutstanding": 0},
    ],
)
async def test_a_policy_that_cannot_be_kept_creates_nothing(
    argo: httpx.AsyncClient, node: Node, policy: dict[str, object]
) -> None:
    answer = await argo.put(S, json={**TO_T, **policy})
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert await names(node) == []


async def test_a_dead_letter_topic_must_exist(argo: httpx.AsyncClient, node: Node) -> None:
    policy = {"kind": "shared", "maxAttempts": 3, "deadLetterTopic": "projects/p/topics/absent"}
    assert (await argo.put(S, json={**TO_T, **policy})).json() == NO_TOPIC
    assert await names(node) == []


async def test_it_is_created_once(argo: httpx.AsyncClient) -> None:
    await argo.put(S, json=TO_T)
    again = await argo.put(S, json={**TO_T, "ackDeadlineSeconds": 60})
    assert again.json() == error(409, "Subscription already exists", "ALREADY_EXISTS")
    assert (await argo.get(S)).json()["ackDeadlineSeconds"] == 10


@pytest.mark.parametrize("name", ["a.b", "a%20b", "a%2Fb", "x" * 254])
async def test_a_name_that_may_not_be(argo: httpx.AsyncClient, node: Node, name: str) -> None:
    answer = await argo.put(f"/projects/p/subscriptions/{name}", json=TO_T)
    assert answer.json() == error(400, "Invalid subscription name", "INVALID_ARGUMENT")
    assert await names(node) == []


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("GET", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", ":modifyAckDeadline"),
        ("POST", ":pull"),
        ("POST", ":acknowledge"),
        ("GET", ":offsets"),
        ("POST", ":modifyOffset"),
        ("GET", ":timeToOffset"),
        ("GET", ":acl"),
        ("POST", ":modifyAcl"),
    ],
)
async def test_an_unknown_project_comes_before_its_subscription(
    argo: httpx.AsyncClient, method: str, action: str
) -> None:
    body: dict[str, Any] = {
        "topic": "projects/absent/topics/t",
        "ackDeadlineSeconds": 5,
        "ackIds": ["projects/absent/subscriptions/s:1"],
        "offset": 1,
        "authorized_users": [],
    }
    answer = await argo.request(
        method, f"/projects/absent/subscriptions/s{action}", json=body, params={"time": "2020-01-01T00:00:00Z"}
    )
    assert answer.json() == error(404, "project doesn't exist", "NOT_FOUND")


async def test_subscriptions_are_listed_in_pages(argo: httpx.AsyncClient) -> None:
    assert (await argo.get("/projects/p/subscriptions")).json() == {
        "subscriptions": [],
        "nextPageToken": "",
        "totalSize": 0,
    }
    for name in ("a", "b", "c"):
        await argo.put(f"/projects/p/subscriptions/{name}", json=TO_T)
    first = (await argo.get("/projects/p/subscriptions", params={"pageSize": "2"})).json()
    rest = (await argo.get("/projects/p/subscriptions", params={"pageToken": first["nextPageToken"]})).json()
    assert (first["totalSize"], len(first["subscriptions"]), rest["nextPageToken"]) == (3, 2, "")
    seen = [each["name"] for each in first["subscriptions"] + rest["subscriptions"]]
    assert sorted(seen) == [f"/projects/p/subscriptions/{name}" for name in "abc"]
    assert all(each["pushConfig"]["pushEndpoint"] == "" for each in first["subscriptions"])


@pytest.mark.parametrize(
    ("query", "message"), [("pageSize=x", "Invalid page size"), ("pageToken=nonsense", "Invalid page token")]
)
async def test_a_page_that_cannot_be_read(argo: httpx.AsyncClient, query: str, message: str) -> None:
    answer = await argo.get(f"/projects/p/subscriptions?{query}")
    assert answer.json() == error(400, message, "INVALID_ARGUMENT")


async def test_a_topic_lists_its_subscriptions(argo: httpx.AsyncClient) -> None:
    path = "/projects/p/topics/t/subscriptions"
    assert (await argo.get(path)).json() == {"subscriptions": []}
    for name in ("b", "a"):
        await argo.put(f"/projects/p/subscriptions/{name}", json=TO_T)
    listed = ["/projects/p/subscriptions/a", "/projects/p/subscriptions/b"]
    assert (await argo.get(path)).json() == {"subscriptions": listed}
    assert (await argo.get("/projects/p/topics/absent/subscriptions")).json() == NO_TOPIC


async def test_subscriptions_stay_when_their_topic_goes(argo: httpx.AsyncClient) -> None:
    await argo.put(S, json=TO_T)
    await argo.delete("/projects/p/topics/t")
    assert (await argo.get(S)).json()["topic"] == "/projects/p/topics/t"
    gone = error(409, "Subscription's topic doesn't exist", "CONFLICT")
    assert (await argo.post(f"{S}:pull", content=b"{}")).json() == gone
    assert (await argo.post(f"{S}:pull", content=b"nonsense")).json() == gone
    assert (await argo.delete(S)).status_code == 200


# Ack deadlines.


@pytest.mark.parametrize("seconds", [0, 45, 600])
async def test_the_ack_deadline_is_changed(argo: httpx.AsyncClient, seconds: int) -> None:
    await argo.put(S, json=TO_T)
    answer = await argo.post(f"{S}:modifyAckDeadline", json={"ackDeadlineSeconds": seconds})
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await argo.get(S)).json()["ackDeadlineSeconds"] == seconds


@pytest.mark.parametrize("body", [b"", b"{}", b"x", b'{"ackDeadlineSeconds":"5"}', b'{"ackDeadlineSeconds":601}'])
async def test_a_deadline_that_may_not_be_changes_nothing(argo: httpx.AsyncClient, body: bytes) -> None:
    await argo.put(S, json=TO_T)
    assert (await argo.post(f"{S}:modifyAckDeadline", content=body)).json() == BAD_DEADLINE
    assert (await argo.get(S)).json()["ackDeadlineSeconds"] == 10


async def test_an_unknown_subscription_has_no_deadline(argo: httpx.AsyncClient) -> None:
    assert (await argo.post(f"{S}:modifyAckDeadline", json={"ackDeadlineSeconds": 5})).json() == NO_SUBSCRIPTION


async def test_leases_are_extended_and_given_back(argo: httpx.AsyncClient, node: Node) -> None:
    await argo.put(S, json={**TO_T, "kind": "shared"})
    await node.say("p/t", "a", "b")
    pulled = (await argo.post(f"{S}:pull", json={"maxMessages": 2})).json()["receivedMessages"]
    kept, returned = (each["ackId"] for each in pulled)
    extended = await argo.post(f"{S}:modifyAckDeadline", json={"ackDeadlineSeconds": 300, "ackIds": [kept]})
    assert (extended.status_code, extended.content) == (200, b"")
    assert (await argo.post(f"{S}:modifyAckDeadline", json={"ackDeadlineSeconds": 0, "ackIds": [returned]})).is_success
    (again,) = (await argo.post(f"{S}:pull", json={"maxMessages": 2})).json()["receivedMessages"]
    assert again["message"] == pulled[1]["message"]
    assert again["ackId"] != returned
    stale = await argo.post(f"{S}:modifyAckDeadline", json={"ackDeadlineSeconds": 9, "ackIds": [kept, returned]})
    assert (stale.status_code, stale.json()["error"]["errors"][0]["domain"]) == (408, returned)
    assert (await argo.get(S)).json()["ackDeadlineSeconds"] == 10


async def test_only_leases_are_extended(argo: httpx.AsyncClient, node: Node) -> None:
    await argo.put(S, json=TO_T)
    path = f"{S}:modifyAckDeadline"
    cursor = await argo.post(path, json={"ackDeadlineSeconds": 5, "ackIds": ["projects/p/subscriptions/s:0"]})
    assert (cursor.status_code, cursor.json()["error"]["status"]) == (409, "CONFLICT")
    for bad in ([], ["nonsense"], ["projects/p/subscriptions/other:0"], [1]):
        assert (await argo.post(path, json={"ackDeadlineSeconds": 5, "ackIds": bad})).json() == BAD_ACK_ID
    assert (await argo.post(path, json={"ackDeadlineSeconds": 5, "ackIds": "x"})).json() == BAD_DEADLINE
    info = await node.subscriptions.get(parse_subscription("p/s"))
    assert info.settings.ack_deadline_s == 10
