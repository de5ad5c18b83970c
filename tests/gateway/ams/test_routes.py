"""Publishing, the order of checks, and what every route keeps to, over a real server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from http_node import OPERATOR, Node, Peer, Served, serving, token

from broker.catalog import AutoCreate
from broker.errors import OutOfMemory, Unavailable, UnknownOutcome
from broker.messages import Entry
from broker.names import parse_topic
from broker.rights import Principal
from gateway.ams import wire
from gateway.ams.routes import build

PUBLISH = "/projects/p/topics/t:publish"
ONE = b'{"messages":[{"data":"aGVsbG8="}]}'


async def entries(node: Node, topic: str = "p/t") -> list[Entry]:
    page = await node.store.read(parse_topic(topic), None, max_entries=1000, max_bytes=10_000_000)
    return list(page.entries)


async def test_a_publish_is_answered_with_offsets(argo: httpx.AsyncClient, node: Node) -> None:
    assert (await argo.post(PUBLISH, content=ONE)).json() == {"messageIds": ["0"]}
    answer = await argo.post(PUBLISH, content=b'{"messages":[{"data":"YQ=="},{"data":"msg 1","attributes":{"k":"v"}}]}')
    assert (answer.status_code, answer.json()) == (200, {"messageIds": ["1", "2"]})
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    stored = [entry.message for entry in await entries(node)]
    assert [wire.data_of(message) for message in stored] == ["aGVsbG8=", "YQ==", "msg 1"]
    assert stored[2].attributes == {"k": "v"}


@pytest.mark.parametrize("body", [b"{}", b'{"messages":[]}', b'{"messages":null}'])
async def test_nothing_to_publish_is_fine(argo: httpx.AsyncClient, body: bytes) -> None:
    answer = await argo.post(PUBLISH, content=body)
    assert (answer.status_code, answer.json()) == (200, {"messageIds": []})


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b'{"messages":[{"data":1}]}', b'{"messages":[{"attributes":{"a":1}}]}']
)
async def test_a_wrong_body_publishes_nothing(argo: httpx.AsyncClient, node: Node, body: bytes) -> None:
    answer = await argo.post(PUBLISH, content=body)
    assert answer.json()["error"] == {"code": 400, "message": "Invalid Message Arguments", "status": "INVALID_ARGUMENT"}
    assert await entries(node) == []


async def test_a_batch_is_stored_whole_or_not_at_all(argo: httpx.AsyncClient, node: Node) -> None:
    large = "x " * 750_000
    answer = await argo.post(PUBLISH, json={"messages": [{"data": "YQ=="}, {"data": large}]})
    assert answer.json()["error"] == {"code": 413, "message": "Message size is too large", "status": "INVALID_ARGUMENT"}
    too_many = await argo.post(PUBLISH, json={"messages": [{"data": "YQ=="}] * 1001})
    assert too_many.status_code == 400
    assert await entries(node) == []


async def test_a_message_within_the_limit_is_taken(argo: httpx.AsyncClient, node: Node) -> None:
    data = "x " * 700_000
    assert (await argo.post(PUBLISH, json={"messages": [{"data": data}]})).status_code == 200
    assert wire.data_of((await entries(node))[0].message) == data


async def test_a_body_beyond_the_bound_is_413_in_the_envelope(argo: httpx.AsyncClient) -> None:
    answer = await argo.post(PUBLISH, content=b"x" * (16 * 1024 * 1024 + 1))
    assert answer.json()["error"] == {"code": 413, "message": "Message size is too large", "status": "INVALID_ARGUMENT"}


# Idempotency.


async def test_the_same_key_and_messages_give_the_same_ids(argo: httpx.AsyncClient, node: Node) -> None:
    headers = {"idempotency-key": "order 17"}
    first = await argo.post(PUBLISH, content=ONE, headers=headers)
    again = await argo.post(PUBLISH, content=ONE, headers=headers)
    assert first.json() == again.json() == {"messageIds": ["0"]}
    assert len(await entries(node)) == 1
    other = await argo.post(PUBLISH, content=b'{"messages":[{"data":"YQ=="}]}', headers=headers)
    assert (other.status_code, other.json()["error"]["status"]) == (409, "CONFLICT")
    assert len(await entries(node)) == 1


async def test_a_key_belongs_to_its_caller(argo: httpx.AsyncClient, node: Node) -> None:
    headers = {"idempotency-key": "order 17"}
    await argo.post(PUBLISH, content=ONE, headers=headers)
    mine = {**headers, "x-api-key": token(publish=("p/t",))}
    assert (await argo.post(PUBLISH, content=ONE, headers=mine)).json() == {"messageIds": ["1"]}


@pytest.mark.parametrize("key", ["", "x" * 1000])
async def test_a_key_that_cannot_be_kept_is_refused(argo: httpx.AsyncClient, node: Node, key: str) -> None:
    assert (await argo.post(PUBLISH, content=ONE, headers={"idempotency-key": key})).status_code == 400
    assert await entries(node) == []


# Credentials and rights, in the contract's order.


@pytest.mark.parametrize(
    "credential",
    [
        {"headers": {"x-api-key": "TOKEN"}},
        {"headers": {"authorization": "Bearer TOKEN"}},
        {"params": {"key": "TOKEN"}},
        {"params": {"token": "TOKEN"}},
    ],
)
async def test_a_token_may_stand_in_four_places(served: Served, credential: dict[str, dict[str, str]]) -> None:
    granted = token(publish=("p/t",))
    options: Any = {
        place: {name: text.replace("TOKEN", granted) for name, text in fields.items()}
        for place, fields in credential.items()
    }
    async with httpx.AsyncClient() as client:
        assert (await client.post(f"{served.url}/v1{PUBLISH}", content=ONE, **options)).status_code == 200


UNAUTHORIZED = {"code": 401, "message": "Unauthorized", "status": "UNAUTHORIZED"}
FORBIDDEN = {"code": 403, "message": "Access to this resource is forbidden", "status": "FORBIDDEN"}
NO_PROJECT = {"code": 404, "message": "project doesn't exist", "status": "NOT_FOUND"}
NO_TOPIC = {"code": 404, "message": "Topic doesn't exist", "status": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("key", "path", "error"),
    [
        (None, PUBLISH, UNAUTHORIZED),
        ("", PUBLISH, UNAUTHORIZED),
        (None, "/projects/absent/topics/t:publish", UNAUTHORIZED),
        ("nonsense", PUBLISH, UNAUTHORIZED),
        ("nonsense", "/projects/absent/topics/t:publish", NO_PROJECT),
        (token(publish=("q/*",)), PUBLISH, UNAUTHORIZED),
        (token(publish=("absent/u",)), "/projects/absent/topics/t:publish", NO_PROJECT),
        (token(subscribe=("p/*",)), PUBLISH, FORBIDDEN),
        (token(publish=("p/other",)), PUBLISH, FORBIDDEN),
        (token(publish=("p/*",)), "/projects/p/topics/absent:publish", NO_TOPIC),
        (OPERATOR, "/projects/absent/topics/t:publish", NO_PROJECT),
        (OPERATOR, "/projects/a.b/topics/t:publish", {"code": 400, "message": "Invalid project name"}),
        (None, "/projects/p/topics/a.b:publish", {"code": 400, "message": "Invalid topic name"}),
        (None, "/projects/a%2Fb/topics/a.b:publish", {"code": 400, "message": "Invalid project name"}),
    ],
)
async def test_checks_come_in_the_contracts_order(
    served: Served, node: Node, key: str | None, path: str, error: dict[str, object]
) -> None:
    headers = {} if key is None else {"x-api-key": key}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{served.url}/v1{path}", content=ONE, headers=headers)
    assert answer.json()["error"] == {"status": "INVALID_ARGUMENT", **error}
    assert answer.status_code == error["code"]
    assert await entries(node) == []


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        ("/projects/a.b/subscriptions/c.d", "project"),
        ("/projects/a.b/topics/c.d:acl", "project"),
        ("/projects/p/subscriptions/c.d:offsets", "subscription"),
        ("/projects/p/members/c.d", "user"),
        ("/projects/p/schemas/c.d", "schema"),
        ("/users:byToken/c.d", "token"),
        ("/users:byUUID/c.d", "uuid"),
    ],
)
async def test_the_first_bad_name_is_named_before_anything_else(served: Served, path: str, variable: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{served.url}/v1{path}")
    message = f"Invalid {variable} name"
    assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}


async def test_anonymous_rights_are_rights_but_a_bad_token_has_none() -> None:
    async with Node(anonymous=Principal("@anonymous", publish=("default/open",))) as node:
        await node.catalog.create_topic(parse_topic("default/open"))
        async with serving(build(node.context)) as served, httpx.AsyncClient(base_url=f"{served.url}/v1") as client:
            path = "/projects/default/topics/open:publish"
            assert (await client.post(path, content=ONE)).status_code == 200
            assert (await client.post(path, content=ONE, headers={"x-api-key": "nonsense"})).status_code == 401
            assert (await client.post("/projects/default/topics/shut:publish", content=ONE)).status_code == 403


async def test_a_first_publish_creates_its_topic_where_that_is_allowed() -> None:
    async with Node(auto_create=AutoCreate.ALL) as node:
        async with serving(build(node.context)) as served, httpx.AsyncClient(base_url=f"{served.url}/v1") as client:
            headers = {"x-api-key": token(publish=("new/*",))}
            answer = await client.post("/projects/new/topics/made%2Fhere:publish", content=ONE, headers=headers)
            assert answer.json() == {"messageIds": ["0"]}
        assert len(await entries(node, "new/made/here")) == 1


# What every route keeps to.


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/projects/", 404, None),
        ("GET", "/projects/p/", 404, None),
        ("GET", "/projects/p/topics/", 404, None),
        ("GET", "/projects/p/topics/t/more", 404, None),
        ("GET", "/projects/p/nothing", 404, None),
        ("GET", "/projects/p/nothing/t", 404, None),
        ("GET", "/projectsx", 404, None),
        ("POST", "/projects", 405, "GET"),
        ("PATCH", "/projects/p", 405, "GET, POST, PUT, DELETE"),
        ("POST", "/projects/p/topics", 405, "GET"),
        ("POST", "/projects/p/topics/t", 405, "GET, PUT, DELETE"),
        ("POST", "/projects/p/topics/t:unknown", 405, "GET, PUT, DELETE"),
        ("GET", "/projects/p/topics/t:unknown", 400, None),
        ("GET", "/projects/p:unknown", 400, None),
        ("GET", "/projects/p/topics/t%20t", 400, None),
        ("GET", "/projects/p/subscriptions/s:unknown", 400, None),
        ("POST", "/projects/p/subscriptions/s:unknown", 405, "GET, PUT, DELETE"),
        ("PUT", "/projects/p/subscriptions/s:pull", 400, None),
        ("PATCH", "/projects/p/subscriptions/s:pull", 405, "POST, GET, PUT, DELETE"),
        ("POST", "/users/p/topics/t:publish", 404, None),
        ("GET", "/nothing", 404, None),
        ("GET", "/metrics/nothing", 404, None),
        ("POST", "/metrics", 405, "GET"),
        ("GET", "/projects/p/topics/a%2F", 400, None),
        ("GET", "/projects/p/topics/a%2F%FF", 400, None),
        ("GET", "/projects/p/topics/a%2F%7D", 400, None),
    ],
)
async def test_an_unknown_route_answers_in_the_envelope(
    argo: httpx.AsyncClient, method: str, path: str, status: int, allowed: str | None
) -> None:
    answer = await argo.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, status)
    assert answer.headers.get("allow") == allowed


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (Unavailable("Away.", retry_ms=1500), (503, "2")),
        (OutOfMemory(), (503, "10")),
        (UnknownOutcome(retry_ms=1000), (504, "1")),
        (ZeroDivisionError("a secret of ours"), (500, None)),
    ],
)
async def test_what_the_log_refuses(
    argo: httpx.AsyncClient,
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    refusal: Exception,
    expected: tuple[int, str | None],
) -> None:
    async def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(node.publisher, "publish", refuse)
    answer = await argo.post(PUBLISH, content=ONE)
    assert (answer.status_code, answer.headers.get("retry-after")) == expected
    assert answer.json()["error"]["code"] == answer.status_code
    assert "secret" not in answer.text


async def test_a_refusal_holds_also_while_the_project_cannot_be_asked(
    argo: httpx.AsyncClient, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(node.catalog, "project", away)
    assert (await argo.post(PUBLISH, content=ONE, headers={"x-api-key": "nonsense"})).status_code == 401
    assert (await argo.get("/projects/p")).status_code == 503


async def test_refusals_are_counted_by_their_words(argo: httpx.AsyncClient, node: Node) -> None:
    await argo.post(PUBLISH, content=ONE, headers={"x-api-key": "nonsense"})
    assert node.metrics.refusals.counts[("unauthorized",)] == 1


async def test_no_credential_gets_into_a_log(
    argo: httpx.AsyncClient, node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(node.publisher, "publish", refuse)
    caplog.set_level(logging.DEBUG, logger="gateway")
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    await argo.post(PUBLISH, content=ONE, params={"token": OPERATOR})
    assert "ZeroDivisionError" in caplog.text
    assert not [record for record in caplog.records if OPERATOR in record.getMessage() and "httpx" not in record.name]


# The shapes of argo-ams-library 1.0.0 on the wire.


@pytest.fixture
async def peer(served: Served) -> AsyncIterator[Peer]:
    peer = await served.connect()
    yield peer
    peer.close()


def request(method: str, path: str, body: bytes | None) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body is not None else b""
    head = f"{method} /v1{path} HTTP/1.1\r\nHost: a\r\nUser-Agent: python-requests/2.32.3\r\nx-api-key: {OPERATOR}\r\n"
    kept = b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
    return head.encode() + kept + length + b"\r\n" + (body or b"")


async def test_the_clients_requests_as_they_are_on_the_wire(peer: Peer) -> None:
    for method, path, body, expected in (
        ("PUT", "/projects/p/topics/wire", b"", {"name": "/projects/p/topics/wire"}),
        ("GET", "/projects/p/topics/wire", None, {"name": "/projects/p/topics/wire"}),
        (
            "POST",
            "/projects/p/topics/wire:publish",
            orjson.dumps({"messages": [{"attributes": {"a": "b"}, "data": "bXNn"}]}),
            {"messageIds": ["0"]},
        ),
        ("GET", "/projects/p/topics", None, {"totalSize": 2}),
        ("DELETE", "/projects/p/topics/wire", None, {}),
    ):
        await peer.send(request(method, path, body))
        status, _, answer = await peer.read_response()
        assert status == 200
        assert (orjson.loads(answer) if answer else {}).items() >= expected.items()


async def test_pipelined_publishes_keep_their_order(peer: Peer, node: Node) -> None:
    bodies = [orjson.dumps({"messages": [{"data": f"number {n}"}]}) for n in range(20)]
    await peer.send(b"".join(request("POST", PUBLISH, body) for body in bodies))
    for n in range(20):
        assert orjson.loads((await peer.read_response())[2]) == {"messageIds": [str(n)]}
    assert [entry.message.payload for entry in await entries(node)] == [b"number %d" % n for n in range(20)]


async def test_many_at_once_each_get_their_own_ids(served: Served, node: Node) -> None:
    async def publish(name: int) -> list[int]:
        one = await served.connect()
        ids = []
        for n in range(20):
            await one.send(request("POST", PUBLISH, orjson.dumps({"messages": [{"data": f"{name} {n}"}]})))
            ids += [int(i) for i in orjson.loads((await one.read_response())[2])["messageIds"]]
        one.close()
        return ids

    ids = await asyncio.gather(*[publish(name) for name in range(10)])
    assert sorted(i for each in ids for i in each) == list(range(200))
    assert all(each == sorted(each) for each in ids)
    stored = await entries(node)
    for name, each in enumerate(ids):
        assert [stored[i].message.payload for i in each] == [b"%d %d" % (name, n) for n in range(20)]
