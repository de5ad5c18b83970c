import asyncio
import logging

import pytest

from headrace.errors import HeadraceError, UnknownTopic
from headrace.messages import Gap, Message, Started
from headrace.positions import Position, Range, Recovery
from headrace.subscription import MAX_QUEUED, MAX_QUEUED_BYTES, Subscription

GAP = Gap("p/t", Recovery.TRIMMED, (Range(1, 0, 2),))
STARTED = Started(Position(1, 5), Position(1, 9), Recovery.NONE)


class Recorder:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def subscription_drained(self, subscription: Subscription) -> None:
        self.calls.append("drained")

    def subscription_closed(self, subscription: Subscription) -> None:
        self.calls.append("closed")


def message(offset: int, size: int = 1) -> Message:
    return Message("p/t", Position(1, offset), 0, "binary", bytes(size))


def push(subscription: Subscription, offset: int, size: int = 1) -> bool:
    return subscription.push(message(offset, size), Position(1, offset))


async def test_the_place_is_that_of_the_last_item_iterated_not_of_the_last_received() -> None:
    subscription = Subscription(Recorder(), "p/t")
    assert subscription.position is None
    subscription.start(STARTED, STARTED.after)
    assert subscription.position == Position(1, 5)
    push(subscription, 6)
    push(subscription, 7)
    assert subscription.position == Position(1, 5)
    await anext(aiter(subscription))
    assert subscription.position == Position(1, 6)


async def test_it_says_once_that_it_is_full_and_once_that_it_has_drained() -> None:
    owner = Recorder()
    subscription = Subscription(owner, "p/t")
    said = [push(subscription, offset) for offset in range(MAX_QUEUED + 5)]
    assert [offset for offset, full in enumerate(said) if full] == [MAX_QUEUED - 1]
    while subscription.queued:
        subscription.take()
    assert owner.calls == ["drained"]


async def test_bytes_count_too() -> None:
    subscription = Subscription(Recorder(), "p/t")
    assert push(subscription, 0, MAX_QUEUED_BYTES)


async def test_gaps_go_to_the_callback_in_order() -> None:
    seen: list[object] = []
    subscription = Subscription(Recorder(), "p/t", on_gap=seen.append)
    push(subscription, 1)
    subscription.push(GAP, Position(1, 2))
    push(subscription, 3)
    subscription.end(None)
    async for item in subscription:
        seen.append(item)
    assert seen == [message(1), GAP, message(3)]


async def test_a_gap_that_nobody_asked_for_is_logged(caplog) -> None:
    subscription = Subscription(Recorder(), "p/t")
    subscription.push(GAP, Position(1, 2))
    subscription.end(None)
    with caplog.at_level(logging.WARNING, logger="headrace"):
        assert [item async for item in subscription] == []
    assert "trimmed" in caplog.text and "1-0..2" in caplog.text


async def test_a_lost_place_is_forgotten() -> None:
    subscription = Subscription(Recorder(), "p/t")
    subscription.start(STARTED, STARTED.after)
    subscription.push(Gap("p/t", Recovery.LOST, ()), "earliest")
    subscription.take()
    assert subscription.position is None


async def test_what_came_before_the_end_is_iterated_and_then_the_error_is_raised() -> None:
    subscription = Subscription(Recorder(), "p/t")
    push(subscription, 1)
    subscription.end(UnknownTopic())
    events = subscription.events()
    assert await anext(events) == message(1)
    with pytest.raises(UnknownTopic):
        await anext(events)
    with pytest.raises(UnknownTopic):
        await subscription.started()


async def test_waiting_wakes_when_something_comes() -> None:
    subscription = Subscription(Recorder(), "p/t")
    waiting = asyncio.ensure_future(subscription.wait())
    await asyncio.sleep(0)
    push(subscription, 1)
    assert await waiting


async def test_closing_drops_what_is_queued_and_ends_quietly() -> None:
    owner = Recorder()
    subscription = Subscription(owner, "p/t")
    push(subscription, 1)
    await subscription.close()
    await subscription.close()
    assert owner.calls == ["closed"]
    assert [item async for item in subscription.events()] == []
    with pytest.raises(HeadraceError):
        await subscription.started()


async def test_started_gives_up_in_time() -> None:
    with pytest.raises(TimeoutError):
        await Subscription(Recorder(), "p/t").started(timeout=0)


async def test_an_answer_after_a_reconnect_does_not_move_the_place() -> None:
    subscription = Subscription(Recorder(), "p/t")
    subscription.start(STARTED, STARTED.after)
    push(subscription, 6)
    subscription.take()
    subscription.start(STARTED, STARTED.after)
    assert subscription.position == Position(1, 6)


async def test_what_was_taken_makes_room() -> None:
    owner = Recorder()
    subscription = Subscription(owner, "p/t")
    for offset in range(3):
        assert push(subscription, offset, MAX_QUEUED_BYTES)
        subscription.take()
    assert owner.calls == ["drained"] * 3


async def test_placements_are_told_in_stream_order_where_somebody_wants_them() -> None:
    told: list[object] = []
    subscription = Subscription(Recorder(), "p/t", on_started=told.append)
    subscription.start(STARTED, STARTED.after)
    push(subscription, 6)
    subscription.start(STARTED, Position(1, 6))
    push(subscription, 7)
    events = subscription.events()
    assert (await anext(events), told) == (message(6), [STARTED])
    assert (subscription.take(), told) == (message(7), [STARTED, STARTED])
    with pytest.raises(IndexError):
        subscription.take()
