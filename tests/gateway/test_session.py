"""Being counted, being timed, and how bytes leave a socket."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session import MAX_HELD_FRAMES, Bucket, Census, Outbox, Session, Wheel, peer_address


class Transport(asyncio.Transport):
    """Remembers what was written."""

    def __init__(self, **extra: Any) -> None:
        super().__init__(extra)
        self.written: list[bytes] = []
        self.limits: tuple[int | None, int | None] = (None, None)

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)


class Sleeper:
    def __init__(self, wheel: Wheel | None = None) -> None:
        self.due = 0
        self.woken: list[int] = []
        self.wheel = wheel

    def on_due(self) -> None:
        self.woken.append(self.wheel.now if self.wheel else 0)


# The census.


def test_a_census_refuses_above_its_caps_and_counts_nothing() -> None:
    census = Census(connections=3, connections_per_address=2)
    assert [census.enter("a"), census.enter("a"), census.enter("a")] == [True, True, False]
    assert [census.enter("b"), census.enter("c")] == [True, False]
    assert (census.total, census.of("a"), census.of("b"), census.of("c")) == (3, 2, 1, 0)
    census.leave("a")
    assert census.enter("c")


def test_whoever_was_not_counted_cannot_leave() -> None:
    census = Census(connections=3, connections_per_address=2)
    census.leave("a")
    assert census.total == 0


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_the_total_is_the_sum_and_nothing_is_kept_of_the_gone(steps: list[tuple[bool, str]]) -> None:
    census = Census(connections=5, connections_per_address=3)
    for enters, address in steps:
        if enters:
            census.enter(address)
        else:
            census.leave(address)
        counts = [census.of(address) for address in "abc"]
        assert census.total == sum(counts) <= 5
        assert max(counts) <= 3
    for address in "abc" * 3:
        census.leave(address)
    assert census.total == 0
    assert census._by_address == {}


# The wheel.


async def test_a_wheel_wakes_late_rather_than_early_and_once() -> None:
    wheel = Wheel(grain_seconds=1)
    sleeper = Sleeper(wheel)
    wheel.arm(sleeper, 2.5)
    start = wheel.now
    for _ in range(10):
        wheel.turn()
    assert sleeper.woken == [start + 4]
    wheel.stop()


async def test_a_later_arming_replaces_an_earlier_one() -> None:
    wheel = Wheel(grain_seconds=1)
    sleeper = Sleeper(wheel)
    wheel.arm(sleeper, 1)
    wheel.arm(sleeper, 5)
    for _ in range(4):
        wheel.turn()
    assert sleeper.woken == []
    wheel.disarm(sleeper)
    for _ in range(10):
        wheel.turn()
    assert sleeper.woken == []
    wheel.stop()


async def test_one_that_is_disarmed_by_another_in_its_turn_sleeps_on() -> None:
    wheel = Wheel(grain_seconds=1)
    first, second = Sleeper(), Sleeper()

    def disarm(other: Sleeper) -> None:
        wheel.disarm(other)

    first.on_due = lambda: disarm(second)  # type: ignore[method-assign]
    second.on_due = lambda: disarm(first)  # type: ignore[method-assign]
    woken: list[int] = []
    for sleeper in (first, second):
        then = sleeper.on_due
        sleeper.on_due = lambda then=then: (woken.append(1), then())  # type: ignore[method-assign,misc]
        wheel.arm(sleeper, 1)
    for _ in range(5):
        wheel.turn()
    assert woken == [1]
    wheel.stop()


async def test_one_that_fails_does_not_keep_the_others_asleep() -> None:
    wheel = Wheel(grain_seconds=1)
    sleepers = [Sleeper(wheel) for _ in range(5)]
    sleepers[0].woken = None  # type: ignore[assignment]
    for sleeper in sleepers:
        wheel.arm(sleeper, 1)
    for _ in range(3):
        wheel.turn()
    assert [len(sleeper.woken) for sleeper in sleepers[1:]] == [1] * 4
    wheel.stop()


async def test_a_wheel_turns_by_itself_while_there_is_somebody_to_wake() -> None:
    wheel = Wheel(grain_seconds=0.001)
    sleeper = Sleeper(wheel)
    assert wheel._handle is None
    wheel.arm(sleeper, 0.002)
    async with asyncio.timeout(5):
        while not sleeper.woken:
            await asyncio.sleep(0.001)
    assert wheel._handle is None


async def test_whoever_is_armed_again_when_it_is_woken_starts_no_second_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduled: list[Callable[[], None]] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda _, run: scheduled.append(run) or object())
    wheel = Wheel(grain_seconds=1)
    sleepers = [Sleeper(wheel) for _ in range(3)]
    for sleeper in sleepers:
        monkeypatch.setattr(sleeper, "on_due", lambda sleeper=sleeper: wheel.arm(sleeper, 0))
        wheel.arm(sleeper, 0)
    for turn in range(2, 20):
        (run,) = scheduled
        scheduled.clear()
        run()
        assert wheel.now == turn


# The bucket.


def test_a_bucket_gives_a_second_at_once_and_then_its_rate() -> None:
    bucket = Bucket(10, now=100.0)
    assert [bucket.take(100.0) for _ in range(10)] == [0] * 10
    assert bucket.take(100.0) == pytest.approx(0.1)
    assert bucket.take(100.1) == 0
    assert bucket.take(100.1) > 0
    assert [bucket.take(200.0) for _ in range(10)] == [0] * 10
    assert bucket.take(200.0) > 0


def test_a_slow_bucket_still_gives_one() -> None:
    bucket = Bucket(0.5, now=0.0)
    assert bucket.take(0.0) == 0
    assert bucket.take(0.0) == pytest.approx(2.0)
    assert bucket.take(2.0) == 0


# Leaving bytes.


def session() -> tuple[Session, Transport]:
    transport = Transport()
    return Session(transport, Outbox(), high_water_bytes=1000), transport


async def test_answers_of_one_turn_leave_in_one_write() -> None:
    s, transport = session()
    s.answer(b"a")
    s.answer(b"b")
    assert transport.written == []
    await asyncio.sleep(0)
    assert transport.written == [b"ab"]
    s.answer(b"c")
    await asyncio.sleep(0)
    assert transport.written == [b"ab", b"c"]


async def test_frames_of_the_hub_leave_at_once_and_in_order() -> None:
    s, transport = session()
    s.write(b"1")
    s.answer(b"2")
    s.write(b"3")
    assert transport.written == [b"1", b"23"]
    await asyncio.sleep(0)
    assert transport.written == [b"1", b"23"]


async def test_one_outbox_serves_many_sessions() -> None:
    outbox = Outbox()
    transports = [Transport() for _ in range(3)]
    sessions = [Session(transport, outbox, high_water_bytes=1000) for transport in transports]
    for number, s in enumerate(sessions):
        s.answer(b"%d" % number)
    await asyncio.sleep(0)
    assert [transport.written for transport in transports] == [[b"0"], [b"1"], [b"2"]]


async def test_answers_are_not_kept_without_end() -> None:
    s, transport = session()
    for _ in range(MAX_HELD_FRAMES):
        s.answer(b"x")
    assert transport.written == [b"x" * MAX_HELD_FRAMES]


async def test_nothing_leaves_a_closing_socket() -> None:
    s, transport = session()
    s.answer(b"a")
    s.closing = True
    s.write(b"b")
    s.answer(b"c")
    await asyncio.sleep(0)
    assert transport.written == []


async def test_a_full_buffer_pauses() -> None:
    s, transport = session()
    assert transport.limits == (1000, 250)
    s.pause_writing()
    assert s.paused
    s.resume_writing()
    assert not s.paused


def test_addresses_are_one_object_each() -> None:
    first = peer_address(Transport(peername=("".join(["10.0.", "0.1"]), 5)))
    second = peer_address(Transport(peername=("".join(["10.0", ".0.1"]), 6)))
    assert first is second
    assert peer_address(Transport()) == ""
