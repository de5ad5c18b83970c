"""A retained message: the snapshot of its topic, told to whoever asks, over both dialects and all restarts."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import msgpack
import nodes
import orjson
import pytest
import servers
import websockets
from nodes import Node

TOPIC = "default/prices"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with servers.valkey() as server, nodes.on(server, count=1) as (running, *_):
        yield running


async def ask(node: Node, *requests: dict[str, Any], packed: bool = False) -> list[dict[str, Any]]:
    """Return the answers to these requests."""
    write, read = (msgpack.packb, msgpack.unpackb) if packed else (orjson.dumps, orjson.loads)
    protocol = websockets.Subprotocol("headrace.v1+msgpack" if packed else "headrace.v1+json")
    url = node.url.replace("http", "ws") + "/v1/realtime"
    async with websockets.connect(url, subprotocols=[protocol], additional_headers=node.headers) as socket:
        await socket.recv()
        answers = []
        for request in requests:
            await socket.send(write(request) if packed else write(request).decode())
            while (told := read(await socket.recv()))["op"] == "servers":
                pass
            answers.append(told)
        return answers


def published(text: str, **more: Any) -> dict[str, Any]:
    return {"op": "publish", "topic": TOPIC, "text": text, **more}


SUBSCRIBE = {"op": "subscribe", "topic": TOPIC, "snapshot": True}


async def test_whoever_asks_gets_the_newest_retained_message(node: Node) -> None:
    (nothing,) = await ask(node, SUBSCRIBE)
    assert nothing["op"] == "subscribed"
    assert nothing["snapshot"] is None
    answers = await ask(node, published("1", retained=True), published("2", retained=True), published("3"))
    (told,) = await ask(node, SUBSCRIBE)
    snapshot = told["snapshot"]
    assert snapshot["text"] == "2"
    assert {key: snapshot[key] for key in ("epoch", "offset", "time")} == {
        key: answers[1][key] for key in ("epoch", "offset", "time")
    }
    assert told["offset"] == answers[2]["offset"]
    (in_binary,) = await ask(node, SUBSCRIBE, packed=True)
    assert (in_binary["snapshot"]["kind"], in_binary["snapshot"]["data"]) == ("text", b"2")
    (unasked,) = await ask(node, {"op": "subscribe", "topic": TOPIC})
    assert "snapshot" not in unasked


async def test_what_is_retained_while_a_follower_is_placed_comes_to_it(node: Node) -> None:
    """Whatever becomes the snapshot between the look at it and the place in the log is a message of its own."""
    topic = {"topic": "default/race"}
    url = node.url.replace("http", "ws") + "/v1/realtime"
    async with websockets.connect(url, additional_headers=node.headers) as publishes:
        for number in range(60):
            async with websockets.connect(url, additional_headers=node.headers) as follows:
                publish = published(str(number), retained=True, id=number) | topic
                await asyncio.gather(
                    follows.send(orjson.dumps(SUBSCRIBE | topic).decode()),
                    publishes.send(orjson.dumps(publish).decode()),
                )
                while orjson.loads(await publishes.recv())["op"] != "published":
                    pass
                async with asyncio.timeout(10):
                    while (told := orjson.loads(await follows.recv()))["op"] != "subscribed":
                        pass
                    assert (told["recovery"], told["missing"]) == ("none", [])
                    snapshot = told["snapshot"]
                    if snapshot is None or snapshot["text"] != str(number):
                        while (told := orjson.loads(await follows.recv()))["op"] != "message":
                            pass
                        assert told["text"] == str(number)


def test_a_snapshot_outlives_the_node_and_its_engine_and_ends_with_its_topic() -> None:
    with nodes.node() as node:

        async def story() -> None:
            await ask(node, published("1", retained=True), published("2"))
            for end in (node.kill_engine, node.kill):
                await asyncio.to_thread(end)
                await asyncio.to_thread(node.await_ready if end == node.kill_engine else node.restart)
                await ready_again(node)
                (told,) = await ask(node, SUBSCRIBE)
                assert told["snapshot"]["text"] == "1"
            async with httpx.AsyncClient(base_url=node.url, headers=node.headers) as http:
                (await http.delete("/v1/projects/default/topics/prices")).raise_for_status()
            (told,) = await ask(node, SUBSCRIBE)
            assert told["op"] == "error" or told["snapshot"] is None

        asyncio.run(story())


async def ready_again(node: Node) -> None:
    """The node may not have noticed yet that its engine is gone: wait for a publish that goes through."""
    async with asyncio.timeout(30):
        while (await ask(node, published("waits", topic="default/other")))[0]["op"] != "published":
            await asyncio.sleep(0.05)
