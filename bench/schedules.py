"""How other clients come back after a break: their documented delays, as models to compare with. Pure.

Each is a generator of the seconds to wait before the next attempt; connecting takes no time. Sources are those of the
table in docs/failover.md; where a library gives up, the model does not.
"""

from collections.abc import Callable, Iterator
from itertools import count
from random import Random

Schedule = Callable[[Random], Iterator[float]]

LIST = 3
"""Servers in the list of those clients that have one."""


def migratorydata(chance: Random) -> Iterator[float]:
    """Three quick attempts, then truncated exponential: the bound is applied after the jitter."""
    for attempt in (1, 2, 3):
        yield 5 * attempt - chance.uniform(0, 5)
    for attempt in count(1):
        yield min(20 * 2.0 ** min(attempt, 16) - chance.uniform(0, 20 * attempt), 360)


def centrifuge_js(chance: Random) -> Iterator[float]:
    for attempt in count():
        yield min(0.5 + chance.uniform(0, min(0.5 * 2.0 ** min(attempt, 16), 20)), 20)


def nats_go(chance: Random) -> Iterator[float]:
    """The whole list at once, then a wait of two seconds and a little jitter."""
    while True:
        yield from [0.0] * LIST
        yield 2 + chance.uniform(0, 0.1)


def nats_py(chance: Random) -> Iterator[float]:
    """As in Go, without jitter."""
    while True:
        yield from [0.0] * LIST
        yield 2.0


def lightstreamer(chance: Random) -> Iterator[float]:
    yield chance.uniform(0, 0.1)
    while True:
        yield 4.0


def ably(chance: Random) -> Iterator[float]:
    """At once, then 15 s and more with jitter; after two minutes every 30 s."""
    yield 0.0
    passed = 0.0
    for attempt in count(1):
        delay = 30.0 if passed >= 120 else 15 * min((attempt + 2) / 3, 2) * chance.uniform(0.8, 1)
        passed += delay
        yield delay


def kafka(chance: Random) -> Iterator[float]:
    for attempt in count():
        yield min(0.05 * 2.0 ** min(attempt, 16), 1) * chance.uniform(0.8, 1.2)


OTHERS: dict[str, Schedule] = {
    "MigratoryData": migratorydata,
    "centrifuge-js": centrifuge_js,
    "nats.go": nats_go,
    "nats.py": nats_py,
    "Lightstreamer": lightstreamer,
    "Ably": ably,
    "Kafka Java": kafka,
}
