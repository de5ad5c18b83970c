"""Redelivery: when a message is given out again, and when it has been tried enough. Pure.

The store keeps attempts and deadlines; what follows from them is decided here. Random numbers are passed in.
"""

from broker.errors import InvalidRequest
from broker.messages import MAX_ATTRIBUTES, Message
from broker.names import SubscriptionName, TopicName, project_of
from broker.store.subscriptions import (
    MAX_OUTSTANDING,
    Lease,
    Leased,
    RetryKind,
    SubscriptionKind,
    SubscriptionSettings,
)

MAX_ACK_DEADLINE_S = 600
"""ARGO's (contract ams.md 4.8)."""

MAX_RETRY_MS = 600_000
"""The longest wait before a message is given out again: as long as the longest lease."""

MAX_ATTEMPTS = 1000
"""The most attempts that a policy may ask for before the dead-letter topic."""

MAX_ORDERING_ATTRIBUTE_BYTES = 255

LEAST_PAUSE_SECONDS = 0.02
"""A look at a subscription follows the one before no sooner than this, when nothing rang."""

REASON = "dead_letter_reason"
TOPIC = "dead_letter_topic"
SUBSCRIPTION = "dead_letter_subscription"
POSITION = "dead_letter_position"
ATTEMPTS = "dead_letter_attempts"
_ADDED = (REASON, TOPIC, SUBSCRIPTION, POSITION, ATTEMPTS)
"""Attributes that a dead letter has besides the message's own."""

MAX_ATTEMPTS_REACHED = "max_attempts"
"""The one reason so far."""


def sort(leased: Leased) -> tuple[tuple[Lease, ...], tuple[Lease, ...]]:
    """Return the leases of one pull that are to be handed out, and those whose attempts are used up."""
    spent = tuple(lease for lease in leased.leases if is_spent(leased.settings, lease.attempt))
    if not spent:
        return leased.leases, ()
    return tuple(lease for lease in leased.leases if not is_spent(leased.settings, lease.attempt)), spent


def is_spent(settings: SubscriptionSettings, attempt: int) -> bool:
    """Tell whether this attempt is one too many. Without a place for dead letters none is."""
    return (
        settings.max_attempts is not None and settings.dead_letter_topic is not None and attempt > settings.max_attempts
    )


def retry_delay_ms(settings: SubscriptionSettings, attempt: int, *, jitter: float) -> int:
    """Return how long a message waits that attempt number `attempt` (from 1) did not settle.

    The wait grows by its least with each attempt, or doubles, up to its most; `jitter` in 0..1 takes up to half of it,
    so that messages which failed together do not come back together. After the last attempt there is nothing to wait
    for: the next pull buries it.
    """
    if is_spent(settings, attempt + 1):
        return 0
    least, most = settings.retry_min_ms, settings.retry_max_ms
    if settings.retry_kind is RetryKind.LINEAR:
        delay = least * attempt
    else:
        delay = least << min(attempt - 1, MAX_RETRY_MS.bit_length())
    return int(min(delay, most) * (1 - jitter / 2))


def pause_seconds(leased: Leased, *, most: float) -> float:
    """Return how long there is nothing to look for unless something rings, at most `most`."""
    if leased.more:
        return 0
    if leased.next_deadline_ms is None:
        return most
    return min(most, max((leased.next_deadline_ms - leased.now_ms) / 1000, LEAST_PAUSE_SECONDS))


def dead_letter(message: Message, origin: Lease, *, topic: TopicName, subscription: SubscriptionName) -> Message:
    """Return the message as its dead-letter topic gets it: unchanged, with reason and origin as attributes.

    Where it has so many attributes of its own that these would be too many, its last ones give way.
    """
    own = [(name, value) for name, value in message.attributes.items() if name not in _ADDED]
    added = {
        REASON: MAX_ATTEMPTS_REACHED,
        TOPIC: topic,
        SUBSCRIPTION: subscription,
        POSITION: str(origin.entry.position),
        ATTEMPTS: str(origin.attempt - 1),
    }
    return Message(
        message.kind, message.payload, {**dict(own[: MAX_ATTRIBUTES - len(added)]), **added}, message.verbatim
    )


def check_settings(settings: SubscriptionSettings, topic: TopicName) -> None:
    """Raise `InvalidRequest` for a policy that cannot be kept, or could go round in a circle."""
    # A lease of no length would be in the next hands at once.
    least = 1 if settings.kind is SubscriptionKind.SHARED else 0
    _check("ack deadline", settings.ack_deadline_s, least, MAX_ACK_DEADLINE_S, "seconds")
    _check("shortest retry", settings.retry_min_ms, 0, MAX_RETRY_MS, "ms")
    _check("longest retry", settings.retry_max_ms, settings.retry_min_ms, MAX_RETRY_MS, "ms")
    _check("number of outstanding messages", settings.max_outstanding, 1, MAX_OUTSTANDING, "messages")
    if settings.max_attempts is not None:
        _check("number of attempts", settings.max_attempts, 1, MAX_ATTEMPTS, "attempts")
    if (settings.max_attempts is None) != (settings.dead_letter_topic is None):
        raise InvalidRequest("max_attempts and a dead-letter topic need each other.")
    if settings.dead_letter_topic is not None:
        _check_dead_letter_topic(settings.dead_letter_topic, topic)
    if settings.ordering_attribute is not None:
        size = len(settings.ordering_attribute.encode(errors="replace"))
        _check("ordering attribute", size, 1, MAX_ORDERING_ATTRIBUTE_BYTES, "bytes")
    if settings.kind is SubscriptionKind.CURSOR and (settings.max_attempts or settings.ordering_attribute):
        raise InvalidRequest("A cursor has neither attempts nor an ordering attribute; a shared subscription has.")


def check_deadline(seconds: int) -> None:
    """Raise `InvalidRequest` when a lease cannot be that long."""
    _check("ack deadline", seconds, 0, MAX_ACK_DEADLINE_S, "seconds")


def check_delay(delay_ms: int) -> None:
    """Raise `InvalidRequest` when a retry cannot wait that long."""
    _check("delay", delay_ms, 0, MAX_RETRY_MS, "ms")


def _check_dead_letter_topic(dead: TopicName, topic: TopicName) -> None:
    if dead == topic:
        raise InvalidRequest("A topic's dead letters cannot go to the topic itself.")
    if project_of(dead) != project_of(topic):
        raise InvalidRequest("The dead-letter topic belongs to another project.")


def _check(what: str, value: int, least: int, most: int, unit: str) -> None:
    if not least <= value <= most:
        raise InvalidRequest(f"The {what} is {least} to {most} {unit}, not {value}.")
