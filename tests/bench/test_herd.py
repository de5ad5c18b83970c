"""The simulation of a herd: whole, and with the figures that can be told without it."""

from pathlib import Path
from random import Random

import pytest

from bench.herd import OUTAGES, Back, Herd, herd, others
from bench.schedules import lightstreamer, migratorydata, nats_py

CLIENTS = 400


def test_a_back_tells_its_shares_and_its_worst_second() -> None:
    back = Back([0.0, 0.5, 1.0, 1.1, 9.0], 5)
    assert (back.share(0), back.share(50), back.share(99)) == (0.0, 1.0, 9.0)
    assert back.peak == 3


def test_models_without_chance_have_the_figures_that_follow_from_them() -> None:
    lockstep = others(nats_py, clients=CLIENTS, outage_s=3, chance=Random(1))
    assert set(lockstep.seconds) == {1.0}
    assert lockstep.peak == CLIENTS
    assert lockstep.attempts == CLIENTS * 8
    first = others(lightstreamer, clients=CLIENTS, outage_s=0, chance=Random(1))
    assert max(first.seconds) <= 0.1
    wave = others(migratorydata, clients=CLIENTS, outage_s=0, chance=Random(1))
    assert 2 < wave.share(50) < 3


@pytest.mark.parametrize("outage_s", OUTAGES)
def test_ours_are_all_back_in_time_and_no_node_gets_more_than_it_takes(outage_s: int) -> None:
    rate = 20.0
    back = Herd(clients=CLIENTS, outage_s=outage_s, accept_per_second=rate, chance=Random(1)).run()
    nodes = 3 if outage_s else 2
    assert len(back.seconds) == CLIENTS
    assert back.peak <= 2 * rate * nodes
    assert back.attempts >= CLIENTS
    free = Herd(clients=CLIENTS, outage_s=outage_s, accept_per_second=0, chance=Random(1)).run()
    assert free.seconds[-1] <= 20


def test_all_are_compared_and_drawn(tmp_path: Path) -> None:
    plot = tmp_path / "herd.svg"
    report = herd(clients=100, accept_per_second=10, plot=plot)
    assert len(report.rows) == len(OUTAGES) * 9
    assert not report.faults
    assert all(target.reached for target in report.targets)
    assert plot.read_text().startswith("<svg")
