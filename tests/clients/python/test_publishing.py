"""What a client does with publishes that have no room, or no answer."""

import asyncio

import pytest

import headrace
from headrace import Client


async def test_more_publishes_than_the_queue_holds_wait_for_room(node) -> None:
    async with Client(node.url) as client:
        async with asyncio.TaskGroup() as group:
            for number in range(12_000):
                group.create_task(client.publish("default/lines", text=str(number)))
        assert len(node.texts("default/lines")) == 12_000


async def test_publish_nowait_says_when_the_queue_is_full(node) -> None:
    async with Client(node.url) as client:
        with pytest.raises(headrace.QueueFull):
            for number in range(20_000):
                client.publish_nowait("default/lines", text=str(number))
        await client.room()
        client.publish_nowait("default/lines", text="more")
        await client.flush()
        assert node.texts("default/lines") == [str(number) for number in range(10_000)] + ["more"]


async def test_a_publish_that_nobody_answers_times_out(node) -> None:
    node.mute = True
    async with Client(node.url) as client:
        with pytest.raises(headrace.PublishTimeout):
            await client.publish("default/lines", text="x", timeout=0.1)
