"""The hub: one feed a topic with local subscribers, and the sockets that follow it.

A dull loop around `broker.members`: announcements, pages and the watchdog's looks go in, effects are carried out.
Everything runs on one event loop; between an input and the end of its effects nothing is awaited, which is what the
hand-over rule stands on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Literal

from broker.catchup import CatchUp, Following
from broker.errors import AlreadySubscribed, HeadraceError, NotSubscribed, Unavailable, UnknownTopic
from broker.fanout import CHUNK_BYTES, Delivery, Fanout
from broker.live import FUTURE_RETRY_SECONDS, SOUND
from broker.members import Deliver, Members
from broker.names import TopicName
from broker.observe import Observer
from broker.pages import Pages
from broker.ports import Bus, Dialect, FromTime, Last, Placed, Since, Subscriber
from broker.positions import LogState, Placement, Position, Recovery, place, start_of
from broker.store.base import Announcement, Store
from broker.watchdog import GRACE_SECONDS, WATCHED_TOPICS, Watchdog
from broker.whereabouts import Whereabouts

log = logging.getLogger("headrace.hub")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubLimits:
    """The hub's bounds."""

    chunk_bytes: int = CHUNK_BYTES
    """Frames are joined up to here: the sockets' high-water mark."""
    feeds: int = 20_000
    """Topics that one node follows; each costs a channel and up to 256 KiB of recent messages."""
    linger_seconds: float = 0.9
    """How long a topic is followed after its last subscriber left: reconnects find it running.

    Looked at twice in `watch_seconds`: in all less than the 2 s that a count of followers may be old (`must_be_heard`).
    """
    watch_seconds: float = 1.0
    """Between two looks of the watchdog (DESIGN 5)."""
    grace_seconds: float = GRACE_SECONDS
    watched_topics: int = WATCHED_TOPICS
    repairs: int = 8
    """Feeds that read the log at once."""
    catch_ups: int = 8
    """Cohorts that read the log at once."""
    start_seconds: float = 15.0
    """For a channel to be confirmed; the bus refuses sooner by its own deadline."""


async def _nothing() -> None: ...


async def _refuse(topic: TopicName) -> None:
    raise UnknownTopic(f"The topic {topic} does not exist.")


class Hub:
    """What the rooms of the gateway call; also the bus' listener. `run` must be running.

    `monotonic` is in seconds, `now_ms` Unix milliseconds. `ask_topology` finds out anew who is primary of what.
    `create_on_use` makes a topic that does not exist, or raises `UnknownTopic`: following is a use (DESIGN 2).
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        *,
        observer: Observer,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        ask_topology: Callable[[], Awaitable[None]] = _nothing,
        create_on_use: Callable[[TopicName], Awaitable[None]] = _refuse,
        limits: HubLimits | None = None,
    ) -> None:
        self._store = store
        self._bus = bus
        self._monotonic = monotonic
        self._create_on_use = create_on_use
        self._limits = limits or HubLimits()
        self._topics: dict[TopicName, Following] = {}
        self._whereabouts: Whereabouts[Subscriber, Following] = Whereabouts()
        self._tasks: asyncio.TaskGroup | None = None
        self._pages = Pages(store, monotonic=monotonic, spawn=self._spawn)
        self._fanout = Fanout(observer=observer, now_ms=now_ms, drop=self.leave, chunk_bytes=self._limits.chunk_bytes)
        self._work = CatchUp(
            pages=self._pages,
            fanout=self._fanout,
            observer=observer,
            monotonic=monotonic,
            ask_topology=ask_topology,
            spawn=self._spawn,
            on_ended=self._end,
        )
        self._watchdog = Watchdog(
            store,
            self._topics,
            self._work,
            watched_topics=self._limits.watched_topics,
            grace_seconds=self._limits.grace_seconds,
        )

    async def run(self) -> None:
        """Repair, catch up and watch until cancelled. Sockets are left as they are."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for _ in range(self._limits.repairs):
                    self._tasks.create_task(self._work.repair())
                for _ in range(self._limits.catch_ups):
                    self._tasks.create_task(self._work.catch_up())
                self._tasks.create_task(self._watch())
        finally:
            self._tasks = None
            self._pages.close()
            for following in self._topics.values():
                following.refuse(Unavailable("The node is stopping."))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        """Start a task that ends with `run`. Raises `Unavailable` outside of it."""
        if self._tasks is None:
            work.close()
            raise Unavailable("The node is starting or stopping.", retry_ms=1000)
        self._tasks.create_task(work)

    # What the rooms call.

    async def subscribe(
        self, subscriber: Subscriber, topic: TopicName, since: Since, *, placed: Callable[[Placed], None]
    ) -> None:
        """Place `since`, call `placed` exactly once and synchronously before the first frame, and start delivery.

        Raises `UnknownTopic`, `Unavailable` (also for a position from an unknown future, with `retry_ms`),
        `AlreadySubscribed`. When it raises, nothing was written and nothing is followed. If the subscriber left
        meanwhile, it returns without calling `placed`.
        """
        following = self._followed(topic)
        if subscriber in following.members or subscriber in following.arriving:
            raise AlreadySubscribed(f"This connection follows {topic} already.")
        ticket = following.arriving[subscriber] = object()
        self._whereabouts.note(subscriber, following)
        try:
            await asyncio.shield(following.started)
            state, placement = await self._place(following, since)
            if following.arriving.get(subscriber) is ticket:
                placed(Placed(topic, state.end, placement.recovery, placement.missing, placement.after))
        except BaseException:
            if following.arriving.get(subscriber) is ticket:
                del following.arriving[subscriber]
                self._whereabouts.strike(subscriber, following)
            raise
        if following.arriving.get(subscriber) is ticket:
            del following.arriving[subscriber]
            self._work.perform(following, following.members.enter(subscriber, placement.after, state))

    def unsubscribe(self, subscriber: Subscriber, topic: TopicName) -> None:
        """Raises `NotSubscribed`."""
        following = self._topics.get(topic)
        if following is None or not following.depart(subscriber):
            raise NotSubscribed(f"This connection does not follow {topic}.")
        self._whereabouts.strike(subscriber, following)

    def leave(self, subscriber: Subscriber) -> None:
        """The socket is gone: forget it everywhere. Idempotent."""
        for following in self._whereabouts.forget(subscriber):
            following.depart(subscriber)

    def resume(self, subscriber: Subscriber) -> None:
        """The socket's buffer is below its low-water mark again: catch up from the log, then rejoin."""
        for following in self._whereabouts.of(subscriber):
            self._work.perform(following, following.members.resume(subscriber))

    # What the bus calls.

    def on_announcements(self, batch: Sequence[tuple[TopicName, bytes]]) -> None:
        """Everything that one read of one primary's connection brought, in order."""
        heard: dict[Following, list[Announcement]] = {}
        for topic, payload in batch:
            following = self._topics.get(topic)
            if following is None:
                continue
            try:
                heard.setdefault(following, []).append(self._store.read_announcement(payload))
            except ValueError:
                self.on_possible_gap((topic,), "unreadable")
        outcomes = [
            (following, following.members.announce(announcements)) for following, announcements in heard.items()
        ]
        deliveries = [
            Delivery(following.topic, following.members, effect)
            for following, effects in outcomes
            for effect in effects
            if isinstance(effect, Deliver)
        ]
        if deliveries:
            self._fanout.deliver(deliveries)
        for following, effects in outcomes:
            self._work.perform(following, [effect for effect in effects if not isinstance(effect, Deliver)])

    def on_possible_gap(self, topics: Collection[TopicName], reason: str) -> None:
        """Announcements of these topics may have been missed: compare with the log."""
        for topic in topics:
            following = self._topics.get(topic)
            if following is not None:
                self._work.perform(following, following.members.possible_gap(reason))

    # Feeds: one a topic, from its first subscriber on.

    def _followed(self, topic: TopicName) -> Following:
        following = self._topics.get(topic)
        if following is None:
            if len(self._topics) >= self._limits.feeds:
                raise Unavailable("This node follows as many topics as it may.", retry_ms=1000)
            following = Following(topic, Members(_dialect_of), asyncio.get_running_loop().create_future())
            self._spawn(self._start(following))
            self._topics[topic] = following
        following.idle_since = None
        return following

    async def _start(self, following: Following) -> None:
        """Follow the channel first, then read the log's end: what is announced in between waits in the feed."""
        try:
            async with asyncio.timeout(self._limits.start_seconds):
                await self._bus.follow(following.topic)
                end = await self._end_on_use(following.topic)
        except TimeoutError:
            self._close(following, Unavailable("The live feed cannot be reached at the moment.", retry_ms=1000))
        except HeadraceError as error:
            self._close(following, error)
        except Exception:
            log.exception("a feed could not start")
            self._close(following, Unavailable(retry_ms=1000))
        else:
            if not following.over:
                self._work.perform(following, following.members.start(end))
                following.started.set_result(None)

    async def _end_on_use(self, topic: TopicName) -> LogState:
        try:
            return await self._pages.end(topic)
        except UnknownTopic:
            await self._create_on_use(topic)
            return await self._pages.end(topic)

    def _close(self, following: Following, reason: HeadraceError) -> None:
        """Stop following; whoever is arriving gets `reason`."""
        following.over = True
        if self._topics.get(following.topic) is following:
            del self._topics[following.topic]
            self._bus.unfollow(following.topic)
        following.refuse(reason)

    def _end(self, following: Following) -> None:
        self._close(following, UnknownTopic(f"The topic {following.topic} was deleted."))
        for subscriber in following.members.clear():
            self._whereabouts.strike(subscriber, following)
            try:
                subscriber.topic_ended(following.topic)
            except Exception:
                log.exception("a subscriber refused the end of its topic")

    # Placing a new subscriber.

    async def _place(self, following: Following, since: Since) -> tuple[LogState, Placement]:
        if isinstance(since, Position):
            state, placement = await self._place_position(following, since)
        else:
            found = await self._store.find_time(following.topic, since.time_ms) if isinstance(since, FromTime) else None
            state = await self._pages.end(following.topic)
            # What was found by time may have been trimmed or rolled back since.
            after = place(found, state).after if found else beginning(since, state)
            placement = Placement(Recovery.NONE, after)
        if following.over:
            raise UnknownTopic(f"The topic {following.topic} was deleted.")
        return state, placement

    async def _place_position(self, following: Following, position: Position) -> tuple[LogState, Placement]:
        """Hold a presented position against the log. An unsound verdict must not rest on a page read before."""
        page = await self._pages.after(following.topic, position, fresh=False)
        verdict = place(position, page.log)
        if verdict.recovery not in SOUND:
            page = await self._pages.after(following.topic, position, fresh=True)
            verdict = place(position, page.log)
            if following.members.feed.is_future(position, page.log, now=self._monotonic()):
                self._work.ask_topology()
                retry_ms = int(FUTURE_RETRY_SECONDS * 1000)
                raise Unavailable("This position is newer than what this node knows of.", retry_ms=retry_ms)
        return page.log, verdict

    # The watchdog.

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._limits.watch_seconds / 2)
            self._close_idle()
            await asyncio.sleep(self._limits.watch_seconds / 2)
            try:
                await self.watch_once()
            except Exception:
                log.exception("a look of the watchdog failed")

    async def watch_once(self) -> None:
        """Let go of what is old, and have the watchdog look."""
        self._pages.forget_old()
        self._close_idle()
        await self._watchdog.look()

    def _close_idle(self) -> None:
        now = self._monotonic()
        for following in list(self._topics.values()):
            if following.is_used:
                following.idle_since = None
            elif following.idle_since is None:
                following.idle_since = now
            elif now - following.idle_since >= self._limits.linger_seconds:
                self._close(following, Unavailable("Nobody follows this topic.", retry_ms=0))


def beginning(since: Literal["now", "earliest"] | Last | FromTime, state: LogState) -> Position:
    """Return the place after which delivery starts on a log as it is."""
    if since == "earliest":
        return start_of(state)
    if isinstance(since, Last):
        return state.before(max(state.first_offset, state.next_offset - max(since.count, 0)))
    return state.end


def _dialect_of(subscriber: Subscriber) -> Dialect:
    return subscriber.dialect
