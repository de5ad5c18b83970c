"""The bus: the node's ear on the live channels, one subscriber connection a primary.

Redis drops what a subscriber misses and tells nobody. So everything after which an announcement may be missing ends in
`on_possible_gap`, once the channel is subscribed again (before that a comparison with the log would prove nothing): an
ended connection (killed, cut for its output buffer, silent), an unsolicited `sunsubscribe`, a repeated confirmation,
MOVED, a changed slot map, and a loop of our own that stood still. DESIGN 5, "The bus owns its subscriber connections".
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from broker.errors import Unavailable
from broker.names import TopicName
from broker.ports import BusListener
from cluster.address import Endpoint
from cluster.connection import ErrorReply
from cluster.ear import Ear
from cluster.outage import MIN_RETRY_MS
from cluster.slots import parse_redirection, slot_of
from cluster.subscriptions import Reading
from cluster.topology import Topology

FOLLOW_SECONDS = 5.0
"""For a subscription to be confirmed."""

STALL_SECONDS = 1.0
"""The loop stood still for so long: the server may have cut us off meanwhile, or a feed be stale."""

STALL_TICK_SECONDS = 0.25

RECONNECTED = "reconnected"
UNSUBSCRIBED = "unsubscribed"
REPEATED = "confirmed_again"
REMAPPED = "remapped"
STALLED = "stalled"


@dataclass(slots=True, eq=False)
class _Channel:
    """One followed channel: a topic's, or one whose payloads go to `hear`."""

    name: bytes
    slot: int
    topic: TopicName | None
    hear: Callable[[bytes], None] | None
    ear: Ear | None = None
    """None while nobody serves its slot."""
    gap: str = ""
    """Why announcements may have been missed since it was confirmed last."""
    is_open: bool = True
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)


class _Nobody:
    def on_announcements(self, batch: object) -> None: ...

    def on_possible_gap(self, topics: object, reason: str) -> None: ...


class Bus:
    """Inert until `serve` runs; then until it is cancelled. `deliver_to` names the listener before that."""

    def __init__(self, topology: Topology, *, channel_of: Callable[[TopicName], bytes]) -> None:
        self._topology = topology
        self._channel_of = channel_of
        self._listener: BusListener = _Nobody()
        self._channels: dict[bytes, _Channel] = {}
        self._ears: dict[Endpoint, Ear] = {}
        self._serving: dict[Endpoint, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        topology.watch(self._on_slots_changed)

    def deliver_to(self, listener: BusListener) -> None:
        self._listener = listener

    async def follow(self, topic: TopicName) -> None:
        await self._open(self._channel_of(topic), topic=topic, hear=None)

    def unfollow(self, topic: TopicName) -> None:
        self.stop_hearing(self._channel_of(topic))

    async def hear(self, channel: bytes, callback: Callable[[bytes], None]) -> None:
        """Have the payloads of a channel that is no topic's given to `callback`. As `follow`."""
        await self._open(channel, topic=None, hear=callback)

    def stop_hearing(self, channel: bytes) -> None:
        found = self._channels.pop(channel, None)
        if found is not None:
            self._close(found)

    async def serve(self) -> None:
        """Keep an ear on every primary, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._on_slots_changed()
                await self._watch_for_stalls()
        finally:
            self._tasks = None

    async def _open(self, name: bytes, *, topic: TopicName | None, hear: Callable[[bytes], None] | None) -> None:
        self.stop_hearing(name)
        channel = self._channels[name] = _Channel(name, slot_of(name), topic, hear)
        self._place(channel)
        try:
            async with asyncio.timeout(self._patience(channel)):
                await channel.confirmed.wait()
        except TimeoutError:
            self._abandon(channel)
            raise Unavailable("The live feed cannot be reached at the moment.", retry_ms=MIN_RETRY_MS) from None
        except asyncio.CancelledError:
            self._abandon(channel)
            raise
        if not channel.is_open:
            raise Unavailable("The subscription was ended meanwhile.", retry_ms=MIN_RETRY_MS)

    def _patience(self, channel: _Channel) -> float:
        """A primary that is away is not waited for beyond the grace."""
        if channel.ear is not None and channel.ear.outage.is_away:
            return channel.ear.outage.grace_left(asyncio.get_running_loop().time())
        return FOLLOW_SECONDS

    def _abandon(self, channel: _Channel) -> None:
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
        self._close(channel)

    def _close(self, channel: _Channel) -> None:
        if channel.is_open and channel.ear is not None:
            channel.ear.forget(channel.name)
        channel.is_open = False
        channel.confirmed.set()

    def _place(self, channel: _Channel) -> None:
        endpoint = self._topology.slots.primary_of(channel.slot)
        channel.ear = self._ears.get(endpoint) if endpoint else None
        if channel.ear is not None:
            channel.ear.want(channel.name)

    def _on_slots_changed(self) -> None:
        if self._tasks is None:
            return
        primaries = self._topology.primaries
        for endpoint in primaries - set(self._ears):
            access, name = self._topology.address.access, self._topology.name
            ear = self._ears[endpoint] = Ear(endpoint, access, name=name, listener=self)
            self._serving[endpoint] = self._tasks.create_task(ear.serve())
        for channel in self._channels.values():
            self._move(channel)
        for endpoint in set(self._ears) - primaries:
            del self._ears[endpoint]
            self._serving.pop(endpoint).cancel()

    def _move(self, channel: _Channel) -> None:
        endpoint = self._topology.slots.primary_of(channel.slot)
        if channel.ear is not None and endpoint == channel.ear.endpoint:
            return
        if channel.ear is not None:
            channel.ear.forget(channel.name)
            _miss(channel, REMAPPED)
        self._place(channel)

    def on_reading(self, ear: Ear, reading: Reading) -> None:
        self._deliver(reading.messages)
        for name in reading.dropped:
            self._on_dropped(ear, name)
        for names, error in reading.refused:
            self._on_refused(ear, names, error)
        for name in reading.repeated:
            if name in self._channels:
                _miss(self._channels[name], REPEATED)
        self._confirm(ear, reading.confirmed + reading.repeated)

    def on_lost(self, ear: Ear, reason: str) -> None:
        self._topology.suspect()
        for channel in self._channels.values():
            if channel.ear is ear:
                _miss(channel, RECONNECTED)

    def _deliver(self, messages: list[tuple[bytes, bytes]]) -> None:
        batch: list[tuple[TopicName, bytes]] = []
        for name, payload in messages:
            channel = self._channels.get(name)
            if channel is None:
                continue
            if channel.topic is not None:
                batch.append((channel.topic, payload))
            elif channel.hear is not None:
                channel.hear(payload)
        if batch:
            self._listener.on_announcements(batch)

    def _on_dropped(self, ear: Ear, name: bytes) -> None:
        channel = self._channels.get(name)
        if channel is not None and channel.ear is ear:
            _miss(channel, UNSUBSCRIBED)
            # Whoever serves the slot now, asking here names it: MOVED.
            ear.want(name)
        self._topology.suspect()

    def _on_refused(self, ear: Ear, names: tuple[bytes, ...], error: ErrorReply) -> None:
        if error.code == "MOVED":
            self._topology.moved(parse_redirection(str(error), asked=ear.endpoint))
        else:
            self._topology.suspect()
        # Those that the new map has taken elsewhere are not wanted here any more.
        ear.want_later(names)

    def _confirm(self, ear: Ear, names: list[bytes]) -> None:
        gaps: dict[str, list[TopicName]] = {}
        for name in names:
            channel = self._channels.get(name)
            if channel is None or channel.ear is not ear:
                continue
            channel.confirmed.set()
            if channel.gap and channel.topic is not None:
                gaps.setdefault(channel.gap, []).append(channel.topic)
            channel.gap = ""
        for reason, topics in gaps.items():
            self._report(topics, reason)

    def _report(self, topics: Collection[TopicName], reason: str) -> None:
        self._listener.on_possible_gap(topics, reason)

    async def _watch_for_stalls(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(STALL_TICK_SECONDS)
            if clock() - before > STALL_TICK_SECONDS + STALL_SECONDS:
                topics = [channel.topic for channel in self._channels.values() if channel.topic is not None]
                if topics:
                    self._report(topics, STALLED)


def _miss(channel: _Channel, reason: str) -> None:
    """Note that announcements may be missed from here on. A channel never confirmed has nothing to miss."""
    if channel.confirmed.is_set():
        channel.gap = channel.gap or reason
        channel.confirmed.clear()
