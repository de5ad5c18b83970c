"""Polls: the connections that live from one request to the next, held until there is a message.

A held poll counts as alive; after its answer the client is gone unless the next one comes in time. What is answered is
noted before it is written, since the next poll may be at another node at once; what could not be written is put back.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from broker.errors import HeadraceError
from broker.positions import Position, Recovery, place
from broker.store.channels import ChannelMessage, Opened
from gateway.channel.errors import Replaced
from gateway.channel.lines import NAME_BYTES
from gateway.channel.services import Services
from gateway.channel.tokens import Grant
from gateway.channel.wire import Label


@dataclass(slots=True, eq=False)
class Poll:
    """A connection while a request of it is here."""

    client: bytes
    label: Label
    opened: Opened
    after: Position
    messages: Sequence[ChannelMessage] = ()
    skipped: int = 0
    is_closed: bool = False
    """The page has closed it, or asks again already."""
    is_replaced: bool = False
    is_over: bool = False
    """It is answered as it is: the node ends."""
    _rung: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return self.label.name

    def wake(self) -> None:
        self._rung.set()

    def end(self, *, replaced: bool) -> None:
        self.is_closed, self.is_replaced = True, replaced
        self._rung.set()

    def hurry(self) -> None:
        self.is_over = True
        self._rung.set()

    async def rung(self) -> None:
        await self._rung.wait()
        self._rung.clear()


MAX_CLOSED = 1000
"""Connections that pages have closed, of which a poll may be on its way out still."""


class Polls:
    """Those of a node."""

    def __init__(self, services: Services, spawn: Callable[[Coroutine[object, object, None]], None]) -> None:
        self._services = services
        self._spawn = spawn
        self._held: set[Poll] = set()
        self._closed: dict[tuple[bytes, str], None] = {}
        self._is_draining = False

    def __len__(self) -> int:
        return len(self._held)

    def drain(self) -> None:
        """Answer all that are held, and hold none any more: the node ends."""
        self._is_draining = True
        for poll in self._held:
            poll.hurry()

    async def connect(self, client: bytes, *, last_id: Position | None = None) -> tuple[Label, Position]:
        """Open a new connection; return what its polls must say, and after which message it goes on.

        Raises `Unavailable`.
        """
        name = secrets.token_urlsafe(NAME_BYTES)
        opened = await self._open(client, Label(name), cursor=last_id, alive_ms=self._services.gone_ms)
        return Label(name, opened.number), opened.cursor

    @contextmanager
    def _attached(self, poll: Poll) -> Iterator[None]:
        services = self._services
        for other in list(services.attached.of(poll.client)):
            if other.name == poll.name:
                # Its page has given it up.
                other.end(replaced=False)
        self._held.add(poll)
        services.attached.add(poll.client, poll)
        services.bindings.hold(poll.client, poll.opened.topics)
        try:
            yield
        finally:
            self._held.discard(poll)
            services.attached.discard(poll.client, poll)
            services.bindings.release(poll.client)

    async def poll(
        self, grant: Grant, label: Label | None, *, last_id: Position | None, most: int, waits: bool = True
    ) -> Poll:
        """Return messages, up to `most`, as soon as there are any, and without any when the time is over.

        One that does not wait is answered at once. Without a connection there is one from now on. Raises `Replaced`,
        `Unavailable`. To be cancelled when the peer leaves.
        """
        services, client = self._services, grant.client_id
        hold_seconds = self._hold_seconds(grant) if waits and not self._is_draining else 0
        label = label or Label(secrets.token_urlsafe(NAME_BYTES))
        alive_ms = round(hold_seconds * 1000) + services.gone_ms
        self._closed.pop((client, label.name), None)
        opened = await self._open(client, label, cursor=last_id, alive_ms=alive_ms)
        poll = Poll(client, Label(label.name, opened.number), opened, opened.cursor)
        until = asyncio.get_running_loop().time() + hold_seconds
        try:
            with self._attached(poll), suppress(TimeoutError):
                while not poll.is_closed and not await self._read(poll, most) and not poll.is_over:
                    async with asyncio.timeout_at(until):
                        await poll.rung()
        except asyncio.CancelledError:
            self._spawn(self.put_back(poll))
            raise
        if poll.is_replaced:
            raise Replaced
        return poll

    def _hold_seconds(self, grant: Grant) -> float:
        """A poll is not held longer than its token holds: the next one is told that it has timed out."""
        left = grant.expires_s - self._services.now_ms() / 1000
        return max(min(self._services.settings.hold_seconds, left), 0)

    async def _read(self, poll: Poll, most: int) -> bool:
        """Tell whether there is something to answer."""
        while not poll.is_closed:
            page = await self._services.store.read(poll.client, poll.name, poll.after, cursor=None, messages=most)
            if poll.is_closed:
                break
            if page is None:
                raise Replaced
            verdict = place(poll.after, page.log)
            if verdict.recovery is Recovery.COMPLETE:
                poll.messages = page.messages
                return bool(page.messages)
            poll.skipped += sum(gone.last - gone.first + 1 for gone in verdict.missing)
            poll.after = verdict.after
        return True

    async def note(self, poll: Poll) -> None:
        """Its answer is about to be written: nobody gets it again, and the client is alive until the next poll."""
        await self._renew(poll, poll.messages[-1].position if poll.messages else poll.after)

    async def put_back(self, poll: Poll) -> None:
        """Its answer could not be written: the next poll gets it."""
        await self._renew(poll, poll.after)

    async def _renew(self, poll: Poll, cursor: Position) -> None:
        """Where Redis cannot be asked, the lease runs out, and the next poll gets the same answer."""
        # A page that closes gives its poll up at the same moment: that must not open the connection again.
        if not poll.is_closed and (poll.client, poll.name) not in self._closed:
            with suppress(HeadraceError):
                await self._open(poll.client, poll.label, cursor=cursor, alive_ms=self._services.gone_ms)

    async def close(self, client: bytes, label: Label) -> None:
        """The page closes its channel: it is gone now, and a poll of it that is held is answered, on whichever node."""
        self._closed[client, label.name] = None
        if len(self._closed) > MAX_CLOSED:
            del self._closed[next(iter(self._closed))]
        await self._services.close(client, label.name, cursor=None, grace_ms=0)

    async def _open(self, client: bytes, label: Label, *, cursor: Position | None, alive_ms: int) -> Opened:
        return await self._services.open(client, label.name, number=label.number, alive_ms=alive_ms, cursor=cursor)
