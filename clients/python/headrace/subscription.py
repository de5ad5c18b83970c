"""What one topic brings to the application: a bounded queue between the socket and the one who iterates."""

import logging
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Protocol, Self

from headrace.arrivals import Arrivals
from headrace.errors import HeadraceError
from headrace.messages import Gap, Message, Started
from headrace.positions import Position, Since

MAX_QUEUED = 1024
"""Messages waiting for the application, above which the client stops reading its socket. A read may bring some more."""

MAX_QUEUED_BYTES = 4 * 1024 * 1024
"""Their payload bytes, likewise."""

logger = logging.getLogger("headrace")

Item = Message | Gap


class Owner(Protocol):
    """What a subscription asks of its client."""

    def subscription_drained(self, subscription: "Subscription") -> None:
        """The application has caught up: read on."""

    def subscription_closed(self, subscription: "Subscription") -> None:
        """The application wants no more."""


class Subscription:
    """An async iterator of a topic's messages, in the log's order, each once, over all reconnects.

    Iterate it for messages: gaps then go to `on_gap` (called just before the message that follows; by default they are
    logged as warnings). Or iterate `events()` for both, in order. When the server ends the subscription (the topic was
    deleted, the right was revoked) the iteration raises the error; after `close` it just ends.
    """

    def __init__(
        self,
        owner: Owner,
        topic: str,
        *,
        on_gap: Callable[[Gap], None] | None = None,
        on_started: Callable[[Started], None] | None = None,
    ) -> None:
        self.topic = topic
        self._owner = owner
        self._on_gap = on_gap or _log_gap
        self._on_started = on_started
        self._arrivals: Arrivals[Started, tuple[Item | Started, Position | None]] = Arrivals(
            closed="The subscription was closed."
        )
        self._bytes = 0
        self._position: Position | None = None
        self._full = False

    def __repr__(self) -> str:
        return f"<Subscription {self.topic!r} at {self._position}>"

    @property
    def position(self) -> Position | None:
        """The place after the last item that was iterated: present it as `since`, in any client, to go on from there.

        None until the first answer of the server, and after a gap whose recovery is `lost`.
        """
        return self._position

    @property
    def queued(self) -> int:
        """Items that wait to be iterated."""
        return len(self._arrivals.items)

    async def started(self, *, timeout: float = 30.0) -> Started:
        """Wait until the server has placed the subscription: every later publish will be seen.

        Raises the server's refusal, or `TimeoutError` after `timeout` seconds.
        """
        return await self._arrivals.answer(timeout=timeout)

    async def __aenter__(self) -> Self:
        await self.started()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Message]:
        async for item in self.events():
            if isinstance(item, Message):
                yield item
            else:
                self._on_gap(item)

    async def events(self) -> AsyncIterator[Item]:
        """Iterate messages and gaps, in stream order."""
        while True:
            while self._arrivals.items:
                item = self.take_any()
                if isinstance(item, Started):
                    self.tell_started(item)
                else:
                    yield item
            if not await self.wait():
                return

    def take(self) -> Item:
        """Take the next queued item, and with it its place. Raises `IndexError` when nothing is queued."""
        while isinstance(item := self.take_any(), Started):
            self.tell_started(item)
        return item

    def take_any(self) -> Item | Started:
        """As `take`, with the placements between them, where somebody wants to be told of those (`tell_started`)."""
        item, self._position = self._arrivals.items.popleft()
        if isinstance(item, Message):
            self._bytes -= len(item.data)
        if self._full and 2 * len(self._arrivals.items) <= MAX_QUEUED and 2 * self._bytes <= MAX_QUEUED_BYTES:
            self._full = False
            self._owner.subscription_drained(self)
        return item

    async def wait(self) -> bool:
        """Return True once something is queued, False when it was closed; raises what else ended it."""
        return await self._arrivals.wait()

    def on_gap(self, gap: Gap) -> None:
        """Hand a gap to the application, as iterating messages does."""
        self._on_gap(gap)

    def tell_started(self, started: Started) -> None:
        """Hand a placement to the application, as iterating does."""
        if self._on_started is not None:
            self._on_started(started)

    async def close(self) -> None:
        """Follow no longer; what is queued is dropped. Idempotent."""
        if not self._arrivals.over:
            self._owner.subscription_closed(self)
        self._arrivals.items.clear()
        self.end(None)

    def start(self, started: Started, resume: Since) -> None:
        """The server's answer came, the first or that after a reconnect (called by the client)."""
        if self._on_started is not None:
            self._arrivals.push((started, resume if isinstance(resume, Position) else None))
        self._arrivals.answered(started)
        if self._position is None and not self._arrivals.items:
            self._position = started.after

    def push(self, item: Item, resume: Since) -> bool:
        """Queue an item (called by the client); tell whether the queue has just become full."""
        self._arrivals.push((item, resume if isinstance(resume, Position) else None))
        if isinstance(item, Message):
            self._bytes += len(item.data)
        if self._full or (len(self._arrivals.items) < MAX_QUEUED and self._bytes < MAX_QUEUED_BYTES):
            return False
        self._full = True
        return True

    def end(self, error: HeadraceError | None) -> None:
        """Nothing more will come (called by the client); what is queued can still be iterated."""
        self._arrivals.end(error)


def _log_gap(gap: Gap) -> None:
    ranges = ", ".join(f"{gone.epoch}-{gone.first}..{gone.last}" for gone in gap.missing)
    logger.warning("gap in %s (%s): %s", gap.topic, gap.recovery.value, ranges or "nothing is known of what is missing")
