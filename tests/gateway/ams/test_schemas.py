"""Schemas over HTTP: the contract's rows and texts, and that nothing of a refused publish is written."""

import base64
import json

import httpx
import pytest
from http_node import Node

from broker.names import parse_topic

NUMBERS = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n", "m"]}
AVRO = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}]}


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(raw).decode()


async def make(
    argo: httpx.AsyncClient, name: str = "s", kind: str = "json", schema: object = None
) -> dict[str, object]:
    body = {"type": kind, "schema": NUMBERS if schema is None else schema}
    answer = await argo.post(f"/projects/p/schemas/{name}", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    made: dict[str, object] = answer.json()
    return made


async def publish(argo: httpx.AsyncClient, *data: str) -> httpx.Response:
    body = {"messages": [{"data": each} for each in data]}
    return await argo.post("/projects/p/topics/t:publish", content=json.dumps(body))


def refused(answer: httpx.Response, status: int, word: str, message: str) -> None:
    assert answer.status_code == status
    assert answer.json() == {"error": {"code": status, "message": message, "status": word}}


async def bind(argo: httpx.AsyncClient, name: str = "s") -> None:
    answer = await argo.post("/projects/p/topics/t:attachSchema", json={"schema": f"projects/p/schemas/{name}"})
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_schema_comes_back_as_it_was_made(argo: httpx.AsyncClient) -> None:
    made = await make(argo, kind="JSON")
    assert made == {"uuid": made["uuid"], "name": "projects/p/schemas/s", "type": "json", "schema": NUMBERS}
    assert len(str(made["uuid"])) == 36
    assert (await argo.get("/projects/p/schemas/s")).json() == made
    assert (await argo.get("/projects/p/schemas")).json() == {"schemas": [made]}


async def test_there_may_be_none(argo: httpx.AsyncClient) -> None:
    assert (await argo.get("/projects/p/schemas")).json() == {"schemas": []}


BAD_CREATIONS = [
    (b"", "Invalid Schema Arguments"),
    (b"{", "Invalid Schema Arguments"),
    (b'{"type":5,"schema":{}}', "Invalid Schema Arguments"),
    (b'{"type":"json","schema":"x"}', "Invalid Schema Arguments"),
    (b'{"type":"json"}', "Invalid Schema Arguments"),
    (b'{"type":"xml","schema":{}}', "Schema type can only be 'json' or 'avro'"),
    (b'{"schema":{}}', "Schema type can only be 'json' or 'avro'"),
    (b'{"type":"json","schema":{"$ref":"#/x"}}', "Pointer '/x' does not exist"),
    (b'{"type":"avro","schema":{"type":"record"}}', "The record has no name."),
]


@pytest.mark.parametrize(("body", "message"), BAD_CREATIONS)
async def test_a_bad_schema_is_refused_and_not_kept(argo: httpx.AsyncClient, body: bytes, message: str) -> None:
    refused(await argo.post("/projects/p/schemas/s", content=body), 400, "INVALID_ARGUMENT", message)
    refused(await argo.get("/projects/p/schemas/s"), 404, "NOT_FOUND", "Schema doesn't exist")


async def test_a_name_is_taken_once(argo: httpx.AsyncClient) -> None:
    await make(argo)
    body = json.dumps({"type": "json", "schema": {}})
    refused(await argo.post("/projects/p/schemas/s", content=body), 409, "ALREADY_EXISTS", "Schema already exists")
    await make(argo, "other")
    rename = await argo.put("/projects/p/schemas/s", content='{"name":"projects/p/schemas/other"}')
    refused(rename, 409, "ALREADY_EXISTS", "Schema already exists")


async def test_a_schema_is_changed(argo: httpx.AsyncClient) -> None:
    made = await make(argo)
    body = json.dumps({"name": "projects/p/schemas/n", "type": "AVRO", "schema": AVRO})
    changed = (await argo.put("/projects/p/schemas/s", content=body)).json()
    assert changed == {"uuid": made["uuid"], "name": "projects/p/schemas/n", "type": "avro", "schema": AVRO}
    assert (await argo.get("/projects/p/schemas/s")).status_code == 404
    assert (await argo.put("/projects/p/schemas/n", content="{}")).json() == changed


BAD_UPDATES = [
    (b"{", "Invalid Schema Arguments"),
    (b'{"name":"n"}', "wrong schema name declaration"),
    (b'{"name":"projects/q/schemas/n"}', "wrong schema name declaration"),
    (b'{"type":"xml"}', "Schema type can only be 'json' or 'avro'"),
    (b'{"type":"avro"}', "The type 'object' is not known."),
]


@pytest.mark.parametrize(("body", "message"), BAD_UPDATES)
async def test_a_bad_change_is_refused(argo: httpx.AsyncClient, body: bytes, message: str) -> None:
    made = await make(argo)
    refused(await argo.put("/projects/p/schemas/s", content=body), 400, "INVALID_ARGUMENT", message)
    assert (await argo.get("/projects/p/schemas/s")).json() == made


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", ":validate")])
async def test_what_does_not_exist(argo: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await argo.request(method, f"/projects/p/schemas/s{path}", content=b"{}")
    refused(answer, 404, "NOT_FOUND", "Schema doesn't exist")


async def test_validating_json(argo: httpx.AsyncClient) -> None:
    await make(argo)
    good = await argo.post("/projects/p/schemas/s:validate", content=b'{"n":1,"m":0}')
    assert (good.status_code, good.json()) == (200, {"message": "Message validated successfully"})
    bad = await argo.post("/projects/p/schemas/s:validate", content=b'{"n":1}')
    message = 'Message 0 data is not valid,(root): "m" is a required property'
    refused(bad, 400, "INVALID_ARGUMENT", message)
    several = (await argo.post("/projects/p/schemas/s:validate", content=b'{"n":"x"}')).json()["error"]["message"]
    assert several.startswith("Message 0 data is not valid.1)")
    broken = (await argo.post("/projects/p/schemas/s:validate", content=b"{")).json()["error"]["message"]
    assert broken.startswith("Message 0 data is not valid JSON format,")


async def test_validating_avro(argo: httpx.AsyncClient) -> None:
    await make(argo, kind="avro", schema=AVRO)
    url = "/projects/p/schemas/s:validate"
    assert (await argo.post(url, json={"data": b64(b"\2")})).status_code == 200
    refused(await argo.post(url, content=b"{"), 400, "BAD_REQUEST", "Invalid Request Body")
    refused(await argo.post(url, content=b'{"data":5}'), 400, "BAD_REQUEST", "Invalid Request Body")
    refused(await argo.post(url, content=b"{}"), 400, "INVALID_ARGUMENT", "Invalid Schema Payload Arguments")
    refused(
        await argo.post(url, json={"data": b64(b"\2\2")}),
        400,
        "INVALID_ARGUMENT",
        "Message 0 is not valid.1 bytes are left behind the value",
    )
    answer = (await argo.post(url, json={"data": "*"})).json()["error"]["message"]
    assert answer.startswith("Message 0 is not in valid base64 enocding,")


async def test_a_bound_topic_takes_only_what_is_valid_and_a_batch_as_a_whole(
    argo: httpx.AsyncClient, node: Node
) -> None:
    await make(argo)
    await bind(argo)
    good, bad = b64({"n": 1, "m": 2}), b64({"n": 1})
    assert (await publish(argo, good, good)).json() == {"messageIds": ["0", "1"]}
    message = 'Message 1 data is not valid,(root): "m" is a required property'
    refused(await publish(argo, good, bad), 400, "INVALID_ARGUMENT", message)
    answer = (await publish(argo, "msg 1")).json()["error"]["message"]
    assert answer.startswith("Message 0 is not in valid base64 enocding,")
    assert (await publish(argo, good)).json() == {"messageIds": ["2"]}
    assert (await argo.post("/projects/p/topics/t:detachSchema")).content == b""
    assert (await publish(argo, "msg 1")).json() == {"messageIds": ["3"]}


async def test_the_topic_shows_its_schema(argo: httpx.AsyncClient) -> None:
    await make(argo)
    await bind(argo)
    topic = (await argo.get("/projects/p/topics/t")).json()
    assert list(topic) == ["name", "schema", "created_on"]
    assert topic["schema"] == "projects/p/schemas/s"
    assert (await argo.get("/projects/p/topics")).json()["topics"] == [topic]
    await argo.delete("/projects/p/schemas/s")
    assert "schema" not in (await argo.get("/projects/p/topics/t")).json()


async def test_a_topic_may_be_made_with_its_schema(argo: httpx.AsyncClient) -> None:
    await make(argo)
    made = (await argo.put("/projects/p/topics/new", json={"schema": "projects/p/schemas/s"})).json()
    assert made["schema"] == "projects/p/schemas/s"
    assert (await argo.get("/projects/p/topics/new")).json() == made
    await argo.delete("/projects/p/topics/new")
    again = (await argo.put("/projects/p/topics/new")).json()
    assert "schema" not in again


async def test_without_the_schema_no_topic_is_made(argo: httpx.AsyncClient) -> None:
    answer = await argo.put("/projects/p/topics/new", json={"schema": "projects/p/schemas/s"})
    refused(answer, 404, "NOT_FOUND", "Schema doesn't exist")
    assert (await argo.get("/projects/p/topics/new")).status_code == 404


BAD_BINDINGS = [
    (b"{", 400, "BAD_REQUEST", "Invalid Request Body"),
    (b'{"schema":5}', 400, "BAD_REQUEST", "Invalid Request Body"),
    (b"{}", 400, "INVALID_ARGUMENT", "wrong schema name declaration"),
    (b'{"schema":"s"}', 400, "INVALID_ARGUMENT", "wrong schema name declaration"),
    (b'{"schema":"projects/p/schemas/x"}', 404, "NOT_FOUND", "Schema doesn't exist"),
    (b'{"schema":"projects/q/schemas/s"}', 404, "NOT_FOUND", "Schema doesn't exist"),
]


@pytest.mark.parametrize(("body", "status", "word", "message"), BAD_BINDINGS)
async def test_a_bad_binding(argo: httpx.AsyncClient, body: bytes, status: int, word: str, message: str) -> None:
    await make(argo)
    refused(await argo.post("/projects/p/topics/t:attachSchema", content=body), status, word, message)
    assert (await publish(argo, "msg 1")).status_code == 200


@pytest.mark.parametrize("action", ["attachSchema", "detachSchema"])
async def test_an_unknown_topic_has_no_schema(argo: httpx.AsyncClient, action: str) -> None:
    refused(await argo.post(f"/projects/p/topics/x:{action}"), 404, "NOT_FOUND", "Topic doesn't exist")


async def test_a_deleted_project_leaves_no_schema(argo: httpx.AsyncClient, node: Node) -> None:
    await make(argo)
    await bind(argo)
    await argo.delete("/projects/p")
    assert await node.schemas.schema_of(parse_topic("p/t")) is None
