"""Three nodes under publishers and followers of both kinds: killed, told to end, or not the ones that were named.

The long ones are in `test_failover_long.py`; what is held true of everybody is in `tests/support/herd.py`.
"""

import asyncio
import time
from collections.abc import Iterator
from uuid import uuid4

import faults
import herd
import nodes
import pytest
import servers
from herd import Size
from nodes import Node

SIZE = Size()


@pytest.fixture(scope="module")
def running() -> Iterator[list[Node]]:
    herd.program()
    env = {"HEADRACE_AUTO_CREATE": "all"}
    with servers.valkey() as redis, nodes.on(redis, count=3, env=env) as started:
        yield started


@pytest.fixture
def three(running: list[Node]) -> Iterator[list[Node]]:
    yield running
    for node in running:
        if not node.is_running:
            node.restart()


@pytest.fixture
def topic() -> str:
    return f"default/{uuid4().hex}"


async def test_one_of_three_is_killed(three: list[Node], topic: str) -> None:
    struck = three[2]
    async with herd.around(three, topic, SIZE) as crowd:
        await crowd.all_settle()
        at = time.time()
        await asyncio.to_thread(struck.kill)
        await crowd.all_hear()
        account = await crowd.account()
    await account.check(three[0])
    print(account.figures("kill -9 of one of three", at=at, struck=[struck.url]))


async def test_one_of_three_is_told_to_end(three: list[Node], topic: str) -> None:
    struck = three[1]
    async with herd.around(three, topic, SIZE) as crowd:
        await crowd.all_hear()
        at = time.time()
        assert await asyncio.to_thread(struck.terminate) == 0
        await crowd.all_hear()
        account = await crowd.account()
    await account.check(three[0])
    assert account.breaks == [], "connected elsewhere first"
    print(account.figures("SIGTERM of one of three", at=at, struck=[struck.url]))


async def test_wrong_servers_come_first_in_the_list(three: list[Node], topic: str) -> None:
    nobody, node = f"http://127.0.0.1:{servers.free_port()}", three[0]
    async with faults.way(node.port) as silent:
        silent.swallow()
        urls = [nobody, silent.url, f"{node.url}/not-here", node.url]
        async with herd.around(
            three, topic, Size(followers=6, writers=1, js_followers=3, js_writers=1), urls=urls
        ) as crowd:
            await crowd.all_hear()
            account = await crowd.account()
    await account.check(node)
    right = {each.url for each in three}
    assert {server for member in account.members for up, server, *_ in member.states if up} <= right
