"""All subscriptions of one client, between the state machine and the application: who is slow, and what that stops."""

import asyncio
from collections.abc import Callable
from typing import Generic

from headrace.errors import ClientClosed, NotSubscribed
from headrace.events import Arrived, Ended, P
from headrace.messages import Gap, Started
from headrace.positions import Since, checked_since
from headrace.protocol import Protocol
from headrace.subscription import Subscription

PARK_S = 5.0
"""How long the socket stays unread for a slow subscriber, before its topic alone is put aside."""


class Subscriptions(Generic[P]):
    """The owner of each `Subscription`.

    `check_open` raises what ended the client, `wake` has what was queued written; the socket is read while no
    subscriber is behind, between `pause_reading` and `resume_reading` it is not.
    """

    def __init__(
        self,
        protocol: Protocol[P, Subscription],
        *,
        check_open: Callable[[], None],
        wake: Callable[[], None],
        pause_reading: Callable[[], None],
        resume_reading: Callable[[], None],
    ) -> None:
        self._protocol = protocol
        self._check_open = check_open
        self._wake = wake
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._full: set[Subscription] = set()
        self._park_timer: asyncio.TimerHandle | None = None

    def subscribe(
        self,
        topic: str,
        *,
        since: Since,
        snapshot: bool,
        on_gap: Callable[[Gap], None] | None,
        on_started: Callable[[Started], None] | None,
    ) -> Subscription:
        """Raises `AlreadySubscribed`, or what ended the client."""
        self._check_open()
        subscription = Subscription(self, topic, on_gap=on_gap, on_started=on_started)
        self._protocol.follow(topic, checked_since(since), subscription, snapshot=snapshot)
        self._wake()
        return subscription

    def subscription_closed(self, subscription: Subscription) -> None:
        """Called by a subscription that the application closed."""
        self._forget(subscription)
        try:
            self._protocol.unfollow(subscription.topic)
        except NotSubscribed:
            return  # the server or the client had ended it before
        self._wake()

    def subscription_drained(self, subscription: Subscription) -> None:
        """Called by a subscription whose application has caught up."""
        self._full.discard(subscription)
        self._protocol.unpark(subscription.topic)
        self._wake()
        self._read_on()

    def act(self, event: Arrived[Subscription] | Ended[Subscription]) -> None:
        """Hand over what the state machine says."""
        subscription = event.handle
        if isinstance(event, Ended):
            subscription.end(None if isinstance(event.error, ClientClosed) else event.error)
            self._forget(subscription)
        elif isinstance(event.item, Started):
            subscription.start(event.item, event.resume)
        elif subscription.push(event.item, event.resume):
            self._fill(subscription)

    def _forget(self, subscription: Subscription) -> None:
        self._full.discard(subscription)
        self._read_on()

    def _read_on(self) -> None:
        if not self._full:
            self._stop_park_timer()
            self._resume_reading()

    def _fill(self, subscription: Subscription) -> None:
        self._full.add(subscription)
        self._pause_reading()
        if self._park_timer is None:
            self._park_timer = asyncio.get_running_loop().call_later(PARK_S, self._park)

    def _park(self) -> None:
        """The subscribers are slow beyond patience: put their topics aside, and read on for all others."""
        self._park_timer = None
        for subscription in self._full:
            self._protocol.park(subscription.topic)
        self._wake()
        self._resume_reading()

    def _stop_park_timer(self) -> None:
        if self._park_timer is not None:
            self._park_timer.cancel()
            self._park_timer = None
