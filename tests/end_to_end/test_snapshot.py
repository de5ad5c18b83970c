"""A retained message: the snapshot of its topic, told to whoever asks, over both dialects and all restarts."""

from collections.abc import Iterator
from typing import Any

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
