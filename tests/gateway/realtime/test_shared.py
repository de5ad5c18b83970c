"""What the sockets of a node share."""

import asyncio
from typing import Any

import orjson
from sockets import upgrade

from cluster.servers import Server, Told

TWO = Told((Server("http://a", 1), Server("http://b", 0)), 500)
LISTED = [{"url": "http://a", "weight": 1}, {"url": "http://b", "weight": 0}]


async def test_a_task_is_kept_until_it_ends(node: Any, eventually: Any) -> None:
    shared = node.front.rooms["/v1/realtime"]._shared
    gate, ended = asyncio.Event(), []

    async def work() -> None:
        await gate.wait()
        ended.append(True)

    shared.spawn(work())
    assert len(shared._tasks) == 1
    gate.set()
    await eventually(lambda: ended and not shared._tasks)


async def test_there_is_a_dialect_a_subprotocol(node: Any) -> None:
    shared = node.front.rooms["/v1/realtime"]._shared
    assert list(shared.dialects) == ["headrace.v1+json", "headrace.v1+msgpack"]


async def test_news_of_the_cluster_reach_all_and_whoever_comes(node: Any) -> None:
    async with node.client() as client, node.raw() as other:
        await other.shake(upgrade("/v1/realtime", sec_websocket_protocol="headrace.v1+msgpack"))
        assert (await other.receive())["op"] == "welcome"
        node.bulletin.post(TWO)
        for one in (client, other):
            assert await one.receive() == {"op": "servers", "servers": LISTED, "spread_ms": 500}
        async with node.raw() as late:
            await late.shake()
            welcome = await late.receive()
        assert (welcome["servers"], welcome["spread_ms"]) == (LISTED, 500)


async def test_a_node_that_leaves_asks_all_and_serves_them_still(node: Any) -> None:
    async with node.client() as client:
        node.bulletin.ask_to_leave(TWO, deadline_ms=5000)
        drain = {"op": "drain", "deadline_ms": 5000, "spread_ms": 500, "servers": LISTED}
        assert await client.receive() == drain
        assert (await client.ask({"op": "ping", "id": 1}))["op"] == "pong"


async def test_a_paused_socket_hears_the_news_behind_what_it_had_to_read(endpoint: Any) -> None:
    async with endpoint(high_water_bytes=1024) as node, node.client() as client:
        await client.ask({"op": "subscribe", "id": 1, "topic": "default/lines"})
        (socket,) = node.front.node.sockets
        sent = 0
        while not socket.paused:
            node.hub.deliver("default/lines", 42 + sent, b"z" * 60_000)
            sent += 1
            await asyncio.sleep(0)
        buffered = socket.transport.get_write_buffer_size()
        node.bulletin.post(TWO)
        node.bulletin.ask_to_leave(TWO, deadline_ms=5000)
        await asyncio.sleep(0.01)
        assert socket.transport.get_write_buffer_size() <= buffered
        ops = [(await client.receive())["op"] for _ in range(sent + 1)]
        assert ops == ["message"] * sent + ["drain"]


async def test_a_socket_that_is_lost_is_owed_nothing(endpoint: Any, eventually: Any) -> None:
    async with endpoint(high_water_bytes=1024) as node:
        telling = node.front.rooms["/v1/realtime"]._shared.telling
        async with node.client() as client:
            await client.ask({"op": "subscribe", "id": 1, "topic": "default/lines"})
            (socket,) = node.front.node.sockets
            while not socket.paused:
                node.hub.deliver("default/lines", 42, b"z" * 60_000)
                await asyncio.sleep(0)
            node.bulletin.post(TWO)
            await eventually(lambda: telling._owed == {socket})
        await eventually(lambda: not telling._owed)


async def test_too_many_at_once_are_told_when_to_come(endpoint: Any, eventually: Any) -> None:
    async with endpoint(accept_per_second=0.5) as node, node.raw() as first, node.raw() as second, node.raw() as third:
        assert (await first.shake()).status == 101
        refusals = [await other.shake() for other in (second, third)]
        assert [refusal.status for refusal in refusals] == [503, 503]
        errors = [orjson.loads(refusal.body)["error"] for refusal in refusals]
        assert [error["code"] for error in errors] == ["limit_exceeded"] * 2
        assert 1000 < errors[0]["retry_ms"] <= 2000 < errors[1]["retry_ms"] <= 4000
        for refusal, error in zip(refusals, errors, strict=True):
            assert int(refusal.headers["retry-after"]) * 1000 >= error["retry_ms"]
        assert await second.at_end()
        await eventually(lambda: node.front.node.census.total <= 2)
