"""What every store does alike with subscriptions, and with those that are cursors: memory, Valkey, Redis, a Cluster.

A deadline that is over is played by one that was over at once.
"""

from dataclasses import replace

import pytest
from logs import NOTHING, TOPIC, put
from subs import CURSOR, SHARED, SUB, FullStore, lease, pull, subscribe, texts

from broker.errors import AlreadyExists, OutOfBounds, UnknownSubscription, UnknownTopic, WrongKind
from broker.names import DEFAULT_PROJECT, ProjectName, SubscriptionName, TopicName
from broker.positions import Position
from broker.store.base import ProjectInfo, Retention
from broker.store.subscriptions import CursorAck, RetryKind, SubscriptionKind, SubscriptionSettings

OTHER = SubscriptionName("default/other")
ELSEWHERE = TopicName("default/elsewhere")
ALL = SubscriptionSettings(
    kind=SubscriptionKind.SHARED,
    ack_deadline_s=77,
    max_attempts=5,
    dead_letter_topic=TopicName("default/dead"),
    retry_kind=RetryKind.EXPONENTIAL,
    retry_min_ms=10,
    retry_max_ms=10_000,
    ordering_attribute="kéy\0",
    max_outstanding=9,
)


# What an operator does.


@pytest.mark.parametrize("settings", [CURSOR, SHARED, ALL])
async def test_a_subscription_begins_at_the_logs_end(store: FullStore, settings: SubscriptionSettings) -> None:
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, "a", "b")
    created = await subscribe(store, settings)
    assert created == await store.subscription(SUB)
    assert (created.name, created.topic, created.settings, created.cursor) == (SUB, TOPIC, settings, last)
    assert (created.pending, created.lag, created.oldest_unacked_ms) == (0, 0, None)
    assert (created.trimmed, created.restarts, created.delivered, created.delivered_bytes) == (0, 0, 0, 0)
    assert created.log == (await store.topic(TOPIC)).log
    assert created.created_ms >= (await store.topic(TOPIC)).created_ms
    await put(store, "c")
    assert (await store.subscription(SUB)).lag == 1


async def test_a_name_is_used_once_in_a_project(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.create_topic(ELSEWHERE, NOTHING)
    await subscribe(store, CURSOR)
    for topic in (TOPIC, ELSEWHERE):
        with pytest.raises(AlreadyExists):
            await subscribe(store, SHARED, topic=topic)
    assert (await store.subscription(SUB)).settings == CURSOR
    assert await store.subscriptions_of(ELSEWHERE) == []


async def test_what_is_not_there_is_unknown(store: FullStore) -> None:
    with pytest.raises(UnknownTopic):
        await subscribe(store, CURSOR)
    assert await store.subscription_count(DEFAULT_PROJECT) == 0
    for call in (
        store.subscription(SUB),
        store.configure_subscription(SUB, CURSOR),
        store.delete_subscription(SUB),
        pull(store),
        store.ack_cursor(SUB, 0),
        lease(store),
        store.seek(SUB, 0),
    ):
        with pytest.raises(UnknownSubscription):
            await call
    assert await store.subscriptions(DEFAULT_PROJECT) == []


async def test_subscriptions_are_listed_counted_and_deleted(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.create_topic(ELSEWHERE, NOTHING)
    await subscribe(store, CURSOR)
    await subscribe(store, SHARED, name=OTHER)
    await subscribe(store, SHARED, name=SubscriptionName("default/z"), topic=ELSEWHERE)
    listed = await store.subscriptions(DEFAULT_PROJECT)
    assert sorted(info.name for info in listed) == ["default/other", "default/s", "default/z"]
    assert [info.created_ms for info in listed] == sorted((info.created_ms for info in listed), reverse=True)
    assert await store.subscriptions_of(TOPIC) == [OTHER, SUB]
    assert await store.subscription_count(DEFAULT_PROJECT) == 3
    await store.delete_subscription(SUB)
    with pytest.raises(UnknownSubscription):
        await store.subscription(SUB)
    assert await store.subscriptions_of(TOPIC) == [OTHER]
    assert await store.subscription_count(DEFAULT_PROJECT) == 2


async def test_a_deleted_name_is_free_on_another_topic(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await store.create_topic(ELSEWHERE, NOTHING)
    await subscribe(store, SHARED)
    await put(store, "a")
    await lease(store)
    await store.delete_subscription(SUB)
    again = await subscribe(store, CURSOR, topic=ELSEWHERE)
    assert (again.topic, again.pending) == (ELSEWHERE, 0)
    assert (await store.subscription(SUB)).topic == ELSEWHERE


async def test_another_node_finds_a_name_that_moved_to_another_topic(backend) -> None:  # type: ignore[no-untyped-def]
    here = backend.make()
    there = here if backend.__class__.__name__ == "InMemory" else backend.make()
    await here.create_topic(TOPIC, NOTHING)
    await here.create_topic(ELSEWHERE, NOTHING)
    await subscribe(here, CURSOR)
    assert (await there.subscription(SUB)).topic == TOPIC
    await here.delete_subscription(SUB)
    await subscribe(here, CURSOR, topic=ELSEWHERE)
    assert (await there.subscription(SUB)).topic == ELSEWHERE
    await here.delete_subscription(SUB)
    with pytest.raises(UnknownSubscription):
        await pull(there)


async def test_settings_are_replaced_but_not_the_kind(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, ALL)
    changed = replace(ALL, ack_deadline_s=5, max_attempts=None, max_outstanding=1)
    assert (await store.configure_subscription(SUB, changed)).settings == changed
    assert (await store.subscription(SUB)).settings == changed
    for other in (replace(changed, kind=SubscriptionKind.CURSOR), replace(changed, ordering_attribute=None)):
        with pytest.raises(WrongKind):
            await store.configure_subscription(SUB, other)
    assert (await store.subscription(SUB)).settings == changed


async def test_a_verb_of_the_other_kind_is_refused(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await subscribe(store, SHARED, name=OTHER)
    for call in (lease(store), pull(store, name=OTHER), store.ack_cursor(OTHER, 0)):
        with pytest.raises(WrongKind):
            await call


async def test_a_projects_subscriptions_go_with_it(store: FullStore) -> None:
    project = ProjectName("p")
    await store.create_project(ProjectInfo(project, 0, 0))
    topic = TopicName("p/t")
    name = SubscriptionName("p/s")
    await store.create_topic(topic, NOTHING)
    await subscribe(store, SHARED, name=name, topic=topic)
    await store.delete_project(project)
    with pytest.raises(UnknownSubscription):
        await store.subscription(name)
    assert await store.subscription_count(project) == 0


async def test_a_subscription_begins_after_a_given_place(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, "a", "b", "c")
    created = await subscribe(store, CURSOR, after=Position(last.epoch, 0))
    assert (created.cursor.offset, created.lag) == (0, 2)
    assert created.oldest_unacked_ms is not None
    assert texts(await pull(store)) == ["b", "c"]
    whole = await subscribe(store, SHARED, name=OTHER, after=Position(last.epoch, -1))
    assert whole.lag == 3
    for place in (Position(last.epoch, 3), Position(last.epoch + 1, 0), Position(last.epoch, -2)):
        with pytest.raises(OutOfBounds):
            await subscribe(store, CURSOR, name=SubscriptionName("default/x"), after=place)
    assert await store.subscription_count(DEFAULT_PROJECT) == 2


# A cursor.


async def test_a_pull_brings_the_same_messages_until_they_are_acked(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put(store, "a", "b", "c")
    assert texts(await pull(store, 2)) == ["a", "b"]
    assert texts(await pull(store, 3)) == ["a", "b", "c"]
    assert texts(await pull(store, 1)) == ["a"]
    assert await store.ack_cursor(SUB, 0) is CursorAck.COMMITTED
    assert texts(await pull(store)) == ["b", "c"]
    info = await store.subscription(SUB)
    assert (info.cursor.offset, info.pending, info.lag) == (0, 2, 2)
    assert info.delivered == 8


async def test_a_pull_keeps_to_its_bytes_but_brings_one(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put(store, "a" * 100, "b" * 100, "c" * 100)
    for most, expected in ((1, 1), (250, 2), (10_000, 3)):
        window = await store.pull_cursor(SUB, max_entries=10, max_bytes=most)
        assert len(window.entries) == expected


async def test_an_ack_commits_up_to_its_offset_and_closes_the_window(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put(store, *"abcd")
    assert await store.ack_cursor(SUB, 0) is CursorAck.NOTHING_PENDING
    await pull(store, 3)
    assert await store.ack_cursor(SUB, 3) is CursorAck.OUTSIDE
    assert await store.ack_cursor(SUB, 10**15) is CursorAck.OUTSIDE
    assert await store.ack_cursor(SUB, 1) is CursorAck.COMMITTED
    assert await store.ack_cursor(SUB, 2) is CursorAck.NOTHING_PENDING
    assert await store.ack_cursor(SUB, 1) is CursorAck.ALREADY
    assert await store.ack_cursor(SUB, 0) is CursorAck.ALREADY
    await pull(store, 2)
    assert await store.ack_cursor(SUB, 0) is CursorAck.ALREADY
    assert await store.ack_cursor(SUB, 3) is CursorAck.COMMITTED
    assert (await store.subscription(SUB)).lag == 0


async def test_an_empty_pull_opens_an_empty_window(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    assert (await pull(store)).entries == ()
    assert await store.ack_cursor(SUB, 0) is CursorAck.OUTSIDE
    await put(store, "a")
    assert await store.ack_cursor(SUB, 0) is CursorAck.OUTSIDE


async def test_an_ack_after_the_deadline_changes_nothing(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, replace(CURSOR, ack_deadline_s=-1))
    await put(store, "a")
    await pull(store)
    assert await store.ack_cursor(SUB, 0) is CursorAck.TIMEOUT
    await store.configure_subscription(SUB, replace(CURSOR, ack_deadline_s=600))
    assert await store.ack_cursor(SUB, 0) is CursorAck.COMMITTED


async def test_retention_lifts_a_cursor_and_is_reported(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put(store, *"abcde")
    await pull(store, 2)
    await store.trim(TOPIC, Retention(3, 10**9, 10**9))
    window = await pull(store, 2)
    assert (texts(window), window.trimmed) == (["c", "d"], 2)
    assert (await pull(store, 2)).trimmed == 0
    info = await store.subscription(SUB)
    assert (info.trimmed, info.lag, info.cursor.offset) == (2, 3, 1)
    await store.trim(TOPIC, Retention(0, 10**9, 10**9))
    info = await store.subscription(SUB)
    assert (info.trimmed, info.lag, info.cursor.offset, info.oldest_unacked_ms) == (5, 0, 4, None)
    await put(store, "f")
    assert texts(await pull(store)) == ["f"]


@pytest.mark.parametrize("settings", [CURSOR, SHARED])
async def test_a_seek_goes_anywhere_in_the_log_and_nowhere_else(
    store: FullStore, settings: SubscriptionSettings
) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await put(store, *"abcde")
    await store.trim(TOPIC, Retention(4, 10**9, 10**9))
    before = await subscribe(store, settings)
    epoch = before.cursor.epoch
    for offset in (0, 6, -1, 2**53):
        with pytest.raises(OutOfBounds):
            await store.seek(SUB, offset)
    for place in (Position(epoch, 5), Position(epoch, -2), Position(epoch - 1, 2), Position(epoch + 1, 2)):
        with pytest.raises(OutOfBounds):
            await store.seek(SUB, place)
    assert await store.subscription(SUB) == before
    take = pull if settings is CURSOR else lease
    for to, first in ((1, "b"), (4, "e"), (Position(epoch, 1), "c"), (Position(epoch, 0), "b")):
        info = await store.seek(SUB, to)
        assert info.lag == 6 - (to if isinstance(to, int) else to.offset + 1) - 1
        assert texts(await take(store, 1)) == [first]
    assert (await store.seek(SUB, 5)).lag == 0
    assert texts(await take(store)) == []
    assert (await store.subscription(SUB)).generation == before.generation + 5
    # A place whose messages are gone is in the history all the same.
    assert (await store.seek(SUB, Position(epoch, -1))).trimmed == 1
    assert texts(await take(store)) == list("bcde")


async def test_a_seek_closes_the_window(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put(store, *"ab")
    await pull(store)
    await store.seek(SUB, 0)
    assert await store.ack_cursor(SUB, 0) is CursorAck.NOTHING_PENDING


async def test_a_subscription_outlives_its_topic_and_begins_the_next_at_its_first_message(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put(store, *"abc")
    await pull(store)
    await store.delete_topic(TOPIC)
    gone = await store.subscription(SUB)
    assert (gone.log, gone.lag, gone.pending, gone.settings) == (None, 0, 0, CURSOR)
    assert [info.name for info in await store.subscriptions(DEFAULT_PROJECT)] == [SUB]
    for call in (pull(store), store.ack_cursor(SUB, 0), store.seek(SUB, 0)):
        with pytest.raises(UnknownTopic):
            await call
    changed = replace(CURSOR, ack_deadline_s=99)
    assert (await store.configure_subscription(SUB, changed)).settings == changed
    await store.create_topic(TOPIC, NOTHING)
    await put(store, "x", "y")
    window = await pull(store)
    assert (texts(window), window.restarted) == (["x", "y"], True)
    assert not (await pull(store)).restarted
    info = await store.subscription(SUB)
    assert (info.restarts, info.lag, info.settings) == (1, 2, changed)
    assert await store.ack_cursor(SUB, 1) is CursorAck.COMMITTED
    await store.delete_topic(TOPIC)
    await store.delete_subscription(SUB)
    assert await store.subscriptions(DEFAULT_PROJECT) == []
