"""The timer that keeps streams awake."""

from http_node import eventually

from gateway.sse.pulse import Pulse


class Counted:
    def __init__(self) -> None:
        self.pulses = 0

    def on_pulse(self) -> None:
        self.pulses += 1


async def test_everything_added_is_called_once_a_round() -> None:
    pulse = Pulse(seconds=0.02, shares=2)
    first, second, gone = Counted(), Counted(), Counted()
    for one in (first, second, gone):
        pulse.add(one)
    pulse.discard(gone)
    pulse.discard(gone)
    await eventually(lambda: first.pulses == 3)
    assert abs(second.pulses - first.pulses) <= 1
    assert gone.pulses == 0
    pulse.discard(first)
    pulse.discard(second)


async def test_the_timer_rests_when_nothing_is_there_and_starts_again() -> None:
    pulse = Pulse(seconds=0.02, shares=2)
    one = Counted()
    pulse.add(one)
    pulse.discard(one)
    await eventually(lambda: pulse._timer is None)
    pulse.add(one)
    await eventually(lambda: one.pulses == 1)
    pulse.discard(one)


async def test_one_may_leave_in_its_own_pulse() -> None:
    pulse = Pulse(seconds=0.02, shares=1)

    class Leaving(Counted):
        def on_pulse(self) -> None:
            super().on_pulse()
            pulse.discard(self)

    leaving = [Leaving(), Leaving()]
    for one in leaving:
        pulse.add(one)
    await eventually(lambda: all(one.pulses == 1 for one in leaving))
    await eventually(lambda: pulse._timer is None)


async def test_shares_spread_the_work() -> None:
    pulse = Pulse(seconds=1000, shares=4)
    early, late = Counted(), Counted()
    pulse.add(early)
    pulse._beat()
    pulse.add(late)
    for _ in range(3):
        pulse._beat()
    assert (early.pulses, late.pulses) == (1, 0)
    pulse._beat()
    assert (early.pulses, late.pulses) == (1, 1)
    pulse.discard(early)
    pulse.discard(late)
