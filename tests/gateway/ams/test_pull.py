"""Pulling and acknowledging in ARGO's form, over HTTP."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from http_node import OPERATOR, Node, eventually, serving

from broker.errors import Unavailable
from broker.names import ProjectName, parse_topic
from broker.store.base import ProjectInfo
from gateway.ams.routes import build

S = "/projects/p/subscriptions/s"
PULL, ACK = f"{S}:pull", f"{S}:acknowledge"
PUBLISH = "/projects/p/topics/t:publish"
PREFIX = "projects/p/subscriptions/s:"

NO_SUBSCRIPTION = {"code": 404, "message": "Subscription doesn't exist", "status": "NOT_FOUND"}
BAD_ACK_ID = {"code": 400, "message": "Invalid ack id", "status": "INVALID_ARGUMENT"}


@pytest.fixture
async def cursor(argo: httpx.AsyncClient) -> httpx.AsyncClient:
    await argo.put(S, json={"topic": "projects/p/topics/t"})
    return argo


@pytest.fixture
async def shared(argo: httpx.AsyncClient) -> httpx.AsyncClient:
    await argo.put(S, json={"topic": "projects/p/topics/t", "kind": "shared"})
    return argo


async def pull(argo: httpx.AsyncClient, count: int = 10) -> list[dict[str, Any]]:
    answer = await argo.post(PULL, json={"maxMessages": str(count), "returnImmediately": "true"})
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()["receivedMessages"]
    return found


async def acknowledge(argo: httpx.AsyncClient, *ids: str) -> httpx.Response:
    return await argo.post(ACK, json={"ackIds": [*ids]})


# Pulling.


async def test_what_was_published_is_pulled(cursor: httpx.AsyncClient) -> None:
    messages = [{"data": "aGVsbG8=", "attributes": {"k": "v"}}, {"data": "msg 1"}, {"attributes": {"only": "this"}}]
    await cursor.post(PUBLISH, json={"messages": messages})
    first, second, third = await pull(cursor)
    assert first["ackId"] == f"{PREFIX}0"
    published = first["message"].pop("publishTime")
    assert published.endswith("Z")
    assert first["message"] == {"messageId": "0", "data": "aGVsbG8=", "attributes": {"k": "v"}}
    assert (second["message"]["messageId"], second["message"]["data"]) == ("1", "msg 1")
    assert "attributes" not in second["message"]
    assert (third["message"]["data"], third["message"]["attributes"]) == ("", {"only": "this"})


async def test_nothing_new_is_an_empty_list(cursor: httpx.AsyncClient) -> None:
    assert (await cursor.post(PULL, content=b"{}")).content == b'{"receivedMessages":[]}'


POISON = [
    'quotes " and \\ backslashes \\" \\\\',
    "NUL \x00 and control \x01\x1f\x7f",
    "emoji 🎉 and \u2028 and \ud7ff",
    "</script>",
    '{"json": "inside"}',
    "not base64!",
    "aGVsbG8",
    "aGVsbG8==",
    "aGVs\nbG8=",
    "",
    "====",
    "ＡＢＣＤ",
]


async def test_a_poison_message_comes_back_byte_for_byte(cursor: httpx.AsyncClient) -> None:
    messages = [{"data": text, "attributes": {f"a{text}": text}} for text in POISON]
    assert (await cursor.post(PUBLISH, json={"messages": messages})).status_code == 200
    pulled = await pull(cursor, 100)
    assert [each["message"]["data"] for each in pulled] == POISON
    assert [each["message"]["attributes"] for each in pulled] == [message["attributes"] for message in messages]
    assert all(each["message"].keys() <= {"messageId", "attributes", "data", "publishTime"} for each in pulled)
    assert (await acknowledge(cursor, pulled[-1]["ackId"])).status_code == 200
    assert await pull(cursor) == []


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"{}", 1),
        (b'{"maxMessages":"2"}', 2),
        (b'{"maxMessages":2,"returnImmediately":true}', 2),
        (b'{"MaxMessages":"2","RETURNIMMEDIATELY":"false"}', 2),
        (b'{"maxMessages":"many"}', 1),
        (b'{"maxMessages":"100000"}', 3),
    ],
)
async def test_how_many_are_asked_for(cursor: httpx.AsyncClient, node: Node, body: bytes, count: int) -> None:
    await node.say("p/t", "a", "b", "c")
    assert len((await cursor.post(PULL, content=body)).json()["receivedMessages"]) == count


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b'{"maxMessages":true}', b'{"returnImmediately":[]}'])
async def test_options_that_cannot_be_read_open_no_window(cursor: httpx.AsyncClient, node: Node, body: bytes) -> None:
    await node.say("p/t", "a")
    answer = await cursor.post(PULL, content=body)
    refused = {"code": 400, "message": "Invalid Pull Parameters Arguments", "status": "INVALID_ARGUMENT"}
    assert answer.json()["error"] == refused
    assert (await acknowledge(cursor, f"{PREFIX}0")).status_code == 400


@pytest.mark.parametrize("body", [b"{}", b"nonsense"])
async def test_an_unknown_subscription_comes_before_the_options(argo: httpx.AsyncClient, body: bytes) -> None:
    assert (await argo.post(PULL, content=body)).json()["error"] == NO_SUBSCRIPTION


async def test_a_pull_that_waits_returns_with_the_first_message(cursor: httpx.AsyncClient, node: Node) -> None:
    pulling = asyncio.create_task(cursor.post(PULL, json={"maxMessages": "10", "returnImmediately": "false"}))
    await eventually(lambda: node.listens("p/t"), "the pull that waits")
    assert not pulling.done()
    await node.say("p/t", "at last")
    (found,) = (await pulling).json()["receivedMessages"]
    assert found["message"]["messageId"] == "0"


async def test_a_pull_waits_no_longer_than_the_setting() -> None:
    async with Node(pull_wait_seconds=0.05) as node:
        await node.catalog.create_project(ProjectInfo(ProjectName("p"), 0, 0))
        await node.catalog.create_topic(parse_topic("p/t"))
        async with serving(build(node.context)) as served:
            headers = {"x-api-key": OPERATOR}
            async with httpx.AsyncClient(base_url=f"{served.url}/v1", headers=headers) as argo:
                await argo.put(S, json={"topic": "projects/p/topics/t"})
                answer = await argo.post(PULL, json={"returnImmediately": "false"})
                assert answer.json() == {"receivedMessages": []}


# A cursor's acks.


async def test_the_same_messages_come_until_they_are_acked(cursor: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a", "b", "c")
    first = await pull(cursor, 2)
    assert await pull(cursor, 2) == first
    acked = await acknowledge(cursor, *[each["ackId"] for each in first])
    assert (acked.status_code, acked.json()) == (200, {})
    assert [each["message"]["messageId"] for each in await pull(cursor)] == ["2"]


async def test_the_highest_id_counts_and_closes_the_window(cursor: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a", "b", "c")
    await pull(cursor)
    assert (await acknowledge(cursor, f"{PREFIX}1", f"{PREFIX}0")).status_code == 200
    late = await acknowledge(cursor, f"{PREFIX}2")
    assert late.json()["error"] == {"code": 400, "message": "no ack pending", "status": "INVALID_ARGUMENT"}
    assert [each["message"]["messageId"] for each in await pull(cursor)] == ["2"]


async def test_acking_again_is_fine(cursor: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a", "b")
    await pull(cursor)
    for _ in range(2):
        again = await acknowledge(cursor, f"{PREFIX}0")
        assert (again.status_code, again.json()) == (200, {})


async def test_an_ack_outside_the_window_moves_nothing(cursor: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a", "b", "c")
    await pull(cursor, 1)
    wrong = await acknowledge(cursor, f"{PREFIX}1")
    assert wrong.json()["error"] == {"code": 400, "message": "wrong ack", "status": "INVALID_ARGUMENT"}
    assert (await acknowledge(cursor, f"{PREFIX}0")).status_code == 200
    assert (await cursor.get(f"{S}:offsets")).json()["current"] == 1


async def test_an_ack_with_nothing_pending_is_refused(cursor: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a")
    none = await acknowledge(cursor, f"{PREFIX}0")
    assert none.json()["error"] == {"code": 400, "message": "no ack pending", "status": "INVALID_ARGUMENT"}


async def test_an_ack_after_the_deadline_is_408_and_the_messages_come_again(
    cursor: httpx.AsyncClient, node: Node
) -> None:
    await node.say("p/t", "a")
    first = await pull(cursor)
    node.later(seconds=11)
    answer = await acknowledge(cursor, f"{PREFIX}0")
    assert answer.status_code == 408
    assert answer.json()["error"] == {"code": 408, "message": "ack timeout", "status": "TIMEOUT"}
    assert await pull(cursor) == first
    assert (await acknowledge(cursor, f"{PREFIX}0")).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid ack parameter"),
        (b"x", "Invalid ack parameter"),
        (b"[]", "Invalid ack parameter"),
        (b'{"ackIds":"x"}', "Invalid ack parameter"),
        (b"{}", "Invalid ack id"),
        (b'{"ackIds":null}', "Invalid ack id"),
        (b'{"ackIds":[]}', "Invalid ack id"),
        (b'{"ackIds":[1]}', "Invalid ack id"),
        (b'{"ackIds":["x"]}', "Invalid ack id"),
        (b'{"ackIds":["projects/p/subscriptions/other:0"]}', "Invalid ack id"),
        (b'{"ackIds":["projects/p/subscriptions/s:-1"]}', "Invalid ack id"),
        (b'{"ackIds":["projects/p/subscriptions/s:0","x"]}', "Invalid ack id"),
        (b'{"ackIds":["projects/p/subscriptions/s:0.1-token"]}', "Invalid ack id"),
        (b'{"ackIds":["projects/p/subscriptions/s:99999999999999999999"]}', "Invalid ack id"),
    ],
)
async def test_acks_that_cannot_be_read_move_nothing(
    cursor: httpx.AsyncClient, node: Node, body: bytes, message: str
) -> None:
    await node.say("p/t", "a")
    await pull(cursor)
    answer = await cursor.post(ACK, content=body)
    assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    assert (await cursor.get(f"{S}:offsets")).json()["current"] == 0


async def test_an_unknown_subscription_takes_no_ack(argo: httpx.AsyncClient) -> None:
    assert (await acknowledge(argo, f"{PREFIX}0")).json()["error"] == NO_SUBSCRIPTION


# Leases of a shared subscription.


async def test_each_message_is_in_one_hand_and_acked_by_itself(shared: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a", "b", "c")
    mine, other = await pull(shared, 2), await pull(shared, 2)
    assert [each["message"]["messageId"] for each in mine + other] == ["0", "1", "2"]
    assert all(each["ackId"].startswith(PREFIX) and "." in each["ackId"] for each in mine)
    acked = await acknowledge(shared, mine[1]["ackId"], other[0]["ackId"])
    assert (acked.status_code, acked.json()) == (200, {})
    node.later(seconds=11)
    assert [each["message"]["messageId"] for each in await pull(shared)] == ["0"]


async def test_a_lease_that_is_over_is_told(shared: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a", "b")
    (late,) = await pull(shared, 1)
    node.later(seconds=11)
    again = await pull(shared)
    answer = await acknowledge(shared, late["ackId"], again[1]["ackId"])
    assert answer.status_code == 408
    refused = answer.json()["error"]
    assert (refused["code"], refused["message"], refused["status"]) == (408, "ack timeout", "TIMEOUT")
    assert refused["errors"] == [{"message": "The lease is over.", "domain": late["ackId"], "reason": "stale"}]
    assert (await acknowledge(shared, *[each["ackId"] for each in again])).json() == {}
    node.later(seconds=11)
    assert await pull(shared) == []


async def test_a_lease_needs_its_token(shared: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a")
    await pull(shared)
    for forged in ("0", "0.", "0.1", "0.1-"):
        answer = await acknowledge(shared, PREFIX + forged)
        assert answer.json()["error"] == BAD_ACK_ID
    node.later(seconds=11)
    assert len(await pull(shared)) == 1


async def test_a_large_answer_keeps_to_its_bytes(cursor: httpx.AsyncClient) -> None:
    large = "x " * 700_000
    for _ in range(7):
        await cursor.post(PUBLISH, content=orjson.dumps({"messages": [{"data": large}]}))
    assert 1 <= len(await pull(cursor, 7)) < 7


@pytest.mark.parametrize("path", [PULL, ACK])
async def test_while_the_log_is_away_it_is_503_and_nothing_happens(
    cursor: httpx.AsyncClient, node: Node, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable(retry_ms=1500)

    monkeypatch.setattr(node.subscriptions, "pull", away)
    monkeypatch.setattr(node.subscriptions, "acknowledge", away)
    answer = await cursor.post(path, json={"ackIds": [f"{PREFIX}0"]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("project", ["p", "absent"])
async def test_a_bad_body_for_an_unknown_subscription(argo: httpx.AsyncClient, project: str) -> None:
    path = f"/projects/{project}/subscriptions/absent"
    message = "project doesn't exist" if project == "absent" else "Subscription doesn't exist"
    for answer in (
        await argo.post(f"{path}:pull", content=b"nonsense"),
        await argo.post(f"{path}:acknowledge", json={"ackIds": []}),
    ):
        assert answer.json()["error"]["message"] == message


async def test_an_unknown_project_comes_before_an_ack_that_cannot_be_read(argo: httpx.AsyncClient) -> None:
    answer = await argo.post("/projects/absent/subscriptions/s:acknowledge", content=b"nonsense")
    assert answer.json()["error"]["message"] == "project doesn't exist"
