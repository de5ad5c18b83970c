"""Waiting: bells are rung by the topic and by this node, and their number is bounded."""

import asyncio
from collections.abc import Callable

import pytest

from broker.errors import Unavailable
from broker.names import SubscriptionName, TopicName
from broker.waiting import Bell, Waiting

NEWS = TopicName("default/news")
MAIL = SubscriptionName("default/mail")
PRESS = SubscriptionName("default/press")


class Channel:
    """The topics' channels."""

    def __init__(self) -> None:
        self.wakes: list[Callable[[], None]] = []
        self.away = False

    async def listen(self, topic: TopicName, wake: Callable[[], None]) -> None:
        if self.away:
            raise Unavailable
        self.wakes.append(wake)

    def stop_listening(self, topic: TopicName, wake: Callable[[], None]) -> None:
        self.wakes.remove(wake)

    def announce(self) -> None:
        for wake in self.wakes:
            wake()


@pytest.fixture
def channel() -> Channel:
    return Channel()


async def is_rung(bell: Bell) -> bool:
    waiting = asyncio.create_task(bell.wait(60))
    for _ in range(5):
        await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    return done


async def test_an_announcement_rings_once(channel: Channel) -> None:
    async with Waiting(channel).bell(MAIL, NEWS) as bell:
        assert not await is_rung(bell)
        channel.announce()
        channel.announce()
        assert await is_rung(bell)
        assert not await is_rung(bell)


async def test_a_ring_ends_a_wait_that_has_begun(channel: Channel) -> None:
    async with Waiting(channel).bell(MAIL, NEWS) as bell:
        waiting = asyncio.create_task(bell.wait(60))
        await asyncio.sleep(0)
        channel.announce()
        await asyncio.wait_for(waiting, 5)


@pytest.mark.parametrize("seconds", [-1, 0, 0.001])
async def test_a_wait_ends_by_itself(channel: Channel, seconds: float) -> None:
    async with Waiting(channel).bell(MAIL, NEWS) as bell:
        await asyncio.wait_for(bell.wait(seconds), 5)


async def test_this_nodes_acts_ring_the_bells_of_their_subscription(channel: Channel) -> None:
    waiting = Waiting(channel)
    async with (
        waiting.bell(MAIL, NEWS) as first,
        waiting.bell(MAIL, NEWS) as second,
        waiting.bell(PRESS, NEWS) as other,
    ):
        waiting.ring(MAIL)
        waiting.ring(SubscriptionName("default/unknown"))
        assert [await is_rung(bell) for bell in (first, second, other)] == [True, True, False]


async def test_a_bell_that_is_taken_down_is_forgotten(channel: Channel) -> None:
    waiting = Waiting(channel)
    async with waiting.bell(MAIL, NEWS) as bell:
        pass
    waiting.ring(MAIL)
    channel.announce()
    assert not await is_rung(bell)
    assert not channel.wakes


async def test_waiters_are_bounded_and_those_who_were_refused_do_not_count(channel: Channel) -> None:
    waiting = Waiting(channel, max_waiters=1)
    channel.away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            async with waiting.bell(MAIL, NEWS):
                pass
    channel.away = False
    async with waiting.bell(MAIL, NEWS):
        with pytest.raises(Unavailable):
            async with waiting.bell(PRESS, NEWS):
                pass
    async with waiting.bell(PRESS, NEWS):
        pass
