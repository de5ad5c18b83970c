"""Others' delays: each model keeps to the bounds that its library documents."""

from collections.abc import Sequence
from itertools import islice
from random import Random

import pytest

from bench.schedules import OTHERS

FIRST: dict[str, Sequence[tuple[float, float]]] = {
    "MigratoryData": [(0, 5), (5, 10), (10, 15), (20, 40), (40, 80), (100, 160), (240, 320), (360, 360), (360, 360)],
    "centrifuge-js": [(0.5, 1), (0.5, 1.5), (0.5, 2.5), (0.5, 4.5), (0.5, 8.5), (0.5, 16.5), (0.5, 20)],
    "nats.go": [(0, 0), (0, 0), (0, 0), (2, 2.1), (0, 0)],
    "nats.py": [(0, 0), (0, 0), (0, 0), (2, 2), (0, 0)],
    "Lightstreamer": [(0, 0.1), (4, 4), (4, 4)],
    "Ably": [(0, 0), (12, 15), (16, 20), (20, 25), (24, 30), (24, 30), (24, 30), (30, 30)],
    "Kafka Java": [(0.04, 0.06), (0.08, 0.12), (0.16, 0.24), (0.32, 0.48), (0.64, 0.96), (0.8, 1.2), (0.8, 1.2)],
}


@pytest.mark.parametrize("name", OTHERS)
def test_delays_are_those_that_are_documented(name: str) -> None:
    chance = Random(1)
    for _ in range(200):
        delays = list(islice(OTHERS[name](chance), len(FIRST[name])))
        assert all(least <= delay <= most for delay, (least, most) in zip(delays, FIRST[name], strict=True)), delays
