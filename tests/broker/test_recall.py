"""Recall: what was said of a subscription is believed for a while, of so many of them."""

import pytest

from broker import recall
from broker.names import SubscriptionName, TopicName
from broker.positions import Position
from broker.recall import KNOWN_SECONDS, Known, Recall
from broker.store.subscriptions import SubscriptionInfo, SubscriptionSettings

TOPIC = TopicName("p/t")
NAMES = [SubscriptionName(f"p/{n}") for n in range(3)]


def info(name: SubscriptionName, deadline_s: int = 10) -> SubscriptionInfo:
    settings = SubscriptionSettings(ack_deadline_s=deadline_s)
    return SubscriptionInfo(name, TOPIC, 0, settings, None, Position(1, -1), 0, 0, 0, None, 0, 0, 0, 0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_was_said_last_is_believed_for_a_while() -> None:
    clock = Clock()
    memory = Recall(monotonic=clock)
    memory.remember(info(NAMES[0], 1))
    assert memory.remember(info(NAMES[0], 2)).settings.ack_deadline_s == 2
    clock.now += KNOWN_SECONDS - 0.1
    assert memory.of(NAMES[0]) == Known(TOPIC, SubscriptionSettings(ack_deadline_s=2))
    clock.now += 0.1
    assert memory.of(NAMES[0]) is None


def test_what_is_forgotten_is_asked_again() -> None:
    memory = Recall(monotonic=Clock())
    memory.forget(NAMES[0])
    memory.remember(info(NAMES[0]))
    memory.forget(NAMES[0])
    assert memory.of(NAMES[0]) is None


def test_the_oldest_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MAX_KNOWN", 2)
    memory = Recall(monotonic=Clock())
    for name in (NAMES[0], NAMES[1], NAMES[0], NAMES[2]):
        memory.remember(info(name))
    assert [memory.of(name) is not None for name in NAMES] == [True, False, True]
