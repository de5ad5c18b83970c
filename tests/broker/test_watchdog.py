"""The watchdog: whose turn it is, and what it does with what it sees."""

import asyncio
from collections.abc import Sequence

from broker.catchup import Following
from broker.errors import Unavailable
from broker.live import State
from broker.members import Members, ReadForFeed
from broker.names import TopicName
from broker.positions import Link, LogState, Position
from broker.watchdog import Watchdog

EPOCH = 1000


class Ends:
    """A store of which only the ends are asked: `ends` by topic, the feeds' own by default."""

    def __init__(self) -> None:
        self.asked: list[list[TopicName]] = []
        self.ends_of: dict[TopicName, Position | None] = {}
        self.away = False

    async def ends(self, topics: Sequence[TopicName]) -> list[Position | None]:
        if self.away:
            raise Unavailable
        self.asked.append(list(topics))
        return [self.ends_of.get(topic, Position(EPOCH, 9)) for topic in topics]


class Work:
    def __init__(self) -> None:
        self.done: list[tuple[TopicName, object]] = []

    def perform(self, following: Following, effects: Sequence[object]) -> None:
        self.done += [(following.topic, effect) for effect in effects]


def followed(count: int) -> dict[TopicName, Following]:
    topics = {}
    for number in range(count):
        topic = TopicName(f"p/{number}")
        members: Members[str, str] = Members(str)
        members.start(LogState((Link(EPOCH, 0),), 10, None))
        started = asyncio.get_running_loop().create_future()
        topics[topic] = Following(topic, members, started)  # type: ignore[arg-type]
    return topics


def watchdog(store: Ends, topics: dict[TopicName, Following], work: Work, watched: int = 100) -> Watchdog:
    return Watchdog(store, topics, work, watched_topics=watched, grace_seconds=0)  # type: ignore[arg-type]


async def test_each_topic_has_its_turn_within_the_bound() -> None:
    store, topics = Ends(), followed(5)
    dog = watchdog(store, topics, Work(), watched=2)
    for _ in range(5):
        await dog.look()
    assert [len(asked) for asked in store.asked] == [2] * 5
    assert sorted(topic for asked in store.asked for topic in asked) == sorted(list(topics) * 2)


async def test_those_that_somebody_waits_for_come_first() -> None:
    store, topics = Ends(), followed(9)
    urgent = topics[TopicName("p/7")].members
    urgent.enter("parked", Position(EPOCH, 12), LogState((Link(EPOCH, 0),), 13, None))  # type: ignore[arg-type]
    await watchdog(store, topics, Work(), watched=2).look()
    assert store.asked == [["p/7", "p/0"]]


async def test_a_late_announcement_has_its_grace_and_a_gap_has_none() -> None:
    store, work, topics = Ends(), Work(), followed(4)
    further, other, gone, fine = topics
    store.ends_of = {further: Position(EPOCH, 10), other: Position(EPOCH + 1, 10), gone: None}
    await watchdog(store, topics, work).look()
    assert work.done == [(other, ReadForFeed()), (gone, ReadForFeed()), (further, ReadForFeed())]
    assert topics[fine].members.feed.state is State.FOLLOWING


async def test_nothing_happens_without_topics_or_without_a_store() -> None:
    store, work = Ends(), Work()
    await watchdog(store, {}, work).look()
    store.away = True
    await watchdog(store, followed(1), work).look()
    assert (store.asked, work.done) == ([], [])


async def test_a_topic_that_ended_meanwhile_is_left_alone() -> None:
    store, work, topics = Ends(), Work(), followed(1)
    (topic,) = topics
    store.ends_of = {topic: None}
    topics[topic].over = True
    await watchdog(store, topics, work).look()
    assert work.done == []
