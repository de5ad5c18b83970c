"""What a consumer hands to the application, and what it gives back."""

import asyncio
import gc

import pytest

from headrace.consumer import Consumer
from headrace.errors import Forbidden, LeaseLost
from headrace.messages import Attached, Lease, Message
from headrace.positions import Position


class Owner:
    def __init__(self) -> None:
        self.settled: list[tuple[object, ...]] = []
        self.closed: list[Consumer] = []
        self.outcome: Exception | None = None

    def settle(self, *settlement: object) -> asyncio.Future[None]:
        self.settled.append(settlement)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.outcome is None:
            future.set_result(None)
        else:
            future.set_exception(self.outcome)
        return future

    def consumer_closed(self, consumer: Consumer) -> None:
        self.closed.append(consumer)


def lease(offset: int) -> Lease:
    return Lease(f"{offset}.1-t", 1, Message("p/t", Position(7, offset), 1, "text", b"x"))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
async def consumer(owner: Owner) -> Consumer:
    return Consumer(owner, "p/s", window=2)


async def test_a_delivery_is_settled_by_its_ack(owner: Owner, consumer: Consumer) -> None:
    consumer.push([lease(1)])
    delivery = consumer.take()
    await delivery.ack()
    await delivery.nack()
    await delivery.nack(1.5)
    await delivery.extend(60)
    assert owner.settled == [
        ("ack", "p/s", "1.1-t", None),
        ("nack", "p/s", "1.1-t", None),
        ("nack", "p/s", "1.1-t", 1500),
        ("extend", "p/s", "1.1-t", 60),
    ]
    assert (delivery.attempt, delivery.message.text, delivery.subscription) == (1, "x", "p/s")


async def test_it_waits_for_what_comes(consumer: Consumer) -> None:
    waiting = asyncio.create_task(consumer.wait())
    await asyncio.sleep(0)
    consumer.push([lease(1)])
    assert await waiting
    assert consumer.queued == 1


async def test_the_queue_holds_two_windows_and_lets_the_oldest_go(consumer: Consumer) -> None:
    consumer.push([lease(1), lease(2)])
    consumer.push([lease(3), lease(4)])
    consumer.push([lease(5)])
    assert [consumer.take().message.position.offset for _ in range(consumer.queued)] == [2, 3, 4, 5]


async def test_closing_gives_back_what_was_not_taken(owner: Owner, consumer: Consumer) -> None:
    owner.outcome = LeaseLost()
    consumer.push([lease(1), lease(2)])
    consumer.take()
    await consumer.close()
    await consumer.close()
    await asyncio.sleep(0)
    assert owner.settled == [("release", "p/s", "2.1-t", None)]
    assert owner.closed == [consumer]
    assert not await consumer.wait()


async def test_what_is_given_back_in_vain_is_no_error(owner: Owner, consumer: Consumer) -> None:
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    owner.outcome = LeaseLost()
    consumer.push([lease(1)])
    await consumer.close()
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_its_end_is_raised_after_what_is_queued(owner: Owner, consumer: Consumer) -> None:
    consumer.push([lease(1)])
    consumer.end(Forbidden())
    seen = []
    with pytest.raises(Forbidden):
        async for delivery in consumer:
            seen.append(delivery.message.position.offset)
    assert seen == [1]
    with pytest.raises(Forbidden):
        await consumer.attached()
    await consumer.close()
    assert owner.closed == []


async def test_attached_comes_once(consumer: Consumer) -> None:
    first = Attached("p/s", "p/t", 2, 10)
    consumer.start(first)
    consumer.start(Attached("p/s", "p/t", 2, 20))
    assert await consumer.attached() == first


async def test_a_delivery_shows_no_payload(consumer: Consumer) -> None:
    consumer.push([lease(1)])
    assert repr(consumer.take()) == "<Delivery '1.1-t' of 'p/s', attempt 1>"
