"""Consumers on sockets: a shared subscription whose messages come as soon as there are any, within a window.

Each subscription that is attached to on this node has one dispatch: a task that leases as many messages as its
consumers have room for and hands them out in turn. Leases are the store's, so that consumers on other nodes, over HTTP
and by push compete with these under the same rules.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Protocol

from broker.acks import ack_of, parse_ack
from broker.errors import (
    AlreadySubscribed,
    HeadraceError,
    InvalidRequest,
    NotSubscribed,
    Unavailable,
    UnknownSubscription,
    UnknownTopic,
    WrongKind,
)
from broker.names import SubscriptionName, TopicName
from broker.redelivery import pause_seconds
from broker.store.subscriptions import (
    LEASE_ENTRIES,
    CursorAck,
    Extend,
    Lease,
    Leased,
    Settled,
    SubscriptionKind,
)
from broker.subscriptions import Delivery, Results, Subscriptions
from broker.waiting import Bell, Waiting
from broker.whereabouts import Whereabouts

DEFAULT_WINDOW = 100
"""Messages that a consumer has in its hands at once when it does not say."""

MAX_WINDOW = 10_000

LEASE_BYTES = 1024 * 1024
"""Envelope bytes that one look leases (one larger message goes alone)."""

LOOK_SECONDS = 5.0
"""A subscription with room is looked at this often though nothing rang: what other nodes gave back rings nowhere."""

RETURN_SECONDS = 10.0
"""What a lost socket had in its hands is given to others after this. Until then its acks hold, on any node."""

FIRST_BACK_OFF_SECONDS = 0.1
MAX_BACK_OFF_SECONDS = 2.0
"""Between two looks while the store refuses: doubled each time up to here."""

DRAIN_SECONDS = 2.0
"""For giving back what nobody got; what is not given back comes again when its lease ends."""

log = logging.getLogger(__name__)


class Consumer(Protocol):
    """A socket as `Consumers` sees it. Hashable by identity. Nothing here may raise or block."""

    @property
    def paused(self) -> bool:
        """True while the socket's buffer is above its high-water mark: it is given nothing more. See `resume`."""

    def deliver(self, subscription: SubscriptionName, deliveries: Sequence[Delivery]) -> None:
        """These are leased to this consumer now; never more than its window is outstanding."""

    def subscription_ended(self, subscription: SubscriptionName, reason: HeadraceError) -> None:
        """The subscription or its topic is gone: nothing follows, and it is detached already."""


class _Attachment:
    """One consumer of a dispatch. `held` maps what is outstanding to the monotonic time at which its lease ends."""

    __slots__ = ("consumer", "earliest", "held", "window")

    def __init__(self, consumer: Consumer, window: int) -> None:
        self.consumer = consumer
        self.window = window
        self.held: dict[str, float] = {}
        self.earliest = float("inf")

    def room(self, now: float) -> int:
        if now >= self.earliest:
            self.held = {ack: until for ack, until in self.held.items() if until > now}
            self.earliest = min(self.held.values(), default=float("inf"))
        return 0 if self.consumer.paused else self.window - len(self.held)

    def hold(self, ack: str, until: float) -> None:
        self.held[ack] = until
        self.earliest = min(self.earliest, until)


class _Dispatch:
    """One subscription that is consumed on this node."""

    __slots__ = ("attachments", "bell", "name", "topic")

    def __init__(self, name: SubscriptionName, topic: TopicName) -> None:
        self.name = name
        self.topic = topic
        self.attachments: dict[Consumer, _Attachment] = {}
        self.bell: Bell | None = None

    def ring(self) -> None:
        if self.bell is not None:
            self.bell.ring()

    def room(self, now: float) -> int:
        return sum(attachment.room(now) for attachment in self.attachments.values())

    def earliest(self) -> float:
        return min((attachment.earliest for attachment in self.attachments.values()), default=float("inf"))

    def hand_out(self, leased: Leased, now: float) -> list[Lease]:
        """Give each consumer with room one message in turn; return the leases that nobody took.

        Who was served goes behind the others, so that the next hand-out begins with someone else.
        """
        shares: dict[_Attachment, list[Lease]] = {}
        rooms = {attachment: attachment.room(now) for attachment in self.attachments.values()}
        turns = deque(attachment for attachment, room in rooms.items() if room > 0)
        leases = deque(leased.leases)
        while leases and turns:
            attachment = turns.popleft()
            shares.setdefault(attachment, []).append(leases.popleft())
            rooms[attachment] -= 1
            if rooms[attachment]:
                turns.append(attachment)
        left = [*leases]
        for attachment, share in shares.items():
            if not self._hand_to(attachment, share, leased.now_ms, now):
                left += share
        return left

    def _hand_to(self, attachment: _Attachment, share: Sequence[Lease], now_ms: int, now: float) -> bool:
        consumer = attachment.consumer
        if self.attachments.pop(consumer, None) is None:
            return False
        self.attachments[consumer] = attachment
        deliveries = [Delivery(lease.entry, lease.attempt, ack_of(lease)) for lease in share]
        for lease, delivery in zip(share, deliveries, strict=True):
            attachment.hold(delivery.ack, now + (lease.deadline_ms - now_ms) / 1000)
        try:
            consumer.deliver(self.name, deliveries)
        except Exception:
            log.exception("a consumer refused a delivery; it is detached")
            self.attachments.pop(consumer, None)
            return False
        return True


class Consumers:
    """The consumers of one node. `run` must be running. `monotonic` is in seconds."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        waiting: Waiting,
        *,
        monotonic: Callable[[], float],
        look_seconds: float = LOOK_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._subscriptions = subscriptions
        self._waiting = waiting
        self._monotonic = monotonic
        self._look_seconds = look_seconds
        self._sleep = sleep
        self._tasks: asyncio.TaskGroup | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._dispatches: dict[SubscriptionName, _Dispatch] = {}
        self._whereabouts: Whereabouts[Consumer, _Dispatch] = Whereabouts()

    async def run(self) -> None:
        """Serve dispatches until cancelled. What is leased then and not settled comes back after its deadline."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    async def drain(self) -> None:
        """Return when nothing is being leased or given back any more, at most after `DRAIN_SECONDS`.

        To be called when all consumers have left: what was leased for them and not delivered is then given back.
        """
        if self._working:
            await asyncio.wait(self._working, timeout=DRAIN_SECONDS)

    # What the rooms call.

    async def attach(self, consumer: Consumer, subscription: SubscriptionName, window: int = DEFAULT_WINDOW) -> None:
        """Have messages delivered to `consumer`, at most `window` of them outstanding. Returns before the first one.

        Raises `UnknownSubscription`, `WrongKind` (a cursor), `InvalidRequest` (the window), `AlreadySubscribed`,
        `Unavailable`. Rights were checked by the caller.
        """
        if not 1 <= window <= MAX_WINDOW:
            raise InvalidRequest(f"A window is 1 to {MAX_WINDOW} messages, not {window}.")
        info = await self._subscriptions.get(subscription)
        if info.settings.kind is not SubscriptionKind.SHARED:
            raise WrongKind("A cursor has one reader at a time: it is pulled, not attached to.")
        if self._tasks is None:
            raise Unavailable("The node is starting or stopping.", retry_ms=1000)
        dispatch = self._dispatches.get(subscription)
        if dispatch is None:
            dispatch = self._dispatches[subscription] = _Dispatch(subscription, info.topic)
            self._work(self._serve(dispatch))
        elif consumer in dispatch.attachments:
            raise AlreadySubscribed(f"This connection is attached to {subscription} already.")
        dispatch.attachments[consumer] = _Attachment(consumer, window)
        self._whereabouts.note(consumer, dispatch)
        dispatch.ring()

    def detach(self, consumer: Consumer, subscription: SubscriptionName) -> None:
        """Nothing more is delivered; what was may still be settled. Raises `NotSubscribed`."""
        dispatch = self._dispatches.get(subscription)
        if dispatch is None or dispatch.attachments.pop(consumer, None) is None:
            raise NotSubscribed(f"This connection is not attached to {subscription}.")
        self._whereabouts.strike(consumer, dispatch)
        dispatch.ring()

    def leave(self, consumer: Consumer) -> None:
        """The socket is gone: forget it everywhere, and have what it held given to others soon. Idempotent."""
        for dispatch in self._whereabouts.forget(consumer):
            attachment = dispatch.attachments.pop(consumer, None)
            if attachment is not None:
                dispatch.ring()
                self._shorten(dispatch, attachment)

    def resume(self, consumer: Consumer) -> None:
        """The socket's buffer is below its low-water mark again."""
        for dispatch in self._whereabouts.of(consumer):
            dispatch.ring()

    async def acknowledge(self, consumer: Consumer, subscription: SubscriptionName, acks: Sequence[str]) -> Results:
        """Settle what was delivered, also to an earlier connection: one result an ack id, in order.

        Raises what `Subscriptions.acknowledge` does, and `WrongKind` for a cursor.
        """
        settled = await self._subscriptions.acknowledge(subscription, acks)
        if isinstance(settled, CursorAck):
            raise WrongKind("A cursor is acknowledged over HTTP.")
        self._let_go(consumer, subscription, acks)
        return settled

    async def nack(
        self, consumer: Consumer, subscription: SubscriptionName, acks: Sequence[str], *, delay_ms: int | None = None
    ) -> Results:
        """Give messages back. As `Subscriptions.nack`."""
        settled = await self._subscriptions.nack(subscription, acks, delay_ms=delay_ms)
        self._let_go(consumer, subscription, acks)
        return settled

    async def release(self, consumer: Consumer, subscription: SubscriptionName, acks: Sequence[str]) -> Results:
        """Give back what the consumer's application never saw, uncounted. As `Subscriptions.release`."""
        settled = await self._subscriptions.release(subscription, acks)
        self._let_go(consumer, subscription, acks)
        return settled

    async def extend(
        self, consumer: Consumer, subscription: SubscriptionName, acks: Sequence[str], *, deadline_s: int
    ) -> Results:
        """Keep messages longer; 0 gives them back. As `Subscriptions.extend`."""
        until = self._monotonic() + deadline_s
        settled = await self._subscriptions.extend(subscription, acks, deadline_s=deadline_s)
        kept = [ack for ack, result in zip(acks, settled, strict=True) if result is Settled.OK and deadline_s]
        self._let_go(consumer, subscription, [ack for ack in acks if ack not in set(kept)])
        attachment = self._attachment(consumer, subscription)
        for ack in kept:
            if attachment is not None and ack in attachment.held:
                attachment.hold(ack, until)
        return settled

    def _attachment(self, consumer: Consumer, subscription: SubscriptionName) -> _Attachment | None:
        dispatch = self._dispatches.get(subscription)
        return dispatch.attachments.get(consumer) if dispatch is not None else None

    def _let_go(self, consumer: Consumer, subscription: SubscriptionName, acks: Sequence[str]) -> None:
        """These are in the consumer's hands no more: there is room for others."""
        attachment = self._attachment(consumer, subscription)
        if attachment is not None:
            for ack in acks:
                attachment.held.pop(ack, None)
            self._dispatches[subscription].ring()

    # Dispatching.

    async def _serve(self, dispatch: _Dispatch) -> None:
        """Look and hand out while there is anyone attached."""
        back_off = FIRST_BACK_OFF_SECONDS
        try:
            while dispatch.attachments:
                try:
                    async with self._waiting.bell(dispatch.name, dispatch.topic) as dispatch.bell:
                        while dispatch.attachments:
                            pause = await self._look(dispatch)
                            back_off = FIRST_BACK_OFF_SECONDS
                            await dispatch.bell.wait(pause)
                except (UnknownSubscription, UnknownTopic, WrongKind) as reason:
                    self._end(dispatch, reason)
                except Exception as error:
                    if not isinstance(error, HeadraceError):
                        log.exception("a dispatch failed")
                    await self._sleep(back_off)
                    back_off = min(back_off * 2, MAX_BACK_OFF_SECONDS)
        finally:
            # In the same turn as the last look at who is attached, so that nobody can come in between.
            dispatch.bell = None
            if self._dispatches.get(dispatch.name) is dispatch:
                del self._dispatches[dispatch.name]

    async def _look(self, dispatch: _Dispatch) -> float:
        """Lease what there is room for and hand it out; return how long to wait where nothing rings."""
        now = self._monotonic()
        room = dispatch.room(now)
        if not room:
            return min(max(dispatch.earliest() - now, 0), self._look_seconds)
        leased = await self._subscriptions.lease(
            dispatch.name, max_messages=min(room, LEASE_ENTRIES), max_bytes=LEASE_BYTES
        )
        left = dispatch.hand_out(leased, self._monotonic())
        if left:
            await self._subscriptions.release(dispatch.name, [ack_of(lease) for lease in left])
        return pause_seconds(leased, most=self._look_seconds)

    def _end(self, dispatch: _Dispatch, reason: HeadraceError) -> None:
        attached = [*dispatch.attachments]
        dispatch.attachments.clear()
        for consumer in attached:
            self._whereabouts.strike(consumer, dispatch)
            try:
                consumer.subscription_ended(dispatch.name, reason)
            except Exception:
                log.exception("a consumer refused the end of its subscription")

    def _shorten(self, dispatch: _Dispatch, attachment: _Attachment) -> None:
        """Have the leases of a lost socket end soon, in the background; those that end sooner anyway are left."""
        soon = self._monotonic() + RETURN_SECONDS
        acks = [parse_ack(ack) for ack, until in attachment.held.items() if until > soon]
        extends = [Extend(ack.offset, ack.token, int(RETURN_SECONDS * 1000)) for ack in acks]
        if extends and self._tasks is not None:
            self._work(self._settle_quietly(dispatch.name, extends))

    def _work(self, work: Coroutine[object, object, None]) -> None:
        if self._tasks is not None:
            task = self._tasks.create_task(work)
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _settle_quietly(self, name: SubscriptionName, extends: Sequence[Extend]) -> None:
        try:
            await self._subscriptions.settle(name, extends)
        except HeadraceError as refusal:
            # They come back by their own deadlines.
            log.info("leases of a lost socket end no sooner", extra={"subscription": name, "reason": refusal.code})
