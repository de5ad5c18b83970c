"""What one durable subscription brings to the application: a bounded queue, and deliveries that want to be settled."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from headrace.arrivals import Arrivals
from headrace.consuming import Verb
from headrace.errors import HeadraceError
from headrace.messages import Attached, Lease, Message


class Owner(Protocol):
    """What a consumer asks of its client."""

    def settle(self, verb: Verb, subscription: str, ack: str, argument: int | None) -> asyncio.Future[None]: ...

    def consumer_closed(self, consumer: "Consumer") -> None:
        """The application wants no more."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is leased to this client until it is settled, or its lease ends.

    `attempt` counts from 1. The three verbs return a future: awaiting it waits for the server's answer; it raises
    `LeaseLost` where the lease had ended, for the message may be in other hands by now. What is settled in one loop
    turn is one request.
    """

    message: Message
    attempt: int
    subscription: str
    _ack: str
    _owner: Owner

    def __repr__(self) -> str:
        return f"<Delivery {self._ack!r} of {self.subscription!r}, attempt {self.attempt}>"

    def ack(self) -> asyncio.Future[None]:
        """It is done: it will not be delivered again."""
        return self._owner.settle("ack", self.subscription, self._ack, None)

    def nack(self, delay: float | None = None) -> asyncio.Future[None]:
        """Give it back, to be delivered again after `delay` seconds, or as the subscription's retry policy says."""
        return self._owner.settle("nack", self.subscription, self._ack, None if delay is None else round(delay * 1000))

    def extend(self, seconds: int) -> asyncio.Future[None]:
        """Keep it for `seconds` from now."""
        return self._owner.settle("extend", self.subscription, self._ack, seconds)


class Consumer:
    """An async iterator of deliveries, over all reconnects: each message at least once until it is acked.

    At most `window` deliveries of a connection are unsettled. When the server ends it (the subscription was deleted,
    the right was revoked) the iteration raises the error; after `close` it just ends.
    """

    def __init__(self, owner: Owner, subscription: str, *, window: int) -> None:
        self.subscription = subscription
        self.window = window
        self._owner = owner
        self._arrivals: Arrivals[Attached, Lease] = Arrivals(closed="The consumer was closed.")

    def __repr__(self) -> str:
        return f"<Consumer of {self.subscription!r}>"

    @property
    def queued(self) -> int:
        """Deliveries that wait to be iterated."""
        return len(self._arrivals.items)

    async def attached(self, *, timeout: float = 30.0) -> Attached:
        """Wait until the server delivers. Raises its refusal, or `TimeoutError` after `timeout` seconds."""
        return await self._arrivals.answer(timeout=timeout)

    async def __aenter__(self) -> Self:
        await self.attached()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while await self.wait():
            yield self.take()

    async def wait(self) -> bool:
        """Return True once something is queued, False when it was closed; raises what else ended it."""
        return await self._arrivals.wait()

    def take(self) -> Delivery:
        """Take the next queued delivery. Raises `IndexError` when nothing is queued."""
        lease = self._arrivals.items.popleft()
        return Delivery(lease.message, lease.attempt, self.subscription, lease.ack, self._owner)

    async def close(self) -> None:
        """Consume no longer. Idempotent.

        What is queued is given back at once, and counts as never delivered; what was taken can still be settled.
        """
        if not self._arrivals.over:
            settle = self._owner.settle
            back = [settle("release", self.subscription, lease.ack, None) for lease in self._arrivals.items]
            self._arrivals.items.clear()
            self._owner.consumer_closed(self)
            for future in back:
                future.add_done_callback(_ignore)
        self.end(None)

    def start(self, attached: Attached) -> None:
        """The server delivers, for the first time or after a reconnect (called by the client)."""
        self._arrivals.answered(attached)

    def push(self, leases: Sequence[Lease]) -> None:
        """Queue deliveries (called by the client)."""
        self._arrivals.push(*leases)
        # Each reconnect brings another window. The oldest are let go: they come again when their leases end.
        while len(self._arrivals.items) > 2 * self.window:
            self._arrivals.items.popleft()

    def end(self, error: HeadraceError | None) -> None:
        """Nothing more will come (called by the client); what is queued can still be iterated."""
        self._arrivals.end(error)


def _ignore(future: asyncio.Future[None]) -> None:
    """What was given back in vain comes again when its lease ends."""
    if not future.cancelled():
        future.exception()
