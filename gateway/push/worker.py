"""One subscription's deliveries: one in flight, and an ack only after the endpoint's yes.

A cycle pulls, posts and acks, then waits as the retry policy says. What was not acked is given out again by the cursor
or the leases, to whichever node owns the subscription by then; an owner that may have lost its duty sends nothing more.
So nothing is lost, and at most the delivery that was in flight is repeated, under the same event id.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.errors import HeadraceError, UnknownProject, UnknownSubscription
from broker.names import SubscriptionName
from broker.store.subscriptions import CursorAck, SubscriptionInfo, SubscriptionKind
from broker.subscriptions import Delivery, Subscriptions
from gateway.outgoing import Outgoing, OutgoingError
from gateway.push import wire
from gateway.push.wire import Outcome
from gateway.pushes import PushConfig, Pushes

log = logging.getLogger(__name__)

SEND_SECONDS = 30.0
"""One delivery, from the look-up of the name to the answer; less where the ack deadline is shorter."""

MAX_ANSWER_BYTES = 4096
"""Of an endpoint's answer, which nobody reads: enough to keep the connection."""

PULL_SECONDS = 30.0
"""How long one pull waits for messages before it is repeated."""

AWAY_SECONDS = 1.0
"""Between two looks where the subscription, its topic or the records cannot be asked."""

ACK_ATTEMPTS = 5
"""At an ack that Redis does not take; then the messages are delivered once more."""

REPORT_SECONDS = 10.0
"""Between two reports of the same kind: a failing endpoint does not write at its own pace."""


class Held(Protocol):
    """A duty while it is ours."""

    def check(self) -> None:
        """Raise unless it certainly is."""


@dataclass(frozen=True, slots=True)
class Services:
    """What deliveries stand on. `now` is a time for a person, in UTC."""

    subscriptions: Subscriptions
    pushes: Pushes
    outgoing: Outgoing
    document_of: wire.Document
    now: Callable[[], str]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Worker:
    """Delivers for as long as its node owns the duty `held`."""

    def __init__(self, services: Services, name: SubscriptionName, config: PushConfig, held: Held) -> None:
        self._services = services
        self._name = name
        self._config = config
        self._held = held
        self._is_failing: bool | None = None
        self._reported = 0.0

    async def run(self) -> None:
        """Raises `UnknownSubscription` or `UnknownProject` when there is nothing more to deliver."""
        pace = wire.first_pace(self._config)
        while True:
            await self._services.sleep(pace.wait_ms / 1000)
            pace = wire.next_pace(self._config, pace, await self._cycle())

    async def _cycle(self) -> Outcome:
        """Deliver once, whenever there is something to deliver."""
        info, deliveries = await self._next()
        failure = await self._send(info, deliveries)
        if failure is None:
            failure = await self._acknowledge(deliveries)
        else:
            await self._give_back(info, deliveries)
        await self._report(failure)
        return Outcome.DELIVERED if failure is None else Outcome.FAILED

    async def _next(self) -> tuple[SubscriptionInfo, Sequence[Delivery]]:
        subscriptions, size = self._services.subscriptions, wire.batch_size(self._config)
        while True:
            try:
                info = await subscriptions.get(self._name)
                if info.created_ms != self._config.created_ms:
                    raise UnknownSubscription
                pulled = await subscriptions.pull(self._name, max_messages=size, wait_seconds=PULL_SECONDS)
                if pulled.deliveries:
                    return info, pulled.deliveries
            except (UnknownSubscription, UnknownProject):
                raise
            except HeadraceError as error:
                # Redis is away, or the topic is: it may come back.
                log.debug("a push subscription cannot be pulled: %s", error)
                await self._services.sleep(AWAY_SECONDS)

    async def _send(self, info: SubscriptionInfo, deliveries: Sequence[Delivery]) -> str | None:
        """Return why it failed, None where the endpoint said yes."""
        entries = [delivery.entry for delivery in deliveries]
        request = wire.delivery_of(self._name, self._config, entries, self._services.document_of)
        seconds = min(SEND_SECONDS, max(1, info.settings.ack_deadline_s))
        self._held.check()
        try:
            reply = await self._services.outgoing.send(
                "POST",
                request.url,
                headers=request.headers,
                body=request.body,
                seconds=seconds,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except OutgoingError as error:
            return error.reason
        return None if reply.status in request.success else f"the endpoint answered {reply.status}"

    async def _acknowledge(self, deliveries: Sequence[Delivery]) -> str | None:
        acks = [delivery.ack for delivery in deliveries]
        for _ in range(ACK_ATTEMPTS):
            try:
                outcome = await self._services.subscriptions.acknowledge(self._name, acks)
            except (UnknownSubscription, UnknownProject):
                raise
            except HeadraceError as error:
                failure = error.reason
                await self._services.sleep(AWAY_SECONDS)
                continue
            accepted = not isinstance(outcome, CursorAck) or outcome in (CursorAck.COMMITTED, CursorAck.ALREADY)
            return None if accepted else f"the acknowledgement was refused: {outcome}"
        return failure

    async def _give_back(self, info: SubscriptionInfo, deliveries: Sequence[Delivery]) -> None:
        """Return the leases of a shared subscription at once; its policy says when they come again."""
        if info.settings.kind is not SubscriptionKind.SHARED:
            return
        try:
            await self._services.subscriptions.nack(self._name, [delivery.ack for delivery in deliveries])
        except (UnknownSubscription, UnknownProject):
            raise
        except HeadraceError as error:
            log.debug("leases run out by themselves: %s", error)

    async def _report(self, failure: str | None) -> None:
        now, failing = self._services.monotonic(), failure is not None
        if failing == self._is_failing and (not failing or now - self._reported < REPORT_SECONDS):
            return
        status = wire.active_status(self._name)
        if failure is not None:
            status = f"{self._services.now()} - Could not send message, {failure}"
            log.warning("a push delivery failed", extra={"subscription": self._name, "reason": failure})
        try:
            await self._services.pushes.report(self._name, status)
            self._is_failing, self._reported = failing, now
        except HeadraceError as error:
            log.debug("a push status cannot be kept: %s", error)
