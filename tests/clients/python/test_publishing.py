"""What a client does with publishes that have no room, or no answer."""

import asyncio

import pytest

import headrace
from headrace import Client, Queue


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


LINES = "default/lines"


async def silenced(node, client: Client) -> None:
    """From now on the node answers no publish."""
    await client.connected()
    node.mute = True


async def test_a_queue_of_ones_own_size_refuses_at_once(node) -> None:
    async with Client(node.url, queue=Queue(messages=2, when_full="fail")) as client:
        await silenced(node, client)
        waiting = [client.publish_nowait(LINES, text=text) for text in "01"]
        with pytest.raises(headrace.QueueFull):
            await client.publish(LINES, text="2")
        node.mute = False
        node.cut()
        await asyncio.gather(*waiting)
    assert node.texts(LINES) == ["0", "1"]


async def test_a_queue_is_bounded_in_bytes_too(node) -> None:
    async with Client(node.url, queue=Queue(bytes=1000, when_full="fail")) as client:
        await silenced(node, client)
        first = client.publish_nowait(LINES, data=bytes(900))
        with pytest.raises(headrace.QueueFull):
            client.publish_nowait(LINES, data=bytes(900))
        node.mute = False
        node.cut()
        await first


async def test_newer_publishes_take_the_place_of_those_never_sent() -> None:
    async with Client("http://127.0.0.1:9", queue=Queue(messages=2, when_full="drop")) as client:
        futures = [client.publish_nowait(LINES, text=text) for text in "0123"]
        for future in futures[:2]:
            assert headrace.outcome_of(future.exception()) is headrace.Outcome.FAILED
            assert isinstance(future.exception(), headrace.Dropped)
        assert not futures[2].done() and not futures[3].done()
        await client.close(timeout=0)
        for future in futures[2:]:
            assert headrace.outcome_of(future.exception()) is headrace.Outcome.FAILED


async def test_what_was_sent_is_not_dropped(node, until) -> None:
    async with Client(node.url, queue=Queue(messages=2, when_full="drop")) as client:
        await silenced(node, client)
        futures = [client.publish_nowait(LINES, text=text) for text in "01"]
        await until(lambda: len(node.ops("publish")) == 2)
        with pytest.raises(headrace.QueueFull):
            client.publish_nowait(LINES, text="2")
        await client.close(timeout=0)
        assert [headrace.outcome_of(future.exception()) for future in futures] == [headrace.Outcome.TIMEOUT] * 2


async def test_a_publish_of_unknown_outcome_is_retried_and_stored_once(node) -> None:
    node.answer = lambda frame: node.store_silently(frame) if frame["op"] == "publish" else None
    async with Client(node.url) as client:
        with pytest.raises(headrace.PublishTimeout) as caught:
            await client.publish(LINES, text="x", timeout=0.05)
        assert headrace.outcome_of(caught.value) is headrace.Outcome.TIMEOUT
        node.answer = lambda frame: None
        again = await client.retry(caught.value)
        assert (again.offset, again.duplicate) == (0, True)
    assert node.texts(LINES) == ["x"]


async def test_what_is_certain_is_not_retried(node) -> None:
    async with Client(node.url) as client:
        with pytest.raises(ValueError):
            await client.retry(headrace.Forbidden())


async def test_a_refusal_for_want_of_subscribers_has_its_class(node) -> None:
    node.answer = lambda frame: (
        {"op": "error", "id": frame["id"], "code": "no_subscriber", "reason": "nobody"}
        if frame["op"] == "publish"
        else None
    )
    async with Client(node.url) as client:
        with pytest.raises(headrace.NoSubscriber) as caught:
            await client.publish(LINES, text="x")
        assert headrace.outcome_of(caught.value) is headrace.Outcome.NO_SUBSCRIBER
