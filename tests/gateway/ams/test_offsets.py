"""Where a subscription stands, and moving it, over HTTP."""

from datetime import UTC, datetime

import httpx
import pytest
from http_node import Node, now_ms

from broker.names import parse_topic
from broker.store.base import Retention

S = "/projects/p/subscriptions/s"
NO_SUBSCRIPTION = {"code": 404, "message": "Subscription doesn't exist", "status": "NOT_FOUND"}


@pytest.fixture
async def argo(argo: httpx.AsyncClient) -> httpx.AsyncClient:
    await argo.put(S, json={"topic": "projects/p/topics/t"})
    return argo


async def offsets(argo: httpx.AsyncClient) -> tuple[int, int, int]:
    found = (await argo.get(f"{S}:offsets")).json()
    return found["min"], found["current"], found["max"]


async def pulled(argo: httpx.AsyncClient) -> list[str]:
    found = (await argo.post(f"{S}:pull", json={"maxMessages": 10})).json()
    return [each["message"]["messageId"] for each in found["receivedMessages"]]


async def test_offsets_follow_what_is_published_acked_and_trimmed(argo: httpx.AsyncClient, node: Node) -> None:
    assert await offsets(argo) == (0, 0, 0)
    await node.say("p/t", "a", "b", "c")
    assert await offsets(argo) == (0, 0, 3)
    await argo.post(f"{S}:pull", json={"maxMessages": 1})
    await argo.post(f"{S}:acknowledge", json={"ackIds": ["projects/p/subscriptions/s:0"]})
    assert await offsets(argo) == (0, 1, 3)
    await node.store.trim(parse_topic("p/t"), Retention(max_messages=1, max_bytes=10**9, max_age_ms=10**9))
    assert await offsets(argo) == (2, 2, 3)


@pytest.mark.parametrize(("offset", "expected"), [(0, ["0", "1", "2"]), (2, ["2"]), (3, [])])
async def test_the_cursor_is_moved(argo: httpx.AsyncClient, node: Node, offset: int, expected: list[str]) -> None:
    await node.say("p/t", "a", "b", "c")
    await pulled(argo)
    moved = await argo.post(f"{S}:modifyOffset", json={"offset": offset})
    assert (moved.status_code, moved.content) == (200, b"")
    assert (await offsets(argo))[1] == offset
    late = await argo.post(f"{S}:acknowledge", json={"ackIds": ["projects/p/subscriptions/s:2"]})
    assert late.status_code == (200 if offset == 3 else 400)
    assert await pulled(argo) == expected


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Invalid Offset Arguments"),
        (b"x", "Invalid Offset Arguments"),
        (b"{}", "Invalid Offset Arguments"),
        (b'{"offset":"1"}', "Invalid Offset Arguments"),
        (b'{"offset":1.5}', "Invalid Offset Arguments"),
        (b'{"offset":-1}', "Offset out of bounds"),
        (b'{"offset":4}', "Offset out of bounds"),
        (b'{"offset":9223372036854775807}', "Offset out of bounds"),
    ],
)
async def test_a_refused_offset_moves_nothing(argo: httpx.AsyncClient, node: Node, body: bytes, message: str) -> None:
    await node.say("p/t", "a", "b", "c")
    await argo.post(f"{S}:modifyOffset", json={"offset": 1})
    assert await pulled(argo) == ["1", "2"]
    answer = await argo.post(f"{S}:modifyOffset", content=body)
    assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
    assert (await offsets(argo))[1] == 1
    still = await argo.post(f"{S}:acknowledge", json={"ackIds": ["projects/p/subscriptions/s:2"]})
    assert still.status_code == 200


def zulu(time_ms: int, separator: str = "T") -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime(f"%Y-%m-%d{separator}%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


async def test_a_time_is_the_first_message_from_then_on(argo: httpx.AsyncClient, node: Node) -> None:
    await node.say("p/t", "a")
    node.later(seconds=10)
    between = now_ms() + 5_000
    await node.say("p/t", "b")
    for time_ms, offset in ((0, 0), (between, 1)):
        for separator in ("T", " "):
            answer = await argo.get(f"{S}:timeToOffset", params={"time": zulu(time_ms, separator)})
            assert answer.json() == {"offset": offset}
    beyond = await argo.get(f"{S}:timeToOffset", params={"time": zulu(now_ms() + 60_000)})
    message = "Timestamp is out of bounds for the subscription's topic/partition"
    assert beyond.json()["error"] == {"code": 409, "message": message, "status": "CONFLICT"}


@pytest.mark.parametrize("query", ["", "?time=", "?time=now", "?time=2019-09-02", "?time=2019-99-02T13:39:11.000Z"])
async def test_what_is_no_time(argo: httpx.AsyncClient, query: str) -> None:
    answer = await argo.get(f"{S}:timeToOffset{query}")
    message = "Time is not in valid Zulu format."
    assert answer.json()["error"] == {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}


async def test_an_unknown_subscription_stands_nowhere(argo: httpx.AsyncClient) -> None:
    other = "/projects/p/subscriptions/other"
    for answer in (
        await argo.get(f"{other}:offsets"),
        await argo.post(f"{other}:modifyOffset", json={"offset": 0}),
        await argo.get(f"{other}:timeToOffset", params={"time": "2019-09-02T13:39:11.000Z"}),
    ):
        assert answer.json()["error"] == NO_SUBSCRIPTION


async def test_a_deleted_topic_has_no_offsets(argo: httpx.AsyncClient) -> None:
    await argo.delete("/projects/p/topics/t")
    assert (await argo.get(f"{S}:offsets")).status_code == 404
