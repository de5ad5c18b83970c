"""Bounds, and the one timer."""

import asyncio
import math

import pytest
from http_node import eventually

from gateway.admission import Admission
from gateway.config import Limits
from gateway.metrics import Metrics
from gateway.reception import Bounds, Reception, bounds_of
from gateway.session import Census


class Late:
    def __init__(self, *, due_in: float = math.inf, stalled_in: float = math.inf) -> None:
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + due_in
        self.stalled_until = self.loop.time() + stalled_in
        self.calls = 0

    def on_deadline(self) -> None:
        self.calls += 1
        self.deadline = self.stalled_until = math.inf


def reception() -> Reception:
    bounds = Bounds(header_seconds=0.1, body_seconds=0.1, idle_seconds=0.1)
    return Reception(bounds, Census(connections=1, connections_per_address=1), Metrics(), Admission(0))


async def test_each_connection_is_called_when_one_of_its_times_is_over() -> None:
    desk = reception()
    due, stalled, forgotten, patient = Late(due_in=0.02), Late(stalled_in=0.02), Late(due_in=0.02), Late()
    for connection in (due, stalled, forgotten, patient):
        desk.watch(connection)
    desk.forget(forgotten)
    await eventually(lambda: due.calls and stalled.calls)
    assert (due.calls, stalled.calls, forgotten.calls, patient.calls) == (1, 1, 0, 0)


async def test_the_timer_stops_with_the_last_connection_and_starts_again() -> None:
    desk = reception()
    first = Late()
    desk.watch(first)
    desk.forget(first)
    await eventually(lambda: desk._timer is None)
    second = Late(due_in=0)
    desk.watch(second)
    await eventually(lambda: second.calls == 1)


async def test_a_deadline_is_met_early_rather_than_late() -> None:
    desk = reception()
    soon, later = Late(due_in=0.019), Late(due_in=1000)
    desk.watch(soon)
    desk.watch(later)
    desk._sweep(soon.loop)
    assert (soon.calls, later.calls) == (1, 0)


def test_a_tick_is_short_against_every_bound() -> None:
    assert Bounds().tick_seconds == 0.5
    assert Bounds(header_seconds=2).tick_seconds == pytest.approx(0.2)


def test_the_configuration_gives_the_bounds() -> None:
    bounds = bounds_of(Limits(body_bytes=2048, unauthenticated_seconds=3, high_water_bytes=4096))
    assert (bounds.body_bytes, bounds.header_seconds, bounds.body_seconds) == (2048, 3, 3)
    assert bounds.high_water_bytes == 4096
