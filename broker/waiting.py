"""Waiting for something to consume: a bell that the topic's live channel and this node's own acts ring.

A pull that waits costs a bell and a place in a bounded number, no thread, no lock and no poll. Whoever waits looks at
the subscription after its bell is hung and before each wait, so that nothing is missed in between; leases that run out
ring nothing and are the waiter's own timer.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from broker.errors import Unavailable
from broker.names import SubscriptionName, TopicName

MAX_WAITERS = 10_000
"""Pulls that wait and subscriptions that are consumed over sockets, on one node."""

BUSY_MS = 1000


class Listens(Protocol):
    """What is asked of `broker.listening.Listening`."""

    async def listen(self, topic: TopicName, wake: Callable[[], None]) -> None: ...

    def stop_listening(self, topic: TopicName, wake: Callable[[], None]) -> None: ...


class Bell:
    """Remembers that it was rung until the next `wait` is over."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return once it was rung since the last time, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._event.wait()
        self._event.clear()


class Waiting:
    """The bells of one node, hung by subscription."""

    def __init__(self, listening: Listens, *, max_waiters: int = MAX_WAITERS) -> None:
        self._listening = listening
        self._max_waiters = max_waiters
        self._count = 0
        self._bells: dict[SubscriptionName, set[Bell]] = {}

    @asynccontextmanager
    async def bell(self, subscription: SubscriptionName, topic: TopicName) -> AsyncIterator[Bell]:
        """Hang up a bell for as long as the context lasts. Raises `Unavailable` without room or without the channel."""
        if self._count >= self._max_waiters:
            raise Unavailable("As many pulls wait on this node as may.", retry_ms=BUSY_MS)
        bell = Bell()
        self._count += 1
        self._bells.setdefault(subscription, set()).add(bell)
        try:
            await self._listening.listen(topic, bell.ring)
            try:
                yield bell
            finally:
                self._listening.stop_listening(topic, bell.ring)
        finally:
            self._take_down(subscription, bell)

    def ring(self, subscription: SubscriptionName) -> None:
        """Something in the subscription changed on this node: a nack, a release, a seek."""
        for bell in self._bells.get(subscription, ()):
            bell.ring()

    def _take_down(self, subscription: SubscriptionName, bell: Bell) -> None:
        self._count -= 1
        bells = self._bells[subscription]
        bells.discard(bell)
        if not bells:
            del self._bells[subscription]
