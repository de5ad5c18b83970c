"""Log pages shared between those who ask for the same one: a herd that resumes from one place reads it once.

A late page is no danger to members who stood at their place before it was read. Where that is not sure (a verdict
other than a sound one, the feed's own reads, the log's end) a read must be begun after the question: `fresh`. Those who
ask while one is under way share the next.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from broker.errors import Unavailable
from broker.live import step_bytes
from broker.names import TopicName
from broker.positions import LogState, Position
from broker.store.base import Page, Store

PAGE_BYTES = 64 * 1024
"""Envelope bytes of one page: what a socket takes before it is asked again whether it has room."""

PAGE_ENTRIES = 500
"""Entries of one page: bounds the time that encoding one takes."""

MAX_READS = 16
"""Reads under way at once, for all topics together; the rest wait."""

READ_SECONDS = 10.0
"""A store answers or refuses sooner by its own deadline; this is the net below."""

KEPT_SECONDS = 1.0
"""How long a page that was read serves those who come to the same place."""

MAX_KEPT_BYTES = 16 * 1024 * 1024
"""Of kept pages."""

_EMPTY_PAGE_BYTES = 500

Key = tuple[TopicName, Position | None]


@dataclass(slots=True, eq=False)
class _Flight:
    """One read of the log; `departed` once the store was asked."""

    landed: asyncio.Future[Page]
    departed: bool = False

    def land(self, page: Page) -> None:
        if not self.landed.done():
            self.landed.set_result(page)

    def fail(self, error: Exception) -> None:
        if not self.landed.done():
            self.landed.set_exception(error)
            self.landed.exception()  # Whoever asked may be gone: then nobody looks, and that is no warning's matter.


@dataclass(frozen=True, slots=True)
class _Kept:
    page: Page
    bytes: int
    until: float


class Pages:
    """Reads through to the store. `spawn` starts a task that outlives whoever asked."""

    def __init__(
        self,
        store: Store,
        *,
        monotonic: Callable[[], float],
        spawn: Callable[[Coroutine[object, object, None]], object],
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._spawn = spawn
        self._slots = asyncio.Semaphore(MAX_READS)
        self._flights: dict[Key, _Flight] = {}
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._kept_bytes = 0

    async def end(self, topic: TopicName) -> LogState:
        """Return the state of the log at some moment after this call. Raises `UnknownTopic`, `Unavailable`."""
        return (await self._share((topic, None), fresh=True)).log

    async def after(self, topic: TopicName, position: Position, *, fresh: bool) -> Page:
        """Return the page right after `position`; read after this call if `fresh`. Raises as `end`."""
        kept = None if fresh else self._kept.get((topic, position))
        if kept is not None and self._monotonic() < kept.until:
            return kept.page
        return await self._share((topic, position), fresh=fresh)

    def close(self) -> None:
        """The node is stopping: nobody waits for a page any more."""
        for flight in self._flights.values():
            flight.fail(Unavailable("The node is stopping."))

    async def _share(self, key: Key, *, fresh: bool) -> Page:
        flight = self._flights.get(key)
        if flight is None or (fresh and flight.departed):
            earlier, flight = flight, _Flight(asyncio.get_running_loop().create_future())
            self._spawn(self._fly(key, flight, earlier))
            self._flights[key] = flight
        return await asyncio.shield(flight.landed)

    async def _fly(self, key: Key, flight: _Flight, earlier: _Flight | None) -> None:
        try:
            if earlier is not None:
                await asyncio.wait([earlier.landed])
            async with self._slots:
                flight.departed = True
                page = await self._read(*key)
        except Exception as error:
            flight.fail(error)
        else:
            self._keep(key, page)
            flight.land(page)
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _read(self, topic: TopicName, after: Position | None) -> Page:
        entries = 0 if after is None else PAGE_ENTRIES
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await self._store.read(topic, after, max_entries=entries, max_bytes=PAGE_BYTES)
        except TimeoutError:
            raise Unavailable(retry_ms=1000) from None

    def _keep(self, key: Key, page: Page) -> None:
        if key[1] is None:
            return
        size = _EMPTY_PAGE_BYTES + sum(map(step_bytes, page.entries))
        self._kept_bytes += size - self._drop(key)
        self._kept[key] = _Kept(page, size, self._monotonic() + KEPT_SECONDS)
        self.forget_old()

    def forget_old(self) -> None:
        """Let go of pages whose time is over, and of the oldest ones above the bound."""
        now = self._monotonic()
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if now < oldest.until and self._kept_bytes <= MAX_KEPT_BYTES:
                break
            self._kept_bytes -= self._drop(key)

    def _drop(self, key: Key) -> int:
        dropped = self._kept.pop(key, None)
        return dropped.bytes if dropped else 0
