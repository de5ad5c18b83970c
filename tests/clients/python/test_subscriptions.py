"""What a client does for subscribers that are slower than their topics."""

import asyncio

import headrace
from headrace import Client


async def first(subscription: headrace.Subscription, count: int) -> list[str]:
    texts: list[str] = []
    async with asyncio.timeout(10):
        async for message in subscription:
            texts.append(message.text)
            if len(texts) == count:
                break
    return texts


async def test_a_slow_subscriber_stops_the_reading_and_loses_nothing(node, until) -> None:
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        await feed(node, 20_000)
        await until(lambda: subscription.queued >= 1024)
        high = subscription.queued
        texts = await first(subscription, 20_000)
        assert texts == [str(number) for number in range(20_000)]
        assert high < 15_000


async def test_a_subscriber_that_stands_still_does_not_hold_up_the_others(node, until, monkeypatch) -> None:
    monkeypatch.setattr("headrace.subscriptions.PARK_S", 0.05)
    async with Client(node.url) as client, client.subscribe("default/lines") as subscription:
        await feed(node, 5_000)
        await until(lambda: node.ops("unsubscribe"))
        await client.publish("default/other", text="still here")
        assert await first(subscription, 5_000) == [str(number) for number in range(5_000)]
        assert len(node.ops("subscribe")) >= 2


async def feed(node, count: int) -> None:
    for number in range(count):
        node.append("default/lines", str(number))
