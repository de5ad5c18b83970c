"""Channels over two real nodes: connected on one, sent through the other, the first killed (contracts/channel 9)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import httpx
import nodes
import orjson
import pytest
import servers
import websockets
from nodes import Node
from receiver import Receiver, receiving
from websockets.asyncio.client import ClientConnection, connect

from headrace import channel
from headrace.channel import apiproxy_errors

PATIENCE_SECONDS = 30.0
LEASE_SECONDS = 2


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def two(receiver: Receiver) -> Iterator[tuple[Node, Node]]:
    env = {
        "HEADRACE_LEASE_SECONDS": str(LEASE_SECONDS),
        "HEADRACE_AUTO_CREATE": "all",
        "HEADRACE_PUSH_PLAIN_HTTP": "true",
        "HEADRACE_PUSH_ALLOWED_NETWORKS": "127.0.0.0/8",
        "HEADRACE_CHANNEL_PRESENCE_URL": f"http://127.0.0.1:{receiver.port}",
        "HEADRACE_CHANNEL_LEASE_SECONDS": str(LEASE_SECONDS),
        "HEADRACE_CHANNEL_GONE_SECONDS": "1",
    }
    with servers.valkey() as server, nodes.on(server, count=2, env=env) as (a, b):
        yield a, b


async def eventually(condition: Any, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def page(node: Node, token: str, **query: str) -> AsyncIterator[ClientConnection]:
    more = "".join(f"&{name}={value}" for name, value in query.items())
    url = f"{node.url.replace('http', 'ws', 1)}/_ah/channel/socket?channel={token}{more}"
    async with connect(url, origin=None) as socket:
        yield socket


async def frame(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(await asyncio.wait_for(socket.recv(), PATIENCE_SECONDS))
    return found


def presence(receiver: Receiver) -> list[tuple[str, str]]:
    """What the application was told: the event, and of whom."""
    posts = [received for received in receiver.received if received.method == "POST"]
    return [(post.target.split("/")[-2], parse_qs(post.body.decode())["from"][0]) for post in posts]


async def test_a_page_outlives_its_node(two: tuple[Node, Node], receiver: Receiver) -> None:
    first, second = two
    channel.configure(second.url, second.token)
    token = await asyncio.to_thread(channel.create_channel, "player & co")
    async with page(first, token) as socket:
        opened = (await frame(socket))["open"]
        await eventually(lambda: presence(receiver) == [("connected", "player & co")], "connected")
        await asyncio.to_thread(channel.send_message, "player & co", "one")
        one = await frame(socket)
        assert one["data"] == "one"
        await asyncio.to_thread(first.kill)
        with pytest.raises(websockets.ConnectionClosed):
            await frame(socket)
    await asyncio.to_thread(channel.send_message, token, "two")
    async with page(second, token, client=opened["client"], last_id=one["id"]) as socket:
        await frame(socket)
        assert (await frame(socket))["data"] == "two"
        await asyncio.sleep(LEASE_SECONDS + 1.5)
        assert presence(receiver) == [("connected", "player & co")], "it was never away"
    # Told before the nodes end: they would wait for this loop, which then stands still.
    await eventually(lambda: presence(receiver)[1:] == [("disconnected", "player & co")], "disconnected")


async def test_a_client_that_died_with_its_node_is_told_of_once(two: tuple[Node, Node], receiver: Receiver) -> None:
    first, second = two
    channel.configure(second.url, second.token)
    token = await asyncio.to_thread(channel.create_channel, "player")
    async with page(first, token) as socket:
        await frame(socket)
        await eventually(lambda: presence(receiver) == [("connected", "player")], "connected")
        await asyncio.to_thread(first.kill)
    await eventually(lambda: len(presence(receiver)) >= 2, "disconnected")
    await asyncio.sleep(1.5)
    assert presence(receiver) == [("connected", "player"), ("disconnected", "player")]


async def test_a_page_of_2012_polls_and_is_told_why_it_may_not(two: tuple[Node, Node]) -> None:
    first, second = two
    channel.configure([first.url, second.url], first.token)
    token = await asyncio.to_thread(lambda: channel.create_channel("old page", 1, topics=["default/news"]))
    async with httpx.AsyncClient(timeout=40) as http:

        async def dev(node: Node, command: str, channel_token: str, client: str = "1") -> httpx.Response:
            url = f"{node.url}/_ah/channel/dev?command={command}&channel={channel_token}&client={client}"
            return await http.get(url)

        client = (await dev(first, "connect", token)).text
        polling = asyncio.create_task(dev(first, "poll", token, client))
        await asyncio.to_thread(channel.send_message, "old page", '{"a":1}')
        answer = await polling
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (
            200,
            b'{"a":1}',
            "application/json",
        )
        polling = asyncio.create_task(dev(second, "poll", token, client))
        body = {"messages": [{"data": "bmV3cw=="}]}
        url = f"{first.url}/v1/projects/default/topics/news:publish"
        assert (await http.post(url, json=body, headers=first.headers)).status_code == 200
        assert (await polling).content == b"news", "published over another API"
        refused = await dev(second, "poll", f"{token}x", client)
        assert (refused.status_code, refused.reason_phrase, refused.content) == (401, "Invalid+token.", b"")
        held = asyncio.create_task(dev(second, "poll", token, client))
        await asyncio.sleep(0.3)
        assert await asyncio.to_thread(second.terminate) == 0, "a held poll does not hold up the node's end"
        assert (await held).status_code == 200


async def test_a_page_outlives_the_engine() -> None:
    with nodes.node() as node:
        channel.configure(node.url, node.token)
        token = await asyncio.to_thread(channel.create_channel, "player")
        async with page(node, token) as socket:
            await frame(socket)
            await asyncio.to_thread(channel.send_message, "player", "before")
            assert (await frame(socket))["data"] == "before"
            node.kill_engine()
            await asyncio.to_thread(node.await_ready)
            for _ in range(100):
                try:
                    await asyncio.to_thread(channel.send_message, "player", "after")
                    break
                except apiproxy_errors.Error:
                    await asyncio.sleep(0.2)
            assert (await frame(socket))["data"] == "after"


async def test_a_page_of_2012_outlives_the_engine() -> None:
    with nodes.node(env={"HEADRACE_CHANNEL_HOLD_SECONDS": "0.5"}) as node:
        channel.configure(node.url, node.token)
        token = await asyncio.to_thread(channel.create_channel, "old page")
        dev = f"{node.url}/_ah/channel/dev"
        async with httpx.AsyncClient(timeout=60) as http:
            client = (await http.get(dev, params={"command": "connect", "channel": token})).text
            query = {"command": "poll", "channel": token, "client": client}
            polling = asyncio.create_task(http.get(dev, params=query))
            await asyncio.sleep(0.2)
            node.kill_engine()
            statuses = [(await polling).status_code]
            ready = asyncio.create_task(asyncio.to_thread(node.await_ready))
            while not ready.done():
                statuses.append((await http.get(dev, params=query)).status_code)
            for _ in range(100):
                try:
                    await asyncio.to_thread(channel.send_message, "old page", "after")
                    break
                except apiproxy_errors.Error:
                    await asyncio.sleep(0.2)
            body = b""
            while not body:
                answer = await http.get(dev, params=query)
                statuses.append(answer.status_code)
                body = answer.content
            assert (set(statuses), body) == ({200}, b"after")
