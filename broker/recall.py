"""What is known of a subscription without asking again, for a short time and a bounded number of them."""

from collections.abc import Callable
from dataclasses import dataclass

from broker.names import SubscriptionName, TopicName
from broker.store.subscriptions import SubscriptionInfo, SubscriptionSettings

KNOWN_SECONDS = 5.0
"""How long a subscription's kind and policy are believed: how late a change is seen on other nodes."""

MAX_KNOWN = 10_000
"""Subscriptions whose kind and policy are remembered."""


@dataclass(frozen=True, slots=True)
class Known:
    topic: TopicName
    settings: SubscriptionSettings


class Recall:
    """Remembers kind, policy and topic by name. `monotonic` is in seconds."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[SubscriptionName, tuple[float, Known]] = {}

    def of(self, name: SubscriptionName) -> Known | None:
        found = self._known.get(name)
        return found[1] if found is not None and self._monotonic() < found[0] else None

    def remember(self, info: SubscriptionInfo) -> SubscriptionInfo:
        self._known.pop(info.name, None)
        if len(self._known) >= MAX_KNOWN:
            # The first in a dict is the one put in longest ago.
            del self._known[next(iter(self._known))]
        self._known[info.name] = (self._monotonic() + KNOWN_SECONDS, Known(info.topic, info.settings))
        return info

    def forget(self, name: SubscriptionName) -> None:
        self._known.pop(name, None)
