"""The subscriptions of the memory store: `SubscriptionStore` over `MemorySubscription`, one a name."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence

from broker.errors import AlreadyExists, UnknownSubscription, UnknownTopic, WrongKind
from broker.names import ProjectName, SubscriptionName, TopicName, project_of
from broker.positions import Position
from broker.store.memory_log import MemoryLog
from broker.store.memory_subscription import MemorySubscription, checked_place, place_of
from broker.store.subscriptions import (
    CursorAck,
    Leased,
    Settled,
    Settlement,
    SubscriptionInfo,
    SubscriptionKind,
    SubscriptionSettings,
    Window,
)


class MemorySubscriptions(ABC):
    """Implements `SubscriptionStore` on the logs of the store that inherits it."""

    @abstractmethod
    def _subscriptions(self) -> dict[SubscriptionName, MemorySubscription]: ...

    @abstractmethod
    def _open(self, topic: TopicName) -> MemoryLog | None:
        """Return a topic's log in this primary's epoch."""

    @abstractmethod
    def _now(self) -> int: ...

    async def create_subscription(
        self,
        name: SubscriptionName,
        topic: TopicName,
        settings: SubscriptionSettings,
        *,
        after: Position | None = None,
    ) -> SubscriptionInfo:
        if name in self._subscriptions():
            raise AlreadyExists(f"The subscription {name} exists already.")
        log = self._existing(topic)
        state = log.state()
        cursor = place_of(state, checked_place(state, after) if after else state.end.offset)
        created = MemorySubscription(name, topic, self._now(), settings, cursor, log.born)
        self._subscriptions()[name] = created
        return created.info(log)

    async def subscription(self, name: SubscriptionName) -> SubscriptionInfo:
        found = self._found(name)
        log = self._open(found.topic)
        if log:
            found.open(log)
            found.lift(log)
        return found.info(log)

    async def subscriptions(self, project: ProjectName) -> list[SubscriptionInfo]:
        infos = [await self.subscription(name) for name in self._subscriptions() if project_of(name) == project]
        return sorted(infos, key=lambda info: (-info.created_ms, info.name))

    async def subscriptions_of(self, topic: TopicName) -> list[SubscriptionName]:
        return sorted(name for name, found in self._subscriptions().items() if found.topic == topic)

    async def subscription_count(self, project: ProjectName) -> int:
        return sum(project_of(name) == project for name in self._subscriptions())

    async def configure_subscription(self, name: SubscriptionName, settings: SubscriptionSettings) -> SubscriptionInfo:
        found = self._found(name)
        old = found.settings
        if (old.kind, old.ordering_attribute) != (settings.kind, settings.ordering_attribute):
            raise WrongKind("A subscription's kind and ordering attribute are for life.")
        found.settings = settings
        return await self.subscription(name)

    async def delete_subscription(self, name: SubscriptionName) -> None:
        self._found(name)
        del self._subscriptions()[name]

    async def _delete_subscriptions(self, project: ProjectName) -> None:
        for name in [name for name in self._subscriptions() if project_of(name) == project]:
            await self.delete_subscription(name)

    async def pull_cursor(self, name: SubscriptionName, *, max_entries: int, max_bytes: int) -> Window:
        found, log = self._opened(name, SubscriptionKind.CURSOR)
        return found.pull(log, now_ms=self._now(), max_entries=max_entries, max_bytes=max_bytes)

    async def ack_cursor(self, name: SubscriptionName, offset: int) -> CursorAck:
        found, log = self._opened(name, SubscriptionKind.CURSOR)
        return found.ack(log, offset, now_ms=self._now())

    async def lease(
        self, name: SubscriptionName, *, max_entries: int, max_bytes: int, deadline_ms: int | None = None
    ) -> Leased:
        found, log = self._opened(name, SubscriptionKind.SHARED)
        return found.lease(
            log,
            now_ms=self._now(),
            max_entries=max_entries,
            max_bytes=max_bytes,
            deadline_ms=found.settings.ack_deadline_s * 1000 if deadline_ms is None else deadline_ms,
            nonce=secrets.token_hex(8),
        )

    async def settle(self, name: SubscriptionName, settlements: Sequence[Settlement]) -> list[Settled]:
        found, log = self._opened(name, SubscriptionKind.SHARED)
        return [found.settle(one, epoch=log.state().epoch, now_ms=self._now()) for one in settlements]

    async def seek(self, name: SubscriptionName, to: Position | int) -> SubscriptionInfo:
        found, log = self._opened(name)
        found.seek(log, to)
        return await self.subscription(name)

    def _found(self, name: SubscriptionName) -> MemorySubscription:
        if name not in self._subscriptions():
            raise UnknownSubscription(f"The subscription {name} does not exist.")
        return self._subscriptions()[name]

    def _opened(
        self, name: SubscriptionName, kind: SubscriptionKind | None = None
    ) -> tuple[MemorySubscription, MemoryLog]:
        found = self._found(name)
        if kind and found.settings.kind is not kind:
            raise WrongKind(f"The subscription {name} is of the kind {found.settings.kind}, not {kind}.")
        log = self._existing(found.topic)
        found.open(log)
        return found, log

    def _existing(self, topic: TopicName) -> MemoryLog:
        log = self._open(topic)
        if log is None:
            raise UnknownTopic(f"The topic {topic} does not exist.")
        return log
