"""The queue between a client and one iterator; what bounds it is in test_subscription.py and test_consumer.py."""

import asyncio

import pytest

from headrace.arrivals import Arrivals
from headrace.errors import Forbidden, HeadraceError


@pytest.fixture
async def arrivals() -> Arrivals[str, int]:
    return Arrivals(closed="It was closed.")


async def test_the_first_answer_counts(arrivals) -> None:
    with pytest.raises(TimeoutError):
        await arrivals.answer(timeout=0)
    arrivals.answered("first")
    arrivals.answered("second")
    assert await arrivals.answer(timeout=1) == "first"


async def test_what_comes_wakes_who_waits(arrivals) -> None:
    waiting = asyncio.ensure_future(arrivals.wait())
    await asyncio.sleep(0)
    arrivals.push(1, 2)
    assert await waiting
    assert list(arrivals.items) == [1, 2]


@pytest.mark.parametrize("error", [None, Forbidden()])
async def test_after_the_end_what_is_queued_is_still_there(arrivals, error) -> None:
    arrivals.push(1)
    arrivals.end(error)
    arrivals.end(HeadraceError("too late"))
    assert await arrivals.wait()
    arrivals.items.clear()
    if error is None:
        assert not await arrivals.wait()
    else:
        with pytest.raises(Forbidden):
            await arrivals.wait()
    with pytest.raises(HeadraceError, match="closed" if error is None else str(error)):
        await arrivals.answer(timeout=1)


async def test_an_end_wakes_who_waits(arrivals) -> None:
    waiting = asyncio.ensure_future(arrivals.wait())
    await asyncio.sleep(0)
    arrivals.end(None)
    assert not await waiting
