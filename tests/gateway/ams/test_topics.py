"""Topics in ARGO's form, over HTTP."""

import httpx
import pytest
from http_node import Node, token

from broker.names import parse_topic


async def test_a_topic_is_created_shown_and_deleted(argo: httpx.AsyncClient, node: Node) -> None:
    made = await argo.put("/projects/p/topics/new_1-A")
    assert made.status_code == 200
    assert made.json()["name"] == "/projects/p/topics/new_1-A"
    assert made.json()["created_on"].endswith("Z")
    shown = await argo.get("/projects/p/topics/new_1-A")
    assert (shown.status_code, shown.json()) == (200, made.json())
    deleted = await argo.delete("/projects/p/topics/new_1-A")
    assert (deleted.status_code, deleted.content) == (200, b"")
    gone = await argo.get("/projects/p/topics/new_1-A")
    assert gone.json() == {"error": {"code": 404, "message": "Topic doesn't exist", "status": "NOT_FOUND"}}


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b" \n", b'{"schema":""}', b'{"schema":null}', b'{"x":1}'])
async def test_a_body_without_a_schema_is_fine(argo: httpx.AsyncClient, body: bytes) -> None:
    assert (await argo.put("/projects/p/topics/new", content=body)).status_code == 200


@pytest.mark.parametrize(
    ("body", "word", "message"),
    [
        (b"nonsense", "BAD_REQUEST", "Invalid Request Body"),
        (b"[]", "BAD_REQUEST", "Invalid Request Body"),
        (b'{"schema":1}', "BAD_REQUEST", "Invalid Request Body"),
        (b'{"Schema":"nonsense"}', "INVALID_ARGUMENT", "wrong schema name declaration"),
    ],
)
async def test_any_other_body_creates_nothing(
    argo: httpx.AsyncClient, node: Node, body: bytes, word: str, message: str
) -> None:
    answer = await argo.put("/projects/p/topics/new", content=body)
    assert answer.json() == {"error": {"code": 400, "message": message, "status": word}}
    assert [topic.name for topic in await node.catalog.topics(parse_topic("p/t").split("/")[0])] == ["p/t"]  # type: ignore[arg-type]


async def test_a_topic_is_created_once(argo: httpx.AsyncClient) -> None:
    answer = await argo.put("/projects/p/topics/t")
    assert answer.json() == {"error": {"code": 409, "message": "Topic already exists", "status": "ALREADY_EXISTS"}}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_unknown_project_comes_before_its_topic(argo: httpx.AsyncClient, method: str) -> None:
    answer = await argo.request(method, "/projects/absent/topics/t")
    assert answer.json() == {"error": {"code": 404, "message": "project doesn't exist", "status": "NOT_FOUND"}}


async def test_topics_are_listed_newest_first_in_pages(argo: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await argo.put(f"/projects/p/topics/{name}")
    everything = (await argo.get("/projects/p/topics")).json()
    assert (everything["totalSize"], everything["nextPageToken"]) == (4, "")
    seen, page = [], ""
    while True:
        answer = (await argo.get("/projects/p/topics", params={"pageSize": "3", "pageToken": page})).json()
        assert answer["totalSize"] == 4
        seen += answer["topics"]
        page = answer["nextPageToken"]
        if not page:
            break
    assert seen == everything["topics"]
    assert {topic["name"] for topic in seen} == {f"/projects/p/topics/{name}" for name in "abct"}


async def test_an_empty_list_is_a_list(argo: httpx.AsyncClient) -> None:
    await argo.delete("/projects/p/topics/t")
    assert (await argo.get("/projects/p/topics")).json() == {"topics": [], "nextPageToken": "", "totalSize": 0}


@pytest.mark.parametrize(
    ("query", "message"), [("pageSize=-1", "Invalid page size"), ("pageToken=nonsense", "Invalid page token")]
)
async def test_a_wrong_page_is_named(argo: httpx.AsyncClient, query: str, message: str) -> None:
    answer = await argo.get(f"/projects/p/topics?{query}")
    assert answer.json() == {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}


async def test_who_is_no_operator_sees_its_own_topics_and_changes_none(argo: httpx.AsyncClient) -> None:
    await argo.put("/projects/p/topics/other")
    argo.headers["x-api-key"] = token(publish=("p/t",))
    listed = (await argo.get("/projects/p/topics")).json()
    assert ([topic["name"] for topic in listed["topics"]], listed["totalSize"]) == (["/projects/p/topics/t"], 1)
    assert (await argo.get("/projects/p/topics/other")).status_code == 200
    for answer in (await argo.put("/projects/p/topics/new"), await argo.delete("/projects/p/topics/t")):
        assert answer.json()["error"]["message"] == "Access to this resource is forbidden"
        assert answer.status_code == 403


async def test_an_encoded_slash_reaches_what_other_faces_made(argo: httpx.AsyncClient, node: Node) -> None:
    await node.catalog.create_topic(parse_topic("p/a/b"))
    assert (await argo.get("/projects/p/topics/a%2Fb")).json()["name"] == "/projects/p/topics/a%2Fb"
    refused = await argo.put("/projects/p/topics/a%2Fc")
    assert refused.json()["error"]["message"] == "Invalid topic name"
    assert (await argo.delete("/projects/p/topics/a%2fb")).status_code == 200
