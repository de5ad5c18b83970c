"""Publishing: many requests to a topic become one append.

Every topic with work has a lane: a queue, and one task that takes from it. What is submitted within one turn of the
loop, and while an earlier append of the topic is in flight, goes into the next append together, so load makes batches
and an idle node adds no delay. A request costs no task and no future of its own.

Order within a topic is the order of `submit`. After a failure, requests with an idempotency key are sent again ahead
of newer ones until their time is over; those without one are answered at once, because repeating them could store
them twice.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broker.errors import (
    HeadraceError,
    InvalidRequest,
    NoSubscriber,
    TooLarge,
    Unavailable,
    UnknownOutcome,
    UnknownTopic,
    Unsupported,
)
from broker.idempotency import check_once, digest_of
from broker.lanes import Done, Lane, Waiting
from broker.messages import MAX_ENVELOPE_BYTES, Message, lives_of, pack, retained_of
from broker.names import TopicName
from broker.observe import Observer
from broker.store.base import (
    MAX_APPEND_BYTES,
    MAX_APPEND_MESSAGES,
    Appended,
    AppendOutcome,
    AppendRequest,
    IdempotencyKey,
    PublisherSequence,
    Store,
)

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Envelope bytes of one request, which is appended in one script call: bounds how long Redis is busy with it."""

RETRY_MS = 1000
"""When a refused publisher should come back, where nothing better is known."""

EXPIRY_SLACK_SECONDS = 0.02
"""How much a request in flight may be answered too early or too late: spares most appends a second timer."""

FIRST_BACK_OFF_SECONDS = 0.02
MAX_BACK_OFF_SECONDS = 0.5


class Durability(StrEnum):
    """What must have happened before a publish is acknowledged (DESIGN 3, law 1)."""

    MEMORY = "memory"
    REPLICA = "replica"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class PublishRequest:
    topic: TopicName
    messages: tuple[Message, ...]
    once: IdempotencyKey | PublisherSequence | None = None
    durability: Durability | None = None
    """None: the topic's or the project's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishLimits:
    """What one publisher accepts and keeps waiting; whatever exceeds a `topic_` or `node_` bound is `Unavailable`."""

    message_bytes: int = MAX_ENVELOPE_BYTES
    batch_messages: int = MAX_APPEND_MESSAGES
    append_seconds: float = 5
    """From `submit` to the answer."""
    topic_requests: int = 20_000
    topic_bytes: int = 32 * 1024 * 1024
    node_requests: int = 100_000
    node_bytes: int = 128 * 1024 * 1024


class TopicMaker(Protocol):
    """What the publisher asks of the catalog."""

    async def create_on_use(self, topic: TopicName) -> None:
        """Make sure that `topic` exists, or raise `UnknownTopic` where its project does not allow that."""


class Gate(Protocol):
    """What a topic's messages are held against before anything is written, whichever face brought them."""

    async def refusals(
        self, topic: TopicName, requests: Sequence[AppendRequest]
    ) -> Sequence[HeadraceError | None] | None:
        """Return a refusal or None for each request; None where the topic takes anything."""


class Publisher:
    """Checks, merges and appends publishes, and answers each exactly once within `limits.append_seconds`.

    `admit` raises `LimitExceeded` where a topic's project may not publish so many messages now; it does not wait.
    `must_be_heard` tells whether its project has a publish refused that nobody would get.
    """

    def __init__(
        self,
        store: Store,
        catalog: TopicMaker,
        *,
        observer: Observer,
        monotonic: Callable[[], float],
        limits: PublishLimits | None = None,
        gate: Gate | None = None,
        admit: Callable[[TopicName, int], None] | None = None,
        must_be_heard: Callable[[TopicName], bool] = lambda topic: False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._observer = observer
        self._monotonic = monotonic
        self._limits = limits if limits is not None else PublishLimits()
        self._gate = gate
        self._admit = admit
        self._must_be_heard = must_be_heard
        self._sleep = sleep
        self._lanes: dict[TopicName, Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._bytes = 0
        self._draining = False

    def submit(self, request: PublishRequest, done: Done) -> None:
        """Hot path, no task and no future: `done` is called exactly once, from the loop, perhaps before returning.

        Rights were checked by the caller. `done` gets the `Appended` or the refusal, and must not raise.
        """
        try:
            append, size = self._checked(request)
            if self._admit is not None:
                self._admit(request.topic, len(request.messages))
            lane = self._admitted(request.topic, size)
        except HeadraceError as refusal:
            self._observer.published(refusal.code, len(request.messages))
            done(refusal)
            return
        deadline = self._monotonic() + self._limits.append_seconds
        lane.queue.append(Waiting(append, done, size, deadline))
        lane.requests += 1
        lane.bytes += size
        self._requests += 1
        self._bytes += size

    async def publish(self, request: PublishRequest) -> Appended:
        """The same for a coroutine; raises the refusal. A cancelled caller's messages may still be appended."""
        answer: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()

        def done(outcome: AppendOutcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self.submit(request, done)
        outcome = await answer
        if isinstance(outcome, HeadraceError):
            raise outcome
        return outcome

    async def drain(self) -> None:
        """Refuse what comes from now on, and return when all that was accepted is answered.

        Bounded by `append_seconds`, because every request is.
        """
        self._draining = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _checked(self, request: PublishRequest) -> tuple[AppendRequest, int]:
        messages, once = request.messages, request.once
        if request.durability is not None and request.durability is not Durability.MEMORY:
            raise Unsupported(f"Durability {request.durability.value!r} is not offered yet, only 'memory'.")
        if not 1 <= len(messages) <= self._limits.batch_messages:
            raise InvalidRequest(
                f"A publish holds 1 to {self._limits.batch_messages} messages, this one has {len(messages)}."
            )
        most = self._limits.message_bytes
        envelopes = tuple([pack(message, max_bytes=most) for message in messages])
        size = sum(map(len, envelopes)) if len(envelopes) > 1 else len(envelopes[0])
        if size > MAX_REQUEST_BYTES:
            raise TooLarge(f"The messages of this publish take {size} bytes, at most {MAX_REQUEST_BYTES} are allowed.")
        lives_ms, retained, heard = lives_of(messages), retained_of(messages), self._must_be_heard(request.topic)
        if once is None:
            return AppendRequest(envelopes, lives_ms=lives_ms, retained=retained, heard=heard), size
        check_once(once)
        return AppendRequest(envelopes, once, digest_of(envelopes), lives_ms, retained, heard), size

    def _admitted(self, topic: TopicName, size: int) -> Lane:
        """Return the topic's lane, with its task running, or raise `Unavailable` when there is no room."""
        limits = self._limits
        if self._draining:
            raise Unavailable("This node is stopping. Publish on another one.", retry_ms=RETRY_MS)
        if self._requests >= limits.node_requests or self._bytes + size > limits.node_bytes:
            raise Unavailable("Too many publishes wait on this node.", retry_ms=RETRY_MS)
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = Lane(topic)
            # A task's first step runs in the next turn of the loop: until then requests gather.
            task = asyncio.get_running_loop().create_task(self._drive(lane))
            self._tasks.add(task)
            task.add_done_callback(lambda ended: self._ended(ended, lane))
        elif lane.requests >= limits.topic_requests or lane.bytes + size > limits.topic_bytes:
            raise Unavailable("Too many publishes to this topic wait on this node.", retry_ms=RETRY_MS)
        return lane

    async def _drive(self, lane: Lane) -> None:
        """Append the lane's requests, batch by batch, until none is left."""
        back_off = FIRST_BACK_OFF_SECONDS
        try:
            while batch := self._take(lane):
                outcome = await self._attempt(lane, batch)
                lane.in_flight = ()
                if not isinstance(outcome, HeadraceError):
                    self._answer_each(lane, batch, outcome)
                    back_off = FIRST_BACK_OFF_SECONDS
                elif self._answer_failed(lane, batch, outcome):
                    await self._sleep(back_off * random.uniform(0.5, 1))
                    back_off = min(back_off * 2, MAX_BACK_OFF_SECONDS)
        finally:
            # In the same turn as the last look at the queue, so that no request can fall in between.
            self._close(lane)

    def _take(self, lane: Lane) -> list[Waiting]:
        """Return the next batch within the bounds of one append; answer those whose time is over."""
        now, queue = self._monotonic(), lane.queue
        batch: list[Waiting] = []
        size = messages = 0
        while queue:
            head = queue[0]
            if head.deadline <= now:
                self._answer(lane, queue.popleft(), head.failure or _not_sent())
                continue
            size += head.bytes
            messages += len(head.request.envelopes)
            if batch and (size > MAX_APPEND_BYTES or messages > MAX_APPEND_MESSAGES):
                break
            batch.append(queue.popleft())
        return batch

    async def _attempt(self, lane: Lane, batch: Sequence[Waiting]) -> list[AppendOutcome] | HeadraceError:
        """Append one batch; whoever's time ends meanwhile is answered then, the others get the outcome."""
        started = self._monotonic()
        lane.in_flight = batch
        if batch[-1].deadline - batch[0].deadline > EXPIRY_SLACK_SECONDS:
            lane.expiry = asyncio.get_running_loop().call_later(batch[0].deadline - started, self._expire, lane)
        requests = [waiting.request for waiting in batch]
        try:
            async with asyncio.timeout(batch[-1].deadline - started):
                outcomes = await self._append(lane.topic, requests)
            if len(outcomes) != len(batch):
                raise RuntimeError(f"the store answered {len(outcomes)} of {len(batch)} requests")
        except TimeoutError:
            return UnknownOutcome(retry_ms=RETRY_MS)
        except HeadraceError as refusal:
            return refusal
        except Exception:
            log.exception("an append failed in a way that no store may fail")
            return UnknownOutcome(retry_ms=RETRY_MS)
        finally:
            if lane.expiry is not None:
                lane.expiry.cancel()
                lane.expiry = None
            self._observer.appended(len(batch), self._monotonic() - started)
        return outcomes

    async def _append(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[AppendOutcome]:
        gate = self._gate
        refusals = await gate.refusals(topic, requests) if gate is not None else None
        if refusals is None:
            return await self._store_all(topic, requests)
        good = [request for request, refusal in zip(requests, refusals, strict=True) if refusal is None]
        stored = iter(await self._store_all(topic, good) if good else ())
        return [refusal if refusal is not None else next(stored) for refusal in refusals]

    async def _store_all(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[AppendOutcome]:
        try:
            return await self._store.append(topic, requests)
        except UnknownTopic:
            if all(request.heard for request in requests):
                # What does not exist has no subscriber, and a refused publish creates nothing.
                return [NoSubscriber() for _ in requests]
            await self._catalog.create_on_use(topic)
            return await self._store.append(topic, requests)

    def _expire(self, lane: Lane) -> None:
        """Answer those in flight whose time is over; what became of them is not known."""
        # Deadlines rise within a batch.
        now = self._monotonic() + EXPIRY_SLACK_SECONDS
        for waiting in lane.in_flight:
            if waiting.deadline > now:
                delay = waiting.deadline - now + EXPIRY_SLACK_SECONDS
                lane.expiry = asyncio.get_running_loop().call_later(delay, self._expire, lane)
                return
            if waiting.done is not None:
                self._answer(lane, waiting, UnknownOutcome(retry_ms=RETRY_MS))

    def _answer_each(self, lane: Lane, batch: Sequence[Waiting], outcomes: Sequence[AppendOutcome]) -> None:
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.done is not None:
                self._answer(lane, waiting, outcome)

    def _answer_failed(self, lane: Lane, batch: Sequence[Waiting], failure: HeadraceError) -> bool:
        """Put back at the front what may be sent again, answer the rest; tell whether anything was put back."""
        again: list[Waiting] = []
        may_repeat = isinstance(failure, Unavailable | UnknownOutcome)
        if may_repeat and failure.retry_ms is None:
            failure = type(failure)(failure.reason, retry_ms=RETRY_MS)
        for waiting in batch:
            if waiting.done is None:
                continue
            if may_repeat and waiting.request.once is not None:
                # An outcome that was once unknown stays so, whatever later attempts were refused with.
                if not isinstance(waiting.failure, UnknownOutcome):
                    waiting.failure = failure
                again.append(waiting)
            else:
                self._answer(lane, waiting, failure)
        lane.queue.extendleft(reversed(again))
        return bool(again)

    def _answer(self, lane: Lane, waiting: Waiting, outcome: AppendOutcome) -> None:
        done, waiting.done = waiting.done, None
        lane.requests -= 1
        lane.bytes -= waiting.bytes
        self._requests -= 1
        self._bytes -= waiting.bytes
        self._observer.published(_result_of(outcome), len(waiting.request.envelopes))
        try:
            if done is not None:
                done(outcome)
        except Exception:
            log.exception("a publish was answered, and whoever asked failed on the answer")

    def _ended(self, task: asyncio.Task[None], lane: Lane) -> None:
        self._tasks.discard(task)
        if self._lanes.get(lane.topic) is lane:
            # Cancelled before its first step.
            self._close(lane)

    def _close(self, lane: Lane) -> None:
        """Forget the lane. Only when its task was cancelled is there anything left to answer."""
        del self._lanes[lane.topic]
        for waiting in lane.in_flight:
            if waiting.done is not None:
                self._answer(lane, waiting, UnknownOutcome(retry_ms=RETRY_MS))
        for waiting in lane.queue:
            self._answer(lane, waiting, waiting.failure or _not_sent())
        lane.queue.clear()


def _result_of(outcome: AppendOutcome) -> str:
    if isinstance(outcome, Appended):
        return "duplicate" if outcome.duplicate else "ok"
    return outcome.code


def _not_sent() -> Unavailable:
    return Unavailable("The log did not take this in time, nothing was stored.", retry_ms=RETRY_MS)
