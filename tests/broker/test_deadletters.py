"""Dead letters: published before they are acked, once, and held back where that is not possible."""

from collections.abc import Sequence

import pytest
from subscribing import DEAD, MAIL, ORDERS, Shop, texts

from broker.deadletters import RETRY_MS, DeadLetters
from broker.errors import HeadraceError, Unavailable, UnknownTopic
from broker.messages import MAX_ENVELOPE_BYTES
from broker.names import SubscriptionName, TopicName
from broker.store.base import AppendOutcome, AppendRequest
from broker.store.memory import MemoryStore
from broker.store.subscriptions import Ack, Lease, Nack, Settled, Settlement


class Troubled(MemoryStore):
    """Refuses appends to the dead-letter topic, or loses their answers."""

    trouble: HeadraceError | None = None
    is_lossy = False
    is_deaf = False
    """Refuses to settle."""

    async def append(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[AppendOutcome]:
        if topic == DEAD and self.trouble is not None and not self.is_lossy:
            raise self.trouble
        outcomes = await super().append(topic, requests)
        if topic == DEAD and self.trouble is not None:
            raise self.trouble
        return outcomes

    async def settle(self, name: SubscriptionName, settlements: Sequence[Settlement]) -> list[Settled]:
        if self.is_deaf:
            raise Unavailable
        return await super().settle(name, settlements)


@pytest.fixture
async def shop() -> Shop:
    shop = Shop()
    shop.store = Troubled(now_ms=lambda: shop.now_ms, announce=shop.announce)
    shop.dead_letters = DeadLetters(shop.store, shop)
    shop.subscriptions = shop.another()
    await shop.open()
    await shop.subscribe(max_attempts=1, dead_letter_topic=DEAD)
    return shop


async def spend(shop: Shop, *messages: str) -> tuple[Lease, ...]:
    """Publish messages and use up their attempts; return their leases at the attempt that is one too many."""
    await shop.say(*messages)
    await shop.pull()
    shop.now_ms += 10_000
    return (await shop.store.lease(MAIL, max_entries=10, max_bytes=10**8)).leases


async def bury(shop: Shop, leases: Sequence[Lease]) -> list[Settlement]:
    return await shop.dead_letters.bury(leases, into=DEAD, topic=ORDERS, subscription=MAIL)


async def test_what_is_buried_is_to_be_acked(shop: Shop) -> None:
    leases = await spend(shop, "a", "b")
    assert await bury(shop, leases) == [Ack(0, leases[0].token), Ack(1, leases[1].token)]
    assert [message.payload for message in await shop.dead()] == [b"a", b"b"]


async def test_burying_twice_shows_it_once(shop: Shop) -> None:
    first = await spend(shop, "a")
    await bury(shop, first)
    shop.now_ms += 10_000
    # The ack was lost: another node has it at a later attempt.
    (again,) = (await shop.store.lease(MAIL, max_entries=10, max_bytes=10**8)).leases
    assert again.attempt == first[0].attempt + 1
    assert await bury(shop, [again]) == [Ack(0, again.token)]
    assert len(await shop.dead()) == 1


async def test_an_answer_that_was_lost_shows_it_once(shop: Shop) -> None:
    assert isinstance(shop.store, Troubled)
    leases = await spend(shop, "a")
    shop.store.trouble, shop.store.is_lossy = Unavailable(), True
    assert await bury(shop, leases) == [Nack(0, leases[0].token, RETRY_MS)]
    shop.store.trouble = None
    await bury(shop, leases)
    assert len(await shop.dead()) == 1


@pytest.mark.parametrize("trouble", [Unavailable(), UnknownTopic()])
async def test_what_cannot_be_buried_waits_and_is_not_lost(
    shop: Shop, trouble: HeadraceError, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(shop.store, Troubled)
    await spend(shop, "a")
    shop.now_ms += 10_000
    shop.store.trouble = trouble
    assert await shop.pull() == ()
    assert "could not be moved" in caplog.text
    shop.now_ms += RETRY_MS - 1
    shop.store.trouble = None
    assert await shop.pull() == ()
    assert await shop.dead() == []
    shop.now_ms += 1
    assert await shop.pull() == ()
    assert [message.payload for message in await shop.dead()] == [b"a"]


async def test_good_messages_go_on_while_the_grave_is_closed(shop: Shop) -> None:
    assert isinstance(shop.store, Troubled)
    shop.store.trouble = Unavailable()
    await spend(shop, "bad")
    shop.now_ms += 10_000
    await shop.say("good")
    assert texts(await shop.pull()) == ["good"]


async def test_what_was_leased_beside_is_delivered_when_the_ack_of_a_buried_one_fails(shop: Shop) -> None:
    assert isinstance(shop.store, Troubled)
    await spend(shop, "bad")
    shop.now_ms += 10_000
    await shop.say("good")
    shop.store.is_deaf = True
    assert texts(await shop.pull()) == ["good"]
    shop.store.is_deaf = False
    shop.now_ms += 9_999
    assert await shop.pull() == ()
    shop.now_ms += 1
    await shop.pull()
    assert [message.payload for message in await shop.dead()] == [b"bad", b"good"]


async def test_a_topic_that_was_deleted_is_made_again_where_use_does_that(shop: Shop) -> None:
    leases = await spend(shop, "a")
    await shop.store.delete_topic(DEAD)
    assert isinstance((await bury(shop, leases))[0], Nack)
    shop.creates.add(DEAD)
    assert isinstance((await bury(shop, leases))[0], Ack)
    assert len(await shop.dead()) == 1


async def test_a_message_as_large_as_may_be_is_buried_though_it_grows(shop: Shop) -> None:
    leases = await spend(shop, "x" * (MAX_ENVELOPE_BYTES - 10))
    assert isinstance((await bury(shop, leases))[0], Ack)


async def test_a_required_topic_exists_or_is_made_or_is_refused(shop: Shop) -> None:
    await shop.dead_letters.require(DEAD)
    grave = TopicName("default/grave")
    with pytest.raises(UnknownTopic):
        await shop.dead_letters.require(grave)
    shop.creates.add(grave)
    await shop.dead_letters.require(grave)
    assert (await shop.store.topic(grave)).name == grave
