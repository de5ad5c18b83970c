"""Lines: the connections of this node that stay, sockets and event streams, and how messages get to them.

A line reads the client's log after the last message that it was given, whenever it is woken, and notes what it was
given with the next read; a page that does not take its messages is not read for. Every line is renewed several times in
the length of a lease, which also finds what no letter told: messages, and that a newer connection has taken over.
"""

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Sequence
from typing import Protocol

from broker.errors import HeadraceError, Unavailable
from broker.positions import Position, Recovery, place
from broker.store.channels import ChannelMessage, Opened
from gateway.channel.errors import Replaced
from gateway.channel.services import Services
from gateway.channel.wire import Label

NAME_BYTES = 9

RENEWALS = 3
"""In the time of a lease: two may fail."""

RENEWED_AT_ONCE = 50

AGAIN_SECONDS = 1.0
"""After a read that failed."""

log = logging.getLogger(__name__)


class Outlet(Protocol):
    """The transport of a line."""

    @property
    def paused(self) -> bool:
        """True while it takes no more messages; `Lines.resume` says when it does."""

    def deliver(self, messages: Sequence[ChannelMessage]) -> bool:
        """Write them; False, and nothing is given, where it is over."""

    def skip(self, count: int) -> None:
        """So many messages are gone; 0: nobody knows how many."""

    def finish(self, error: HeadraceError | None) -> None:
        """Tell the page of the error, if there is one, and close."""


class Line:
    """One connection of a client on this node."""

    def __init__(self, lines: "Lines", client: bytes, name: str, *, outlet: Outlet, opened: Opened) -> None:
        self.client = client
        self.name = name
        self.number = opened.number
        self.after = opened.cursor
        """The last message that it was given."""
        self.outlet = outlet
        self.over = False
        self.is_due = False
        self.reading = False
        self._lines = lines

    @property
    def label(self) -> Label:
        return Label(self.name, self.number)

    def wake(self) -> None:
        self.is_due = True
        if not self.reading and not self.over:
            self.reading = True
            self._lines.spawn(self._lines.pump(self))

    def end(self, *, replaced: bool) -> None:
        if not self.over:
            self._lines.forget(self)
            self.outlet.finish(Replaced() if replaced else None)


class Lines:
    """Those of a node. `run` must be running."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lines: set[Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._lines)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def open(self, client: bytes, *, earlier: Label | None, last_id: Position | None) -> tuple[str, Opened]:
        """Open a connection that goes on from `earlier` and `last_id`, where there are such.

        Returns its name too. Raises `Replaced`, `Unavailable`.
        """
        services = self._services
        name = secrets.token_urlsafe(NAME_BYTES)
        number = earlier.number if earlier else None
        opened = await services.open(
            client,
            name,
            number=number,
            alive_ms=services.lease_ms,
            cursor=last_id,
            earlier=earlier.name if earlier and number is not None else "",
        )
        return name, opened

    def attach(self, client: bytes, name: str, outlet: Outlet, opened: Opened) -> Line:
        """Begin delivery over an open connection."""
        line = Line(self, client, name, outlet=outlet, opened=opened)
        self._lines.add(line)
        self._services.attached.add(client, line)
        self._services.bindings.hold(client, opened.topics)
        line.wake()
        return line

    def forget(self, line: Line) -> None:
        """Deliver nothing more over it."""
        if not line.over:
            line.over = True
            self._lines.discard(line)
            self._services.attached.discard(line.client, line)
            self._services.bindings.release(line.client)

    def detach(self, line: Line, *, grace_ms: int) -> None:
        """The connection is over: the client is gone that much later, if it has no other."""
        if not line.over:
            self.forget(line)
            self.spawn(self._services.close(line.client, line.name, cursor=line.after, grace_ms=grace_ms))

    def resume(self, line: Line) -> None:
        """Its outlet takes messages again."""
        if not line.over:
            line.wake()

    # Delivery.

    async def pump(self, line: Line) -> None:
        """Deliver until there is no more. One at a time a line."""
        try:
            while line.is_due and not line.over and not line.outlet.paused:
                line.is_due = False
                await self._deliver(line)
        except HeadraceError as error:
            log.debug("a channel is read again later: %s", error)
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, line.wake)
        except Exception:
            log.exception("a channel could not be read")
        finally:
            line.reading = False

    async def _deliver(self, line: Line) -> None:
        page = await self._services.store.read(line.client, line.name, line.after, cursor=line.after)
        if line.over:
            return
        if page is None:
            # Redis does not know it: replaced, or its lease ran out while this node was cut off.
            line.is_due = await self._renew(line)
            return
        verdict = place(line.after, page.log)
        if verdict.recovery is not Recovery.COMPLETE:
            line.outlet.skip(sum(gone.last - gone.first + 1 for gone in verdict.missing))
            line.after, line.is_due = verdict.after, True
        elif page.messages and line.outlet.deliver(page.messages):
            # The next read notes that these were given.
            line.after, line.is_due = page.messages[-1].position, True

    # Leases.

    async def run(self) -> None:
        """Renew the lines until cancelled."""
        while True:
            await asyncio.sleep(self._services.lease_ms / 1000 / RENEWALS)
            await self.renew()

    async def renew(self) -> None:
        lines = list(self._lines)
        for at in range(0, len(lines), RENEWED_AT_ONCE):
            await asyncio.gather(*(self._renew_one(line) for line in lines[at : at + RENEWED_AT_ONCE]))

    async def _renew_one(self, line: Line) -> None:
        try:
            if await self._renew(line):
                line.wake()
        except HeadraceError as error:
            log.debug("a channel's connection is renewed later: %s", error)
        except Exception:
            log.exception("a channel's connection could not be renewed")

    async def _renew(self, line: Line) -> bool:
        """Tell whether there are messages. One that was replaced ends here."""
        services = self._services
        if line.over:
            return False
        try:
            opened = await services.open(
                line.client, line.name, number=line.number, alive_ms=services.lease_ms, cursor=line.after
            )
        except Replaced:
            line.end(replaced=True)
            return False
        if line.over:
            # It was closed meanwhile, which this has undone.
            self.spawn(services.close(line.client, line.name, cursor=line.after, grace_ms=services.gone_ms))
            return False
        services.bindings.follow(line.client, opened.topics)
        return opened.log.end != line.after

    def evict(self) -> None:
        """The node was held to be gone: end all that is not a socket of the front, which ends by itself."""
        for line in list(self._lines):
            self.forget(line)
            line.outlet.finish(Unavailable())
