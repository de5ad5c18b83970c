"""Three nodes under publishers and followers of both kinds: stopped, cut off, rolled over, and all gone at once.

What is held true of everybody is in `tests/support/herd.py`; ways that swallow bytes are in `tests/support/faults.py`.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

import faults
import herd
import httpx
import nodes
import pytest
import servers
import sockets
from herd import Size
from nodes import Node

pytestmark = [pytest.mark.long, pytest.mark.timeout(420)]

SIZE = Size(followers=40, writers=5, js_followers=20, js_writers=5, period_s=0.2)
STOP_S = 15.0
DETECTION_S = 10.0
"""Within which a client knows that its connection is dead (protocol/failover.md 6)."""
RETURN_S = 2 * 2.0 + 2.0
"""Two dials that hang, and a delay: what a way back may cost at most while another node is well."""
SLACK_S = 5.0
"""For a loaded machine."""

ACCEPTS = 100
"""A second and node, for a herd that comes back from nowhere."""
HERD = Size(followers=1490, writers=6, js_followers=500, js_writers=4, period_s=5.0)

ENV = {"HEADRACE_AUTO_CREATE": "all"}


@pytest.fixture(scope="module")
def running() -> Iterator[list[Node]]:
    herd.program()
    with servers.valkey() as redis, nodes.on(redis, count=3, env=ENV) as started:
        yield started


@pytest.fixture
def three(running: list[Node]) -> Iterator[list[Node]]:
    yield running
    for node in running:
        node.resume()
        if not node.is_running:
            node.restart()


@pytest.fixture
def topic() -> str:
    return f"default/{uuid4().hex}"


async def test_one_of_three_is_stopped_and_goes_on(three: list[Node], topic: str) -> None:
    struck = three[2]
    async with herd.around(three, topic, SIZE) as crowd, sockets.opened(struck.port, x_api_key=struck.token) as patient:
        assert (await patient.ask({"op": "subscribe", "id": 1, "topic": topic}))["op"] == "subscribed"
        await crowd.all_settle()
        at = time.time()
        struck.pause()
        stale = {"op": "publish", "id": 2, "topic": topic, "text": "stale"}
        patient.send(sockets.text(stale))
        await crowd.all_hear()
        back = time.time()
        await asyncio.sleep(max(at + STOP_S - time.time(), 0))
        struck.resume()
        assert await patient.closed() == 1012, "its lease is gone: it closes before it reads anything"
        await crowd.all_hear()
        account = await crowd.account()
    await account.check(three[0])
    hit = [member for member in account.members if member.was_on(struck.url, at)]
    print(account.figures("SIGSTOP for 15 s of one of three", at=at, struck=[struck.url]))
    assert back - at < DETECTION_S + RETURN_S + SLACK_S
    assert all(member.away_s(at) > 0 for member in hit)


async def test_three_nodes_are_rolled_over_under_load(three: list[Node], topic: str) -> None:
    async with herd.around(three, topic, SIZE) as crowd:
        await crowd.all_settle()
        at = time.time()
        for node in three:
            assert await asyncio.to_thread(node.terminate) == 0
            await asyncio.to_thread(node.restart)
            await crowd.all_hear()
        account = await crowd.account()
    await account.check(three[0])
    assert account.breaks == [], "connected elsewhere first"
    print(account.figures("rolling restart of three", at=at, struck=[node.url for node in three]))


async def test_the_way_to_a_node_swallows_everything(topic: str) -> None:
    herd.program()
    with servers.valkey() as redis:
        async with faults.on(redis, count=3, env=ENV) as (started, ways):
            urls = [way.url for way in ways]
            async with herd.around(started, topic, SIZE, urls=urls) as crowd:
                await crowd.all_settle()
                at = time.time()
                ways[1].swallow()
                await crowd.all_hear()
                account = await crowd.account()
            await account.check(started[0])
            print(account.figures("blackhole before one of three", at=at, struck=[ways[1].url]))
            hit = [member for member in account.members if member.was_on(ways[1].url, at)]
            known = [next(when - at for up, _, when, _ in member.states if not up and when > at) for member in hit]
            print(f"  known to be dead after   {herd.quantiles(known)}")
            assert max(known) < DETECTION_S + SLACK_S


@dataclass(slots=True)
class Door:
    """How many realtime sockets one life of a node has let in, looked at again and again."""

    node: Node
    looks: list[tuple[float, float, int]] = field(default_factory=list)
    """When it was asked, when it answered, and the count."""
    refused: int = 0

    async def look(self, http: httpx.AsyncClient) -> None:
        asked = time.monotonic()
        told = (await http.get(f"{self.node.url}/metrics", headers=self.node.headers)).text
        self.looks.append((asked, time.monotonic(), _count(told, 'headrace_connections_opened_total{face="realtime"}')))
        self.refused = _count(told, r"headrace_refusals_total{[^}]*}")

    def check(self, per_second: float) -> None:
        """Never more than a full bucket and what flows into it meanwhile (gateway/admission.py)."""
        for first, (asked, _, before) in enumerate(self.looks):
            for _, answered, after in self.looks[first:]:
                assert after - before <= per_second * (answered - asked + 1)

    def peak(self) -> float:
        """The most that it let in a second, over a second or the next longer time between two looks."""
        least, rates = 1.0, [0.0]
        for first, (asked, _, before) in enumerate(self.looks):
            later = next((look for look in self.looks[first:] if look[1] - asked >= least), None)
            if later is not None:
                rates.append((later[2] - before) / (later[1] - asked))
        return max(rates)


def _count(metrics: str, name: str) -> int:
    return sum(int(float(value)) for value in re.findall(rf"^{name} (\S+)$", metrics, re.MULTILINE))


@asynccontextmanager
async def watched(doors: list[Door]) -> AsyncIterator[None]:
    async def watch(door: Door) -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            while True:
                with suppress(httpx.HTTPError):
                    await door.look(http)
                await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        watching = [tasks.create_task(watch(door)) for door in doors]
        yield
        for task in watching:
            task.cancel()


async def restarted(started: list[Node]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for node in started:
            tasks.create_task(asyncio.to_thread(node.restart))


async def test_all_nodes_die_at_once_under_two_thousand_clients(topic: str) -> None:
    herd.program()
    env = ENV | {"HEADRACE_LIMITS_ACCEPT_PER_SECOND": str(ACCEPTS)}
    with servers.valkey() as redis, nodes.on(redis, count=3, env=env) as started:
        async with herd.around(started, topic, HERD) as crowd:
            await crowd.all_settle()
            at = time.time()
            for node in started:
                node.kill()
            await restarted(started)
            up = time.time()
            doors = [Door(node) for node in started]
            async with watched(doors):
                await crowd.all_hear()
            account = await crowd.account()
        await account.check(started[0])
        print(account.figures("kill -9 of all three", at=at, struck=[node.url for node in started]))
        for door in doors:
            door.check(ACCEPTS)
            print(f"  one node                 {door.peak():.0f} in its worst second, {door.refused} turned away")
        print(f"  up again after           {up - at:.2f} s; {ACCEPTS} accepts a second and node are allowed")
