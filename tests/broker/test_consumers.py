"""Consumers on sockets: windows, fair shares, leases that come back, and sockets that go away."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from subscribing import MAIL, ORDERS, Shop, Worker, idle, texts, until

from broker.consumers import MAX_WINDOW, RETURN_SECONDS, Consumers
from broker.errors import (
    AlreadySubscribed,
    InvalidRequest,
    NotSubscribed,
    Unavailable,
    UnknownSubscription,
    UnknownTopic,
    WrongKind,
)
from broker.names import SubscriptionName
from broker.store.memory import MemoryStore
from broker.store.subscriptions import Leased, Settled, SubscriptionKind

PRESS = SubscriptionName("default/press")


class Slow(MemoryStore):
    """Can be away, and lets a test in between a lease and its answer."""

    away = False
    gate: asyncio.Event | None = None
    leases = 0

    async def lease(
        self, name: SubscriptionName, *, max_entries: int, max_bytes: int, deadline_ms: int | None = None
    ) -> Leased:
        self.leases += 1
        if self.away:
            raise Unavailable
        leased = await super().lease(name, max_entries=max_entries, max_bytes=max_bytes, deadline_ms=deadline_ms)
        if self.gate is not None:
            await self.gate.wait()
        return leased


class House(Shop):
    store: Slow

    def __init__(self) -> None:
        super().__init__()
        self.store = Slow(now_ms=lambda: self.now_ms, announce=self.announce)
        self.dead_letters._store = self.store
        self.subscriptions._store = self.store


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.open()
    await house.subscribe()
    running = asyncio.create_task(house.consumers.run())
    await asyncio.sleep(0)
    yield house
    running.cancel()
    await asyncio.wait([running])


async def attach(house: House, window: int = 100, worker: Worker | None = None) -> Worker:
    worker = worker or Worker()
    await house.consumers.attach(worker, MAIL, window)
    return worker


async def test_what_is_there_and_what_comes_is_delivered(house: House) -> None:
    await house.say("a")
    worker = await attach(house)
    await until(lambda: worker.texts == ["a"])
    await house.say("b", "c")
    await until(lambda: worker.texts == ["a", "b", "c"])
    assert [delivery.attempt for delivery in worker.delivered] == [1, 1, 1]
    assert await house.consumers.acknowledge(worker, MAIL, worker.acks) == [Settled.OK] * 3
    assert (await house.subscriptions.get(MAIL)).pending == 0


async def test_no_more_than_the_window_is_outstanding(house: House) -> None:
    await house.say(*"abcde")
    worker = await attach(house, window=2)
    await until(lambda: worker.delivered)
    await idle()
    assert worker.texts == ["a", "b"]
    await house.consumers.acknowledge(worker, MAIL, [worker.acks[0]])
    await until(lambda: worker.texts == ["a", "b", "c"])
    await house.consumers.nack(worker, MAIL, [worker.acks[1]], delay_ms=600_000)
    await until(lambda: worker.texts == ["a", "b", "c", "d"])
    assert (await house.subscriptions.get(MAIL)).pending == 3


async def test_consumers_share_in_turn(house: House) -> None:
    workers = [await attach(house, window=10) for _ in range(3)]
    await idle()
    await house.say(*(str(n) for n in range(9)))
    await until(lambda: sum(len(worker.delivered) for worker in workers) == 9)
    assert [len(worker.delivered) for worker in workers] == [3, 3, 3]
    everything = sorted(text for worker in workers for text in worker.texts)
    assert everything == sorted(str(n) for n in range(9))


async def test_single_messages_go_round_too(house: House) -> None:
    workers = [await attach(house, window=10) for _ in range(3)]
    for n in range(6):
        await idle()
        await house.say(str(n))
    await until(lambda: sum(len(worker.delivered) for worker in workers) == 6)
    assert [len(worker.delivered) for worker in workers] == [2, 2, 2]


async def test_a_small_window_takes_what_it_can_and_others_the_rest(house: House) -> None:
    small, large = await attach(house, window=1), await attach(house, window=10)
    await idle()
    await house.say(*"abcdef")
    await until(lambda: len(small.delivered) + len(large.delivered) == 6)
    assert (len(small.delivered), len(large.delivered)) == (1, 5)


async def test_a_pull_and_a_consumer_never_have_the_same(house: House) -> None:
    await house.say(*"abcd")
    pulled = await house.pull(2)
    worker = await attach(house)
    await until(lambda: len(worker.delivered) == 2)
    assert texts(pulled) == ["a", "b"]
    assert worker.texts == ["c", "d"]


async def test_a_paused_socket_is_given_nothing_until_it_resumes(house: House) -> None:
    worker = await attach(house, worker=Worker(paused=True))
    await house.say("a")
    await idle()
    assert not worker.delivered
    assert (await house.subscriptions.get(MAIL)).pending == 0
    worker.paused = False
    house.consumers.resume(worker)
    await until(lambda: worker.texts == ["a"])


async def test_a_lease_that_runs_out_leaves_the_window_and_comes_again(house: House) -> None:
    await house.subscriptions.delete(MAIL)
    await house.subscribe(ack_deadline_s=1)
    await house.say("a")
    worker = await attach(house, window=1)
    await until(lambda: worker.delivered)
    house.now_ms += 1000
    await until(lambda: len(worker.delivered) == 2)
    assert [delivery.attempt for delivery in worker.delivered] == [1, 2]
    assert await house.consumers.acknowledge(worker, MAIL, worker.acks) == [Settled.STALE, Settled.OK]


async def test_an_extended_lease_stays_in_the_window(house: House) -> None:
    await house.say("a", "b")
    worker = await attach(house, window=1)
    await until(lambda: worker.delivered)
    assert await house.consumers.extend(worker, MAIL, worker.acks, deadline_s=60) == [Settled.OK]
    house.now_ms += 30_000
    house.consumers.resume(worker)
    await idle()
    assert worker.texts == ["a"]
    house.now_ms += 30_000
    house.consumers.resume(worker)
    await until(lambda: len(worker.delivered) == 2)


async def test_an_extension_by_nothing_gives_back_and_frees_the_window(house: House) -> None:
    await house.say("a")
    worker = await attach(house, window=1)
    await until(lambda: worker.delivered)
    await house.consumers.extend(worker, MAIL, worker.acks, deadline_s=0)
    await until(lambda: len(worker.delivered) == 2)
    assert worker.delivered[1].attempt == 2


async def test_what_the_application_never_saw_is_given_out_again_uncounted(house: House) -> None:
    await house.say("a")
    worker = await attach(house, window=1)
    await until(lambda: worker.delivered)
    other = await attach(house, window=1)
    assert await house.consumers.release(worker, MAIL, worker.acks) == [Settled.OK]
    await until(lambda: len(worker.delivered) + len(other.delivered) == 2)
    assert {delivery.attempt for delivery in [*worker.delivered, *other.delivered]} == {1}
    assert await house.consumers.release(worker, MAIL, worker.acks[:1]) == [Settled.STALE]


async def test_after_detaching_nothing_comes_and_what_came_may_be_settled(house: House) -> None:
    await house.say("a")
    worker = await attach(house)
    await until(lambda: worker.delivered)
    house.consumers.detach(worker, MAIL)
    await house.say("b")
    await idle()
    assert worker.texts == ["a"]
    assert await house.consumers.acknowledge(worker, MAIL, worker.acks) == [Settled.OK]
    with pytest.raises(NotSubscribed):
        house.consumers.detach(worker, MAIL)
    await attach(house, worker=worker)
    await until(lambda: worker.texts == ["a", "b"])


async def test_what_was_leased_for_one_who_left_meanwhile_is_released(house: House) -> None:
    house.store.gate = asyncio.Event()
    await house.say("a")
    worker = await attach(house)
    await until(lambda: house.store.leases)
    house.consumers.detach(worker, MAIL)
    house.store.gate.set()
    await idle()
    house.store.gate = None
    (delivery,) = await house.pull()
    assert delivery.attempt == 1, "it was never delivered, so that attempt does not count"
    assert not worker.delivered


async def test_what_a_lost_socket_held_comes_back_soon_and_may_be_acked_until_then(house: House) -> None:
    await house.subscriptions.delete(MAIL)
    await house.subscribe(ack_deadline_s=600)
    await house.say("a", "b")
    worker = await attach(house)
    await until(lambda: len(worker.delivered) == 2)
    house.consumers.leave(worker)
    house.consumers.leave(worker)
    await idle()
    assert await house.subscriptions.acknowledge(MAIL, [worker.acks[0]]) == [Settled.OK]
    house.now_ms += int(RETURN_SECONDS * 1000)
    assert texts(await house.pull()) == ["b"]


async def test_a_node_that_ends_waits_until_what_nobody_got_is_given_back(house: House) -> None:
    await asyncio.wait_for(house.consumers.drain(), 5)
    house.store.gate = asyncio.Event()
    await house.say("a")
    worker = await attach(house)
    await until(lambda: house.store.leases)
    house.consumers.leave(worker)
    draining = asyncio.create_task(house.consumers.drain())
    await idle()
    assert not draining.done()
    house.store.gate.set()
    await asyncio.wait_for(draining, 5)
    house.store.gate = None
    (delivery,) = await house.pull()
    assert delivery.attempt == 1


async def test_a_lost_socket_lengthens_no_lease(house: House) -> None:
    await house.subscriptions.delete(MAIL)
    await house.subscribe(ack_deadline_s=2)
    await house.say("a")
    worker = await attach(house)
    await until(lambda: worker.delivered)
    house.consumers.leave(worker)
    await idle()
    house.now_ms += 2000
    assert texts(await house.pull()) == ["a"]


async def test_a_consumer_that_fails_is_detached_and_another_gets_its_share(house: House) -> None:
    broken = await attach(house, worker=Worker(broken=True))
    good = await attach(house)
    await house.say("a", "b")
    await until(lambda: len(good.delivered) == 2)
    assert {delivery.attempt for delivery in good.delivered} == {1}
    with pytest.raises(NotSubscribed):
        house.consumers.detach(broken, MAIL)


async def test_a_deleted_subscription_ends_its_consumers(house: House) -> None:
    worker = await attach(house)
    await idle()
    await house.subscriptions.delete(MAIL)
    await until(lambda: worker.ended)
    (name, reason), *more = worker.ended
    assert (name, type(reason), more) == (MAIL, UnknownSubscription, [])
    assert not house.consumers._whereabouts.of(worker)
    with pytest.raises(NotSubscribed):
        house.consumers.detach(worker, MAIL)


async def test_a_deleted_topic_ends_its_consumers(house: House) -> None:
    worker = await attach(house)
    await idle()
    await house.store.delete_topic(ORDERS)
    await until(lambda: worker.ended)
    assert isinstance(worker.ended[0][1], UnknownTopic)
    await asyncio.sleep(0.001)
    assert not house.followed


async def test_a_store_that_is_away_is_asked_again(house: House) -> None:
    house.store.away = True
    worker = await attach(house)
    await house.say("a")
    await idle()
    assert not worker.delivered
    house.store.away = False
    await until(lambda: worker.texts == ["a"])
    assert not worker.ended


async def test_what_another_node_gave_back_is_found(house: House) -> None:
    house.consumers = Consumers(house.subscriptions, house.waiting, monotonic=house.monotonic, look_seconds=0.01)
    running = asyncio.create_task(house.consumers.run())
    await asyncio.sleep(0)
    other = house.another()
    await house.say("a")
    (held,) = (await other.pull(MAIL, max_messages=1)).deliveries
    worker = await attach(house)
    await idle()
    assert not worker.delivered
    await other.nack(MAIL, [held.ack], delay_ms=0)
    await until(lambda: worker.texts == ["a"])
    running.cancel()
    await asyncio.wait([running])


async def test_whoever_cannot_attach_is_told_why(house: House) -> None:
    await house.subscribe(PRESS, SubscriptionKind.CURSOR)
    worker = await attach(house)
    for window in (0, MAX_WINDOW + 1):
        with pytest.raises(InvalidRequest):
            await house.consumers.attach(worker, MAIL, window)
    with pytest.raises(AlreadySubscribed):
        await house.consumers.attach(worker, MAIL)
    with pytest.raises(WrongKind):
        await house.consumers.attach(worker, PRESS)
    with pytest.raises(UnknownSubscription):
        await house.consumers.attach(worker, SubscriptionName("default/none"))
    with pytest.raises(WrongKind):
        await house.consumers.acknowledge(worker, PRESS, ["0"])


async def test_nobody_attaches_to_a_node_that_stops() -> None:
    house = House()
    await house.open()
    await house.subscribe()
    with pytest.raises(Unavailable):
        await attach(house)


async def test_an_idle_subscription_is_not_asked_for_all_the_time(house: House) -> None:
    await attach(house)
    await idle()
    asked = house.store.leases
    await asyncio.sleep(0.05)
    assert house.store.leases == asked


async def test_everything_arrives_once_each_over_many_rounds(house: House) -> None:
    workers = [await attach(house, window=window) for window in (1, 3, 7)]
    sent = [str(n) for n in range(200)]

    async def work(worker: Worker) -> None:
        done = 0
        while True:
            if done < len(worker.delivered):
                batch = worker.acks[done:]
                done = len(worker.delivered)
                await house.consumers.acknowledge(worker, MAIL, batch)
            await asyncio.sleep(0)

    working = [asyncio.create_task(work(worker)) for worker in workers]
    for at in range(0, 200, 7):
        await house.say(*sent[at : at + 7])
        await asyncio.sleep(0)
    await until(lambda: sum(len(worker.delivered) for worker in workers) >= 200)
    await idle()
    for task in working:
        task.cancel()
    assert sorted(text for worker in workers for text in worker.texts) == sorted(sent)
