"""Our own space on the wire: rights, refusals in our dialect, and what the calls do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import attached
import httpx
import pytest
import servers
from attached import FakeSocket, Office
from http_node import OPERATOR, Node, eventually, serving, token

from broker.catalog import AutoCreate
from broker.errors import Unavailable
from gateway.apigateway.beyond.extensions import MAX_BODY_BYTES, build, takes

BOTH = token(publish=("default/*",), subscribe=("default/*",))
PUBLISHER = token(publish=("default/*",))
GROUP = "default/room"


@dataclass
class Api:
    office: Office
    node: Node
    http: httpx.AsyncClient

    async def call(self, method: str, path: str, body: object = None, *, key: str = OPERATOR, **more: str) -> Any:
        headers = {"x-api-key": key, **{name.replace("_", "-"): value for name, value in more.items()}}
        given = {} if body is None else {"json": body}
        return await self.http.request(method, f"/headrace/v1/{path}", headers=headers, **given)  # type: ignore[arg-type]

    async def post(self, path: str, body: object, **more: str) -> Any:
        answer = await self.call("POST", path, body, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
async def api(valkey: servers.Server) -> AsyncIterator[Api]:
    valkey.flush()
    async with (
        Node(auto_create=AutoCreate.ALL) as node,
        attached.office(valkey, "a", hub=node.hub) as office,
        serving(build(node.context, office.connections, office.many)) as served,
        httpx.AsyncClient(base_url=served.url) as http,
    ):
        await node.say(GROUP, "before anybody joined")
        yield Api(office, node, http)


def sockets_on(api: Api, count: int) -> list[FakeSocket]:
    return [api.office.attach(user=f"u{number % 2}", tags={"n": str(number)}) for number in range(count)]


async def test_a_message_goes_to_ids_and_to_who_fits(api: Api) -> None:
    sockets = sockets_on(api, 4)
    ids = [socket.facts.id for socket in sockets]
    never = api.office.attachments.new_id()
    told = await api.post("connections:post", {"connections": [*ids, never], "json": {"a": 1}})
    assert told == {"posted": 4, "not_reached": 1, "failed": {never: "gone"}}
    assert await api.post("connections:post", {"to": {"user": "u1"}, "base64": "/w=="}) == {
        "posted": 2,
        "not_reached": 0,
        "failed": {},
    }
    assert [socket.sent for socket in sockets] == [[b'{"a":1}'], [b'{"a":1}', b"\xff"]] * 2


async def test_a_call_with_a_key_is_repeated_safely(api: Api) -> None:
    (socket,) = sockets_on(api, 1)
    body = {"connections": [socket.facts.id], "text": "once"}
    for _ in range(3):
        await api.post("connections:post", body, idempotency_key="k")
    await api.post("connections:post", body, idempotency_key="l")
    assert socket.sent == [b"once"] * 2
    answer = await api.call("POST", "connections:post", body, idempotency_key="k" * 129)
    assert answer.status_code == 400


async def test_connections_are_closed_with_code_and_reason(api: Api) -> None:
    sockets = sockets_on(api, 3)
    assert (await api.post("connections:close", {"to": {"user": "u0"}, "code": 4001, "reason": "moved"}))["closed"] == 2
    one = f"connections/{sockets[1].facts.id}"
    assert (await api.call("DELETE", f"{one}?code=4002&reason=you")).json() == {}
    assert [socket.closed for socket in sockets] == [(4001, "moved"), (4002, "you"), (4001, "moved")]
    for strange in ("code=5", "code=1006", "code=x", "code=٤٠٠٠", "cod=4002"):
        assert (await api.call("DELETE", f"{one}?{strange}")).status_code == 400


async def test_connections_are_listed_counted_and_shown(api: Api) -> None:
    sockets = sockets_on(api, 5)
    seen: list[str] = []
    after = ""
    while True:
        page = (await api.call("GET", f"connections?limit=2{after}")).json()
        seen += [one["connection"] for one in page["connections"]]
        if "next" not in page:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == sorted(socket.facts.id for socket in sockets)
    assert (await api.call("GET", "connections:count?user=u0")).json() == {"count": 3}
    assert (await api.call("GET", "connections:count?user=u0&tag.n=2")).json() == {"count": 1}
    shown = (await api.call("GET", f"connections/{sockets[1].facts.id.replace('=', '%3D')}")).json()
    assert (shown["connection"], shown["user"], shown["tags"]) == (sockets[1].facts.id, "u1", {"n": "1"})


async def test_what_is_published_to_a_topic_reaches_the_members_of_the_group(api: Api) -> None:
    sockets = sockets_on(api, 3)
    ids = [socket.facts.id for socket in sockets]
    told = await api.post("groups:join", {"group": GROUP, "connections": ids[:2]}, key=BOTH)
    assert told == {"joined": 2, "not_reached": 0, "failed": {}}
    placed = await api.post("groups:publish", {"group": GROUP, "text": "one"}, key=PUBLISHER)
    assert placed["offset"] == 1
    await api.node.say(GROUP, "two")
    await eventually(lambda: all(len(socket.sent) == 2 for socket in sockets[:2]), "the messages")
    assert (await api.call("GET", f"connections:count?group={GROUP}")).json() == {"count": 2}
    await api.post("groups:leave", {"group": GROUP, "connections": ids[:1]}, key=BOTH)
    await api.node.say(GROUP, "three")
    await eventually(lambda: len(sockets[1].sent) == 3, "the message")
    assert [socket.sent for socket in sockets] == [[b"one", b"two"], [b"one", b"two", b"three"], []]


async def test_a_slow_member_catches_up_from_the_log(api: Api) -> None:
    (socket,) = sockets_on(api, 1)
    await api.post("groups:join", {"group": GROUP, "connections": [socket.facts.id]})
    socket.paused = True
    for number in range(5):
        await api.node.say(GROUP, str(number))
    assert socket.sent == []
    socket.paused = False
    api.office.attachments.on_writable(socket)
    await eventually(lambda: b"".join(socket.sent).replace(b"|", b"") == b"01234", "what was missed")


async def test_a_publish_with_a_key_is_stored_once(api: Api) -> None:
    body = {"group": GROUP, "text": "once"}
    places = [await api.post("groups:publish", body, key=PUBLISHER, idempotency_key="k") for _ in range(3)]
    assert places[0] == places[1] == places[2]


CALLS = [
    ("POST", "connections:post", {"connections": ["a"], "text": "x"}),
    ("POST", "connections:close", {"connections": ["a"]}),
    ("GET", "connections", None),
    ("GET", "connections:count", None),
    ("GET", "connections/a", None),
    ("DELETE", "connections/a", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_connections_are_the_operators(api: Api, method: str, path: str, body: object) -> None:
    assert (await api.call(method, path, body, key=BOTH)).status_code == 403
    assert (await api.call(method, path, body, key="wrong")).status_code == 401
    answer = await api.http.request(method, f"/headrace/v1/{path}")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"


@pytest.mark.parametrize("verb", ["join", "leave"])
async def test_a_group_is_changed_by_who_may_publish_and_follow(api: Api, verb: str) -> None:
    body = {"group": GROUP, "connections": ["a"]}
    for key in (PUBLISHER, token(subscribe=("default/*",)), token(publish=("o/*",), subscribe=("o/*",))):
        assert (await api.call("POST", f"groups:{verb}", body, key=key)).status_code == 403
    assert (await api.call("POST", f"groups:{verb}", body, key=BOTH)).status_code == 200


async def test_a_group_is_published_to_by_who_may_publish(api: Api) -> None:
    body = {"group": GROUP, "text": "x"}
    assert (await api.call("POST", "groups:publish", body, key=token(subscribe=("default/*",)))).status_code == 403
    assert (await api.call("POST", "groups:publish", body, key=PUBLISHER)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "connections:post", 405, "method_not_allowed"),
        ("POST", "connections", 405, "method_not_allowed"),
        ("PUT", "connections/L0SM9cOFvHcCIhw=", 405, "method_not_allowed"),
        ("GET", "nothing", 404, "unknown_op"),
        ("GET", "connections/a/b", 404, "unknown_op"),
        ("GET", "connections/", 404, "unknown_op"),
        ("GET", "connections/strange", 400, "malformed_connection"),
        ("GET", "connections/L0SM9cOFvHcCIhw=", 410, "gone"),
        ("GET", "connections?limit=x", 400, "invalid_request"),
        ("GET", "connections?after=x", 400, "malformed_connection"),
        ("GET", "connections?users=x", 400, "invalid_request"),
    ],
)
async def test_refusals_have_a_status_and_a_stable_word(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.call(method, path, {} if method != "GET" else None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_bad_body_changes_nothing(api: Api) -> None:
    (socket,) = sockets_on(api, 1)
    bodies: list[object] = [
        {},
        [],
        {"connections": [socket.facts.id]},
        {"to": {}, "text": "x"},
        {"to": {"uzer": "a"}, "text": "x"},
    ]
    for body in bodies:
        assert (await api.call("POST", "connections:post", body)).status_code == 400
    large = await api.call("POST", "connections:post", {"to": {"api": "chat"}, "text": "x" * MAX_BODY_BYTES})
    assert large.status_code == 413
    assert socket.sent == []


async def test_a_foreign_page_is_refused(api: Api) -> None:
    answer = await api.call("GET", "connections", origin="https://elsewhere.example")
    assert answer.status_code == 403


async def test_faults_are_answered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    async def be_away(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(api.office.many, "count", fail)
    assert (await api.call("GET", "connections:count")).status_code == 500
    monkeypatch.setattr(api.office.many, "count", be_away)
    answer = await api.call("GET", "connections:count")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_the_space_is_our_own() -> None:
    assert takes({"path": "/headrace/v1/connections"})
    assert not takes({"path": "/headrace/v10"})
    assert not takes({"path": "/v1/projects"})
