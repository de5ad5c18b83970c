"""Who is primary of what, and commands that reach the right one.

`Topology` is the store's `Commands` port. It keeps one pipelined connection a primary, follows MOVED and ASK, waits out
what passes (TRYAGAIN, LOADING, CLUSTERDOWN, READONLY) within a deadline, and asks the cluster for its slots again on
MOVED, on a lost connection and every few seconds. While a primary is away its calls are refused after a short grace
(`cluster.outage`).
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from broker.errors import Unavailable, UnknownOutcome
from broker.store.base import ReplyError, Script
from cluster.address import Address, Endpoint
from cluster.connection import REPLY_SECONDS, Connection, ErrorReply, Word, open_connection
from cluster.outage import MIN_RETRY_MS, Outage, backoff_seconds
from cluster.primary import Primary
from cluster.slots import Redirection, SlotMap, parse_redirection, parse_slots, slot_of

DEADLINE_SECONDS = 5.0
"""Of one command with all its detours."""

REFRESH_SECONDS = (5.0, 10.0)
"""The slots are asked for again after a time between these (jitter: nodes do not ask in step)."""

MIN_REFRESH_SECONDS = 0.1
"""Between two refreshes, however many ask: a herd of MOVED answers costs one."""

ASK_SECONDS = 1.0
"""For one node to tell its slots; then another is asked, for this one may be stopped."""

FREE_HOPS = 3
"""Redirections in a row that are followed at once; after them each waits, for the nodes disagree."""

PASSING = frozenset({"TRYAGAIN", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "BUSY"})
"""Error codes of a command that did not run and may do so in a moment."""

_REFRESHING = frozenset({"CLUSTERDOWN", "MASTERDOWN", "READONLY"})
"""Those of them that hint at another primary."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Journey:
    """One command's way: where an answer sent it, and how often it was turned away."""

    slot: int
    deadline: float
    detour: Endpoint | None = None
    """An ASK answer's target, for the next attempt (or until it stops answering TRYAGAIN)."""
    hops: int = 0
    failures: int = 0
    loading: "asyncio.Future[object] | None" = None
    """The answer to the SCRIPT LOAD sent ahead of the last attempt."""


class Topology:
    """The primaries of one Redis. Inert until `serve` runs; then until it is cancelled."""

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        scripts: Iterable[Script] = (),
        deadline_seconds: float = DEADLINE_SECONDS,
        reply_seconds: float = REPLY_SECONDS,
    ) -> None:
        """`name` shows in CLIENT LIST; `scripts` are loaded on each connection, with those that have run since."""
        self.address = address
        self.name = name
        self.slots = SlotMap.of_ranges([]) if address.is_cluster else SlotMap.of_one(address.seeds[0])
        self._scripts = {script.digest: script for script in scripts}
        self._deadline_seconds = deadline_seconds
        self._reply_seconds = reply_seconds
        self._primaries: dict[Endpoint, Primary] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._serving: dict[Endpoint, asyncio.Task[None]] = {}
        self._unlisted: set[Endpoint] = set()
        self._has_map = asyncio.Event()
        self._watchers: list[Callable[[], None]] = []
        self._connect_watchers: list[Callable[[], None]] = []
        self._refresh_wanted = asyncio.Event()
        self._refresh_waiters: list[asyncio.Future[None]] = []
        self._search = Outage(since=None)

    @property
    def primaries(self) -> frozenset[Endpoint]:
        return self.slots.primaries

    def watch(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, synchronously, whenever the slot map has changed."""
        self._watchers.append(callback)

    def watch_connects(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, synchronously, whenever a primary is connected, for the first time or again."""
        self._connect_watchers.append(callback)

    def suspect(self) -> None:
        """Something hints that the slot map is out of date: ask again soon."""
        if self.address.is_cluster:
            self._refresh_wanted.set()

    def moved(self, redirection: Redirection) -> None:
        """Correct the map by a MOVED answer, and ask for the rest of it."""
        if self.slots.primary_of(redirection.slot) != redirection.target:
            self._adopt(self.slots.with_move(redirection.slot, redirection.target))
        self.suspect()

    async def serve(self) -> None:
        """Keep connected to every primary and the slot map fresh, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tend()
                if self.address.is_cluster:
                    self._refresh_wanted.set()
                    await self._keep_fresh()
        finally:
            self._tasks = None

    async def connected(self, seconds: float) -> None:
        """Return once every known primary is connected, or raise `Unavailable` after `seconds`. For the start."""
        try:
            async with asyncio.timeout(seconds):
                await self._has_map.wait()
                for endpoint in self.primaries:
                    await self._primaries[endpoint].is_back.wait()
        except TimeoutError:
            raise Unavailable("Redis cannot be reached.", retry_ms=MIN_RETRY_MS) from None

    async def refresh(self) -> None:
        if not self.address.is_cluster:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._refresh_waiters.append(waiter)
        self._refresh_wanted.set()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await waiter
        except TimeoutError:
            raise Unavailable(retry_ms=MIN_RETRY_MS) from None

    async def execute(self, key: bytes, *command: Word, retry: bool) -> object:
        return await self._perform(slot_of(key), command, None, retry=retry)

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Word], *, retry: bool) -> object:
        self._scripts.setdefault(script.digest, script)
        command = ("EVALSHA", script.digest, len(keys), *keys, *args)
        return await self._perform(slot_of(keys[0]), command, script, retry=retry)

    async def _perform(self, slot: int, command: Sequence[Word], script: Script | None, *, retry: bool) -> object:
        journey = _Journey(slot, asyncio.get_running_loop().time() + self._deadline_seconds)
        while True:
            primary = await self._find(journey)
            connection = primary.connection or await primary.ready(journey.deadline)
            try:
                reply = await _send(connection, command, is_asking=journey.detour is not None)
            except (UnknownOutcome, Unavailable) as error:
                if isinstance(error, UnknownOutcome) and not retry:
                    raise
                journey.detour = None
                await self._pause(journey)
                continue
            if not isinstance(reply, ErrorReply):
                return reply
            await self._heed(reply, journey, primary, script)

    async def _find(self, journey: _Journey) -> Primary:
        while True:
            endpoint = journey.detour or self.slots.primary_of(journey.slot)
            if endpoint is not None:
                return self._primaries.get(endpoint) or self._add(endpoint)
            if self._search.grace_left(asyncio.get_running_loop().time()) == 0:
                raise Unavailable(retry_ms=self._search.retry_ms(random.random()))
            self.suspect()
            await self._pause(journey)

    async def _heed(self, error: ErrorReply, journey: _Journey, primary: Primary, script: Script | None) -> None:
        """Take one error reply to a command that did not run: return when it may be sent again, else raise."""
        if error.code == "NOSCRIPT" and script is not None:
            await self._load(script, journey, primary)
        elif error.code in {"MOVED", "ASK"}:
            await self._follow(error, journey, primary)
        elif error.code in PASSING:
            if error.code in _REFRESHING:
                self.suspect()
            await self._pause(journey)
        else:
            raise ReplyError(str(error))

    async def _load(self, script: Script, journey: _Journey, primary: Primary) -> None:
        if journey.loading is not None:
            _raise_refused_load(journey.loading)
            await self._pause(journey)
        connection = await primary.ready(journey.deadline)
        # Not waited for: the command follows behind it on the same connection.
        journey.loading = connection.send("SCRIPT", "LOAD", script.source)

    async def _follow(self, error: ErrorReply, journey: _Journey, primary: Primary) -> None:
        try:
            redirection = parse_redirection(str(error), asked=primary.endpoint)
        except ValueError:
            raise ReplyError(str(error)) from None
        if error.code == "MOVED":
            journey.detour = None
            self.moved(redirection)
        else:
            journey.detour = redirection.target
        journey.hops += 1
        if journey.hops > FREE_HOPS:
            await self._pause(journey)

    async def _pause(self, journey: _Journey) -> None:
        journey.failures += 1
        delay = backoff_seconds(journey.failures, random.random())
        if asyncio.get_running_loop().time() + delay > journey.deadline:
            raise Unavailable(retry_ms=MIN_RETRY_MS)
        await asyncio.sleep(delay)

    def _adopt(self, slots: SlotMap) -> None:
        if slots == self.slots:
            return
        self.slots = slots
        self._tend()
        for callback in self._watchers:
            callback()

    def _on_connected(self) -> None:
        for callback in self._connect_watchers:
            callback()

    def _tend(self) -> None:
        for endpoint in self.primaries:
            if endpoint not in self._primaries:
                self._add(endpoint)
        if self.primaries:
            self._has_map.set()

    def _retire(self) -> None:
        """Stop serving what was no primary in two refreshes, unless answers are awaited from it still.

        Ending it at once would turn appends that are about to be redirected into unknown outcomes; and the target of
        an ASK serves no slot yet.
        """
        unlisted = set(self._primaries) - self.primaries
        for endpoint in unlisted & self._unlisted:
            if self._primaries[endpoint].is_idle:
                del self._primaries[endpoint]
                self._serving.pop(endpoint).cancel()
        self._unlisted = unlisted

    def _add(self, endpoint: Endpoint) -> Primary:
        if self._tasks is None:
            raise Unavailable("The node is not connected to Redis yet.", retry_ms=MIN_RETRY_MS)
        primary = Primary(
            endpoint,
            self.address.access,
            name=self.name,
            scripts=lambda: list(self._scripts.values()),
            on_lost=self.suspect,
            on_back=self._on_connected,
            reply_seconds=self._reply_seconds,
        )
        self._primaries[endpoint] = primary
        self._serving[endpoint] = self._tasks.create_task(primary.serve())
        return primary

    async def _keep_fresh(self) -> None:
        clock = asyncio.get_running_loop().time
        self._search.lost(clock())
        while True:
            await self._until_due()
            self._refresh_wanted.clear()
            waiters, self._refresh_waiters = self._refresh_waiters, []
            if await self._ask_anyone():
                self._search.recovered()
            else:
                self._search.failed(clock())
            self._retire()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            await asyncio.sleep(MIN_REFRESH_SECONDS)

    async def _until_due(self) -> None:
        is_searching = self._search.is_away and self._search.failures > 0
        delay = (
            backoff_seconds(self._search.failures, random.random())
            if is_searching
            else random.uniform(*REFRESH_SECONDS)
        )
        try:
            async with asyncio.timeout(delay):
                await self._refresh_wanted.wait()
        except TimeoutError:
            pass

    async def _ask_anyone(self) -> bool:
        """Ask for the slots: connected primaries first, in random order, then the seeds. True when one knew."""
        connected = [primary for primary in self._primaries.values() if primary.connection]
        random.shuffle(connected)
        for primary in connected:
            if primary.connection and await self._ask(primary.connection, primary.endpoint):
                return True
        for seed in random.sample(self.address.seeds, len(self.address.seeds)):
            try:
                connection = await open_connection(seed, self.address.access, name=self.name)
            except Unavailable:
                continue
            try:
                if await self._ask(connection, seed):
                    return True
            finally:
                connection.close()
        return False

    async def _ask(self, connection: Connection, endpoint: Endpoint) -> bool:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                slots = parse_slots(await connection.call("CLUSTER", "SLOTS"), asked=endpoint)
        except (TimeoutError, Unavailable, UnknownOutcome, ErrorReply, ValueError) as error:
            if self._search.failures == 0:
                logger.warning("Redis at %s does not tell its slots: %s", endpoint, type(error).__name__)
            return False
        if slots.primaries:
            self._adopt(slots)
        return bool(slots.primaries)


def _raise_refused_load(loading: "asyncio.Future[object]") -> None:
    """Raise the server's reason when it refused to load a script: to load it once more would not help."""
    was_answered = loading.done() and loading.exception() is None
    if was_answered and isinstance(answer := loading.result(), ErrorReply):
        raise ReplyError(str(answer))


async def _send(connection: Connection, command: Sequence[Word], *, is_asking: bool) -> object:
    if is_asking:
        connection.send("ASKING")
    return await connection.send(*command)
