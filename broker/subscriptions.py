"""Durable subscriptions: making them, pulling from them, settling what was pulled.

The store keeps cursors and leases, each verb in one atomic step; `broker.redelivery` decides what follows from them.
Here is what joins the two: which verb a kind of subscription needs, what waits for what, and what becomes of a message
whose attempts are used up. Rights were checked by the caller.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from broker.acks import AckId, ack_of, check_kind, parse_acks
from broker.deadletters import DeadLetters
from broker.errors import HeadraceError, InvalidRequest, LimitExceeded, OutOfBounds, UnknownTopic, WrongKind
from broker.messages import Entry
from broker.names import ProjectName, SubscriptionName, TopicName, project_of, shown
from broker.ports import FromTime
from broker.positions import Position
from broker.recall import Known, Recall
from broker.redelivery import (
    check_deadline,
    check_delay,
    check_settings,
    pause_seconds,
    retry_delay_ms,
    sort,
)
from broker.store.base import ProjectLimits, Store
from broker.store.subscriptions import (
    DEFAULT_ACK_DEADLINE_S,
    LEASE_ENTRIES,
    SETTLE_ENTRIES,
    Ack,
    CursorAck,
    Extend,
    Lease,
    Leased,
    Nack,
    Release,
    Settled,
    Settlement,
    SubscriptionInfo,
    SubscriptionKind,
    SubscriptionSettings,
    SubscriptionStore,
)
from broker.waiting import Waiting

log = logging.getLogger(__name__)

PULL_BYTES = 8 * 1024 * 1024
"""Envelope bytes of one pull (one larger message goes alone): bounds the answer and the script's time."""

MAX_WAIT_SECONDS = 60.0
"""The longest that one pull waits, whatever its caller asks."""

PROJECT_SUBSCRIPTIONS = 10_000
"""Subscriptions of one project where neither it nor the node says otherwise."""

MAX_LOOKS = 10
"""Script calls of one look that finds nothing but messages to bury or to pass over; the next look goes on."""

_MOST_SETTLED_AT_ONCE = 4
"""Calls that settle the parts of one long list at the same time."""

Results = list[Settled]
"""One of each settlement, in order."""

Infos = list[SubscriptionInfo]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way to a consumer. `ack` settles it; to its consumer it is opaque (`broker.acks`)."""

    entry: Entry
    attempt: int
    ack: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """A pull's answer. `trimmed` and `restarted` are what the log did meanwhile, each told once."""

    deliveries: tuple[Delivery, ...] = ()
    trimmed: int = 0
    """Messages that retention took before they were delivered or acked."""
    restarted: bool = False
    """The topic was created again: this begins at its first message."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """ARGO's three (contract ams.md 4.8)."""

    earliest: int
    """The oldest retained message."""
    current: int
    """The next one to be delivered."""
    following: int
    """The next one to be published."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at a subscription, and how long the next one can wait where nothing rings."""

    pulled: Pulled
    pause_seconds: float


class SubscriptionsStore(Store, SubscriptionStore, Protocol):
    """Both ports of one store."""


class Subscriptions:
    """What the rooms of the gateway call. `jitter` gives numbers in 0..1, `monotonic` is in seconds.

    `limits_of` says how many subscriptions a project may have, where that is not `PROJECT_SUBSCRIPTIONS`.
    """

    def __init__(
        self,
        store: SubscriptionsStore,
        dead_letters: DeadLetters,
        waiting: Waiting,
        *,
        monotonic: Callable[[], float],
        jitter: Callable[[], float] = random.random,
        limits_of: Callable[[ProjectName], Awaitable[ProjectLimits]] | None = None,
    ) -> None:
        self._store = store
        self._dead_letters = dead_letters
        self._waiting = waiting
        self._monotonic = monotonic
        self._jitter = jitter
        self._limits_of = limits_of
        self._known = Recall(monotonic=monotonic)

    # What there is.

    async def create(
        self, name: SubscriptionName, topic: TopicName, settings: SubscriptionSettings
    ) -> SubscriptionInfo:
        """Begin at the topic's end: only later messages are seen. An ack deadline of 0 is the default one.

        Raises `InvalidRequest`, `UnknownTopic` (the dead-letter topic's too), `AlreadyExists`, `LimitExceeded`. Then no
        subscription was made.
        """
        if project_of(name) != project_of(topic):
            raise InvalidRequest(f"{shown(topic)} is a topic of another project than {shown(name)}.")
        settings = replace(settings, ack_deadline_s=settings.ack_deadline_s or DEFAULT_ACK_DEADLINE_S)
        await self._check(settings, topic)
        await self._require_room(project_of(name))
        return self._known.remember(await self._store.create_subscription(name, topic, settings))

    async def get(self, name: SubscriptionName) -> SubscriptionInfo:
        """Also its lag, pending count and oldest message that is not acked. Raises `UnknownSubscription`."""
        return self._known.remember(await self._store.subscription(name))

    async def list(self, project: ProjectName) -> Infos:
        """All of a project, newest first. Raises `UnknownProject`."""
        return await self._store.subscriptions(project)

    async def of_topic(self, topic: TopicName) -> Sequence[SubscriptionName]:
        """The names of a topic's subscriptions, sorted. Raises `UnknownTopic`."""
        await self._store.topic(topic)
        return await self._store.subscriptions_of(topic)

    async def configure(self, name: SubscriptionName, settings: SubscriptionSettings) -> SubscriptionInfo:
        """Replace the settings. Raises `UnknownSubscription`, `InvalidRequest`, `WrongKind` (its kind is for life)."""
        info = await self._store.subscription(name)
        await self._check(settings, info.topic)
        configured = self._known.remember(await self._store.configure_subscription(name, settings))
        self._waiting.ring(name)
        return configured

    async def delete(self, name: SubscriptionName) -> None:
        """Raises `UnknownSubscription`. Whoever waits for its messages is told."""
        self._known.forget(name)
        await self._store.delete_subscription(name)
        self._waiting.ring(name)

    async def _require_room(self, project: ProjectName) -> None:
        most = (await self._limits_of(project)).subscriptions if self._limits_of is not None else None
        most = PROJECT_SUBSCRIPTIONS if most is None else most
        if await self._store.subscription_count(project) >= most:
            raise LimitExceeded(f"The project {project} has {most} subscriptions, as many as it may.")

    async def _check(self, settings: SubscriptionSettings, topic: TopicName) -> None:
        check_settings(settings, topic)
        if settings.dead_letter_topic is not None:
            await self._store.topic(topic)
            await self._dead_letters.require(settings.dead_letter_topic)

    # Pulling.

    async def pull(
        self, name: SubscriptionName, *, max_messages: int, max_bytes: int = PULL_BYTES, wait_seconds: float = 0
    ) -> Pulled:
        """Return the next messages: of a cursor those after it, of a shared subscription such as are in no hand.

        Where there is none, returns as soon as there is one, or with none after `wait_seconds`. Raises
        `UnknownSubscription`, `UnknownTopic` (it was deleted), `Unavailable`.
        """
        max_messages = min(max(max_messages, 1), LEASE_ENTRIES)
        look = await self._look(name, max_messages, max_bytes)
        if look.pulled.deliveries or wait_seconds <= 0:
            return look.pulled
        deadline = self._monotonic() + min(wait_seconds, MAX_WAIT_SECONDS)
        trimmed, restarted = look.pulled.trimmed, look.pulled.restarted
        # Asked anew: a subscription that was made again under its name may have another topic now.
        topic = (await self.get(name)).topic
        async with self._waiting.bell(name, topic) as bell:
            while True:
                look = await self._look(name, max_messages, max_bytes)
                trimmed, restarted = trimmed + look.pulled.trimmed, restarted or look.pulled.restarted
                left = deadline - self._monotonic()
                if look.pulled.deliveries or left <= 0:
                    return Pulled(look.pulled.deliveries, trimmed, restarted)
                await bell.wait(min(left, look.pause_seconds))

    async def _look(self, name: SubscriptionName, max_messages: int, max_bytes: int) -> _Look:
        known = await self._recall(name)
        if known.settings.kind is SubscriptionKind.CURSOR:
            try:
                return await self._look_at_cursor(name, max_messages, max_bytes)
            except WrongKind:
                # Made again as the other kind, meanwhile.
                self._known.forget(name)
        try:
            leased = await self.lease(name, max_messages=max_messages, max_bytes=max_bytes)
        except WrongKind:
            self._known.forget(name)
            return await self._look_at_cursor(name, max_messages, max_bytes)
        pulled = Pulled(deliveries_of(leased), leased.trimmed, leased.restarted)
        return _Look(pulled, pause_seconds(leased, most=MAX_WAIT_SECONDS))

    async def _look_at_cursor(self, name: SubscriptionName, max_messages: int, max_bytes: int) -> _Look:
        window = await self._store.pull_cursor(name, max_entries=max_messages, max_bytes=max_bytes)
        deliveries = tuple(Delivery(entry, 1, str(entry.position.offset)) for entry in window.entries)
        return _Look(Pulled(deliveries, window.trimmed, window.restarted), MAX_WAIT_SECONDS)

    async def lease(self, name: SubscriptionName, *, max_messages: int, max_bytes: int) -> Leased:
        """Lease messages of a shared subscription; those whose attempts are used up are buried, not returned.

        Raises `UnknownSubscription`, `UnknownTopic`, `WrongKind`, `Unavailable`.
        """
        trimmed, restarted = 0, False
        for _ in range(MAX_LOOKS):
            leased = await self._store.lease(name, max_entries=max_messages, max_bytes=max_bytes)
            trimmed, restarted = trimmed + leased.trimmed, restarted or leased.restarted
            deliverable, spent = sort(leased)
            if spent:
                await self._bury(name, leased, spent)
            if deliverable or not leased.more:
                break
        return replace(leased, leases=deliverable, trimmed=trimmed, restarted=restarted)

    async def _bury(self, name: SubscriptionName, leased: Leased, spent: Sequence[Lease]) -> None:
        """Never raises: what was leased beside these is to be delivered. They come again when their leases end."""
        into = leased.settings.dead_letter_topic
        if into is None:
            return
        try:
            topic = (await self._recall(name)).topic
            settlements = await self._dead_letters.bury(spent, into=into, topic=topic, subscription=name)
            await self._store.settle(name, settlements)
        except HeadraceError as refusal:
            log.warning("buried messages could not be settled", extra={"subscription": name, "reason": refusal.code})

    # Settling.

    async def acknowledge(self, name: SubscriptionName, acks: Sequence[str]) -> CursorAck | Results:
        """Ack a cursor up to the highest of `acks`, or each of them by itself on a shared subscription.

        Raises `UnknownSubscription`, `InvalidRequest` (none, too many, or an ack id of the other kind), `UnknownTopic`.
        """
        read = parse_acks(acks)
        known = await self._recall(name)
        check_kind(read, known.settings.kind)
        if known.settings.kind is SubscriptionKind.CURSOR:
            return await self._store.ack_cursor(name, max(ack.offset for ack in read))
        settled = await self.settle(name, [Ack(ack.offset, ack.token) for ack in read])
        if known.settings.ordering_attribute is not None:
            # The next message of its key can be given out.
            self._waiting.ring(name)
        return settled

    async def nack(self, name: SubscriptionName, acks: Sequence[str], *, delay_ms: int | None = None) -> Results:
        """Give messages of a shared subscription back, to come again after `delay_ms` or as its policy says.

        Raises `UnknownSubscription`, `InvalidRequest`, `WrongKind`, `UnknownTopic`.
        """
        if delay_ms is not None:
            check_delay(delay_ms)
        read = parse_acks(acks)
        settings = await self._shared(name, read)
        nacks = [
            Nack(ack.offset, ack.token, self._delay_ms(settings, ack) if delay_ms is None else delay_ms) for ack in read
        ]
        settled = await self.settle(name, nacks)
        self._waiting.ring(name)
        return settled

    def _delay_ms(self, settings: SubscriptionSettings, ack: AckId) -> int:
        return retry_delay_ms(settings, ack.attempt, jitter=self._jitter())

    async def extend(self, name: SubscriptionName, acks: Sequence[str], *, deadline_s: int) -> Results:
        """Keep messages of a shared subscription for `deadline_s` from now; 0 gives them back, as `nack` does.

        Raises `UnknownSubscription`, `InvalidRequest`, `WrongKind`, `UnknownTopic`.
        """
        check_deadline(deadline_s)
        if deadline_s == 0:
            return await self.nack(name, acks)
        read = parse_acks(acks)
        await self._shared(name, read)
        return await self.settle(name, [Extend(ack.offset, ack.token, deadline_s * 1000) for ack in read])

    async def release(self, name: SubscriptionName, acks: Sequence[str]) -> Results:
        """Give messages back that nobody has looked at: those attempts do not count. Raises as `nack` does."""
        read = parse_acks(acks)
        await self._shared(name, read)
        settled = await self.settle(name, [Release(ack.offset, ack.token) for ack in read])
        self._waiting.ring(name)
        return settled

    async def settle(self, name: SubscriptionName, settlements: Sequence[Settlement]) -> Results:
        """Settle leases of a shared subscription as they are told, in parts where they are many."""
        if len(settlements) <= SETTLE_ENTRIES:
            return await self._store.settle(name, settlements)
        parts = [settlements[at : at + SETTLE_ENTRIES] for at in range(0, len(settlements), SETTLE_ENTRIES)]
        settled: Results = []
        for at in range(0, len(parts), _MOST_SETTLED_AT_ONCE):
            answers = await asyncio.gather(
                *(self._store.settle(name, part) for part in parts[at : at + _MOST_SETTLED_AT_ONCE])
            )
            settled += [each for answer in answers for each in answer]
        return settled

    async def _shared(self, name: SubscriptionName, read: Sequence[AckId]) -> SubscriptionSettings:
        settings = (await self._recall(name)).settings
        if settings.kind is not SubscriptionKind.SHARED:
            raise WrongKind("Messages of a cursor are neither given back nor extended one by one.")
        check_kind(read, settings.kind)
        return settings

    # Moving.

    async def offsets(self, name: SubscriptionName) -> Offsets:
        """Raises `UnknownSubscription`, `UnknownTopic` (it was deleted)."""
        info = await self._store.subscription(name)
        if info.log is None:
            raise UnknownTopic(f"The topic {info.topic} was deleted.")
        earliest = info.log.first_offset
        return Offsets(earliest, max(earliest, info.cursor.offset + 1), info.log.next_offset)

    async def offset_at(self, name: SubscriptionName, time_ms: int) -> int:
        """Return the offset of the first message published at or after `time_ms`.

        Raises `OutOfBounds` when there is none, `UnknownSubscription`, `UnknownTopic`.
        """
        info = await self._store.subscription(name)
        before = await self._store.find_time(info.topic, time_ms)
        log = (await self._store.topic(info.topic)).log
        if before.offset + 1 >= log.next_offset:
            raise OutOfBounds("No message is that late.")
        return before.offset + 1

    async def seek(self, name: SubscriptionName, to: Position | FromTime | int) -> SubscriptionInfo:
        """Go on after a position, from an offset, or with the first message at or after a time.

        Whatever is in a consumer's hands is forgotten. Raises `OutOfBounds` for a place that the log does not have;
        then nothing is moved. Also `UnknownSubscription`, `UnknownTopic`.
        """
        if isinstance(to, FromTime):
            info = await self._store.subscription(name)
            to = await self._store.find_time(info.topic, to.time_ms)
        moved = self._known.remember(await self._store.seek(name, to))
        self._waiting.ring(name)
        return moved

    # What is known of a subscription without asking.

    async def _recall(self, name: SubscriptionName) -> Known:
        known = self._known.of(name)
        if known is not None:
            return known
        info = await self.get(name)
        return Known(info.topic, info.settings)


def deliveries_of(leased: Leased) -> tuple[Delivery, ...]:
    return tuple(Delivery(lease.entry, lease.attempt, ack_of(lease)) for lease in leased.leases)
