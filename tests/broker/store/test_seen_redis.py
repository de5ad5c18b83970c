"""What Redis forces on the store, played on real servers (DESIGN 5, the sentences marked "seen").

Each test is a loss, a repeat or a lie that a simpler design produces.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
import redis
import servers
from direct import store_on, with_replica
from logs import EVERYTHING, NOTHING, TOPIC, keyed, placed, put, put_one, request, texts_after

from broker.errors import OutOfMemory, Unavailable
from broker.positions import Position, Recovery
from broker.store import scripts
from broker.store.base import Commands, Retention
from broker.store.keys import Keys
from broker.store.redis import RedisStore

Starting = Callable[..., servers.Server]
KEYS = Keys().topic(TOPIC)


async def test_reads_are_refused_by_a_replica(starting: Starting) -> None:
    primary, replica = with_replica(starting)
    await store_on(primary).create_topic(TOPIC, NOTHING)
    await put(store_on(primary), "a")
    primary.wait_for_replicas(1)
    for call in (store_on(replica).read(TOPIC, None, max_entries=1, max_bytes=1), put(store_on(replica), "b")):
        with pytest.raises(Unavailable) as refused:
            await call
        assert refused.value.retry_ms


async def test_a_duplicate_hit_writes_too(starting: Starting) -> None:
    """WAIT covers what its own connection wrote: a duplicate's answer was acknowledged, then lost with the primary."""
    primary = starting("--repl-ping-replica-period", "3600")
    replica = starting(replica_of=primary)
    primary.wait_for_replicas(1)
    store = store_on(primary)
    await store.create_topic(TOPIC, NOTHING)
    await put_one(store, keyed("k", "a"))
    primary.wait_for_replicas(1)
    replica.pause()
    written = primary.client.info("replication")["master_repl_offset"]
    assert (await put_one(store, keyed("k", "a"))).duplicate
    assert primary.client.info("replication")["master_repl_offset"] > written
    assert primary.client.wait(1, 50) == 0
    replica.resume()
    assert primary.client.wait(1, 5000) == 1


async def test_every_key_exists_from_creation_on(starting: Starting) -> None:
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    assert server.client.exists(KEYS.log, KEYS.meta, KEYS.once) == 3
    assert server.client.xinfo_groups(KEYS.log) == []
    await put_one(store, keyed("k", "a"))
    await store.trim(TOPIC, Retention(max_messages=0, max_bytes=0, max_age_ms=0))
    assert server.client.exists(KEYS.log, KEYS.meta, KEYS.once) == 3


async def test_publishing_goes_on_while_the_slot_migrates(
    connect: Callable[[servers.Cluster], AbstractAsyncContextManager[Commands]],
) -> None:
    """With a key of the script absent, the source answers ASK or TRYAGAIN for as long as the slot is on its way."""
    with servers.cluster() as cluster:
        async with connect(cluster) as commands:
            store = RedisStore(commands)
            await store.create_topic(TOPIC, NOTHING)
            slot = servers.slot_of(KEYS.log)
            source = cluster.owner(slot)
            target = cluster.other_than(source)
            cluster.begin_migration(slot, target)
            assert (await put(store, "a", "b")).offset == 1
            cluster.move_keys(slot, source, target)
            assert (await put(store, "c")).offset == 2
            cluster.finish_migration(slot, target)
            assert (await put(store, "d")).offset == 3
            assert await texts_after(store, None) == ["a", "b", "c", "d"]


async def test_out_of_memory_refuses_publishes_cleanly_and_nothing_else(starting: Starting) -> None:
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, *"abc")
    before = server.client.hgetall(KEYS.meta)
    server.client.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemory):
        await store.append(TOPIC, [keyed("k", "d"), request("e")])
    with pytest.raises(OutOfMemory):
        await store.create_topic("default/new", NOTHING)  # type: ignore[arg-type]
    assert server.client.hgetall(KEYS.meta) == before
    assert await texts_after(store, None) == ["a", "b", "c"]
    assert (await store.topic(TOPIC)).log.end == last
    assert (await store.trim(TOPIC, Retention(max_messages=1, max_bytes=10**9, max_age_ms=10**12))).removed == 2
    assert await store.find_time(TOPIC, 0) == Position(last.epoch, 1)
    await store.delete_topic(TOPIC)
    server.client.config_set("maxmemory", 0)
    await store.create_topic(TOPIC, NOTHING)


async def test_a_new_epoch_may_begin_while_memory_is_out(starting: Starting) -> None:
    server = starting()
    store = store_on(server)
    await store.create_topic(TOPIC, NOTHING)
    last = await put(store, "a")
    server.client.hset(KEYS.meta, "replid", "f" * 40)
    server.client.config_set("maxmemory", 1)
    assert (await placed(store, last)).recovery is Recovery.COMPLETE
    assert (await store.trim(TOPIC, EVERYTHING)).removed == 0


async def test_a_probe_is_refused_where_appends_are_and_then_announces_nothing(starting: Starting) -> None:
    """On a demoted primary a bare announcement arrived while appends were refused."""
    primary, replica = with_replica(starting)
    key, channel = b"hr:{node/n}:probe", b"hr:{node/n}:inbox"
    listeners = [server.client.pubsub() for server in (primary, replica)]
    for listener in listeners:
        listener.ssubscribe(channel)
        assert listener.get_message(timeout=5)["type"] == "ssubscribe"
    args = (channel, b"hello", 60_000)
    with pytest.raises(redis.exceptions.ReadOnlyError):
        replica.client.eval(scripts.PROBE.source, 1, key, *args)
    assert listeners[1].get_message(timeout=0.05) is None
    primary.client.eval(scripts.PROBE.source, 1, key, *args)
    assert listeners[0].get_message(timeout=5)["data"] == b"hello"
    assert primary.client.get(key) == b"hello"
    primary.client.config_set("maxmemory", 1)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        primary.client.eval(scripts.PROBE.source, 1, key, *args)
