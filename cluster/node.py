"""This node as the cluster sees it: its lease, the others', and what follows when one is taken.

`serve` renews the lease several times in its length and reads all others in the same script, so that being in contact
with Redis, being seen and seeing are one thing. Who is gone is decided in `cluster.membership`; whoever decides it
takes the lease from Redis by its value, and the id stays noted as gone until what it left is cleared away.

A node whose lease was taken is somebody new: sockets closed, another id, an empty directory. It may have been stopped
for that time and know nothing of it, hence `is_certain`: nothing is done to the world outside in this node's name while
that is false.

What the others should know at once (a node has come, goes, is taken, tells another thing of itself than its load) is
announced on a channel, and `cluster.news` has whoever hears it look. A lost announcement costs two beats.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import cast

from broker.errors import HeadraceError, Unavailable
from broker.store.base import Commands, ReplyError
from broker.store.keys import Keys
from cluster import scripts
from cluster.membership import Advertised, Lease, Member, Membership, preferred

LEASE_SECONDS = 5.0
"""How long a node that is not heard of stays a member."""

BEATS = 5
"""Renewals in the time of a lease."""

STILL_SECONDS = 1.0
"""Between two ticks: the process was stopped, or its loop was."""

TICK_SECONDS = 0.2

MIN_BEAT_SECONDS = 0.05
"""Between two renewals, whatever is heard: news that come together are read together."""

ID_BYTES = 4
"""Of the part of an id that no other life of the same name has."""

NONCE_BYTES = 16

RETRY_MS = 1000

log = logging.getLogger(__name__)


class Node:
    """Inert until `serve` runs; then until it is cancelled."""

    def __init__(
        self,
        commands: Commands,
        *,
        keys: Keys,
        advertised: Advertised,
        load: Callable[[], int] = lambda: 0,
        lease_seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` gives the number of connections whenever the lease is renewed."""
        self.advertised = advertised
        """Told with the next renewal; may be replaced at any time."""
        self.on_evicted: list[Callable[[], None]] = []
        """Called, synchronously, when the lease was taken, while `id` is still the old one. They close all sockets."""
        self.on_settled: list[Callable[[], None]] = []
        """Called when the node had stood still and its lease proved to be its own still."""
        self.on_identity: list[Callable[[], None]] = []
        """Called when `id` is a new one."""
        self.on_looked: list[Callable[[], None]] = []
        """Called when the leases have been read, several times in a lease's length: `members` may be others."""
        self._commands = commands
        self._leases, self._gone = keys.nodes()
        self._news = keys.news()
        self._load = load
        self._lease_seconds = lease_seconds
        self._monotonic = monotonic
        self._certain_until = self._ticked = monotonic()
        self._is_leaving = False
        self._has_failed = False
        self._renewing = asyncio.Lock()
        self._is_due = asyncio.Event()
        self.gone: frozenset[str] = frozenset()
        """Nodes that are gone and have left something to clear away."""
        self.joined = asyncio.Event()
        """Set while the lease stands in Redis, for all this node knows."""
        self._begin()

    @property
    def id(self) -> str:
        """This life of the node: its name, and a part that no other life has."""
        return self._id

    @property
    def members(self) -> tuple[Member, ...]:
        """Who is there, this node among them, as of the last contact with Redis."""
        return self._membership.members()

    @property
    def described(self) -> Advertised:
        """What this node tells of itself now."""
        return replace(self.advertised, load=self._load())

    def look_soon(self) -> None:
        """Renew the lease and read the others' as soon as may be: somebody has something new to tell."""
        self._is_due.set()

    def prefers(self, job: str) -> bool:
        """Tell whether this node should do a job that one node does at a time. True while it knows of no member."""
        return preferred(job, self.members) in (self._id, None)

    @property
    def is_certain(self) -> bool:
        """True while nobody can have taken the lease."""
        return self._monotonic() < self._certain_until

    @property
    def has_stood_still(self) -> bool:
        """True when the process was stopped for so long that the lease may be taken, and has not asked since.

        What lies in the sockets then must not be read: survivors may have told the world that they are closed. While
        Redis is away and the loop turns it is false, and sockets stay open.
        """
        now = self._monotonic()
        return now >= self._certain_until and now - self._ticked >= STILL_SECONDS

    async def serve(self) -> None:
        """Join, renew, take the leases of the gone; join anew when evicted; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick())
            while True:
                await self._join()
                while await self.renew():
                    await self._until_next_beat()
                self._evict()

    async def renew(self) -> bool:
        """Renew the lease now and take the leases of the gone. False when this node's own was taken."""
        async with self._renewing:
            if self._is_leaving:
                return True
            try:
                is_ours = await self._renew()
            except (HeadraceError, ReplyError) as error:
                # Once for each time that Redis is away, not at each beat.
                level = logging.DEBUG if self._has_failed else logging.WARNING
                log.log(level, "this node's lease cannot be renewed", extra={"reason": str(error)})
                self._has_failed = True
                return True
            self._has_failed = False
            return is_ours

    async def leave(self) -> None:
        """Leave the cluster in good order: the others need not wait for the lease to run out."""
        async with self._renewing:
            if self.joined.is_set() and await self._renew() and await self._take(self._id, self._lease.packed()):
                await self._announce()
            self._is_leaving = True
            self._certain_until = self._monotonic()
            self.joined.clear()

    async def present(self) -> frozenset[str]:
        """Return the ids of all nodes that hold a lease now, later than `members` knows. Raises `Unavailable`.

        Also where this node's own is not among them: what Redis lost, or others took, tells nothing of the rest.
        """
        ids = cast("list[bytes]", await self._commands.execute(self._leases, "HKEYS", self._leases, retry=True))
        present = frozenset(node.decode(errors="replace") for node in ids)
        if self._id not in present:
            raise Unavailable("This node is not sure of its place in the cluster.", retry_ms=RETRY_MS)
        return present

    async def forget_gone(self, node: str) -> None:
        """Strike a gone node from the notes: nothing of it is left. Raises `Unavailable`."""
        await self._commands.execute(self._gone, "HDEL", self._gone, node, retry=True)
        self.gone -= {node}

    def _begin(self) -> None:
        self._id = f"{self.advertised.name}.{secrets.token_hex(ID_BYTES)}"
        self._lease = Lease(secrets.token_hex(NONCE_BYTES), 0, self.advertised)
        self._membership = Membership(lease_seconds=self._lease_seconds)

    async def _join(self) -> None:
        while not self.joined.is_set():
            asked = self._monotonic()
            try:
                if not self._is_leaving and not await self._put_up():
                    self._begin()
                    continue
            except (HeadraceError, ReplyError) as error:
                log.debug("this node cannot join: %s", error)
            else:
                if not self._is_leaving:
                    self._made_certain(asked)
                    self.joined.set()
                    await self._announce()
                    return
            await asyncio.sleep(self._lease_seconds / BEATS)

    async def _put_up(self) -> bool:
        lease = self._lease.packed()
        return bool(await self._commands.run(scripts.NODE_JOIN, self._keys, [self._id, lease], retry=True))

    async def _renew(self) -> bool:
        # A beat is used once, also when its renewal fails: it may have been carried out all the same.
        before = self._lease.advertised
        self._lease = self._lease.renewed(self.described)
        asked = self._monotonic()
        args: tuple[str, str, bytes] = (self._id, f"{self._lease.nonce} ", self._lease.packed())
        reply = await self._commands.run(scripts.NODE_RENEW, self._keys, args, retry=True)
        if reply is None:
            return await self._was_lost(asked)
        self._made_certain(asked)
        leases, gone = cast("tuple[list[bytes], list[bytes]]", reply)
        values = {node.decode(errors="replace"): value for node, value in zip(leases[::2], leases[1::2], strict=True)}
        overdue = self._membership.observe(values, asked=asked, answered=self._monotonic())
        self.gone = frozenset(node.decode(errors="replace") for node in gone)
        for callback in self.on_looked:
            callback()
        taken = [node for node, value in overdue.items() if node != self._id and await self._take(node, value)]
        for node in taken:
            log.warning("a node is gone", extra={"gone": node})
        if taken or replace(before, load=0) != replace(self._lease.advertised, load=0):
            await self._announce()
        return True

    async def _was_lost(self, asked: float) -> bool:
        """The lease is not there. It was taken; or Redis lost it, when nobody can have taken it yet. False: taken."""
        if not self.is_certain or not await self._put_up():
            return False
        self._made_certain(asked)
        return True

    async def _take(self, node: str, value: bytes) -> bool:
        return bool(await self._commands.run(scripts.NODE_TAKE, self._keys, [node, value], retry=True))

    async def _announce(self) -> None:
        """Have all nodes look at the leases. Without a promise: they look anyway, a little later."""
        try:
            await self._commands.execute(self._news, "SPUBLISH", self._news, b"", retry=False)
        except (HeadraceError, ReplyError) as error:
            log.debug("news of the nodes could not be announced: %s", error)

    def _evict(self) -> None:
        log.error("this node was held to be gone: it closes its sockets and begins anew", extra={"gone": self._id})
        self._certain_until = self._monotonic()
        self.joined.clear()
        for callback in self.on_evicted:
            callback()
        self._begin()
        self._ticked = self._monotonic()
        for callback in self.on_identity:
            callback()

    def _made_certain(self, asked: float) -> None:
        """The lease stood after `asked`: with an answer that is older than a lease nothing is certain."""
        had_stood_still = self.has_stood_still
        self._certain_until = asked + self._lease_seconds
        if not self.is_certain:
            return
        self._ticked = self._monotonic()
        if had_stood_still:
            for callback in self.on_settled:
                callback()

    async def _tick(self) -> None:
        """Show that the loop turns, until it was found to have stood still; then have the lease asked for at once."""
        while True:
            if self.has_stood_still:
                self._is_due.set()
            else:
                self._ticked = self._monotonic()
            await asyncio.sleep(TICK_SECONDS)

    async def _until_next_beat(self) -> None:
        await asyncio.sleep(MIN_BEAT_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease_seconds / BEATS * random.uniform(0.8, 1.0) - MIN_BEAT_SECONDS):
                await self._is_due.wait()
        self._is_due.clear()

    @property
    def _keys(self) -> tuple[bytes, bytes]:
        return self._leases, self._gone
