"""Carrying out what feeds and members ask for: reading the log at their pace, and writing what they are to have.

Two kinds of workers, so that a repair that everyone waits for does not stand behind sockets that catch up. While the
store refuses, reads are tried again with growing pauses until it is back; the sockets stay.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field

from broker.errors import HeadraceError, UnknownTopic
from broker.fanout import Delivery, Fanout
from broker.members import AskTopology, Deliver, Effect, Ended, Members, ReadForCohort, ReadForFeed, Repaired, Send
from broker.names import TopicName
from broker.observe import Observer
from broker.pages import Pages
from broker.ports import Dialect, Subscriber

FIRST_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 2.0
"""Between two reads of a topic while the store refuses: doubled each time up to here."""

REFRESH_SECONDS = 5.0
"""For one question to the topology."""

log = logging.getLogger("headrace.hub")


@dataclass(eq=False, slots=True)
class Following:
    """One topic on this node: its feed, its members, and those who are about to become members."""

    topic: TopicName
    members: "Members[Subscriber, Dialect]"
    started: asyncio.Future[None]
    arriving: "dict[Subscriber, object]" = field(default_factory=dict)
    over: bool = False
    idle_since: float | None = None
    failures: int = 0

    @property
    def is_used(self) -> bool:
        return bool(self.members) or bool(self.arriving) or not self.started.done()

    def depart(self, subscriber: "Subscriber") -> bool:
        """Forget a subscriber; tell whether it was here or about to be."""
        arriving = self.arriving.pop(subscriber, None) is not None
        return self.members.leave(subscriber) or arriving

    def refuse(self, reason: HeadraceError) -> None:
        """Tell those who wait for the start that there is none."""
        if not self.started.done():
            self.started.set_exception(reason)
            self.started.exception()  # Perhaps nobody waits any more: no matter for a warning.

    def next_retry_seconds(self) -> float:
        self.failures += 1
        return float(min(FIRST_RETRY_SECONDS * 2 ** min(self.failures - 1, 10), MAX_RETRY_SECONDS))


_Read = ReadForFeed | ReadForCohort["Subscriber"]
_Queue = asyncio.Queue[tuple[Following, _Read]]


class CatchUp:
    """`perform` carries effects out at once but for the reads; `repair` and `catch_up` are the workers that read."""

    def __init__(
        self,
        *,
        pages: Pages,
        fanout: Fanout,
        observer: Observer,
        monotonic: Callable[[], float],
        ask_topology: Callable[[], Awaitable[None]],
        spawn: Callable[[Coroutine[object, object, None]], object],
        on_ended: Callable[[Following], None],
    ) -> None:
        self._pages = pages
        self._fanout = fanout
        self._observer = observer
        self._monotonic = monotonic
        self._refresh = ask_topology
        self._spawn = spawn
        self._on_ended = on_ended
        # At most one item a feed and one a cohort: bounded by the feeds and members of the node.
        self._repairs: _Queue = asyncio.Queue()
        self._catch_ups: _Queue = asyncio.Queue()
        self._asking = False

    def perform(self, following: Following, effects: "Sequence[Effect[Subscriber]]") -> None:
        """Carry effects out, in order. Nothing is awaited until all of them are done."""
        for effect in effects:
            match effect:
                case Deliver():
                    self._fanout.deliver((Delivery(following.topic, following.members, effect),))
                case Send():
                    self._fanout.send(following.topic, following.members, effect)
                    self.perform(following, following.members.sent(effect))
                case ReadForFeed():
                    self._put(self._repairs, following, effect, effect.delay_seconds)
                case ReadForCohort():
                    self._put(self._catch_ups, following, effect, effect.delay_seconds)
                case AskTopology():
                    self.ask_topology()
                case Repaired():
                    self._observer.gap_repaired(effect.reason)
                case Ended():
                    self._on_ended(following)

    @staticmethod
    def _put(queue: _Queue, following: Following, effect: _Read, delay_seconds: float) -> None:
        if delay_seconds:
            asyncio.get_running_loop().call_later(delay_seconds, queue.put_nowait, (following, effect))
        else:
            queue.put_nowait((following, effect))

    async def repair(self) -> None:
        """Read for feeds, until cancelled."""
        await self._work(self._repairs)

    async def catch_up(self) -> None:
        """Read for cohorts, until cancelled."""
        await self._work(self._catch_ups)

    async def _work(self, queue: _Queue) -> None:
        while True:
            following, effect = await queue.get()
            try:
                self.perform(following, await self._read(following, effect))
            except HeadraceError:
                self._put(queue, following, effect, following.next_retry_seconds())
            except Exception:
                # A defect in one topic's course must not stop the others'.
                log.exception("reading for a feed failed")
                self._put(queue, following, effect, MAX_RETRY_SECONDS)

    async def _read(self, following: Following, effect: _Read) -> "list[Effect[Subscriber]]":
        members, topic = following.members, following.topic
        at = members.feed.place if isinstance(effect, ReadForFeed) else effect.cohort.place
        if following.over or (isinstance(effect, ReadForCohort) and members.abandon(effect.cohort)):
            return []
        try:
            page = await self._pages.after(topic, at, fresh=isinstance(effect, ReadForFeed) or effect.fresh)
        except UnknownTopic:
            return members.unknown()
        following.failures = 0
        if following.over:
            return []
        if isinstance(effect, ReadForFeed):
            return members.receive(page, now=self._monotonic())
        return members.receive_page(effect.cohort, page, now=self._monotonic())

    def ask_topology(self) -> None:
        """Have the topology asked again, once at a time."""
        if not self._asking:
            self._asking = True
            self._spawn(self._ask())

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(REFRESH_SECONDS):
                await self._refresh()
        except (HeadraceError, TimeoutError):
            pass  # Whoever needed it asks again.
        except Exception:
            log.exception("asking the topology failed")
        finally:
            self._asking = False
