"""Presence: when the application is told that a client has come or gone.

What counts is decided in Redis, once a client id: connected with the first connection, disconnected a while after the
last one, whichever nodes they were on. Each event is noted there until it is told. Any node that finds a client due
looks after it, so it does not matter which one has died.

At most once by default, as the original: an event is struck off right before it is told, with those that came before
it. So whatever waits on some node is not told after what has overtaken it. With retries it is struck off after,
and told again, under the same id, by whoever finds it a minute later.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

from broker.errors import HeadraceError
from broker.positions import Position
from broker.store.channels import LOOKED_AT_ONCE, SHARES, ChannelEvent, ChannelStore
from gateway.channel.attached import Attached
from gateway.channel.ports import Notifier, Presence, PresenceKind, always

LOOKS = 4
"""In the time after which a client counts as gone: so much later it may be noticed."""

MAX_LOOK_SECONDS = 1.0

LOOKED_AFTER_AT_ONCE = 20
"""Clients of one share."""

TELL_SECONDS = 50.0
"""For telling one event: less than the claim on it lasts (`CLAIM_MS` of `_channel.lua`)."""

MAX_TELLING = 1000
"""Events that are being told at once; what comes above that is told from its note later."""

log = logging.getLogger(__name__)


class Presences:
    """Tells the application, through `notifier`; None: nobody wants to know."""

    def __init__(self, store: ChannelStore, notifier: Notifier | None, *, retries: bool, gone_seconds: float) -> None:
        self._store = store
        self.notifier = notifier
        self._retries = retries
        self._look_seconds = min(gone_seconds / LOOKS, MAX_LOOK_SECONDS)
        self._telling: dict[bytes, asyncio.Task[None]] = {}

    def tell(self, client: bytes, events: Sequence[ChannelEvent]) -> None:
        """Tell the application, one client's events one after the other."""
        if not events or len(self._telling) >= MAX_TELLING:
            return
        before = self._telling.get(client)
        task = self._telling[client] = asyncio.get_running_loop().create_task(self._tell(client, events, before))
        task.add_done_callback(lambda done: self._told(client, done))

    def _told(self, client: bytes, task: "asyncio.Task[None]") -> None:
        if self._telling.get(client) is task:
            del self._telling[client]

    async def _tell(self, client: bytes, events: Sequence[ChannelEvent], before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        for event in events:
            try:
                await self._tell_one(client, event)
            except (HeadraceError, TimeoutError) as error:
                log.info("presence was not told", extra={"event": event.id, "reason": str(error)})
            except Exception:
                log.exception("presence could not be told")

    async def _tell_one(self, client: bytes, event: ChannelEvent) -> None:
        async def take() -> bool:
            return await self._store.take(client, event)

        if self.notifier is None:
            await take()
            return
        kind = PresenceKind(event.kind)
        presence = Presence(kind=kind, client_id=client, event_id=event.id, sequence=event.number)
        async with asyncio.timeout(TELL_SECONDS):
            await self.notifier.notify(presence, always if self._retries else take)
        if self._retries:
            await self._store.told(client, [event])

    async def close(
        self, client: bytes, name: str, *, cursor: Position | None, grace_ms: int, attached: Attached
    ) -> None:
        """End a connection, also for the node that holds a poll of it, and have the client looked after."""
        try:
            closed = await self._store.close(client, name, cursor=cursor, grace_ms=grace_ms)
            self.tell(client, closed.events)
            attached.closed(client, name, closed.node)
            if closed.due_ms:
                await self._store.watch(client, within_ms=grace_ms)
        except HeadraceError as error:
            log.info("a channel's connection ends with its lease", extra={"reason": str(error)})

    async def run(self) -> None:
        """Look after the clients that are due, until cancelled."""
        while True:
            await asyncio.sleep(self._look_seconds * random.uniform(0.8, 1.0))
            try:
                await asyncio.gather(*(self.look(share) for share in range(SHARES)))
            except HeadraceError as error:
                log.debug("presence is looked after later: %s", error)
            except Exception:
                log.exception("presence could not be looked after")

    async def look(self, share: int) -> None:
        """Look after the clients of one share that are due."""
        more = True
        while more:
            score, clients = await self._store.due(share)
            for at in range(0, len(clients), LOOKED_AFTER_AT_ONCE):
                some = clients[at : at + LOOKED_AFTER_AT_ONCE]
                await asyncio.gather(*(self._look_at(client, score) for client in some))
            more = len(clients) >= LOOKED_AT_ONCE

    async def _look_at(self, client: bytes, score: int) -> None:
        """One that cannot be looked at, since its primary is away, comes up again."""
        try:
            again_ms, events = await self._store.settle(client)
            self.tell(client, events)
            await self._store.looked(client, score=score, again_ms=again_ms)
        except HeadraceError as error:
            log.debug("a client's presence is looked after later: %s", error)
