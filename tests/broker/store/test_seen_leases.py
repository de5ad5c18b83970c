"""What was seen to go wrong with leases and cursors, played on real servers (DESIGN 5, the sentences marked "seen").

Each test is a loss, a repeat or a lie that a simpler design produces.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import servers
from direct import promote, store_on, with_replica
from logs import NOTHING, TOPIC, put, request
from subs import CURSOR, LONG_MS, ORDERED, SHARED, SUB, FullStore, attempts, lease, offset_of, pull, subscribe, texts

from broker.errors import OutOfMemory
from broker.names import SubscriptionName, TopicName
from broker.positions import Position
from broker.store.base import Commands, Retention
from broker.store.keys import Keys
from broker.store.redis import RedisStore
from broker.store.subscriptions import Ack, CursorAck, Extend, Leased, Nack, Settled, SubscriptionSettings

Starting = Callable[..., servers.Server]
KEYS = Keys().subscription(TOPIC, SUB)


async def ready(server: servers.Server, *rows: str, settings: SubscriptionSettings = SHARED) -> FullStore:
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, settings)
    await store.append(TOPIC, [request(*rows)])
    return store


def acks(leased: Leased) -> list[Ack]:
    return [Ack(offset_of(one), one.token) for one in leased.leases]


async def test_one_consumer_holds_the_leases_of_all_and_is_never_deleted(starting: Starting) -> None:
    """DELCONSUMER drops a consumer's pending messages: leases vanished."""
    server = starting()
    server.client.config_resetstat()
    store = await ready(server, *"abcdef")
    for _ in range(3):
        await lease(store, 2)
    consumers = server.client.xinfo_consumers(KEYS.log, KEYS.group)
    assert [(found["name"], found["pending"]) for found in consumers] == [(b"c", 6)]
    await store.seek(SUB, 0)
    await store.delete_subscription(SUB)
    assert "cmdstat_xgroup|delconsumer" not in server.client.info("commandstats")


async def test_counters_repeat_after_a_failover_and_tokens_do_not(starting: Starting) -> None:
    """The replica had not the lease; attempt, offset and generation are the same again, in other hands."""
    primary, replica = with_replica(starting)
    store = await ready(primary, "a")
    primary.wait_for_replicas(1)
    promote(replica)
    lost = await lease(store, ms=LONG_MS)
    again = await lease(store_on(replica), ms=LONG_MS)
    assert attempts(lost) == attempts(again) == [("a", 1)]
    assert lost.leases[0].token != again.leases[0].token
    assert await store_on(replica).settle(SUB, acks(lost)) == [Settled.STALE]
    assert await store_on(replica).settle(SUB, acks(again)) == [Settled.OK]


async def test_within_one_epoch_two_attempts_differ_by_their_nonce(starting: Starting) -> None:
    """A seek and a restored generation would make equal tokens; the nonce alone keeps them apart."""
    server = starting()
    store = await ready(server, "a")
    first = await lease(store)
    generation = server.client.hget(KEYS.sub, "generation")
    await store.seek(SUB, 0)
    server.client.hset(KEYS.sub, "generation", generation)
    second = await lease(store)
    assert attempts(first) == attempts(second)
    assert await store.settle(SUB, acks(first)) == [Settled.STALE]
    assert await store.settle(SUB, acks(second)) == [Settled.OK]


async def test_an_answer_to_an_earlier_epoch_is_refused(starting: Starting) -> None:
    primary, replica = with_replica(starting)
    store = await ready(primary, "a", "b")
    taken = await lease(store, ms=0)
    primary.wait_for_replicas(1)
    promote(replica)
    promoted = store_on(replica)
    (one, two) = taken.leases
    late = [Ack(0, one.token), Nack(1, two.token), Extend(1, two.token, LONG_MS)]
    assert await promoted.settle(SUB, late) == [Settled.STALE] * 3
    again = await lease(promoted)
    assert attempts(again) == [("a", 2), ("b", 2)]
    assert await promoted.settle(SUB, acks(again)) == [Settled.OK] * 2


async def test_a_window_of_an_earlier_epoch_is_closed(starting: Starting) -> None:
    primary, replica = with_replica(starting)
    store = await ready(primary, "a", "b", settings=CURSOR)
    await pull(store)
    primary.wait_for_replicas(1)
    promote(replica)
    promoted = store_on(replica)
    assert await promoted.ack_cursor(SUB, 1) is CursorAck.NOTHING_PENDING
    assert texts(await pull(promoted)) == ["a", "b"]
    assert await promoted.ack_cursor(SUB, 1) is CursorAck.COMMITTED
    assert (await promoted.subscription(SUB)).lag == 0


@pytest.mark.parametrize("settings", [CURSOR, SHARED])
async def test_a_cursor_beyond_the_end_does_not_hide_new_messages(
    starting: Starting, settings: SubscriptionSettings
) -> None:
    """SETID accepts any ID, and what is appended below it is never delivered."""
    server = starting()
    store = await ready(server, "a", settings=settings)
    info = await store.subscription(SUB)
    beyond = Position(info.cursor.epoch, 500)
    server.client.hset(KEYS.sub, "cursor", 500)
    server.client.xgroup_setid(KEYS.log, KEYS.group, str(beyond))
    assert (await store.subscription(SUB)).cursor.offset == 0
    await put(store, "b", "c")
    assert texts(await (pull if settings is CURSOR else lease)(store)) == ["b", "c"]


async def test_lag_is_computed_where_the_server_does_not_know_it(starting: Starting) -> None:
    server = starting()
    store = await ready(server, *"abcde")
    await lease(store, 1)
    await store.seek(SUB, 2)
    assert (await store.subscription(SUB)).lag == 3
    server.client.xdel(KEYS.log, f"{(await store.subscription(SUB)).cursor.epoch}-4")
    assert server.client.xinfo_groups(KEYS.log)[0]["lag"] is None
    assert (await store.subscription(SUB)).lag == 3


async def test_a_message_trimmed_while_pending_is_dropped_from_all_lists(starting: Starting) -> None:
    """XREADGROUP would return it with an empty body for ever."""
    server = starting()
    store = await ready(server, *"abc")
    await lease(store, ms=0)
    await store.trim(TOPIC, Retention(1, 10**9, 10**9))
    again = await lease(store)
    assert (texts(again), again.trimmed) == (["c"], 2)
    assert server.client.xpending(KEYS.log, KEYS.group)["pending"] == 1
    assert (server.client.zcard(KEYS.due), server.client.hlen(KEYS.leases)) == (2, 2)


async def test_nothing_is_left_of_what_is_settled(starting: Starting) -> None:
    server = starting()
    store = await ready(server, *(f"{number}" for number in range(300)), settings=SHARED)
    assert await store.settle(SUB, acks(await lease(store, 300))) == [Settled.OK] * 300
    assert server.client.xpending(KEYS.log, KEYS.group)["pending"] == 0
    assert server.client.zrange(KEYS.due, 0, -1) == [b"v"]
    assert server.client.hkeys(KEYS.leases) == [b"v"]


async def test_out_of_memory_acks_pulls_and_trims_go_on(starting: Starting) -> None:
    server = starting()
    store = await ready(server, *"abcd")
    cursor = SubscriptionName("default/cursor")
    await subscribe(store, CURSOR, name=cursor, after=(await store.find_time(TOPIC, 0)))
    server.client.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemory):
        await store.append(TOPIC, [request("e")])
    with pytest.raises(OutOfMemory):
        await subscribe(store, SHARED, name=SubscriptionName("default/new"))
    taken = await lease(store, 2)
    assert await store.settle(SUB, [acks(taken)[0], Nack(1, taken.leases[1].token)]) == [Settled.OK] * 2
    assert attempts(await lease(store, 1)) == [("b", 2)]
    assert texts(await pull(store, 2, name=cursor)) == ["a", "b"]
    assert await store.ack_cursor(cursor, 1) is CursorAck.COMMITTED
    assert (await store.trim(TOPIC, Retention(1, 10**9, 10**9))).removed == 3
    assert (await store.seek(cursor, 4)).lag == 0
    await store.delete_subscription(cursor)


async def test_every_key_exists_from_creation_on(starting: Starting) -> None:
    """With an absent key, a script would be refused for as long as the slot migrates."""
    server = starting()
    store = await ready(server, "a")
    for act in (lease(store), store.seek(SUB, 0), lease(store, ms=0)):
        assert server.client.exists(*KEYS.all) == 5
        await act
    assert await store.settle(SUB, acks(await lease(store))) == [Settled.OK]
    assert server.client.exists(*KEYS.all) == 5


async def test_consuming_goes_on_while_the_slot_migrates(
    connect: Callable[[servers.Cluster], AbstractAsyncContextManager[Commands]],
) -> None:
    with servers.cluster() as cluster:
        async with connect(cluster) as commands:
            store = RedisStore(commands)
            await store.create_topic(TOPIC, NOTHING)
            await subscribe(store, SHARED)
            await put(store, *"abcd")
            first = await lease(store, 1)
            slot = servers.slot_of(KEYS.log)
            source = cluster.owner(slot)
            target = cluster.other_than(source)
            cluster.begin_migration(slot, target)
            second = await lease(store, 1)
            assert texts(second) == ["b"]
            assert await store.settle(SUB, acks(first)) == [Settled.OK]
            cluster.move_keys(slot, source, target)
            assert texts(await lease(store, 1)) == ["c"]
            cluster.finish_migration(slot, target)
            assert texts(await lease(store, 5)) == ["d"]
            # Another primary, hence another epoch.
            assert await store.settle(SUB, acks(second)) == [Settled.STALE]
            assert (await store.subscription(SUB)).pending == 3


async def test_consuming_and_settling_may_run_twice(starting: Starting) -> None:
    store = await ready(starting(), *"ab")
    taken = await lease(store)
    assert await store.settle(SUB, acks(taken)) == [Settled.OK] * 2
    assert await store.settle(SUB, acks(taken)) == [Settled.UNKNOWN] * 2


async def test_a_subscription_of_a_topic_in_another_slot_is_apart(starting: Starting) -> None:
    store = await ready(starting(), *"ab", settings=ORDERED)
    other, name = TopicName("default/u"), SubscriptionName("default/s2")
    await store.create_topic(other, NOTHING)
    await subscribe(store, SHARED, name=name, topic=other)
    assert texts(await lease(store, name=name)) == []
    assert texts(await lease(store)) == ["a", "b"]


# What a pull costs, in commands and not in time.

PENDING = 20_000


async def commands_of(server: servers.Server, store: FullStore, *, rounds: int) -> dict[str, int]:
    """Pull and settle some batches, and return how often each command ran, in the scripts too."""
    server.client.config_resetstat()
    for _ in range(rounds):
        taken = await lease(store, 100)
        assert len(taken.leases) == 100
        assert await store.settle(SUB, acks(taken)) == [Settled.OK] * 100
    stats = server.client.info("commandstats")
    return {name: stats[name]["calls"] for name in stats if "resetstat" not in name and name != "cmdstat_info"}


async def test_a_pull_costs_no_more_commands_with_many_pending(starting: Starting) -> None:
    server = starting()
    store = await ready(server, *(["x"] * 1000))
    await store.subscription(SUB)
    bare = await commands_of(server, store, rounds=3)
    for _ in range(PENDING // 1000 + 1):
        await store.append(TOPIC, [request(*(["y"] * 1000))])
    for _ in range(PENDING // 1000):
        assert len((await lease(store, 1000)).leases) == 1000
    assert (await store.subscription(SUB)).pending == PENDING
    assert await commands_of(server, store, rounds=3) == bare
    scanning = {"xautoclaim", "xclaim", "xpending", "xinfo|groups", "xinfo|consumers", "hgetall", "xlen"}
    assert not scanning & {name.removeprefix("cmdstat_") for name in bare}
