"""The subscriptions of the Redis store: each verb is one script in the slot of the subscription's topic.

A subscription's record lies there and outlives the topic. The project's registry says on which topic it is; it lies in
another slot, is written before and cleared after, and may name one that is not there, but never misses one that is.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import cast

from broker.errors import (
    AlreadyExists,
    HeadraceError,
    OutOfBounds,
    Unavailable,
    UnknownSubscription,
    UnknownTopic,
    WrongKind,
)
from broker.names import ProjectName, SubscriptionName, TopicName, local_of, project_of
from broker.positions import Position
from broker.store import scripts
from broker.store import subscription_wire as wire
from broker.store.asking import Asking, make_nonce
from broker.store.base import Commands, Script
from broker.store.keys import SubscriptionKeys
from broker.store.subscriptions import (
    LEASE_SCAN,
    MAX_HELD,
    CursorAck,
    Leased,
    Settled,
    Settlement,
    SubscriptionInfo,
    SubscriptionSettings,
    Window,
)
from broker.store.wire import RETRY_MS, Word

CACHED_SUBSCRIPTIONS = 10_000
"""Subscriptions whose topic and keys are kept: asking the registry is a round trip to another primary."""

LISTED_AT_ONCE = 256
"""Subscriptions that a listing asks for at a time."""

CLAIM_ATTEMPTS = 8
"""How often a name is claimed while other nodes claim the same one."""

_REFUSALS: dict[object, type[HeadraceError]] = {0: UnknownTopic, 1: WrongKind, 2: OutOfBounds, 3: AlreadyExists}
_SETTLED = (Settled.OK, Settled.STALE, Settled.UNKNOWN)


class RedisSubscriptions(Asking):
    """Implements `SubscriptionStore`."""

    def __init__(self, commands: Commands, *, prefix: str = "hr") -> None:
        super().__init__(commands, prefix=prefix)
        self._places: dict[SubscriptionName, tuple[TopicName, SubscriptionKeys]] = {}

    # What an operator does.

    async def create_subscription(
        self,
        name: SubscriptionName,
        topic: TopicName,
        settings: SubscriptionSettings,
        *,
        after: Position | None = None,
    ) -> SubscriptionInfo:
        nonce = make_nonce()
        registry, claim = self.keys.subscriptions(project_of(name)), wire.claimed(local_of(topic), nonce)
        await self._claim(name, claim)
        keys = self.keys.subscription(topic, name)
        place: tuple[Word, Word] = (after.epoch, after.offset) if after else ("", "")
        args = (keys.group, nonce, *wire.settings_args(settings), *place)
        try:
            reply = _answer(name, await self._run(scripts.CREATE_SUBSCRIPTION, keys.all, args))
        except (UnknownTopic, OutOfBounds):
            await self._remove_field(registry, local_of(name), claim)
            raise
        if not await self._replace_field(registry, local_of(name), claim, wire.confirmed(claim)):
            # Another node claimed the name before the record was there.
            await self._run(scripts.DELETE_SUBSCRIPTION, keys.all, (keys.group,))
            raise AlreadyExists(f"The subscription {name} exists already.")
        return wire.read_info(name, topic, reply)

    async def _claim(self, name: SubscriptionName, claim: bytes) -> None:
        """Write the claim into the registry where no subscription of that name is. Raises `AlreadyExists`."""
        registry = self.keys.subscriptions(project_of(name))
        for _ in range(CLAIM_ATTEMPTS):
            record = await self._registration(name)
            if record and await self._is_there(name, self._topic_in(name, record)):
                raise AlreadyExists(f"The subscription {name} exists already.")
            if await self._replace_field(registry, local_of(name), record, claim):
                return
        raise Unavailable("Others create this subscription at the same time.", retry_ms=RETRY_MS)

    async def _is_there(self, name: SubscriptionName, topic: TopicName) -> bool:
        key = self.keys.subscription(topic, name).sub
        return bool(await self._execute(key, "EXISTS", key))

    async def subscription(self, name: SubscriptionName) -> SubscriptionInfo:
        topic, reply = await self._ask_subscription(scripts.DESCRIBE_SUBSCRIPTION, name)
        return wire.read_info(name, topic, cast("list[object]", reply))

    async def subscriptions(self, project: ProjectName) -> list[SubscriptionInfo]:
        names = sorted(await self._registered(project))
        found: list[SubscriptionInfo] = []
        for at in range(0, len(names), LISTED_AT_ONCE):
            infos = await asyncio.gather(*map(self._subscription_or_none, names[at : at + LISTED_AT_ONCE]))
            found += [info for info in infos if info]
        return sorted(found, key=lambda info: (-info.created_ms, info.name))

    async def _subscription_or_none(self, name: SubscriptionName) -> SubscriptionInfo | None:
        try:
            return await self.subscription(name)
        except UnknownSubscription:
            return None

    async def subscriptions_of(self, topic: TopicName) -> list[SubscriptionName]:
        records = await self._registered(project_of(topic))
        names = [name for name, record in records.items() if self._topic_in(name, record) == topic]
        there = await asyncio.gather(*(self._is_there(name, topic) for name in names))
        return sorted(name for name, is_there in zip(names, there, strict=True) if is_there)

    async def subscription_count(self, project: ProjectName) -> int:
        registry = self.keys.subscriptions(project)
        return cast(int, await self._execute(registry, "HLEN", registry))

    async def configure_subscription(self, name: SubscriptionName, settings: SubscriptionSettings) -> SubscriptionInfo:
        args = wire.settings_args(settings)
        topic, reply = await self._ask_subscription(scripts.CONFIGURE_SUBSCRIPTION, name, *args)
        return wire.read_info(name, topic, cast("list[object]", reply))

    async def delete_subscription(self, name: SubscriptionName) -> None:
        record = await self._registration(name)
        if not record:
            raise UnknownSubscription(f"The subscription {name} does not exist.")
        keys = self.keys.subscription(self._topic_in(name, record), name)
        await self._run(scripts.DELETE_SUBSCRIPTION, keys.all, (keys.group,))
        self._places.pop(name, None)
        await self._remove_field(self.keys.subscriptions(project_of(name)), local_of(name), record)

    async def _delete_subscriptions(self, project: ProjectName) -> None:
        for name in await self._registered(project):
            try:
                await self.delete_subscription(name)
            except UnknownSubscription:
                continue

    # What consumers do.

    async def pull_cursor(self, name: SubscriptionName, *, max_entries: int, max_bytes: int) -> Window:
        _, reply = await self._ask_subscription(scripts.PULL_CURSOR, name, max_entries, max_bytes, LEASE_SCAN)
        return wire.read_window(cast("list[object]", reply))

    async def ack_cursor(self, name: SubscriptionName, offset: int) -> CursorAck:
        _, reply = await self._ask_subscription(scripts.ACK_CURSOR, name, offset)
        return CursorAck(cast(bytes, reply).decode())

    async def lease(
        self, name: SubscriptionName, *, max_entries: int, max_bytes: int, deadline_ms: int | None = None
    ) -> Leased:
        lasting: Word = "" if deadline_ms is None else deadline_ms
        nonce = secrets.token_hex(8)
        args = (max_entries, max_bytes, lasting, nonce, LEASE_SCAN, MAX_HELD)
        _, reply = await self._ask_subscription(scripts.LEASE, name, *args)
        return wire.read_leased(cast("list[object]", reply))

    async def settle(self, name: SubscriptionName, settlements: Sequence[Settlement]) -> list[Settled]:
        if not settlements:
            return []
        args = wire.settlement_args(settlements)
        _, reply = await self._ask_subscription(scripts.SETTLE, name, *args)
        return [_SETTLED[code] for code in cast("list[int]", reply)]

    async def seek(self, name: SubscriptionName, to: Position | int) -> SubscriptionInfo:
        place: tuple[Word, Word] = ("", to) if isinstance(to, int) else (to.epoch, to.offset)
        topic, reply = await self._ask_subscription(scripts.SEEK, name, *place)
        return wire.read_info(name, topic, cast("list[object]", reply))

    # Where a subscription is.

    async def _ask_subscription(self, script: Script, name: SubscriptionName, *args: Word) -> tuple[TopicName, object]:
        """Run a script on a subscription's keys and return its topic and the answer; raises what it refused with.

        Where the topic came from memory and nothing is there, the registry is asked: the name may be used anew.
        """
        known = name in self._places
        topic, keys = await self._place(name)
        reply = await self._run(script, keys.all, (keys.group, *args))
        if reply is None and known:
            self._places.pop(name, None)
            return await self._ask_subscription(script, name, *args)
        return topic, _answer(name, reply)

    async def _place(self, name: SubscriptionName) -> tuple[TopicName, SubscriptionKeys]:
        place = self._places.get(name)
        if place is None:
            record = await self._registration(name)
            if not record:
                raise UnknownSubscription(f"The subscription {name} does not exist.")
            topic = self._topic_in(name, record)
            place = topic, self.keys.subscription(topic, name)
            while len(self._places) >= CACHED_SUBSCRIPTIONS:
                del self._places[next(iter(self._places))]
            self._places[name] = place
        return place

    def _topic_in(self, name: SubscriptionName, record: bytes) -> TopicName:
        return TopicName(f"{project_of(name)}/{wire.topic_in(record)}")

    async def _registration(self, name: SubscriptionName) -> bytes:
        registry = self.keys.subscriptions(project_of(name))
        return cast("bytes | None", await self._execute(registry, "HGET", registry, local_of(name))) or b""

    async def _registered(self, project: ProjectName) -> dict[SubscriptionName, bytes]:
        registry = self.keys.subscriptions(project)
        flat = cast("list[bytes]", await self._execute(registry, "HGETALL", registry))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {SubscriptionName(f"{project}/{name.decode()}"): record for name, record in pairs}


def _answer(name: SubscriptionName, reply: object) -> list[object]:
    """Return a script's answer, or raise what it refused with."""
    if reply is None:
        raise UnknownSubscription(f"The subscription {name} does not exist.")
    if isinstance(reply, int):
        raise _REFUSALS[reply](_SENTENCES[reply].format(name=name))
    return cast("list[object]", reply)


_SENTENCES = {
    0: "The topic of the subscription {name} does not exist.",
    1: "The subscription {name} is not of the kind that this needs.",
    2: "The log of the subscription {name} has no such place.",
    3: "The subscription {name} exists already.",
}
