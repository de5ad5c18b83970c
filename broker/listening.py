"""Listening: who only wants to know that something happened in a topic, beside the hub, which wants to know what.

It stands between the bus and the hub. The bus has one subscription a channel; here its users are counted, so that the
hub's feed and a pull that waits can both have it. A listener is a function without arguments: nothing is decoded, and
no feed is kept for it.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from broker.errors import Unavailable
from broker.names import TopicName
from broker.ports import Bus, BusListener

MAX_LISTENED_TOPICS = 20_000
"""Channels that are kept open for listeners on one node."""

LINGER_SECONDS = 1.5
"""How long a channel stays open after its last listener: pulls that follow each other find it open."""

BUSY_MS = 1000

log = logging.getLogger(__name__)

Wake = Callable[[], None]


@dataclass(slots=True, eq=False)
class _Channel:
    """A topic's channel: open for the hub, for listeners, or for both."""

    users: set[object] = field(default_factory=set)
    is_open: bool = False
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who comes while another one opens it waits for that, and opens it itself if that was given up."""


class _Nobody:
    def on_announcements(self, batch: object) -> None: ...

    def on_possible_gap(self, topics: object, reason: str) -> None: ...


class Listening:
    """A `Bus` for the hub and a `BusListener` for the bus. `deliver_to` names the hub before the bus runs."""

    def __init__(self, bus: Bus, *, linger_seconds: float = LINGER_SECONDS) -> None:
        self._bus = bus
        self._hub: BusListener = _Nobody()
        self._linger_seconds = linger_seconds
        self._channels: dict[TopicName, _Channel] = {}
        self._wakes: dict[TopicName, dict[Wake, object]] = {}
        self._hubs: dict[TopicName, object] = {}

    def deliver_to(self, hub: BusListener) -> None:
        self._hub = hub

    async def listen(self, topic: TopicName, wake: Wake) -> None:
        """Have `wake` called after each announcement of `topic`, and where one may have been missed.

        Returns once the channel is confirmed: whoever looks at the log after that misses nothing. Raises `Unavailable`;
        then `wake` is not called any more. Each call needs its `stop_listening` with the same function.
        """
        if topic not in self._wakes and len(self._wakes) >= MAX_LISTENED_TOPICS:
            raise Unavailable("This node listens to as many topics as it may.", retry_ms=BUSY_MS)
        user = self._wakes.setdefault(topic, {})[wake] = object()
        try:
            await self._use(topic, user)
        except BaseException:
            self._forget(topic, wake)
            raise

    def stop_listening(self, topic: TopicName, wake: Wake) -> None:
        """The channel is closed a little later, if nobody else has come by then."""
        user = self._forget(topic, wake)
        asyncio.get_running_loop().call_later(self._linger_seconds, self._leave, topic, user)

    def _forget(self, topic: TopicName, wake: Wake) -> object:
        wakes = self._wakes[topic]
        user = wakes.pop(wake)
        if not wakes:
            del self._wakes[topic]
        return user

    # What the hub calls.

    async def follow(self, topic: TopicName) -> None:
        """As `Bus.follow`; a channel that is open already costs nothing."""
        self._hubs[topic] = user = object()
        await self._use(topic, user)

    def unfollow(self, topic: TopicName) -> None:
        self._leave(topic, self._hubs.pop(topic, None))

    async def _use(self, topic: TopicName, user: object) -> None:
        channel = self._channels.setdefault(topic, _Channel())
        channel.users.add(user)
        try:
            async with channel.opening:
                if not channel.is_open:
                    await self._bus.follow(topic)
                    channel.is_open = True
        except BaseException:
            self._leave(topic, user)
            raise

    def _leave(self, topic: TopicName, user: object) -> None:
        channel = self._channels.get(topic)
        if channel is None or user not in channel.users:
            return
        channel.users.remove(user)
        if not channel.users:
            del self._channels[topic]
            self._bus.unfollow(topic)

    # What the bus calls.

    def on_announcements(self, batch: Sequence[tuple[TopicName, bytes]]) -> None:
        """Everything that one read of one primary's connection brought, in order."""
        self._hub.on_announcements(batch)
        if self._wakes:
            self._wake(dict.fromkeys(topic for topic, _ in batch))

    def on_possible_gap(self, topics: Collection[TopicName], reason: str) -> None:
        """Announcements of these topics may have been missed."""
        self._hub.on_possible_gap(topics, reason)
        self._wake(topics)

    def _wake(self, topics: Collection[TopicName]) -> None:
        for topic in topics:
            for wake in tuple(self._wakes.get(topic, ())):
                try:
                    wake()
                except Exception:
                    log.exception("a listener failed")
