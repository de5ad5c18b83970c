"""All consumers of one client, between the state machine and the application."""

import asyncio
from collections.abc import Callable

from headrace.consumer import Consumer
from headrace.consuming import Consumings, Event, Verb
from headrace.errors import ClientClosed, NotSubscribed
from headrace.events import Delivered, Released, Settled

SETTLE_TIMEOUT_S = 30.0
"""How long an ack, nack or extend is tried, reconnects included."""


class Consumers:
    """The owner of each `Consumer`.

    `check_open` raises what ended the client, `wake` has what was queued written, `now` is monotonic seconds.
    """

    def __init__(
        self,
        consumings: Consumings,
        *,
        check_open: Callable[[], None],
        wake: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._consumings = consumings
        self._check_open = check_open
        self._wake = wake
        self._now = now
        self._consumers: dict[str, Consumer] = {}
        self._receipts: dict[int, asyncio.Future[None]] = {}

    def consume(self, subscription: str, *, window: int) -> Consumer:
        """Raises `AlreadySubscribed`, or what ended the client."""
        self._check_open()
        self._consumings.attach(subscription, window)
        consumer = self._consumers[subscription] = Consumer(self, subscription, window=window)
        self._wake()
        return consumer

    def settle(self, verb: Verb, subscription: str, ack: str, argument: int | None) -> asyncio.Future[None]:
        """Queue a settlement and return a future of its answer. Raises `QueueFull`, or what ended the client."""
        self._check_open()
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        deadline = self._now() + SETTLE_TIMEOUT_S
        ticket = self._consumings.settle(verb, subscription, ack, argument, deadline=deadline)
        self._receipts[ticket] = receipt
        self._wake()
        return receipt

    def consumer_closed(self, consumer: Consumer) -> None:
        """Called by a consumer that the application closed."""
        self._consumers.pop(consumer.subscription, None)
        try:
            self._consumings.detach(consumer.subscription)
        except NotSubscribed:
            return  # the server or the client had ended it before
        self._wake()

    def act(self, event: Event) -> None:
        """Hand over what the state machine says."""
        if isinstance(event, Settled):
            self._settled(event)
        elif isinstance(event, Released):
            consumer = self._consumers.pop(event.subscription, None)
            if consumer is not None:
                consumer.end(None if isinstance(event.error, ClientClosed) else event.error)
        elif isinstance(event, Delivered):
            self._consumers[event.subscription].push(event.leases)
        else:
            self._consumers[event.subscription].start(event)

    def _settled(self, event: Settled) -> None:
        receipt = self._receipts.pop(event.ticket, None)
        if receipt is None or receipt.done():
            return
        if event.error is not None:
            receipt.set_exception(event.error)
        else:
            receipt.set_result(None)
