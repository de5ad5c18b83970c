"""The publisher over the memory store: merging, order, refusals, retries, bounds."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from broker.catalog import AutoCreate, Catalog, CatalogDefaults
from broker.errors import (
    HeadraceError,
    InvalidMessage,
    InvalidRequest,
    KeyConflict,
    LimitExceeded,
    NoSubscriber,
    OutOfMemory,
    TooLarge,
    Unavailable,
    UnknownOutcome,
    UnknownTopic,
    Unsupported,
)
from broker.idempotency import MAX_KEY_BYTES
from broker.messages import Entry, Kind, Message
from broker.names import DEFAULT_PROJECT, TopicName
from broker.observe import Silent
from broker.publish import (
    FIRST_BACK_OFF_SECONDS,
    MAX_BACK_OFF_SECONDS,
    MAX_REQUEST_BYTES,
    Durability,
    Publisher,
    PublishLimits,
    PublishRequest,
)
from broker.store.base import (
    MAX_APPEND_BYTES,
    MAX_APPEND_MESSAGES,
    Appended,
    AppendOutcome,
    AppendRequest,
    IdempotencyKey,
    ProjectLimits,
    PublisherSequence,
    Retention,
    Unheard,
)
from broker.store.memory import MemoryStore

TOPIC = TopicName("default/a")
OTHER = TopicName("default/b")


class Faulty(MemoryStore):
    """A memory store whose appends can be held, fail before or after they were stored, or be counted."""

    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 1_700_000_000_000)
        self.open = asyncio.Event()
        self.open.set()
        self.batches: list[tuple[TopicName, int]] = []
        self.refusals: list[Exception] = []
        self.lost_answers: list[Exception] = []
        self.answers_kept: int | None = None

    async def append(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[AppendOutcome]:
        self.batches.append((topic, len(requests)))
        await self.open.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        outcomes = await super().append(topic, requests)
        if self.lost_answers:
            raise self.lost_answers.pop(0)
        return outcomes[: self.answers_kept]


class Recorder(Silent):
    def __init__(self) -> None:
        self.results: list[tuple[str, int]] = []
        self.appends: list[int] = []

    def published(self, result: str, messages: int) -> None:
        self.results.append((result, messages))

    def appended(self, requests: int, seconds: float) -> None:
        self.appends.append(requests)


class Slept:
    """Waits for nothing, and remembers how long it should have; a turn of the loop passes."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


class House:
    """A publisher and everything around it."""

    def __init__(self, limits: PublishLimits | None = None) -> None:
        self.store = Faulty()
        self.observer = Recorder()
        self.slept = Slept()
        self.now: float | None = None
        defaults = CatalogDefaults(auto_create=AutoCreate.NONE)
        self.catalog = Catalog(self.store, monotonic=time.monotonic, defaults=defaults)
        self.publisher = Publisher(
            self.store,
            self.catalog,
            observer=self.observer,
            monotonic=lambda: time.monotonic() if self.now is None else self.now,
            limits=limits,
            must_be_heard=self.catalog.must_be_heard,
            sleep=self.slept,
        )
        self.answers: list[AppendOutcome] = []

    def submit(self, request: PublishRequest) -> None:
        self.publisher.submit(request, self.answers.append)

    async def answered(self, count: int) -> list[AppendOutcome]:
        await until(lambda: len(self.answers) >= count)
        assert len(self.answers) == count
        return self.answers

    async def begun(self, count: int) -> None:
        """Return when so many appends have begun."""
        await until(lambda: len(self.store.batches) >= count)

    async def payloads(self, topic: TopicName = TOPIC) -> list[bytes]:
        return [entry.message.payload for entry in await self.entries(topic)]

    async def entries(self, topic: TopicName) -> tuple[Entry, ...]:
        return (await self.store.read(topic, None, max_entries=100_000, max_bytes=2**40)).entries


async def a_house(limits: PublishLimits | None = None) -> House:
    house = House(limits)
    await house.store.create_topic(TOPIC, Retention())
    await house.store.create_topic(OTHER, Retention())
    return house


def text(payload: str) -> Message:
    return Message(Kind.TEXT, payload.encode())


def a_publish(
    *payloads: str, once: IdempotencyKey | PublisherSequence | None = None, topic: TopicName = TOPIC
) -> PublishRequest:
    return PublishRequest(topic, tuple(text(payload) for payload in payloads), once)


def offsets(outcomes: Sequence[AppendOutcome]) -> list[int]:
    return [outcome.first.offset for outcome in outcomes if isinstance(outcome, Appended)]


async def test_a_publish_is_stored_and_answered_with_its_position() -> None:
    house = await a_house()
    first = await house.publisher.publish(a_publish("one", "two"))
    second = await house.publisher.publish(a_publish("three"))
    assert (first.first.offset, first.count, first.duplicate) == (0, 2, False)
    assert second.first.offset == 2
    assert await house.payloads() == [b"one", b"two", b"three"]
    assert house.observer.results == [("ok", 2), ("ok", 1)]


async def test_what_comes_in_one_turn_is_one_append_in_order() -> None:
    house = await a_house()
    for number in range(50):
        house.submit(a_publish(str(number)))
    assert house.answers == []
    assert offsets(await house.answered(50)) == list(range(50))
    assert house.store.batches == [(TOPIC, 50)]
    assert house.observer.appends == [50]


async def test_what_comes_while_an_append_is_in_flight_gathers_for_the_next() -> None:
    house = await a_house()
    house.store.open.clear()
    house.submit(a_publish("first"))
    await house.begun(1)
    for number in range(10):
        house.submit(a_publish(str(number)))
        await asyncio.sleep(0)
    assert house.store.batches == [(TOPIC, 1)]
    house.store.open.set()
    assert offsets(await house.answered(11)) == list(range(11))
    assert house.store.batches == [(TOPIC, 1), (TOPIC, 10)]


async def test_topics_do_not_wait_for_each_other() -> None:
    house = await a_house()
    for topic in (TOPIC, OTHER, TOPIC):
        house.submit(a_publish("x", topic=topic))
    await house.answered(3)
    assert sorted(house.store.batches) == [(TOPIC, 2), (OTHER, 1)]


async def test_an_append_stays_within_the_bounds_of_messages_and_bytes() -> None:
    house = await a_house()
    many = tuple(text("x") for _ in range(400))
    for _ in range(5):
        house.submit(PublishRequest(TOPIC, many))
    await house.answered(5)
    assert [count for _, count in house.store.batches] == [2, 2, 1]
    large = "x" * 1_400_000
    house.answers.clear()
    for _ in range(4):
        house.submit(a_publish(large))
    await house.answered(4)
    assert [count for _, count in house.store.batches[3:]] == [2, 2]
    assert 2 * len(large) < MAX_APPEND_BYTES < 3 * len(large)
    assert 2 * len(many) < MAX_APPEND_MESSAGES < 3 * len(many)


async def test_a_request_above_the_bound_of_an_append_goes_alone() -> None:
    house = await a_house()
    large = PublishRequest(TOPIC, tuple(text("x" * 1_000_000) for _ in range(5)))
    house.submit(a_publish("small"))
    house.submit(large)
    house.submit(a_publish("small"))
    await house.answered(3)
    assert [count for _, count in house.store.batches] == [1, 1, 1]


@pytest.mark.parametrize("durability", [Durability.REPLICA, Durability.DISK])
async def test_a_durability_that_is_not_offered_is_refused(durability: Durability) -> None:
    house = await a_house()
    house.submit(PublishRequest(TOPIC, (text("x"),), durability=durability))
    assert isinstance(house.answers[0], Unsupported)
    assert await house.payloads() == []


async def test_memory_may_be_asked_for() -> None:
    house = await a_house()
    await house.publisher.publish(PublishRequest(TOPIC, (text("x"),), durability=Durability.MEMORY))
    assert await house.payloads() == [b"x"]


LIMITS = PublishLimits(message_bytes=100, batch_messages=3)

BAD: list[tuple[PublishRequest, type[HeadraceError]]] = [
    (PublishRequest(TOPIC, ()), InvalidRequest),
    (a_publish("1", "2", "3", "4"), InvalidRequest),
    (a_publish("x" * 100), TooLarge),
    (a_publish("ok", "x" * 100), TooLarge),
    (a_publish("x", once=IdempotencyKey("me", "")), InvalidRequest),
    (a_publish("x", once=IdempotencyKey("me", "k" * (MAX_KEY_BYTES + 1))), InvalidRequest),
    (a_publish("x", once=IdempotencyKey("me", "é" * 128)), InvalidRequest),
    (a_publish("x", once=IdempotencyKey("me", "a\0b")), InvalidRequest),
    (a_publish("x", once=IdempotencyKey("me", "\ud800")), InvalidRequest),
    (a_publish("x", once=PublisherSequence("me", "", 1)), InvalidRequest),
    (a_publish("x", once=PublisherSequence("me", "p", -1)), InvalidRequest),
    (a_publish("x", once=PublisherSequence("me", "p", 2**53)), InvalidRequest),
]


@pytest.mark.parametrize(("request_", "refusal"), BAD)
async def test_a_bad_publish_is_refused_at_once_and_changes_nothing(
    request_: PublishRequest, refusal: type[HeadraceError]
) -> None:
    house = await a_house(LIMITS)
    house.submit(request_)
    assert type(house.answers[0]) is refusal
    assert house.store.batches == []
    assert house.observer.results == [(refusal.code, len(request_.messages))]
    with pytest.raises(refusal):
        await house.publisher.publish(request_)


async def test_keys_at_their_bounds_are_taken() -> None:
    house = await a_house(LIMITS)
    for once in (
        IdempotencyKey("me", "k" * MAX_KEY_BYTES),
        PublisherSequence("me", "p", 0),
        PublisherSequence("me", "p", 2**53 - 1),
    ):
        await house.publisher.publish(a_publish("x", once=once))
    assert len(await house.payloads()) == 3


async def test_a_request_as_a_whole_has_a_bound() -> None:
    house = await a_house()
    message = text("x" * 1_000_000)
    house.submit(PublishRequest(TOPIC, (message,) * (MAX_REQUEST_BYTES // 1_000_000 + 1)))
    assert isinstance(house.answers[0], TooLarge)


async def test_the_same_key_is_a_duplicate_and_with_another_payload_a_conflict() -> None:
    house = await a_house()
    key = IdempotencyKey("me", "k")
    first = await house.publisher.publish(a_publish("x", once=key))
    again = await house.publisher.publish(a_publish("x", once=key))
    assert again.duplicate
    assert again.first == first.first
    with pytest.raises(KeyConflict):
        await house.publisher.publish(a_publish("y", once=key))
    assert [result for result, _ in house.observer.results] == ["ok", "duplicate", "key_conflict"]


async def test_the_boundary_between_messages_counts_for_a_key() -> None:
    house = await a_house()
    key = IdempotencyKey("me", "k")
    await house.publisher.publish(a_publish("ab", "c", once=key))
    with pytest.raises(KeyConflict):
        await house.publisher.publish(a_publish("a", "bc", once=key))


async def test_one_request_of_an_append_fails_alone() -> None:
    house = await a_house()
    key = IdempotencyKey("me", "k")
    for payload in ("x", "other", "y"):
        house.submit(a_publish(payload, once=key if payload != "y" else None))
    answers = await house.answered(3)
    assert [type(answer) for answer in answers] == [Appended, KeyConflict, Appended]
    assert await house.payloads() == [b"x", b"y"]


async def test_an_unknown_topic_is_created_where_its_project_allows_that() -> None:
    house = await a_house()
    new = TopicName("default/new")
    with pytest.raises(UnknownTopic):
        await house.publisher.publish(a_publish("x", topic=new))
    project = await house.catalog.project(DEFAULT_PROJECT)
    await house.catalog.configure_project(replace(project, auto_create_topics=True))
    await house.publisher.publish(a_publish("x", topic=new))
    assert await house.payloads(new) == [b"x"]


async def test_where_it_must_be_heard_it_is_refused_and_creates_nothing() -> None:
    house = await a_house()
    project = await house.catalog.project(DEFAULT_PROJECT)
    refusing = ProjectLimits(no_subscriber=Unheard.REFUSE)
    project = await house.catalog.configure_project(replace(project, auto_create_topics=True, limits=refusing))
    new = TopicName("default/new")
    for topic in (TOPIC, new):
        with pytest.raises(NoSubscriber):
            await house.publisher.publish(a_publish("x", once=IdempotencyKey("me", "k"), topic=topic))
    assert await house.payloads() == []
    with pytest.raises(UnknownTopic):
        await house.entries(new)
    await house.catalog.configure_project(replace(project, limits=ProjectLimits()))
    await house.publisher.publish(a_publish("x", once=IdempotencyKey("me", "k")))
    assert await house.payloads() == [b"x"]


async def test_the_last_message_to_be_retained_is_the_topics_snapshot() -> None:
    house = await a_house()
    messages = (text("a"), replace(text("b"), retained=True), replace(text("c"), retained=True), text("d"))
    await house.publisher.publish(PublishRequest(TOPIC, messages))
    _, snapshot = await house.store.snapshot(TOPIC)
    assert snapshot is not None
    assert snapshot.message.payload == b"c"


@pytest.mark.parametrize("failure", [Unavailable(), UnknownOutcome()])
async def test_without_a_key_a_failure_is_answered_at_once_and_says_when_to_come_back(failure: HeadraceError) -> None:
    house = await a_house()
    house.store.refusals = [failure]
    house.submit(a_publish("x"))
    (answer,) = await house.answered(1)
    assert type(answer) is type(failure)
    assert answer.retry_ms
    assert len(house.store.batches) == 1


async def test_out_of_memory_is_answered_at_once_even_with_a_key() -> None:
    house = await a_house()
    house.store.refusals = [OutOfMemory()]
    with pytest.raises(OutOfMemory):
        await house.publisher.publish(a_publish("x", once=IdempotencyKey("me", "k")))
    assert len(house.store.batches) == 1


async def test_with_a_key_a_lost_answer_is_asked_for_again_and_nothing_is_stored_twice() -> None:
    house = await a_house()
    house.store.lost_answers = [UnknownOutcome(), UnknownOutcome()]
    for number in range(5):
        house.submit(a_publish(str(number), once=PublisherSequence("me", "p", number)))
    answers = await house.answered(5)
    assert offsets(answers) == list(range(5))
    assert await house.payloads() == [b"0", b"1", b"2", b"3", b"4"]
    assert len(house.store.batches) == 3


async def test_it_waits_longer_from_attempt_to_attempt_and_begins_anew_afterwards() -> None:
    house = await a_house()
    for number in (1, 2):
        house.slept.seconds.clear()
        house.store.refusals = [Unavailable() for _ in range(8)]
        await house.publisher.publish(a_publish("x", once=IdempotencyKey("me", str(number))))
        steps = [min(FIRST_BACK_OFF_SECONDS * 2**attempt, MAX_BACK_OFF_SECONDS) for attempt in range(8)]
        assert all(step / 2 <= waited <= step for step, waited in zip(steps, house.slept.seconds, strict=True)), (
            house.slept.seconds
        )


async def test_what_is_sent_again_goes_before_what_is_newer() -> None:
    house = await a_house()
    house.store.refusals = [Unavailable(), Unavailable()]
    house.store.open.clear()
    house.submit(a_publish("old, keyed", once=IdempotencyKey("me", "1")))
    house.submit(a_publish("old, keyless"))
    house.submit(a_publish("old, keyed too", once=IdempotencyKey("me", "2")))
    await house.begun(1)
    house.submit(a_publish("new"))
    house.submit(a_publish("new, keyed", once=IdempotencyKey("me", "3")))
    house.store.open.set()
    answers = await house.answered(5)
    assert await house.payloads() == [b"old, keyed", b"old, keyed too", b"new, keyed"]
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable, Appended, Appended, Appended]


async def test_a_keyed_request_is_given_up_when_its_time_is_over() -> None:
    house = await a_house()
    house.now = 100.0
    house.store.lost_answers = [UnknownOutcome()]

    async def later(seconds: float) -> None:
        house.now = (house.now or 0) + 2
        house.store.refusals = [Unavailable()]
        await asyncio.sleep(0)

    house.publisher._sleep = later
    house.submit(a_publish("x", once=IdempotencyKey("me", "k")))
    (answer,) = await house.answered(1)
    # It was stored by the first attempt; the later ones were only refused. So its outcome stays unknown.
    assert isinstance(answer, UnknownOutcome)
    assert answer.retry_ms
    assert 2 <= len(house.store.batches) <= 4


async def test_one_that_was_never_sent_is_unavailable_when_its_time_is_over() -> None:
    house = await a_house()
    house.now = 100.0
    house.store.open.clear()
    house.submit(a_publish("first"))
    await house.begun(1)
    house.submit(a_publish("second"))
    house.now = 200.0
    house.store.open.set()
    answers = await house.answered(2)
    assert isinstance(answers[0], Appended)
    assert isinstance(answers[1], Unavailable)
    assert await house.payloads() == [b"first"]


async def test_an_append_that_hangs_is_answered_in_time_and_the_lane_goes_on() -> None:
    house = await a_house(PublishLimits(append_seconds=0.05))
    house.store.open.clear()
    house.submit(a_publish("x"))
    house.submit(a_publish("x", once=IdempotencyKey("me", "k")))
    answers = await house.answered(2)
    assert [type(answer) for answer in answers] == [UnknownOutcome, UnknownOutcome]
    house.store.open.set()
    await house.publisher.publish(a_publish("y"))
    assert await house.payloads() == [b"y"]


async def test_of_an_append_in_flight_each_is_answered_at_its_own_time() -> None:
    house = await a_house(PublishLimits(append_seconds=0.2))
    house.now = 100.0
    house.store.open.clear()
    house.submit(a_publish("early"))
    house.now = 100.1
    house.submit(a_publish("late"))
    await house.begun(1)
    house.now = 100.2
    await house.answered(1)
    assert isinstance(house.answers[0], UnknownOutcome)
    house.store.open.set()
    answers = await house.answered(2)
    assert isinstance(answers[1], Appended)
    assert await house.payloads() == [b"early", b"late"]


async def test_who_was_answered_in_flight_is_not_sent_again() -> None:
    house = await a_house(PublishLimits(append_seconds=0.2))
    house.now = 100.0
    house.store.open.clear()
    house.submit(a_publish("early", once=IdempotencyKey("me", "1")))
    house.now = 100.1
    house.submit(a_publish("late", once=IdempotencyKey("me", "2")))
    await house.begun(1)
    house.now = 100.2
    await house.answered(1)
    house.store.refusals = [Unavailable()]
    house.store.open.set()
    answers = await house.answered(2)
    assert [type(answer) for answer in answers] == [UnknownOutcome, Appended]
    assert await house.payloads() == [b"late"]
    assert house.publisher._requests == house.publisher._bytes == 0


async def test_a_store_that_answers_too_little_leaves_nobody_without_an_answer() -> None:
    house = await a_house()
    house.store.answers_kept = 1
    house.submit(a_publish("x"))
    house.submit(a_publish("y"))
    answers = await house.answered(2)
    assert [type(answer) for answer in answers] == [UnknownOutcome, UnknownOutcome]


async def test_a_store_that_breaks_its_word_leaves_nobody_without_an_answer() -> None:
    house = await a_house()
    house.store.refusals = [ZeroDivisionError()]
    house.submit(a_publish("x"))
    assert isinstance((await house.answered(1))[0], UnknownOutcome)
    await house.publisher.publish(a_publish("y"))


async def test_who_fails_on_an_answer_does_not_take_the_others_theirs() -> None:
    house = await a_house()

    def broken(outcome: AppendOutcome) -> None:
        raise ZeroDivisionError

    house.publisher.submit(a_publish("x"), broken)
    house.submit(a_publish("y"))
    await house.answered(1)
    assert await house.payloads() == [b"x", b"y"]


@pytest.mark.parametrize("limits", [None, PublishLimits(topic_requests=1), PublishLimits(topic_bytes=15)])
async def test_an_answer_may_submit_the_next(limits: PublishLimits | None) -> None:
    house = await a_house(limits)

    def again(outcome: AppendOutcome) -> None:
        house.answers.append(outcome)
        if len(house.answers) < 20:
            house.publisher.submit(a_publish("next"), again)

    house.publisher.submit(a_publish("first"), again)
    assert offsets(await house.answered(20)) == list(range(20))


TIGHT = [
    PublishLimits(topic_requests=3),
    PublishLimits(node_requests=3),
    PublishLimits(topic_bytes=50),
    PublishLimits(node_bytes=50),
]


@pytest.mark.parametrize("limits", TIGHT)
async def test_what_waits_is_bounded_and_there_is_room_again_afterwards(limits: PublishLimits) -> None:
    house = await a_house(limits)
    house.store.open.clear()
    for _ in range(4):
        house.submit(a_publish("0123456789"))
    (refused,) = house.answers
    assert isinstance(refused, Unavailable)
    assert refused.retry_ms
    house.store.open.set()
    await house.answered(4)
    house.submit(a_publish("0123456789"))
    assert isinstance((await house.answered(5))[4], Appended)


async def test_one_topic_does_not_use_up_the_room_of_another() -> None:
    house = await a_house(PublishLimits(topic_requests=3))
    house.store.open.clear()
    for _ in range(4):
        house.submit(a_publish("x"))
    house.submit(a_publish("x", topic=OTHER))
    house.store.open.set()
    answers = await house.answered(5)
    assert [type(answer) for answer in answers].count(Unavailable) == 1


async def test_draining_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    house = await a_house()
    house.store.open.clear()
    house.submit(a_publish("x"))
    await house.begun(1)
    draining = asyncio.ensure_future(house.publisher.drain())
    await asyncio.sleep(0)
    house.submit(a_publish("too late"))
    assert isinstance(house.answers[0], Unavailable)
    assert not draining.done()
    house.store.open.set()
    async with asyncio.timeout(10):
        await draining
    assert isinstance(house.answers[1], Appended)
    assert await house.payloads() == [b"x"]


async def test_a_caller_that_left_harms_nobody() -> None:
    house = await a_house()
    house.store.open.clear()
    leaving = asyncio.ensure_future(house.publisher.publish(a_publish("x")))
    await house.begun(1)
    leaving.cancel()
    await asyncio.wait([leaving])
    house.store.open.set()
    await house.publisher.publish(a_publish("y"))
    assert await house.payloads() == [b"x", b"y"]


@pytest.mark.parametrize("turns", [0, 1])
async def test_when_the_loop_is_torn_down_everybody_is_answered(turns: int) -> None:
    house = await a_house()
    house.store.open.clear()
    house.submit(a_publish("x"))
    if turns:
        await house.begun(1)
        house.submit(a_publish("queued"))
    for task in list(house.publisher._tasks):
        task.cancel()
    await house.answered(1 + turns)
    expected = [UnknownOutcome, Unavailable] if turns else [Unavailable]
    assert [type(answer) for answer in house.answers] == expected
    house.store.open.set()
    await house.publisher.publish(a_publish("y"))


async def test_torn_down_while_it_waits_to_try_again_each_is_answered_once() -> None:
    house = await a_house()
    house.store.lost_answers = [UnknownOutcome()]
    waiting = asyncio.Event()

    async def for_ever(seconds: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    house.publisher._sleep = for_ever
    house.submit(a_publish("x", once=IdempotencyKey("me", "k")))
    await waiting.wait()
    for task in list(house.publisher._tasks):
        task.cancel()
    assert isinstance((await house.answered(1))[0], UnknownOutcome)
    assert house.publisher._requests == house.publisher._bytes == 0


async def test_a_project_beyond_its_limits_is_refused_before_anything_is_sent() -> None:
    house = await a_house()
    asked: list[tuple[TopicName, int]] = []

    def admit(topic: TopicName, messages: int) -> None:
        asked.append((topic, messages))
        if topic == OTHER:
            raise LimitExceeded(retry_ms=77)

    house.publisher = Publisher(
        house.store, house.catalog, observer=house.observer, monotonic=time.monotonic, admit=admit
    )
    house.submit(PublishRequest(OTHER, (text("a"), text("b"))))
    house.submit(PublishRequest(TOPIC, (text("c"),)))
    refused, appended = await house.answered(2)
    assert isinstance(refused, LimitExceeded)
    assert refused.retry_ms == 77
    assert isinstance(appended, Appended)
    assert asked == [(OTHER, 2), (TOPIC, 1)]
    assert await house.payloads(OTHER) == []


@pytest.mark.parametrize("once", [None, IdempotencyKey("me", "k")])
async def test_a_time_to_live_reaches_the_log(once: IdempotencyKey | None) -> None:
    house = await a_house()
    mayfly, lasting = Message(Kind.TEXT, b"mayfly", life_ms=5), text("lasting")
    house.submit(PublishRequest(TOPIC, (mayfly, lasting), once))
    house.submit(PublishRequest(TOPIC, (lasting,)))
    house.submit(PublishRequest(TOPIC, (Message(Kind.TEXT, b"", life_ms=-1),)))
    refused, *_ = await house.answered(3)
    assert isinstance(refused, InvalidMessage)
    stored = house.store._data.logs[TOPIC].entries
    lives = [each.expires_ms and each.expires_ms - each.time_ms for each in stored]
    assert lives == [5, None, None]
