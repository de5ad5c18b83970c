"""What one connection consumes: durable subscriptions that it is attached to, and the deliveries that it settles.

`protocol/realtime.md` section 6 is the contract. `broker.consumers` leases and hands out; here requests that name the
same subscription are handled in their order, each in a short-lived task, and the answers are written.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.consumers import Consumers
from broker.errors import AlreadySubscribed, Forbidden, HeadraceError, LimitExceeded, NotSubscribed, Unavailable
from broker.names import SubscriptionName
from broker.rights import Principal
from broker.store.subscriptions import Settled
from broker.subscriptions import Delivery, Subscriptions
from gateway.realtime import frames
from gateway.realtime.fields import RequestId
from gateway.realtime.frames import Attached, RealtimeDialect
from gateway.realtime.wire import Ack, Attach, Consume, Detach, Extend, Nack, Settle

REQUEST_SECONDS = 30.0
"""A last bound on one request; the store's own deadlines are shorter."""

log = logging.getLogger(__name__)


class Socket(Protocol):
    """What consuming asks of its connection."""

    paused: bool
    closing: bool
    dialect: RealtimeDialect

    @property
    def principal(self) -> Principal: ...

    @property
    def followed(self) -> int:
        """How many topics it follows."""

    def answer(self, data: bytes) -> None: ...
    def write(self, data: bytes) -> None: ...
    def refuse(self, id_: RequestId, error: HeadraceError) -> None: ...

    def request_done(self) -> None:
        """One request less is open."""


@dataclass(frozen=True, slots=True)
class Services:
    """What consuming stands on, one for all connections. `most` topics and subscriptions a connection has together."""

    subscriptions: Subscriptions
    consumers: Consumers
    spawn: Callable[[Coroutine[object, object, None]], None]
    most: int


class Consuming:
    """One connection's side of `Consumers`, to which it is a `Consumer`."""

    __slots__ = ("_attached", "_lanes", "_services", "_socket", "open")

    def __init__(self, socket: Socket, services: Services) -> None:
        self._socket = socket
        self._services = services
        self._attached: dict[SubscriptionName, Attached] = {}
        self._lanes: dict[SubscriptionName, deque[Consume]] = {}
        self.open = 0
        """Requests that are not answered yet."""

    @property
    def count(self) -> int:
        """How many subscriptions it is attached to."""
        return len(self._attached)

    # What the broker calls.

    @property
    def paused(self) -> bool:
        return self._socket.paused

    def deliver(self, subscription: SubscriptionName, deliveries: Sequence[Delivery]) -> None:
        socket = self._socket
        socket.write(socket.dialect.delivery(self._attached[subscription], deliveries))

    def subscription_ended(self, subscription: SubscriptionName, reason: HeadraceError) -> None:
        if self._attached.pop(subscription, None) is not None:
            self._socket.write(frames.released(self._socket.dialect, subscription, reason))

    # What the connection calls.

    def receive(self, request: Consume) -> None:
        """Handle a request, after those before it that name the same subscription."""
        self.open += 1
        lane = self._lanes.get(request.subscription)
        if lane is not None:
            lane.append(request)
            return
        self._lanes[request.subscription] = deque((request,))
        self._services.spawn(self._serve(request.subscription))

    def resume(self) -> None:
        """The socket's buffer is below its low-water mark again."""
        if self._attached:
            self._services.consumers.resume(self)

    def leave(self) -> None:
        """The socket is gone: what it holds goes to others soon."""
        self._lanes.clear()
        if self._attached:
            self._attached.clear()
            self._services.consumers.leave(self)

    def review(self) -> None:
        """The caller has other rights now: end what they do not grant. What is being attached is looked at then."""
        for name in [name for name in self._attached if name not in self._lanes]:
            self._end_if_forbidden(name)

    def _end_if_forbidden(self, name: SubscriptionName) -> None:
        try:
            self._socket.principal.require_consume(name)
        except Forbidden as error:
            if name in self._attached:
                self._detach(name)
                self._socket.answer(frames.released(self._socket.dialect, name, error))

    # Requests.

    async def _serve(self, name: SubscriptionName) -> None:
        """Handle the requests of one subscription until there are none."""
        while lane := self._lanes.get(name):
            request = lane.popleft()
            error = await self._outcome(request)
            self.open -= 1
            if self._socket.closing:
                # Whoever left while it was attaching was not attached yet when it did.
                self._services.consumers.leave(self)
                return
            if error is not None:
                self._socket.refuse(request.id, error)
            self._socket.request_done()
        self._lanes.pop(name, None)
        self._end_if_forbidden(name)

    async def _outcome(self, request: Consume) -> HeadraceError | None:
        """Handle one request and answer it, or return its refusal."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                if isinstance(request, Attach):
                    await self._attach(request)
                elif isinstance(request, Detach):
                    self._receive_detach(request)
                else:
                    await self._settle(request)
        except HeadraceError as refusal:
            return refusal
        except TimeoutError:
            return Unavailable()
        except Exception:
            log.exception("a request of a consumer failed")
            return Unavailable()
        return None

    async def _attach(self, request: Attach) -> None:
        name, socket, services = request.subscription, self._socket, self._services
        socket.principal.require_consume(name)
        if name in self._attached:
            raise AlreadySubscribed("This connection is attached to that subscription already.")
        if socket.followed + self.count >= services.most:
            raise LimitExceeded(f"A connection follows and consumes {services.most} topics and subscriptions at most.")
        info = await services.subscriptions.get(name)
        await services.consumers.attach(self, name, request.window)
        attached = Attached(name, info.topic, request.window, info.settings.ack_deadline_s)
        self._attached[name] = attached
        socket.answer(frames.attached(socket.dialect, request.id, attached))

    def _receive_detach(self, request: Detach) -> None:
        if request.subscription not in self._attached:
            raise NotSubscribed("This connection is not attached to that subscription.")
        self._detach(request.subscription)
        self._socket.answer(frames.ok(self._socket.dialect, request.id))

    def _detach(self, name: SubscriptionName) -> None:
        del self._attached[name]
        try:
            self._services.consumers.detach(self, name)
        except NotSubscribed:
            log.warning("the broker did not know a consumer's subscription")

    async def _settle(self, request: Settle) -> None:
        socket, name, acks = self._socket, request.subscription, request.acks
        socket.principal.require_consume(name)
        consumers = self._services.consumers
        if isinstance(request, Ack):
            settled = await consumers.acknowledge(self, name, acks)
        elif isinstance(request, Nack):
            settled = await consumers.nack(self, name, acks, delay_ms=request.delay_ms)
        elif isinstance(request, Extend):
            settled = await consumers.extend(self, name, acks, deadline_s=request.deadline_s)
        else:
            settled = await consumers.release(self, name, acks)
        refused = {ack: result for ack, result in zip(acks, settled, strict=True) if result is not Settled.OK}
        socket.answer(frames.settled(socket.dialect, request.id, name, refused))
