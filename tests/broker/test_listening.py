"""Listening: one channel for the hub and for whoever only wants to know that something happened."""

import asyncio
from collections.abc import Collection, Sequence

import pytest

from broker import listening
from broker.errors import Unavailable
from broker.listening import Listening
from broker.names import TopicName

NEWS = TopicName("default/news")
SPORT = TopicName("default/sport")


class House:
    """A bus that can be slow or away, a hub that notes what it hears, and the listening between them."""

    def __init__(self) -> None:
        self.open: set[TopicName] = set()
        self.follows: list[TopicName] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = False
        self.batches: list[Sequence[tuple[TopicName, bytes]]] = []
        self.gaps: list[tuple[Collection[TopicName], str]] = []
        self.listening = Listening(self, linger_seconds=0)
        self.listening.deliver_to(self)

    async def follow(self, topic: TopicName) -> None:
        self.follows.append(topic)
        await self.gate.wait()
        if self.away:
            raise Unavailable
        self.open.add(topic)

    def unfollow(self, topic: TopicName) -> None:
        self.open.discard(topic)

    def on_announcements(self, batch: Sequence[tuple[TopicName, bytes]]) -> None:
        self.batches.append(batch)

    def on_possible_gap(self, topics: Collection[TopicName], reason: str) -> None:
        self.gaps.append((topics, reason))


class Bell:
    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


@pytest.fixture
async def house() -> House:
    return House()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_listener_is_woken_once_a_read_and_for_its_topic_only(house: House) -> None:
    bell, other = Bell(), Bell()
    await house.listening.listen(NEWS, bell)
    await house.listening.listen(SPORT, other)
    batch = [(NEWS, b"1"), (NEWS, b"2"), (TopicName("default/else"), b"3")]
    house.listening.on_announcements(batch)
    assert (bell.rung, other.rung) == (1, 0)
    assert house.batches == [batch]


async def test_a_possible_gap_wakes_too_and_reaches_the_hub(house: House) -> None:
    bell = Bell()
    await house.listening.listen(NEWS, bell)
    house.listening.on_possible_gap([NEWS, SPORT], "reconnected")
    assert bell.rung == 1
    assert house.gaps == [([NEWS, SPORT], "reconnected")]


async def test_the_hub_and_listeners_share_one_channel(house: House) -> None:
    bell = Bell()
    await house.listening.follow(NEWS)
    await house.listening.listen(NEWS, bell)
    assert house.follows == [NEWS]
    house.listening.unfollow(NEWS)
    assert house.open == {NEWS}, "somebody still listens"
    house.listening.stop_listening(NEWS, bell)
    await asyncio.sleep(0.001)
    assert not house.open


async def test_the_hub_keeps_a_channel_that_listeners_leave(house: House) -> None:
    bell = Bell()
    await house.listening.listen(NEWS, bell)
    await house.listening.follow(NEWS)
    house.listening.stop_listening(NEWS, bell)
    await asyncio.sleep(0.001)
    assert house.open == {NEWS}
    house.listening.on_announcements([(NEWS, b"1")])
    assert bell.rung == 0


async def test_a_channel_lingers_for_the_next_listener() -> None:
    house = House()
    house.listening = Listening(house, linger_seconds=60)
    bell = Bell()
    for _ in range(3):
        await house.listening.listen(NEWS, bell)
        house.listening.stop_listening(NEWS, bell)
    await settle()
    assert house.follows == [NEWS]
    assert house.open == {NEWS}


async def test_those_who_come_meanwhile_wait_for_the_same_opening(house: House) -> None:
    house.gate.clear()
    tasks = [asyncio.create_task(house.listening.listen(NEWS, Bell())) for _ in range(3)]
    await settle()
    assert house.follows == [NEWS]
    assert not any(task.done() for task in tasks)
    house.gate.set()
    await asyncio.gather(*tasks)
    assert house.follows == [NEWS]


async def test_one_who_gives_up_while_opening_leaves_it_to_the_next(house: House) -> None:
    house.gate.clear()
    first = asyncio.create_task(house.listening.listen(NEWS, Bell()))
    await settle()
    bell = Bell()
    second = asyncio.create_task(house.listening.listen(NEWS, bell))
    await settle()
    first.cancel()
    await settle()
    house.gate.set()
    await second
    assert house.open == {NEWS}
    house.listening.on_announcements([(NEWS, b"1")])
    assert bell.rung == 1


async def test_a_refused_listener_is_forgotten(house: House) -> None:
    house.away = True
    bell = Bell()
    with pytest.raises(Unavailable):
        await house.listening.listen(NEWS, bell)
    house.away = False
    house.listening.on_announcements([(NEWS, b"1")])
    assert bell.rung == 0
    await house.listening.listen(NEWS, bell)
    assert house.open == {NEWS}


async def test_a_hub_that_was_refused_may_unfollow_all_the_same(house: House) -> None:
    house.away = True
    with pytest.raises(Unavailable):
        await house.listening.follow(NEWS)
    house.away = False
    await house.listening.listen(NEWS, Bell())
    house.listening.unfollow(NEWS)
    house.listening.unfollow(SPORT)
    assert house.open == {NEWS}


async def test_a_listener_that_fails_hurts_nobody(house: House, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    bell = Bell()
    await house.listening.listen(NEWS, fail)
    await house.listening.listen(NEWS, bell)
    house.listening.on_announcements([(NEWS, b"1")])
    assert bell.rung == 1
    assert "a listener failed" in caplog.text


async def test_topics_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MAX_LISTENED_TOPICS", 1)
    await house.listening.listen(NEWS, Bell())
    await house.listening.listen(NEWS, Bell())
    with pytest.raises(Unavailable):
        await house.listening.listen(SPORT, Bell())
    assert house.follows == [NEWS]
