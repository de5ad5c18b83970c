"""Three nodes on one Redis, and clients that speak the bare protocol: the list of servers, and a node that leaves."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import nodes
import pytest
import servers
import sockets
from nodes import Node
from sockets import Closed, Raw, text, upgrade

LEASE_SECONDS = 2
PROMISED_SECONDS = 2.0
"""From a change to the last client that hears of it."""
SLACK_SECONDS = 15.0
"""For a loaded machine, beyond what is promised."""
OLD = 30
"""Clients that know nothing of `drain`."""

TOPIC = "default/shared"


@pytest.fixture(scope="module")
def three() -> Iterator[list[Node]]:
    env = {"HEADRACE_LEASE_SECONDS": str(LEASE_SECONDS), "HEADRACE_AUTO_CREATE": "all"}
    with servers.valkey() as server, nodes.on(server, count=3, env=env) as started:
        yield started


@contextlib.asynccontextmanager
async def client(node: Node) -> AsyncIterator[tuple[Raw, dict[str, Any]]]:
    async with sockets.raw(node.port) as opened:
        assert (await opened.shake(upgrade(x_api_key=node.token))).status == 101
        yield opened, await opened.receive()


@contextlib.asynccontextmanager
async def client_in_a_while(node: Node) -> AsyncIterator[tuple[Raw, dict[str, Any]]]:
    """A client that comes again when it is told to."""
    async with asyncio.timeout(60):
        while True:
            async with sockets.raw(node.port) as opened:
                answer = await opened.shake(upgrade(x_api_key=node.token))
                if answer.status == 101:
                    yield opened, await opened.receive()
                    return
            await asyncio.sleep(int(answer.headers["retry-after"]))


def urls(frame: dict[str, Any]) -> set[str]:
    return {server["url"] for server in frame["servers"]}


async def listed(listener: Raw, wanted: set[str], *, seconds: float, first: dict[str, Any] | None = None) -> float:
    """Read until the list of servers is `wanted`, and return how long that took."""
    began = time.monotonic()
    known = urls(first) if first else set()
    async with asyncio.timeout(seconds):
        while known != wanted:
            frame = await listener.receive()
            known = urls(frame) if frame["op"] in ("servers", "drain") else known
    return time.monotonic() - began


async def test_the_list_of_servers_follows_the_cluster(three: list[Node]) -> None:
    a, _, c = three
    everybody = {node.url for node in three}
    without_c = everybody - {c.url}
    async with client(a) as (listener, welcome):
        await listed(listener, everybody, seconds=PROMISED_SECONDS + SLACK_SECONDS, first=welcome)
        await asyncio.to_thread(c.kill)
        killed = await listed(listener, without_c, seconds=2 * LEASE_SECONDS + PROMISED_SECONDS + SLACK_SECONDS)
        assert killed >= LEASE_SECONDS / 2, "it counts as there until its lease is over"
        back = asyncio.create_task(asyncio.to_thread(c.restart))
        await listed(listener, everybody, seconds=nodes.START_SECONDS)
        await back
        ended = asyncio.create_task(asyncio.to_thread(c.terminate))
        left = await listed(listener, without_c, seconds=PROMISED_SECONDS + SLACK_SECONDS)
        assert await ended == 0
        print(f"\na kill was told after {killed:.2f} s, an end after {left:.2f} s")
        back = asyncio.create_task(asyncio.to_thread(c.restart))
        await listed(listener, everybody, seconds=nodes.START_SECONDS)
        await back


def test_the_operator_sees_the_nodes(three: list[Node]) -> None:
    a = three[0]
    answer = httpx.get(f"{a.url}/nodes", headers=a.headers)
    assert [node["name"] for node in answer.json()["nodes"]] == ["n0", "n1", "n2"]
    assert httpx.get(f"{a.url}/nodes").status_code == 401
    command = [sys.executable, "-m", "gateway", "nodes", "--json"]
    shown = subprocess.run(command, env=a.env, capture_output=True, text=True, timeout=30, check=True).stdout
    seen = {node["name"]: node for node in map(json.loads, shown.splitlines())}
    assert {name: node["url"] for name, node in seen.items()} == {f"n{n}": node.url for n, node in enumerate(three)}
    assert [node["this"] for node in seen.values()] == [True, False, False]
    assert not any(node["draining"] for node in seen.values())


async def follow(node: Node, since: object) -> tuple[contextlib.AsyncExitStack, Raw]:
    stack = contextlib.AsyncExitStack()
    opened, _ = await stack.enter_async_context(client(node))
    opened.send(text({"op": "subscribe", "id": 1, "topic": TOPIC, "since": since}))
    while (await opened.receive())["op"] != "subscribed":
        pass
    return stack, opened


class Mover:
    """A client that follows a topic, and goes where a `drain` sends it: connected there first."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.drains: list[dict[str, Any]] = []
        self.closes: list[int | None] = []

    async def run(self, node: Node, others: dict[str, Node], *, last: int) -> None:
        stack, opened = await follow(node, "now")
        while last not in self.seen:
            try:
                frame = await opened.receive()
            except Closed as closed:
                self.closes.append(closed.code)
                raise
            if frame["op"] == "message":
                self.take(frame)
            elif frame["op"] == "drain":
                self.drains.append(frame)
                target = others[next(server["url"] for server in frame["servers"])]
                moved, opened_there = await follow(target, self.place)
                await stack.aclose()
                stack, opened = moved, opened_there
        await stack.aclose()

    def take(self, frame: dict[str, Any]) -> None:
        self.place = {"epoch": frame["epoch"], "offset": frame["offset"]}
        self.seen.append(int(frame["text"]))


async def old(node: Node, closed_at: list[tuple[float, int | None]]) -> None:
    async with client(node) as (opened, _):
        code = await opened.closed()
        closed_at.append((time.monotonic(), code))


async def streaming(node: Node, ended_at: list[float]) -> None:
    async with httpx.AsyncClient(headers=node.headers, timeout=60) as http:
        url = f"{node.url}/v1/projects/default/topics/shared:stream"
        async with http.stream("GET", url) as response:
            assert response.status_code == 200
            async for _ in response.aiter_bytes():
                pass
    ended_at.append(time.monotonic())


async def publishing(node: Node, count: int) -> None:
    async with client(node) as (opened, _):
        for number in range(count):
            opened.send(text({"op": "publish", "id": number, "topic": TOPIC, "text": str(number)}))
            while (answer := await opened.receive())["op"] not in ("published", "error"):
                pass
            assert answer["op"] == "published", answer
            await asyncio.sleep(0.02)


async def test_a_node_that_leaves_hands_its_clients_over(three: list[Node]) -> None:
    a, b, c = three
    others = {node.url: node for node in (a, b)}
    async with client(a) as (listener, welcome):
        await listed(listener, {node.url for node in three}, seconds=SLACK_SECONDS, first=welcome)
    count, movers = 300, [Mover() for _ in range(5)]
    closed_at: list[tuple[float, int | None]] = []
    ended_at: list[float] = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for mover in movers:
            tasks.create_task(mover.run(c, others, last=count - 1))
        for _ in range(OLD):
            tasks.create_task(old(c, closed_at))
        tasks.create_task(streaming(c, ended_at))
        await asyncio.sleep(0.5)
        tasks.create_task(publishing(a, count))
        await asyncio.sleep(0.5)
        ending = tasks.create_task(asyncio.to_thread(c.terminate))
        await unready(c)
        async with sockets.raw(c.port) as late:
            refused = await late.shake(upgrade(x_api_key=c.token))
        assert (refused.status, refused.code) == (503, "unavailable")
    assert ending.result() == 0
    for mover in movers:
        assert mover.seen == list(range(mover.seen[0], count)), "no gap, no repetition, in order"
        assert [len(mover.drains), mover.closes] == [1, []]
        (drain,) = mover.drains
        assert urls(drain) == {a.url, b.url}
        assert 0 <= drain["spread_ms"] <= drain["deadline_ms"] <= 17_000
    assert [code for _, code in closed_at] == [1012] * OLD
    took = closed_at[-1][0] - closed_at[0][0]
    print(f"\n{OLD} clients that do not move were closed over {took:.2f} s")
    assert took > 1, "one by one, not all at once"
    assert len(ended_at) == 1
    await asyncio.to_thread(c.restart)


async def unready(node: Node) -> None:
    async with httpx.AsyncClient() as http, asyncio.timeout(SLACK_SECONDS):
        while (await http.get(f"{node.url}/readyz")).status_code != 503:
            await asyncio.sleep(0.01)


async def test_what_nobody_saw_goes_to_another_node_uncounted(three: list[Node]) -> None:
    a, _, c = three
    path = f"{a.url}/v1/projects/default"
    httpx.put(f"{path}/topics/jobs", headers=a.headers).raise_for_status()
    body = {"topic": "projects/default/topics/jobs", "kind": "shared", "ackDeadlineSeconds": 600}
    httpx.put(f"{path}/subscriptions/jobs", headers=a.headers, json=body).raise_for_status()
    attach = {"op": "attach", "id": 1, "subscription": "default/jobs", "window": 1}
    async with client(a) as (staying, _), client(c) as (leaving, _):
        assert (await leaving.ask(attach))["op"] == "attached"
        staying.send(text({"op": "publish", "id": 2, "topic": "default/jobs", "text": "job"}))
        assert (await answer_of(staying, "published"))["offset"] == 0
        (first,) = (await answer_of(leaving, "delivery"))["deliveries"]
        staying.send(text(attach))
        await answer_of(staying, "attached")
        leaving.send(text({"op": "detach", "id": 3, "subscription": "default/jobs"}))
        await answer_of(leaving, "ok")
        # On another connection than it came on, as a client does that has moved.
        staying.send(text({"op": "release", "id": 4, "subscription": "default/jobs", "acks": [first["ack"]]}))
        (again,) = (await answer_of(staying, "delivery"))["deliveries"]
        assert (first["attempt"], again["attempt"]) == (1, 1)


async def answer_of(opened: Raw, op: str) -> dict[str, Any]:
    """Read on until a frame of this kind comes; news of the cluster and answers may come before it."""
    async with asyncio.timeout(SLACK_SECONDS):
        while (frame := await opened.receive())["op"] != op:
            assert frame["op"] != "error", frame
        return dict(frame)


async def test_a_second_signal_ends_it_at_once(three: list[Node]) -> None:
    c = three[2]
    closed_at: list[tuple[float, int | None]] = []
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(old(c, closed_at))
        async with client(c) as (listener, _):
            ending = tasks.create_task(asyncio.to_thread(c.terminate))
            while (await listener.receive())["op"] != "drain":
                pass
            c.signal()
        assert await ending == 0
    assert "the end was hastened" in c.log
    assert len(closed_at) == 3
    await asyncio.to_thread(c.restart)


async def test_a_flood_is_told_when_to_come_and_health_is_answered() -> None:
    env = {"HEADRACE_LIMITS_ACCEPT_PER_SECOND": "20"}
    with nodes.node(env=env) as node:
        async with contextlib.AsyncExitStack() as stack:
            opened = await asyncio.gather(*(stack.enter_async_context(sockets.raw(node.port)) for _ in range(100)))
            answers = await asyncio.gather(*(each.shake(upgrade(x_api_key=node.token)) for each in opened))
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{node.url}/healthz")).status_code == 200
        statuses = [answer.status for answer in answers]
        assert set(statuses) == {101, 503}
        assert 20 <= statuses.count(101) <= 60
        waits = [int(answer.headers["retry-after"]) for answer in answers if answer.status == 503]
        assert max(waits) > min(waits), "not all at the same time"
        async with client_in_a_while(node) as (listener, _):
            ending = asyncio.create_task(asyncio.to_thread(node.terminate))
            ops = set()
            with pytest.raises(Closed) as closed:
                while True:
                    ops.add((await listener.receive())["op"])
            assert closed.value.code == 1012
            assert "drain" not in ops, "alone, there is nowhere to go"
            assert await ending == 0
