"""What the sockets of a node share."""

import asyncio
from typing import Any


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
