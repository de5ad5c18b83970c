"""Users on two real nodes over one Valkey: what one node writes, the other one's requests and sockets live by."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import nodes
import pytest
import servers
from nodes import Node
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

WITHIN_SECONDS = 15.0
"""In which a change must have reached the other node: it looks every two seconds, and machines are loaded."""

MESSAGE = {"messages": [{"data": "YQ=="}]}


@pytest.fixture(scope="module")
def two() -> Iterator[tuple[Node, Node]]:
    with servers.valkey() as server, nodes.on(server, count=2) as (a, b):
        yield a, b


class Argo:
    """ARGO's API on one node, by one token."""

    def __init__(self, node: Node, token: str = "") -> None:
        self._url = f"{node.url}/v1"
        self._headers = {"x-api-key": token or node.token}

    def __call__(self, method: str, path: str, body: object = None, *, expect: int = 200) -> dict[str, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        answer = httpx.request(method, self._url + path, content=content, headers=self._headers, timeout=20)
        assert answer.status_code == expect, answer.text
        document: dict[str, Any] = answer.json() if answer.content else {}
        return document


@contextmanager
def socket(node: Node, token: str) -> Iterator[ClientConnection]:
    headers = {"x-api-key": token} if token else None
    with connect(node.url.replace("http", "ws") + "/v1/realtime", additional_headers=headers) as opened:
        assert json.loads(opened.recv(WITHIN_SECONDS))["op"] == "welcome"
        yield opened


def ask(socket: ClientConnection, **request: object) -> dict[str, Any]:
    socket.send(json.dumps({**request, "id": 1}))
    answer: dict[str, Any] = json.loads(socket.recv(WITHIN_SECONDS))
    return answer


def close_code(socket: ClientConnection) -> int | None:
    deadline = time.monotonic() + WITHIN_SECONDS
    with pytest.raises(ConnectionClosed):
        while time.monotonic() < deadline:
            socket.recv(WITHIN_SECONDS)
    return socket.close_code


def test_a_life_of_an_account_over_two_nodes(two: tuple[Node, Node]) -> None:
    a, b = Argo(two[0]), Argo(two[1])
    a("POST", "/projects/shop", {})
    b("PUT", "/projects/shop/topics/orders")
    admin = b("POST", "/users/admin", {"projects": [{"project": "shop", "roles": ["project_admin"]}]})
    own = Argo(two[0], admin["token"])
    ann = own("POST", "/projects/shop/members/ann", {"projects": [{"project": "shop", "roles": ["publisher"]}]})
    assert (ann["created_by"], len(ann["token"])) == ("admin", 64)
    # The list is asked on the other node at once: a refusal is never made from memory.
    publish = Argo(two[1], ann["token"])
    publish("POST", "/projects/shop/topics/orders:publish", MESSAGE, expect=403)
    own("POST", "/projects/shop/topics/orders:modifyAcl", {"authorized_users": ["ann"]})
    assert publish("POST", "/projects/shop/topics/orders:publish", MESSAGE) == {"messageIds": ["0"]}
    assert a("GET", "/users/ann") == {**ann, "projects": [{**ann["projects"][0], "topics": ["orders"]}]}
    assert [user["name"] for user in b("GET", "/projects/shop/members")["users"]] == ["ann", "admin"]
    own("POST", "/users/ann:refreshToken", expect=401)
    own("POST", "/projects/shop/members/ann:remove")
    assert a("GET", "/projects/shop/topics/orders:acl") == {"authorized_users": []}
    a("DELETE", "/projects/shop")
    assert "projects" not in b("GET", "/users/ann")
    a("DELETE", "/users/ann")
    b("GET", "/users/ann", expect=404)


def test_a_registration_is_accepted_on_another_node(two: tuple[Node, Node]) -> None:
    a, b = Argo(two[0]), Argo(two[1])
    made = a("POST", "/registrations", {"name": "bob", "email": "b@x"})
    user = b("POST", f"/registrations/{made['uuid']}:accept")
    assert Argo(two[0], user["token"])("GET", "/users/profile") == user
    a("POST", f"/registrations/{made['uuid']}:accept", expect=404)
    a("POST", "/users/bob", {}, expect=409)


def test_sockets_live_by_what_other_nodes_write(two: tuple[Node, Node]) -> None:
    a = Argo(two[0])
    a("POST", "/projects/live", {})
    a("PUT", "/projects/live/topics/t")
    membership = {"projects": [{"project": "live", "roles": ["consumer", "publisher"]}]}
    carl = a("POST", "/users/carl", membership)
    with socket(two[1], carl["token"]) as follower:
        assert ask(follower, op="subscribe", topic="live/t")["code"] == "forbidden"
        a("POST", "/projects/live/topics/t:modifyAcl", {"authorized_users": ["carl"]})
        deadline = time.monotonic() + WITHIN_SECONDS
        while (answer := ask(follower, op="subscribe", topic="live/t"))["op"] != "subscribed":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert answer["topic"] == "live/t"
        # Publishing is the publisher's, in the same list.
        follower.send(json.dumps({"op": "publish", "topic": "live/t", "text": "one", "id": 2}))
        assert {json.loads(follower.recv(WITHIN_SECONDS))["op"] for _ in range(2)} == {"published", "message"}
        a("POST", "/projects/live/topics/t:modifyAcl", {"authorized_users": []})
        ended = json.loads(follower.recv(WITHIN_SECONDS))
        assert (ended["op"], ended["code"], ended["topic"]) == ("error", "forbidden", "live/t")
        a("POST", "/users/carl:refreshToken")
        assert close_code(follower) == 4500


def test_a_deleted_users_socket_is_closed_also_after_a_hello(two: tuple[Node, Node]) -> None:
    a = Argo(two[0])
    dora = a("POST", "/users/dora", {"service_roles": ["service_admin"]})
    with socket(two[1], "") as greeted:
        assert ask(greeted, op="hello", token=dora["token"])["op"] == "ok"
        a("DELETE", "/users/dora")
        assert close_code(greeted) == 4500


def test_a_token_that_is_not_known_opens_no_socket(two: tuple[Node, Node]) -> None:
    with pytest.raises(InvalidStatus, match="401"), socket(two[0], "0" * 64):
        pass


def test_a_secret_key_is_changed_and_tokens_stay_readable() -> None:
    old, new = "0123456789abcdef" * 4, "fedcba9876543210" * 4
    with servers.valkey() as server:
        with nodes.on(server, count=1, env={"HEADRACE_SECRET_KEY": old}) as (before,):
            ann = Argo(before)("POST", "/users/ann", {})
        with nodes.on(server, count=1, env={"HEADRACE_SECRET_KEY": new, "HEADRACE_SECRET_KEY_OLD": old}) as (during,):
            assert Argo(during)("GET", "/users/ann") == ann
            servers.eventually(lambda: "secrets sealed under the new key" in during.log, what="the round of sealing")
            assert old not in during.log
        with nodes.on(server, count=1, env={"HEADRACE_SECRET_KEY": new}) as (after,):
            assert Argo(after)("GET", "/users/ann") == ann
            assert Argo(after, ann["token"])("GET", "/users/profile") == ann
