"""How fast a subscription is consumed."""

from broker.names import SubscriptionName
from gateway.ams import rates
from gateway.ams.rates import Pace, Rates

S = SubscriptionName("p/s")


def test_the_rate_is_that_of_the_last_two_pulls_that_brought_something() -> None:
    kept = Rates()
    assert kept.of(S) == Pace(0.0, 0)
    kept.note(S, 5, now_ms=1000)
    assert kept.of(S) == Pace(0.0, 1000)
    kept.note(S, 0, now_ms=2000)
    kept.note(S, 4, now_ms=3000)
    assert kept.of(S) == Pace(2.0, 3000)
    kept.note(S, 1, now_ms=3000)
    assert kept.of(S) == Pace(1000.0, 3000)


def test_the_oldest_are_forgotten() -> None:
    kept = Rates()
    for number in range(rates.MAX_KEPT + 1):
        kept.note(SubscriptionName(f"p/{number}"), 1, now_ms=number + 1)
    assert kept.of(SubscriptionName("p/0")).last_ms == 0
    assert kept.of(SubscriptionName("p/1")).last_ms == 2
