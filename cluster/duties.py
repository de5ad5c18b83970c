"""Duties: jobs that one node of the cluster does at a time, taken over within seconds when its owner dies.

    async with duties.hold("push/p/s") as held:       # waits until this node is the owner
        ...                                           # cancelled, and `DutyLost` raised, when it is not any more

    await duties.run("retention", work)               # the same in a loop, for a job that never ends

A lease is a string with a TTL in Redis that holds a random token (DESIGN 5). The owner renews it and counts from before
it asked, so by its own clock the lease ends before Redis lets another have it. A clock alone is not enough, because a
process may be stopped at any line: so

- an effect inside Redis is made by a script that compares `held.token` with `held.key` in one step (`lua/_owner.lua`);
  the key must lie in the slot of the effect, as `Keys.topic_duty` does;
- an effect outside (an HTTP request) is preceded by `held.check()` and carries an event id made from what it is about,
  never from who sends it: the next owner may send it once more, under the same id.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from broker.errors import HeadraceError
from broker.store.base import Commands, ReplyError, Script
from broker.store.keys import Keys
from cluster import scripts

LEASE_SECONDS = 5.0
"""How long a duty stays with an owner that is not heard of: what a take-over takes at most, but for `RETRY_SECONDS`."""

RENEWALS = 3
"""Renewals in the time of a lease: two may fail."""

RETRY_SECONDS = 1.0
"""Between two attempts at a duty that another holds, a fifth more or less; sooner when its lease ends sooner."""

RELEASE_SECONDS = 1.0
"""For giving one back. What is not given back runs out."""

TOKEN_BYTES = 16

log = logging.getLogger(__name__)


class DutyLost(Exception):
    """The node is not, or may not be, the owner any more. Nothing more may be done in the duty's name."""


@dataclass(slots=True, eq=False)
class Held:
    """A duty while it is ours."""

    name: str
    key: bytes
    """The lease: among the KEYS of a script that checks the token."""
    token: bytes = field(repr=False)
    """What the lease holds while it is ours; among the ARGV of such a script."""
    until: float
    """When it ends unless it is renewed, by the monotonic clock of `Duties`."""
    monotonic: Callable[[], float] = field(repr=False)

    @property
    def is_ours(self) -> bool:
        return self.monotonic() < self.until

    def check(self) -> None:
        """Raise `DutyLost` unless the duty is certainly ours. To be called right before every effect outside Redis."""
        if not self.is_ours:
            raise DutyLost(self.name)


@dataclass(slots=True, eq=False)
class _Hold:
    held: Held
    limit: asyncio.Timeout

    def extend(self, until: float) -> None:
        self.held.until = until
        # The loop's clock may be another than ours (uvloop's stands still within a turn).
        self._reschedule(until - self.held.monotonic())

    def end(self) -> None:
        self.held.until = self.held.monotonic()
        self._reschedule(0)

    def _reschedule(self, seconds: float) -> None:
        # One that has struck already cannot be put off.
        with suppress(RuntimeError):
            self.limit.reschedule(asyncio.get_running_loop().time() + seconds)


class Duties:
    """A node's part in them. Needs the topology to be served; has no loop of its own."""

    def __init__(
        self,
        commands: Commands,
        *,
        keys: Keys,
        lease_seconds: float = LEASE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        prefers: Callable[[str], bool] = lambda _: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prefers` says whether this node should have a duty, if it can be had: others let it go first."""
        self._commands = commands
        self._keys = keys
        self._prefers = prefers
        self._lease_seconds = lease_seconds
        self._retry_seconds = retry_seconds
        self._monotonic = monotonic
        self._holds: set[_Hold] = set()
        self._is_draining = False
        self._none_held = asyncio.Event()
        self._none_held.set()

    @property
    def held(self) -> frozenset[str]:
        """The names of the duties that are this node's now."""
        return frozenset(hold.held.name for hold in self._holds if hold.held.is_ours)

    @asynccontextmanager
    async def hold(self, name: str, *, key: bytes | None = None) -> AsyncIterator[Held]:
        """Wait until this node owns the duty `name`, for as long as that takes, and own it inside the context.

        `key` is its lease where that must lie in a certain slot; else `Keys.duty(name)`. When the duty is lost or may
        be (no renewal got through, another has it, the node drains) the body is cancelled and `DutyLost` raised. At
        the end the duty is given back. A name that is held here already is waited for like any other.
        """
        held = await self._take(name, key or self._keys.duty(name))
        limit = asyncio.timeout(held.until - self._monotonic())
        hold = _Hold(held, limit)
        try:
            async with limit:
                self._holds.add(hold)
                self._none_held.clear()
                if self._is_draining:
                    hold.end()
                held.check()
                # Nobody awaits it, nor need to: if it crashes, nothing is renewed, and the limit ends the hold.
                keeper = asyncio.create_task(self._keep(hold), name=f"duty {name}")
                try:
                    yield held
                finally:
                    keeper.cancel()
        except TimeoutError:
            if limit.expired():
                raise DutyLost(name) from None
            raise
        finally:
            held.until = self._monotonic()
            self._holds.discard(hold)
            await self._release(held)
            if not self._holds:
                self._none_held.set()

    async def run(
        self, name: str, work: Callable[[Held], Coroutine[object, object, object]], *, key: bytes | None = None
    ) -> None:
        """Do `work` whenever this node owns the duty, until cancelled.

        The work is cancelled when the duty is lost. When it returns or fails (which is logged) the duty is given back,
        and this node asks for it again a little later.
        """
        while True:
            try:
                async with self.hold(name, key=key) as held:
                    log.info("duty taken", extra={"duty": name})
                    await work(held)
            except DutyLost:
                log.info("duty lost", extra={"duty": name})
            except Exception:
                log.exception("a duty failed and is given back", extra={"duty": name})
            await self._pause(self._retry_seconds)

    async def drain(self) -> None:
        """Give back all duties, take no more, and return once their work has ended. The caller bounds the wait."""
        self._is_draining = True
        for hold in list(self._holds):
            hold.end()
        await self._none_held.wait()

    async def _take(self, name: str, key: bytes) -> Held:
        token = secrets.token_hex(TOKEN_BYTES).encode()
        held = Held(name, key, token, self._monotonic(), self._monotonic)
        await self._give_way(name)
        while True:
            wait = self._retry_seconds
            if not self._is_draining:
                asked = self._monotonic()
                try:
                    left_ms = await self._run(scripts.DUTY_TAKE, key, token, self._lease_ms)
                except (HeadraceError, ReplyError) as error:
                    log.debug("a duty cannot be asked for: %s", error)
                else:
                    if left_ms == 0:
                        held.until = asked + self._lease_seconds
                        return held
                    wait = min(wait, left_ms / 1000)
            await self._pause(wait)
            await self._give_way(name)

    async def _give_way(self, name: str) -> None:
        """Let the node that should have the duty go first; nobody waits for it longer than this."""
        if not self._prefers(name):
            await self._pause(self._retry_seconds)

    async def _keep(self, hold: _Hold) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / RENEWALS)
            asked = self._monotonic()
            try:
                kept = await self._run(scripts.DUTY_KEEP, hold.held.key, hold.held.token, self._lease_ms)
            except (HeadraceError, ReplyError) as error:
                log.warning("a duty cannot be renewed", extra={"duty": hold.held.name, "reason": str(error)})
                continue
            if not kept:
                hold.end()
                return
            # A renewal that came back after the end renews nothing here: its holder has been told.
            if hold.held.is_ours:
                hold.extend(asked + self._lease_seconds)

    async def _release(self, held: Held) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._run(scripts.DUTY_RELEASE, held.key, held.token)
        except (HeadraceError, ReplyError, TimeoutError):
            log.info("a duty could not be given back: its lease runs out", extra={"duty": held.name})

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * random.uniform(0.8, 1.2))

    async def _run(self, script: Script, key: bytes, token: bytes, *args: int) -> int:
        return cast(int, await self._commands.run(script, [key], [token, *args], retry=True))

    @property
    def _lease_ms(self) -> int:
        return round(self._lease_seconds * 1000)
