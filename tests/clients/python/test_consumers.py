"""Consuming through a client, against the scripted node."""

import asyncio

import pytest

import headrace
from headrace import Client

WORK = "default/work"


async def take(consumer: headrace.Consumer, count: int) -> list[headrace.Delivery]:
    found = []
    async for delivery in consumer:
        found.append(delivery)
        if len(found) == count:
            break
    return found


async def test_deliveries_are_iterated_and_acked(node) -> None:
    async with Client(node.url) as client, client.consume(WORK, window=7) as consumer:
        assert (await consumer.attached()).topic == "default/lines"
        node.deliver(WORK, 1, 2)
        first, second = await take(consumer, 2)
        assert (first.message.text, second.attempt) == ("1", 1)
        await asyncio.gather(first.ack(), second.ack())
        assert [frame["acks"] for frame in node.ops("ack")] == [["1.1-t", "2.1-t"]]
        assert node.ops("attach")[0]["window"] == 7


async def test_a_consumer_that_is_closed_is_detached_and_gives_back(node, until) -> None:
    async with Client(node.url) as client:
        async with client.consume(WORK) as consumer:
            node.deliver(WORK, 1)
            await consumer.wait()
        await until(lambda: node.ops("detach"))
        assert [frame["acks"] for frame in node.ops("release")] == [["1.1-t"]]


async def test_the_verbs_carry_their_numbers(node) -> None:
    async with Client(node.url) as client, client.consume(WORK) as consumer:
        node.deliver(WORK, 1)
        [delivery] = await take(consumer, 1)
        await delivery.extend(60)
        await delivery.nack(0.25)
        assert node.ops("extend")[0]["deadline_s"] == 60
        assert node.ops("nack")[0]["delay_ms"] == 250


async def test_a_lost_lease_is_raised(node) -> None:
    node.refused["1.1-t"] = "stale"
    async with Client(node.url) as client, client.consume(WORK) as consumer:
        node.deliver(WORK, 1)
        [delivery] = await take(consumer, 1)
        with pytest.raises(headrace.LeaseLost):
            await delivery.ack()


async def test_an_ack_that_nobody_waits_for_any_more_harms_nothing(node, until) -> None:
    async with Client(node.url) as client, client.consume(WORK) as consumer:
        node.deliver(WORK, 1, 2)
        first, second = await take(consumer, 2)
        first.ack().cancel()
        await second.ack()
        assert [frame["acks"] for frame in node.ops("ack")] == [["1.1-t", "2.1-t"]]
        assert len(node.ops("attach")) == 1


async def test_it_comes_back_and_settles_what_an_earlier_connection_brought(node, until) -> None:
    async with Client(node.url) as client, client.consume(WORK) as consumer:
        node.deliver(WORK, 1)
        [delivery] = await take(consumer, 1)
        node.mute = True
        acked = delivery.ack()
        await until(lambda: node.ops("ack"))
        node.mute = False
        node.cut()
        await acked
        assert [frame["acks"] for frame in node.ops("ack")] == [["1.1-t"], ["1.1-t"]]
        assert len(node.ops("attach")) == 2
        node.deliver(WORK, 2)
        assert [again.message.text for again in await take(consumer, 1)] == ["2"]


async def test_a_cursor_is_refused(node) -> None:
    node.answer = lambda frame: (
        {"op": "error", "id": frame["id"], "code": "wrong_kind", "reason": "a cursor"}
        if frame["op"] == "attach"
        else None
    )
    async with Client(node.url) as client:
        with pytest.raises(headrace.WrongKind):
            async with client.consume(WORK):
                pass


async def test_a_deleted_subscription_ends_the_iteration(node) -> None:
    async with Client(node.url) as client, client.consume(WORK) as consumer:
        node.deliver(WORK, 1)
        node.say({"op": "error", "code": "unknown_subscription", "reason": "gone", "subscription": WORK})
        await take(consumer, 1)
        with pytest.raises(headrace.UnknownSubscription):
            await take(consumer, 1)


async def test_closing_the_client_waits_for_acks_and_ends_the_iteration(node) -> None:
    async with Client(node.url) as client:
        consumer = client.consume(WORK)
        await consumer.attached()
        node.deliver(WORK, 1)
        [delivery] = await take(consumer, 1)
        acked = delivery.ack()
    assert acked.done() and acked.exception() is None
    assert await take(consumer, 1) == []
    with pytest.raises(headrace.ClientClosed):
        delivery.ack()
    with pytest.raises(headrace.ClientClosed):
        client.consume(WORK)
