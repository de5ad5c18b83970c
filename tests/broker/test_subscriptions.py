"""Subscriptions over the memory store: both kinds, waiting, settling, seeking, dead letters."""

import asyncio
from dataclasses import replace

import pytest
from subscribing import DEAD, MAIL, ORDERS, Shop, acks, idle, texts

from broker import subscriptions
from broker.acks import MAX_ACKS
from broker.errors import (
    AlreadyExists,
    InvalidRequest,
    LimitExceeded,
    OutOfBounds,
    UnknownSubscription,
    UnknownTopic,
    WrongKind,
)
from broker.names import ProjectName, SubscriptionName, TopicName
from broker.ports import FromTime
from broker.positions import Position
from broker.recall import KNOWN_SECONDS
from broker.store.base import ProjectLimits, Retention
from broker.store.subscriptions import (
    SETTLE_ENTRIES,
    CursorAck,
    RetryKind,
    Settled,
    SubscriptionKind,
    SubscriptionSettings,
)
from broker.subscriptions import MAX_WAIT_SECONDS, Offsets

CURSOR = SubscriptionKind.CURSOR
SHARED = SubscriptionKind.SHARED
PRESS = SubscriptionName("default/press")


@pytest.fixture
async def shop() -> Shop:
    return await Shop().open()


# Making them.


async def test_only_later_messages_are_seen(shop: Shop) -> None:
    await shop.say("before")
    await shop.subscribe()
    await shop.say("after")
    assert texts(await shop.pull()) == ["after"]


async def test_an_ack_deadline_of_nothing_is_the_default(shop: Shop) -> None:
    await shop.subscribe(ack_deadline_s=0)
    assert (await shop.subscriptions.get(MAIL)).settings.ack_deadline_s == 10


async def test_they_are_listed_newest_first_and_by_topic(shop: Shop) -> None:
    await shop.subscribe()
    shop.now_ms += 1
    await shop.subscribe(PRESS, CURSOR)
    listed = await shop.subscriptions.list(ProjectName("default"))
    assert [info.name for info in listed] == [PRESS, MAIL]
    assert [*await shop.subscriptions.of_topic(ORDERS)] == [MAIL, PRESS]
    assert [*await shop.subscriptions.of_topic(DEAD)] == []
    with pytest.raises(UnknownTopic):
        await shop.subscriptions.of_topic(TopicName("default/none"))


async def test_what_cannot_be_made_is_not_half_made(shop: Shop) -> None:
    elsewhere = SubscriptionName("other/mail")
    with pytest.raises(InvalidRequest):
        await shop.subscriptions.create(elsewhere, ORDERS, SubscriptionSettings())
    with pytest.raises(InvalidRequest):
        await shop.subscribe(ack_deadline_s=601)
    with pytest.raises(UnknownTopic):
        await shop.subscriptions.create(MAIL, TopicName("default/none"), SubscriptionSettings())
    with pytest.raises(UnknownTopic):
        await shop.subscribe(max_attempts=1, dead_letter_topic=TopicName("default/none"))
    for name in (MAIL, elsewhere):
        with pytest.raises(UnknownSubscription):
            await shop.subscriptions.get(name)
    await shop.subscribe()
    with pytest.raises(AlreadyExists):
        await shop.subscribe()


async def test_a_dead_letter_topic_is_made_where_first_use_makes_topics(shop: Shop) -> None:
    grave = TopicName("default/grave")
    shop.creates.add(grave)
    await shop.subscribe(max_attempts=1, dead_letter_topic=grave)
    assert (await shop.store.topic(grave)).name == grave


async def test_no_dead_letter_topic_is_made_for_a_topic_that_is_not_there(shop: Shop) -> None:
    grave = TopicName("default/grave")
    shop.creates.add(grave)
    settings = SubscriptionSettings(SHARED, max_attempts=1, dead_letter_topic=grave)
    with pytest.raises(UnknownTopic):
        await shop.subscriptions.create(MAIL, TopicName("default/none"), settings)
    with pytest.raises(UnknownTopic):
        await shop.store.topic(grave)


async def test_a_policy_is_changed_and_a_kind_is_not(shop: Shop) -> None:
    await shop.subscribe()
    settings = (await shop.subscriptions.get(MAIL)).settings
    info = await shop.subscriptions.configure(MAIL, replace(settings, ack_deadline_s=77))
    assert info.settings.ack_deadline_s == 77
    with pytest.raises(InvalidRequest):
        await shop.subscriptions.configure(MAIL, replace(settings, ack_deadline_s=-1))
    with pytest.raises(WrongKind):
        await shop.subscriptions.configure(MAIL, replace(settings, kind=CURSOR))


async def test_a_project_has_so_many_and_no_more(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def limits_of(project: ProjectName) -> ProjectLimits:
        return ProjectLimits(subscriptions=1)

    monkeypatch.setattr(subscriptions, "PROJECT_SUBSCRIPTIONS", 2)
    more = SubscriptionName("default/more")
    for name in (MAIL, PRESS):
        await shop.subscribe(name)
    with pytest.raises(LimitExceeded):
        await shop.subscribe(more)
    await shop.subscriptions.delete(PRESS)
    shop.subscriptions._limits_of = limits_of
    with pytest.raises(LimitExceeded):
        await shop.subscribe(more)
    await shop.subscriptions.delete(MAIL)
    await shop.subscribe(more)


async def test_what_is_deleted_is_unknown_to_every_verb(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a")
    (delivery,) = await shop.pull()
    await shop.subscriptions.delete(MAIL)
    verbs = [
        shop.pull(),
        shop.subscriptions.get(MAIL),
        shop.subscriptions.delete(MAIL),
        shop.subscriptions.acknowledge(MAIL, [delivery.ack]),
        shop.subscriptions.nack(MAIL, [delivery.ack]),
        shop.subscriptions.release(MAIL, [delivery.ack]),
        shop.subscriptions.extend(MAIL, [delivery.ack], deadline_s=5),
        shop.subscriptions.offsets(MAIL),
        shop.subscriptions.offset_at(MAIL, 0),
        shop.subscriptions.seek(MAIL, 0),
        shop.subscriptions.configure(MAIL, SubscriptionSettings()),
    ]
    for verb in verbs:
        with pytest.raises(UnknownSubscription):
            await verb


# A cursor.


async def test_a_cursor_gives_the_same_again_until_it_is_acked(shop: Shop) -> None:
    await shop.subscribe(kind=CURSOR)
    await shop.say("a", "b", "c")
    first = await shop.pull(2)
    assert (texts(first), acks(first)) == (["a", "b"], ["0", "1"])
    assert texts(await shop.pull(2)) == ["a", "b"]
    assert await shop.subscriptions.acknowledge(MAIL, ["0", "1", "0"]) is CursorAck.COMMITTED
    assert texts(await shop.pull(2)) == ["c"]
    assert await shop.subscriptions.acknowledge(MAIL, ["1"]) is CursorAck.ALREADY
    assert await shop.subscriptions.acknowledge(MAIL, ["7"]) is CursorAck.OUTSIDE


async def test_a_cursor_takes_no_leases(shop: Shop) -> None:
    await shop.subscribe(kind=CURSOR)
    await shop.say("a")
    await shop.pull()
    with pytest.raises(InvalidRequest):
        await shop.subscriptions.acknowledge(MAIL, ["0.1-token"])
    for verb in (
        shop.subscriptions.nack(MAIL, ["0"]),
        shop.subscriptions.release(MAIL, ["0"]),
        shop.subscriptions.extend(MAIL, ["0"], deadline_s=5),
        shop.subscriptions.lease(MAIL, max_messages=1, max_bytes=1),
    ):
        with pytest.raises(WrongKind):
            await verb


# A shared subscription.


async def test_no_message_is_in_two_hands(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a", "b", "c")
    first, second = await shop.pull(2), await shop.pull(2)
    assert (texts(first), texts(second)) == (["a", "b"], ["c"])
    assert await shop.pull() == ()
    assert await shop.subscriptions.acknowledge(MAIL, acks([*second, *first])) == [Settled.OK] * 3
    assert await shop.subscriptions.acknowledge(MAIL, acks(first)) == [Settled.UNKNOWN] * 2


async def test_an_expired_lease_is_given_out_again_and_its_ack_is_stale(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a")
    (first,) = await shop.pull()
    shop.now_ms += 10_000
    (second,) = await shop.pull()
    assert (first.attempt, second.attempt) == (1, 2)
    assert await shop.subscriptions.acknowledge(MAIL, [first.ack]) == [Settled.STALE]
    assert await shop.subscriptions.acknowledge(MAIL, [second.ack]) == [Settled.OK]


async def test_a_nack_waits_as_the_policy_says_or_as_its_caller_does(shop: Shop) -> None:
    await shop.subscribe(retry_kind=RetryKind.EXPONENTIAL, retry_min_ms=100, retry_max_ms=1000)
    await shop.say("a")
    for wait_ms in (100, 200, 400):
        (delivery,) = await shop.pull()
        assert await shop.subscriptions.nack(MAIL, [delivery.ack]) == [Settled.OK]
        shop.now_ms += wait_ms - 1
        assert await shop.pull() == ()
        shop.now_ms += 1
    (delivery,) = await shop.pull()
    await shop.subscriptions.nack(MAIL, [delivery.ack], delay_ms=0)
    assert texts(await shop.pull()) == ["a"]


async def test_an_extended_lease_lasts_and_one_of_nothing_is_given_back(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a")
    (delivery,) = await shop.pull()
    assert await shop.subscriptions.extend(MAIL, [delivery.ack], deadline_s=60) == [Settled.OK]
    shop.now_ms += 59_000
    assert await shop.pull() == ()
    assert await shop.subscriptions.extend(MAIL, [delivery.ack], deadline_s=0) == [Settled.OK]
    assert texts(await shop.pull()) == ["a"]


@pytest.mark.parametrize("bad", [[], ["x"], ["0"], ["0.1"], ["0.1-x"] * (MAX_ACKS + 1)])
async def test_ack_ids_that_are_none_change_nothing(shop: Shop, bad: list[str]) -> None:
    await shop.subscribe()
    await shop.say("a")
    (delivery,) = await shop.pull()
    for verb in (
        shop.subscriptions.acknowledge(MAIL, bad and [delivery.ack, *bad]),
        shop.subscriptions.nack(MAIL, bad and [delivery.ack, *bad]),
        shop.subscriptions.release(MAIL, bad and [delivery.ack, *bad]),
        shop.subscriptions.extend(MAIL, bad and [delivery.ack, *bad], deadline_s=5),
    ):
        with pytest.raises(InvalidRequest):
            await verb
    assert await shop.subscriptions.acknowledge(MAIL, [delivery.ack]) == [Settled.OK]


async def test_deadlines_and_delays_out_of_bounds_are_refused(shop: Shop) -> None:
    await shop.subscribe()
    for seconds in (-1, 601):
        with pytest.raises(InvalidRequest):
            await shop.subscriptions.extend(MAIL, ["0.1-x"], deadline_s=seconds)
    with pytest.raises(InvalidRequest):
        await shop.subscriptions.nack(MAIL, ["0.1-x"], delay_ms=-1)


async def test_a_long_list_of_acks_is_settled_in_parts_and_answered_in_order(shop: Shop) -> None:
    await shop.subscribe()
    count = 5 * SETTLE_ENTRIES + 3
    await shop.say(*(str(n) for n in range(count)))
    deliveries = [each for _ in range(6) for each in await shop.pull(1000)]
    deliveries.reverse()
    gone = deliveries[1000]
    await shop.subscriptions.acknowledge(MAIL, [gone.ack])
    settled = await shop.subscriptions.acknowledge(MAIL, acks(deliveries))
    assert [at for at, each in enumerate(settled) if each is not Settled.OK] == [1000]
    assert (await shop.subscriptions.get(MAIL)).pending == 0


async def test_a_pull_is_bounded_in_messages_and_bytes(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say(*["x" * 100] * 1200)
    assert len(await shop.pull(10**9)) == 1000
    few = await shop.subscriptions.pull(MAIL, max_messages=50, max_bytes=250)
    assert len(few.deliveries) == 2
    assert len(await shop.pull(-1)) == 1


async def test_a_key_is_in_one_hand_at_a_time(shop: Shop) -> None:
    await shop.subscribe(ordering_attribute="customer")
    for text, customer in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        await shop.say(text, attributes={"customer": customer})
    first = await shop.pull()
    assert texts(first) == ["a1", "b1"]
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=10, wait_seconds=30))
    await idle()
    assert not waiting.done()
    await shop.subscriptions.acknowledge(MAIL, [first[0].ack])
    assert texts((await asyncio.wait_for(waiting, 5)).deliveries) == ["a2"]


# Waiting.


@pytest.mark.parametrize("kind", SubscriptionKind)
async def test_a_pull_that_waits_returns_as_soon_as_there_is_a_message(shop: Shop, kind: SubscriptionKind) -> None:
    await shop.subscribe(kind=kind)
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=10, wait_seconds=30))
    await idle()
    assert not waiting.done()
    await shop.say("a", "b")
    assert texts((await asyncio.wait_for(waiting, 5)).deliveries) == ["a", "b"]


async def test_a_pull_that_waits_returns_with_nothing_in_time(shop: Shop) -> None:
    await shop.subscribe()
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=0.01))
    await asyncio.sleep(0.02)
    shop.now_ms += 10
    assert (await asyncio.wait_for(waiting, 5)).deliveries == ()
    await asyncio.sleep(0.001)
    assert not shop.followed


async def test_a_pull_that_waits_finds_what_no_announcement_told_of(shop: Shop) -> None:
    await shop.subscribe()
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=0.02))
    await idle()
    shop.deaf = True
    await shop.say("unheard")
    shop.now_ms += 20
    assert texts((await asyncio.wait_for(waiting, 5)).deliveries) == ["unheard"]


async def test_a_pull_that_waits_gets_a_lease_that_runs_out(shop: Shop) -> None:
    await shop.subscribe(ack_deadline_s=1)
    await shop.say("a")
    await shop.pull()
    shop.now_ms += 990
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    shop.now_ms += 10
    (delivery,) = (await asyncio.wait_for(waiting, 5)).deliveries
    assert delivery.attempt == 2


async def test_a_pull_that_waits_gets_what_is_given_back_and_sought(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a")
    (held,) = await shop.pull()
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    await shop.subscriptions.nack(MAIL, [held.ack], delay_ms=0)
    assert texts((await asyncio.wait_for(waiting, 5)).deliveries) == ["a"]
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    await shop.subscriptions.seek(MAIL, 0)
    assert texts((await asyncio.wait_for(waiting, 5)).deliveries) == ["a"]


async def test_one_message_wakes_all_who_wait_and_goes_to_one(shop: Shop) -> None:
    await shop.subscribe()
    pulls = [
        asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=MAX_WAIT_SECONDS))
        for _ in range(3)
    ]
    await idle()
    await shop.say("a")
    await idle()
    assert [texts(pull.result().deliveries) for pull in pulls if pull.done()] == [["a"]]
    for pull in pulls:
        pull.cancel()
    await asyncio.wait(pulls)
    await asyncio.sleep(0.001)
    assert not shop.followed


async def test_whoever_waits_hears_that_the_subscription_is_gone(shop: Shop) -> None:
    await shop.subscribe()
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    await shop.subscriptions.delete(MAIL)
    with pytest.raises(UnknownSubscription):
        await asyncio.wait_for(waiting, 5)


async def test_whoever_waits_hears_that_the_topic_is_gone(shop: Shop) -> None:
    await shop.subscribe()
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    await shop.store.delete_topic(ORDERS)
    with pytest.raises(UnknownTopic):
        await asyncio.wait_for(waiting, 5)


async def test_a_wait_tells_what_its_first_look_found_lost(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a", "b")
    await shop.store.delete_topic(ORDERS)
    await shop.open(ORDERS)
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    await shop.say("new")
    pulled = await asyncio.wait_for(waiting, 5)
    assert (texts(pulled.deliveries), pulled.restarted) == (["new"], True)


async def test_a_wait_adds_up_what_its_looks_found_trimmed(shop: Shop) -> None:
    await shop.subscribe()
    nothing = Retention(1, 1, 10**9)
    await shop.say("a", "b")
    await shop.store.trim(ORDERS, nothing)
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    shop.deaf = True
    await shop.say("c", "d", "e")
    await shop.store.trim(ORDERS, nothing)
    shop.deaf = False
    await shop.say("here")
    pulled = await asyncio.wait_for(waiting, 5)
    assert (texts(pulled.deliveries), pulled.trimmed) == (["here"], 5)


# Moving.


async def test_offsets_count_from_the_oldest_retained_message(shop: Shop) -> None:
    await shop.subscribe(kind=CURSOR)
    await shop.say("a", "b", "c")
    assert await shop.subscriptions.offsets(MAIL) == Offsets(0, 0, 3)
    await shop.pull(1)
    await shop.subscriptions.acknowledge(MAIL, ["0"])
    assert await shop.subscriptions.offsets(MAIL) == Offsets(0, 1, 3)
    await shop.store.trim(ORDERS, Retention(1, 10**9, 10**9))
    assert await shop.subscriptions.offsets(MAIL) == Offsets(2, 2, 3)
    await shop.store.delete_topic(ORDERS)
    with pytest.raises(UnknownTopic):
        await shop.subscriptions.offsets(MAIL)


@pytest.mark.parametrize("kind", SubscriptionKind)
async def test_seeking_by_offset_position_and_time(shop: Shop, kind: SubscriptionKind) -> None:
    await shop.subscribe(kind=kind)
    start = shop.now_ms
    for text in "abc":
        await shop.say(text)
        shop.now_ms += 1000
    epoch = (await shop.store.topic(ORDERS)).log.epoch
    for to, first in [
        (1, ["b"]),
        (0, ["a"]),
        (3, []),
        (Position(epoch, 0), ["b"]),
        (Position(epoch, -1), ["a"]),
        (FromTime(start + 1500), ["c"]),
        (FromTime(0), ["a"]),
        (FromTime(start + 10**6), []),
    ]:
        await shop.subscriptions.seek(MAIL, to)
        assert texts(await shop.pull(1)) == first
    for beyond in (4, -1, Position(epoch, 3), Position(epoch + 1, 0)):
        with pytest.raises(OutOfBounds):
            await shop.subscriptions.seek(MAIL, beyond)
    assert texts(await shop.pull(1)) == []


async def test_a_seek_forgets_what_is_in_hands(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a")
    (held,) = await shop.pull()
    await shop.subscriptions.seek(MAIL, 0)
    assert await shop.subscriptions.acknowledge(MAIL, [held.ack]) == [Settled.STALE]


async def test_the_offset_at_a_time(shop: Shop) -> None:
    await shop.subscribe(kind=CURSOR)
    start = shop.now_ms
    for text in "ab":
        await shop.say(text)
        shop.now_ms += 1000
    assert [await shop.subscriptions.offset_at(MAIL, start + ms) for ms in (-5, 0, 1, 1000)] == [0, 0, 1, 1]
    with pytest.raises(OutOfBounds):
        await shop.subscriptions.offset_at(MAIL, start + 1001)


# Dead letters.


async def test_a_message_that_keeps_failing_is_buried_once(shop: Shop) -> None:
    await shop.subscribe(max_attempts=2, dead_letter_topic=DEAD)
    await shop.say("poison", attributes={"colour": "red"})
    for attempt in (1, 2):
        (delivery,) = await shop.pull()
        assert delivery.attempt == attempt
        await shop.subscriptions.nack(MAIL, [delivery.ack])
    assert await shop.pull() == ()
    (dead,) = await shop.dead()
    epoch = (await shop.store.topic(ORDERS)).log.epoch
    assert dead.payload == b"poison"
    assert dead.attributes == {
        "colour": "red",
        "dead_letter_reason": "max_attempts",
        "dead_letter_topic": ORDERS,
        "dead_letter_subscription": MAIL,
        "dead_letter_position": f"{epoch}-0",
        "dead_letter_attempts": "2",
    }
    assert (await shop.subscriptions.get(MAIL)).pending == 0


async def test_good_messages_pass_a_buried_one(shop: Shop) -> None:
    await shop.subscribe(max_attempts=1, dead_letter_topic=DEAD)
    await shop.say("poison")
    await shop.pull()
    shop.now_ms += 10_000
    await shop.say("good")
    assert texts(await shop.pull()) == ["good"]
    assert len(await shop.dead()) == 1


async def test_a_pull_that_waits_goes_on_after_burying(shop: Shop) -> None:
    await shop.subscribe(max_attempts=1, dead_letter_topic=DEAD)
    await shop.say("poison")
    await shop.pull()
    shop.now_ms += 10_000
    waiting = asyncio.create_task(shop.subscriptions.pull(MAIL, max_messages=1, wait_seconds=30))
    await idle()
    await shop.say("good")
    assert texts((await asyncio.wait_for(waiting, 5)).deliveries) == ["good"]


async def test_a_pull_buries_and_returns_what_stands_behind(shop: Shop) -> None:
    await shop.subscribe(max_attempts=1, dead_letter_topic=DEAD)
    await shop.say("poison", "good")
    await shop.pull(1)
    shop.now_ms += 10_000
    assert texts(await shop.pull(1)) == ["good"]


# What is remembered.


async def test_a_change_on_another_node_is_seen_in_time(shop: Shop) -> None:
    await shop.subscribe()
    await shop.say("a")
    (delivery,) = await shop.pull()
    settings = (await shop.subscriptions.get(MAIL)).settings
    await shop.another().configure(MAIL, replace(settings, retry_min_ms=500, retry_max_ms=500))
    shop.now_ms += int(KNOWN_SECONDS * 1000)
    await shop.subscriptions.nack(MAIL, [delivery.ack])
    assert await shop.pull() == ()
    shop.now_ms += 500
    assert texts(await shop.pull()) == ["a"]


@pytest.mark.parametrize("kind", SubscriptionKind)
async def test_a_subscription_made_again_as_the_other_kind_is_pulled_as_such(
    shop: Shop, kind: SubscriptionKind
) -> None:
    await shop.subscribe(kind=kind)
    await shop.pull()
    elsewhere = shop.another()
    await elsewhere.delete(MAIL)
    other = SHARED if kind is CURSOR else CURSOR
    await elsewhere.create(MAIL, ORDERS, SubscriptionSettings(other))
    await shop.say("a")
    assert texts(await shop.pull()) == ["a"]
