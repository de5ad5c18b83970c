"""Access lists over HTTP, and what they grant."""

import httpx
import pytest
from http_node import Node

from broker.names import ProjectName
from broker.users import UserChange

TOPIC, SUBSCRIPTION = "/projects/p/topics/t", "/projects/p/subscriptions/s"
FORBIDDEN = {"code": 403, "message": "Access to this resource is forbidden", "status": "FORBIDDEN"}


@pytest.fixture
async def argo(argo: httpx.AsyncClient) -> httpx.AsyncClient:
    await argo.put(SUBSCRIPTION, json={"topic": "projects/p/topics/t"})
    return argo


async def make_user(node: Node, name: str, role: str, project: str = "p") -> str:
    """Return the token of a new user with a role in a project."""
    user = await node.accounts.create(name, UserChange(projects=[(project, [role])]))
    return node.accounts.token_of(user)


@pytest.mark.parametrize("path", [TOPIC, SUBSCRIPTION])
async def test_a_list_is_replaced_shown_and_cleared(argo: httpx.AsyncClient, node: Node, path: str) -> None:
    for name in ("ann", "bob"):
        await make_user(node, name, "consumer")
    assert (await argo.get(f"{path}:acl")).json() == {"authorized_users": []}
    for names in (["ann", "bob"], ["bob"], []):
        answer = await argo.post(f"{path}:modifyAcl", json={"authorized_users": names})
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await argo.get(f"{path}:acl")).json() == {"authorized_users": names}


@pytest.mark.parametrize(("path", "what"), [(TOPIC, "Topic ACL"), (SUBSCRIPTION, "Subscription ACL")])
@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b"{}", b'{"authorized_users":null}', b'{"authorized_users":"ann"}', b'{"authorized_users":[1]}'],
)
async def test_a_list_that_cannot_be_read_changes_nothing(
    argo: httpx.AsyncClient, node: Node, path: str, what: str, body: bytes
) -> None:
    await make_user(node, "ann", "consumer")
    await argo.post(f"{path}:modifyAcl", json={"authorized_users": ["ann"]})
    answer = await argo.post(f"{path}:modifyAcl", content=body)
    assert answer.json()["error"] == {
        "code": 400,
        "message": f"Invalid {what} Arguments",
        "status": "INVALID_ARGUMENT",
    }
    assert (await argo.get(f"{path}:acl")).json() == {"authorized_users": ["ann"]}


@pytest.mark.parametrize("path", [TOPIC, SUBSCRIPTION])
async def test_who_is_no_member_cannot_be_listed(argo: httpx.AsyncClient, node: Node, path: str) -> None:
    await make_user(node, "ann", "consumer")
    await make_user(node, "stranger", "consumer", project="default")
    answer = await argo.post(f"{path}:modifyAcl", json={"authorized_users": ["ann", "stranger", "nobody"]})
    assert answer.json()["error"] == {
        "code": 404,
        "message": "User(s): stranger, nobody do not exist",
        "status": "NOT_FOUND",
    }
    assert (await argo.get(f"{path}:acl")).json() == {"authorized_users": []}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/projects/p/topics/absent", "Topic doesn't exist"),
        ("/projects/p/subscriptions/absent", "Subscription doesn't exist"),
        ("/projects/absent/topics/t", "project doesn't exist"),
    ],
)
async def test_what_does_not_exist_has_no_list(argo: httpx.AsyncClient, path: str, message: str) -> None:
    for answer in (
        await argo.get(f"{path}:acl"),
        await argo.post(f"{path}:modifyAcl", json={"authorized_users": []}),
    ):
        assert answer.json()["error"] == {"code": 404, "message": message, "status": "NOT_FOUND"}


async def test_a_list_does_not_outlive_its_resource(argo: httpx.AsyncClient, node: Node) -> None:
    await make_user(node, "ann", "consumer")
    for path in (TOPIC, SUBSCRIPTION):
        await argo.post(f"{path}:modifyAcl", json={"authorized_users": ["ann"]})
        await argo.delete(path)
    await argo.put(TOPIC)
    await argo.put(SUBSCRIPTION, json={"topic": "projects/p/topics/t"})
    for path in (TOPIC, SUBSCRIPTION):
        assert (await argo.get(f"{path}:acl")).json() == {"authorized_users": []}


async def test_a_renamed_user_keeps_its_access_and_a_deleted_one_is_passed_over(
    argo: httpx.AsyncClient, node: Node
) -> None:
    for name in ("ann", "bob"):
        await make_user(node, name, "consumer")
    await argo.post(f"{TOPIC}:modifyAcl", json={"authorized_users": ["ann", "bob"]})
    await node.accounts.update("ann", UserChange(name="anna"))
    await node.accounts.delete("bob")
    assert (await argo.get(f"{TOPIC}:acl")).json() == {"authorized_users": ["anna"]}


# What the lists grant.


async def test_a_consumer_pulls_and_acks_where_it_is_listed(argo: httpx.AsyncClient, node: Node) -> None:
    listed, other = await make_user(node, "ann", "consumer"), await make_user(node, "bob", "consumer")
    await argo.post(f"{SUBSCRIPTION}:modifyAcl", json={"authorized_users": ["ann"]})
    await node.say("p/t", "a")
    ack = {"ackIds": ["projects/p/subscriptions/s:0"]}
    for action, body in ((":pull", {}), (":acknowledge", ack), (":modifyOffset", {"offset": 0})):
        refused = await argo.post(f"{SUBSCRIPTION}{action}", json=body, headers={"x-api-key": other})
        assert refused.json()["error"] == FORBIDDEN
        assert (await argo.post(f"{SUBSCRIPTION}{action}", json=body, headers={"x-api-key": listed})).status_code == 200
    offsets = await argo.get(f"{SUBSCRIPTION}:offsets", headers={"x-api-key": other})
    assert offsets.status_code == 200
    for token, names in ((listed, ["/projects/p/subscriptions/s"]), (other, [])):
        page = (await argo.get("/projects/p/subscriptions", headers={"x-api-key": token})).json()
        assert ([each["name"] for each in page["subscriptions"]], page["totalSize"]) == (names, len(names))


async def test_a_publisher_publishes_where_it_is_listed(argo: httpx.AsyncClient, node: Node) -> None:
    listed, other = await make_user(node, "ann", "publisher"), await make_user(node, "bob", "publisher")
    await argo.post(f"{TOPIC}:modifyAcl", json={"authorized_users": ["ann"]})
    body = {"messages": [{"data": "YQ=="}]}
    refused = await argo.post(f"{TOPIC}:publish", json=body, headers={"x-api-key": other})
    assert refused.json()["error"] == FORBIDDEN
    published = await argo.post(f"{TOPIC}:publish", json=body, headers={"x-api-key": listed})
    assert published.json() == {"messageIds": ["0"]}
    for token, names in ((listed, ["/projects/p/topics/t"]), (other, [])):
        page = (await argo.get("/projects/p/topics", headers={"x-api-key": token})).json()
        assert ([each["name"] for each in page["topics"]], page["totalSize"]) == (names, len(names))


@pytest.mark.parametrize(
    ("role", "call", "status"),
    [
        ("consumer", "PUT /projects/p/subscriptions/new", 403),
        ("consumer", f"DELETE {SUBSCRIPTION}", 403),
        ("consumer", f"GET {SUBSCRIPTION}", 200),
        ("consumer", f"GET {TOPIC}", 403),
        ("consumer", f"GET {SUBSCRIPTION}:acl", 403),
        ("publisher", f"GET {TOPIC}", 200),
        ("publisher", "PUT /projects/p/topics/new", 403),
        ("publisher", f"GET {TOPIC}/subscriptions", 403),
        ("publisher", f"POST {SUBSCRIPTION}:pull", 403),
        ("project_admin", f"GET {SUBSCRIPTION}:acl", 200),
        ("project_admin", f"GET {TOPIC}/subscriptions", 200),
        ("project_admin", "GET /projects/default/topics", 401),
        ("project_admin", "GET /projects", 401),
    ],
)
async def test_a_role_grants_its_routes(argo: httpx.AsyncClient, node: Node, role: str, call: str, status: int) -> None:
    token = await make_user(node, "ann", role)
    method, _, path = call.partition(" ")
    body = {"topic": "projects/p/topics/t"} if method == "PUT" else None
    answer = await argo.request(method, path, json=body, headers={"x-api-key": token})
    assert answer.status_code == status
    listed = await node.subscriptions.list(ProjectName("p"))
    assert [info.name for info in listed] == ["p/s"]
