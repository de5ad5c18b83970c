"""Dead letters: what was tried often enough is published to another topic and then acked.

In that order, so that nothing is lost between the two; and under an idempotency key made of subscription and position,
so that a message which is buried a second time (its ack was lost, another node came by) appears once. The lease that
showed the attempt to be one too many is what fences it: of several nodes one has it.
"""

import logging
from collections.abc import Sequence

from broker.errors import HeadraceError, UnknownTopic
from broker.messages import pack
from broker.names import SubscriptionName, TopicName
from broker.publish import MAX_REQUEST_BYTES, TopicMaker
from broker.redelivery import dead_letter
from broker.store.base import AppendRequest, IdempotencyKey, Store
from broker.store.subscriptions import Ack, Lease, Nack, Settlement

SCOPE = "@dead-letters"
"""Of the idempotency keys. No caller has this name: theirs do not begin with `@`."""

RETRY_MS = 10_000
"""After which a message that could not be buried is looked at again."""

DIGEST = b"dead letter"
"""The same for every attempt at burying: the attributes may differ then, the message does not."""

log = logging.getLogger(__name__)


class DeadLetters:
    """Buries messages in the topics that their subscriptions name."""

    def __init__(self, store: Store, catalog: TopicMaker) -> None:
        self._store = store
        self._catalog = catalog

    async def require(self, topic: TopicName) -> None:
        """Make sure that a dead-letter topic exists. Raises `UnknownTopic`, `UnknownProject`, `LimitExceeded`."""
        try:
            await self._store.topic(topic)
        except UnknownTopic:
            await self._catalog.create_on_use(topic)

    async def bury(
        self, spent: Sequence[Lease], *, into: TopicName, topic: TopicName, subscription: SubscriptionName
    ) -> list[Settlement]:
        """Publish `spent`, messages of `topic`, and return how their leases are to be settled. Never raises."""
        requests = [_request(lease, topic=topic, subscription=subscription) for lease in spent]
        try:
            outcomes = await self._append(into, requests)
        except HeadraceError as refusal:
            outcomes = [refusal] * len(spent)
        failures = [outcome for outcome in outcomes if isinstance(outcome, HeadraceError)]
        if failures:
            extra = {"subscription": subscription, "topic": into, "messages": len(failures), "reason": failures[0].code}
            log.warning("messages could not be moved to their dead-letter topic", extra=extra)
        return [_settlement(lease, outcome) for lease, outcome in zip(spent, outcomes, strict=True)]

    async def _append(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[object]:
        try:
            return [*await self._store.append(topic, requests)]
        except UnknownTopic:
            await self._catalog.create_on_use(topic)
            return [*await self._store.append(topic, requests)]


def _request(lease: Lease, *, topic: TopicName, subscription: SubscriptionName) -> AppendRequest:
    message = dead_letter(lease.entry.message, lease, topic=topic, subscription=subscription)
    # What fitted once may have become a little larger than the limit for publishers: it is taken all the same.
    envelope = pack(message, max_bytes=2 * MAX_REQUEST_BYTES)
    return AppendRequest((envelope,), IdempotencyKey(SCOPE, f"{subscription}@{lease.entry.position}"), DIGEST)


def _settlement(lease: Lease, outcome: object) -> Settlement:
    offset = lease.entry.position.offset
    if isinstance(outcome, HeadraceError):
        return Nack(offset, lease.token, RETRY_MS)
    return Ack(offset, lease.token)
