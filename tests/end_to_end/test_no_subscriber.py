"""A publish that nobody would get, on a Redis Cluster: followers of every kind on another node are counted."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import nodes
import orjson
import pytest
import servers
import websockets
from nodes import Node

COUNT_SECONDS = 2.0
"""How old the count may be (docs/migratorydata.md)."""
SLACK_SECONDS = 10.0

TOPICS = "/v1/projects/default/topics"


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Node]]:
    env = {"HEADRACE_PROJECTS_NO_SUBSCRIBER": "refuse"}
    with servers.cluster() as cluster, nodes.on(cluster, count=2, env=env) as started:
        yield started


@contextlib.asynccontextmanager
async def realtime(node: Node, topic: str) -> AsyncIterator[None]:
    url = node.url.replace("http", "ws") + "/v1/realtime"
    async with websockets.connect(url, additional_headers=node.headers) as socket:
        await socket.send(orjson.dumps({"op": "subscribe", "id": 1, "topic": f"default/{topic}"}).decode())
        while orjson.loads(await socket.recv())["op"] != "subscribed":
            pass
        yield


@contextlib.asynccontextmanager
async def streaming(node: Node, topic: str) -> AsyncIterator[None]:
    http = httpx.AsyncClient(base_url=node.url, headers=node.headers, timeout=30)
    async with http, http.stream("GET", f"{TOPICS}/{topic}:stream") as response:
        async for _ in response.aiter_bytes():
            break
        yield


@contextlib.asynccontextmanager
async def durable(node: Node, topic: str) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=node.url, headers=node.headers) as http:
        path = f"/v1/projects/default/subscriptions/{topic}"
        body: dict[str, Any] = {"topic": f"projects/default/topics/{topic}"}
        (await http.put(path, json=body)).raise_for_status()
        yield
        (await http.delete(path)).raise_for_status()


@pytest.mark.parametrize("follower", [realtime, streaming, durable])
async def test_whoever_follows_on_another_node_counts(pair: list[Node], follower: Any) -> None:
    here, there = pair
    async with httpx.AsyncClient(base_url=here.url, headers=here.headers) as http:

        async def is_heard(topic: str) -> bool:
            answer = await http.post(f"{TOPICS}/{topic}:publish", json={"messages": [{"data": "YQ=="}]})
            assert answer.status_code == 200 or "subscribed" in answer.text, answer.text
            return answer.status_code == 200

        # Several, so that they lie on several primaries.
        for topic in [f"{follower.__name__}-{number}" for number in range(4)]:
            (await http.put(f"{TOPICS}/{topic}")).raise_for_status()
            assert not await is_heard(topic)
            async with follower(there, topic):
                assert await is_heard(topic)
            left = time.monotonic()
            while await is_heard(topic):
                assert time.monotonic() < left + COUNT_SECONDS + SLACK_SECONDS
