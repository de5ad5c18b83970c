"""Carrying effects out: the order, the workers, and what they do while the store refuses. (The whole: test_hub.)"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from broker import catchup
from broker.catchup import FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, CatchUp, Following
from broker.errors import HeadraceError, Unavailable, UnknownTopic
from broker.members import AskTopology, Cohort, Deliver, Ended, Members, ReadForCohort, ReadForFeed, Repaired, Send
from broker.names import TopicName
from broker.observe import Silent
from broker.positions import Link, LogState, Position
from broker.store.base import Page

TOPIC = TopicName("p/t")
STATE = LogState((Link(1000, 0),), 10, None)
HERE = Position(1000, 9)


class Story(Silent):
    """Everything that is done, in order: fan-out, observer and pages in one."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.errors: list[Exception] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def deliver(self, deliveries: object) -> None:
        self.told.append("deliver")

    def send(self, topic: TopicName, members: object, send: object) -> None:
        self.told.append("send")

    def gap_repaired(self, reason: str) -> None:
        self.told.append(reason)

    async def after(self, topic: TopicName, position: Position, *, fresh: bool) -> Page:
        self.told.append((position.offset, fresh))
        if self.errors:
            raise self.errors.pop(0)
        self.meanwhile()
        return Page(STATE, ())


class Stage:
    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.story = Story()
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.members: Members[str, str] = Members(str)
        self.members.start(STATE)
        started = asyncio.get_running_loop().create_future()
        self.following = Following(TOPIC, self.members, started)  # type: ignore[arg-type]
        self.work = CatchUp(
            pages=self.story,  # type: ignore[arg-type]
            fanout=self.story,  # type: ignore[arg-type]
            observer=self.story,
            monotonic=lambda: 0.0,
            ask_topology=self.ask,
            spawn=tasks.create_task,
            on_ended=lambda following: self.story.told.append("ended"),
        )

    async def ask(self) -> None:
        self.asked += 1
        await self.may_answer.wait()
        raise Unavailable


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(catchup, "FIRST_RETRY_SECONDS", 0.001)
    monkeypatch.setattr(catchup, "MAX_RETRY_SECONDS", 0.002)
    async with asyncio.TaskGroup() as tasks:
        stage = Stage(tasks)
        workers = [tasks.create_task(work()) for work in workers_of(stage.work)]
        yield stage
        for worker in workers:
            worker.cancel()


def workers_of(work: CatchUp) -> list[Callable[[], Coroutine[object, object, None]]]:
    return [work.repair, work.catch_up]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_effects_are_carried_out_in_order_and_a_send_is_followed_up(stage: Stage) -> None:
    cohort = Cohort(HERE, {"a"})
    stage.members._behind["a"] = cohort
    effects = [Deliver(HERE, []), Send(cohort, [], STATE, joins=True), Repaired("watchdog"), Ended()]
    stage.work.perform(stage.following, effects)  # type: ignore[arg-type]
    assert stage.story.told == ["deliver", "send", "watchdog", "ended"]
    assert stage.members.is_joined("a")


async def test_a_feeds_read_is_fresh_and_its_answer_is_received(stage: Stage) -> None:
    stage.work.perform(stage.following, stage.following.members.possible_gap("x"))
    await until(lambda: stage.story.told == [(9, True)])
    await until(lambda: stage.members.feed.state.name == "FOLLOWING")


async def test_reads_are_tried_again_until_the_store_is_back(stage: Stage) -> None:
    stage.story.errors = [Unavailable(), HeadraceError(), RuntimeError("a defect")]
    stage.work.perform(stage.following, stage.following.members.possible_gap("x"))
    await until(lambda: stage.members.feed.state.name == "FOLLOWING")
    assert stage.story.told == [(9, True)] * 4
    assert stage.following.failures == 0


async def test_pauses_between_reads_grow_up_to_a_bound() -> None:
    started = asyncio.get_running_loop().create_future()
    following = Following(TOPIC, Members(str), started)  # type: ignore[arg-type]
    pauses = [following.next_retry_seconds() for _ in range(2000)]
    assert pauses[:3] == [FIRST_RETRY_SECONDS, 2 * FIRST_RETRY_SECONDS, 4 * FIRST_RETRY_SECONDS]
    assert pauses[-1] == max(pauses) == MAX_RETRY_SECONDS


async def test_a_topic_that_is_gone_ends(stage: Stage) -> None:
    stage.story.errors = [UnknownTopic()]
    stage.work.perform(stage.following, stage.following.members.possible_gap("x"))
    await until(lambda: stage.story.told[-1:] == ["ended"])


async def test_nothing_is_read_for_nobody(stage: Stage) -> None:
    left: ReadForCohort[str] = ReadForCohort(Cohort(HERE, set()), fresh=False)
    wanted: ReadForCohort[str] = ReadForCohort(Cohort(Position(1000, 3), {"a"}), fresh=False)
    stage.work.perform(stage.following, [left, wanted])  # type: ignore[list-item]
    await until(lambda: stage.story.told)
    assert stage.story.told == [(3, False)]
    stage.following.over = True
    stage.work.perform(stage.following, [wanted, ReadForFeed()])  # type: ignore[list-item]
    await asyncio.sleep(0.005)
    assert stage.story.told == [(3, False)]


async def test_a_page_that_comes_after_the_end_is_dropped(stage: Stage) -> None:
    stage.story.meanwhile = lambda: setattr(stage.following, "over", True)
    stage.work.perform(stage.following, stage.following.members.possible_gap("x"))
    await until(lambda: stage.following.over)
    await asyncio.sleep(0)
    assert stage.members.feed.state.name == "REPAIRING"


async def test_a_read_may_wait(stage: Stage) -> None:
    stage.members.feed.possible_gap("x")
    stage.work.perform(stage.following, [ReadForFeed(delay_seconds=0.001)])
    assert stage.story.told == []
    await until(lambda: stage.story.told)


async def test_the_topology_is_asked_once_at_a_time(stage: Stage) -> None:
    stage.work.perform(stage.following, [AskTopology(), AskTopology()])
    await asyncio.sleep(0)
    stage.work.ask_topology()
    assert stage.asked == 1
    stage.may_answer.set()
    await asyncio.sleep(0.005)
    stage.work.ask_topology()
    await asyncio.sleep(0)
    assert stage.asked == 2


async def test_who_waits_for_the_start_is_told_when_there_is_none() -> None:
    started = asyncio.get_running_loop().create_future()
    following = Following(TOPIC, Members(str), started)  # type: ignore[arg-type]
    assert following.is_used, "it is starting"
    following.refuse(Unavailable())
    following.refuse(UnknownTopic())
    with pytest.raises(Unavailable):
        await started
    assert not following.is_used
    following.arriving["a"] = object()  # type: ignore[index]
    assert following.is_used
    assert following.depart("a")  # type: ignore[arg-type]
    assert not following.depart("a")  # type: ignore[arg-type]
