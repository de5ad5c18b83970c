"""Commands that reach the right primary: on one server and on a cluster whose slots wander."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import servers

from broker.errors import Unavailable, UnknownOutcome
from broker.store.base import ReplyError, Script
from cluster import topology as module
from cluster.address import Endpoint, parse_address
from cluster.slots import Redirection, slot_of
from cluster.topology import Topology

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Running = Callable[[Coroutine[object, object, None]], AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster


def script(source: str) -> Script:
    return Script("test", source, hashlib.sha1(source.encode()).hexdigest())


COUNT = script("#!lua\nreturn redis.call('INCRBY', KEYS[1], ARGV[1])")


@asynccontextmanager
async def opened(substrate: Substrate, running: Running, **options: float) -> AsyncIterator[Topology]:
    topology = Topology(parse_address(substrate.url), name="test", **options)
    async with running(topology.serve()):
        await topology.connected(10)
        yield topology


async def test_commands_reach_their_primaries(substrate: Substrate, running: Running) -> None:
    async with opened(substrate, running) as topology:
        keys = [b"hr:{p/%d}:log" % number for number in range(200)]
        await asyncio.gather(*[topology.execute(key, "SET", key, key, retry=True) for key in keys])
        assert await asyncio.gather(*[topology.execute(key, "GET", key, retry=True) for key in keys]) == keys
        assert topology.primaries == {Endpoint(server.host, server.port) for server in substrate.primaries}


async def test_scripts_run_wherever_they_are_missing(substrate: Substrate, running: Running) -> None:
    async with opened(substrate, running) as topology:
        for server in substrate.primaries:
            server.command("SCRIPT", "FLUSH")
        keys = [b"n%d" % number for number in range(50)]
        first = await asyncio.gather(*[topology.run(COUNT, [key], [2], retry=False) for key in keys])
        for server in substrate.primaries:
            server.command("SCRIPT", "FLUSH")
        second = await asyncio.gather(*[topology.run(COUNT, [key], ["3"], retry=False) for key in keys])
    assert set(first) == {2}
    assert set(second) == {5}


async def test_other_errors_are_the_stores_business(substrate: Substrate, running: Running) -> None:
    async with opened(substrate, running) as topology:
        await topology.execute(b"k", "SET", b"k", "text", retry=True)
        with pytest.raises(ReplyError, match="not an integer"):
            await topology.execute(b"k", "INCR", b"k", retry=True)
        with pytest.raises(ReplyError):
            await topology.run(script("#!lua\nthis is no Lua"), [b"k"], [], retry=False)


async def test_a_killed_server_is_unavailable_and_then_back(running: Running, eventually: Eventually) -> None:
    with servers.valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server, running) as topology:
            assert await topology.run(COUNT, [b"n"], [1], retry=False) == 1
            server.kill()
            await eventually(lambda: not any(primary.connection for primary in topology._primaries.values()))
            with pytest.raises(Unavailable) as caught:
                await topology.run(COUNT, [b"n"], [1], retry=False)
            assert caught.value.retry_ms
            await asyncio.to_thread(server.restart)
            await topology.connected(10)
            assert await topology.run(COUNT, [b"n"], [1], retry=False) == 2


async def test_a_read_outlasts_a_quick_restart(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.outage.GRACE_SECONDS", 10.0)
    with servers.valkey("--appendonly", "yes", "--appendfsync", "always") as server:
        async with opened(server, running) as topology:
            await topology.execute(b"k", "SET", b"k", "v", retry=True)
            server.pause()
            reading = asyncio.ensure_future(topology.execute(b"k", "GET", b"k", retry=True))
            appending = asyncio.ensure_future(topology.execute(b"n", "INCR", b"n", retry=False))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(server.restart)
            assert await reading == b"v"
            with pytest.raises(UnknownOutcome):
                await appending


async def test_a_stopped_server_leaves_the_outcome_unknown_and_is_then_refused(
    running: Running, eventually: Eventually
) -> None:
    with servers.redis7() as server:
        async with opened(server, running, reply_seconds=0.3) as topology:
            server.pause()
            with pytest.raises(UnknownOutcome):
                await topology.execute(b"n", "INCR", b"n", retry=False)
            with pytest.raises(Unavailable):
                await topology.execute(b"n", "GET", b"n", retry=True)
            server.resume()
            await eventually(lambda: all(primary.connection for primary in topology._primaries.values()))
            # It had been written, so it ran: that is why nobody may say that it did not.
            assert await topology.execute(b"n", "GET", b"n", retry=True) == b"1"


async def test_a_demoted_server_is_waited_for_within_the_deadline(running: Running) -> None:
    with servers.redis7() as server:
        async with opened(server, running, deadline_seconds=0.5) as topology:
            server.command("REPLICAOF", "127.0.0.1", servers.free_port())
            with pytest.raises(Unavailable):
                await topology.execute(b"k", "SET", b"k", "v", retry=False)
            server.command("REPLICAOF", "NO", "ONE")
            assert await topology.execute(b"k", "SET", b"k", "v", retry=False) == b"OK"


async def test_before_it_runs_everything_is_unavailable() -> None:
    topology = Topology(parse_address("redis://127.0.0.1:1"), name="test")
    with pytest.raises(Unavailable):
        await topology.execute(b"k", "GET", b"k", retry=True)
    with pytest.raises(Unavailable):
        await topology.connected(0.01)
    await topology.refresh()


async def test_after_its_end_everything_is_unavailable(valkey: servers.Server, running: Running) -> None:
    async with opened(valkey, running) as topology:
        assert await topology.execute(b"k", "PING", retry=True) == b"PONG"
    with pytest.raises(Unavailable):
        await topology.execute(b"k", "PING", retry=True)


async def test_a_cluster_nobody_of_which_is_there(running: Running) -> None:
    url = f"redis+cluster://127.0.0.1:{servers.free_port()},127.0.0.1:{servers.free_port()}"
    topology = Topology(parse_address(url), name="test")
    async with running(topology.serve()):
        with pytest.raises(Unavailable):
            await topology.execute(b"k", "GET", b"k", retry=True)
        await topology.refresh()


async def test_a_cluster_is_found_through_any_seed(redis_cluster: servers.Cluster, running: Running) -> None:
    living = redis_cluster.nodes[2].url.removeprefix("redis://")
    topology = Topology(parse_address(f"redis+cluster://127.0.0.1:{servers.free_port()},{living}"), name="test")
    async with running(topology.serve()):
        await topology.connected(10)
        assert len(topology.primaries) == 3


async def test_a_moved_slot_is_followed_and_the_map_corrected(running: Running) -> None:
    with servers.cluster() as cluster:
        async with opened(cluster, running) as topology:
            changes: list[None] = []
            topology.watch(lambda: changes.append(None))
            slot = slot_of(b"{wanders}")
            source = cluster.owner(slot)
            target = cluster.other_than(source)
            await topology.run(COUNT, [b"{wanders}n"], [1], retry=False)
            cluster.migrate(slot, target)
            assert await topology.run(COUNT, [b"{wanders}n"], [1], retry=False) == 2
            assert topology.slots.primary_of(slot) == Endpoint(target.host, target.port)
            assert changes


async def test_a_migrating_slot_is_asked_for_and_tried_again(running: Running) -> None:
    with servers.cluster() as cluster:
        async with opened(cluster, running) as topology:
            slot = slot_of(b"{wanders}")
            source = cluster.owner(slot)
            target = cluster.other_than(source)
            await topology.execute(b"{wanders}a", "SET", b"{wanders}a", "here", retry=True)
            await topology.execute(b"{wanders}b", "SET", b"{wanders}b", "there", retry=True)
            cluster.begin_migration(slot, target)
            source.command("MIGRATE", target.host, target.port, "{wanders}b", 0, 5000)
            assert await topology.execute(b"{wanders}a", "GET", b"{wanders}a", retry=True) == b"here"
            assert await topology.execute(b"{wanders}b", "GET", b"{wanders}b", retry=True) == b"there"
            # Both keys at once: TRYAGAIN until they are together again.
            both = (b"{wanders}a", "MGET", b"{wanders}a", b"{wanders}b")
            waiting = asyncio.ensure_future(topology.execute(*both, retry=True))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            cluster.move_keys(slot, source, target)
            cluster.finish_migration(slot, target)
            assert await waiting == [b"here", b"there"]


async def test_counting_goes_on_exactly_while_slots_wander(running: Running) -> None:
    """Each increment runs once, whatever redirects it."""
    with servers.cluster() as cluster:
        async with opened(cluster, running) as topology:
            slot = slot_of(b"{wanders}")
            done = 0
            stop = asyncio.Event()

            async def count() -> None:
                nonlocal done
                while not stop.is_set():
                    await topology.run(COUNT, [b"{wanders}n"], [1], retry=False)
                    done += 1

            counters = [asyncio.ensure_future(count()) for _ in range(8)]
            for _ in range(4):
                await asyncio.to_thread(cluster.migrate, slot, cluster.other_than(cluster.owner(slot)))
                await asyncio.sleep(0.02)
            stop.set()
            await asyncio.gather(*counters)
            assert await topology.execute(b"{wanders}n", "GET", b"{wanders}n", retry=True) == b"%d" % done


async def test_a_promoted_replica_takes_over(
    running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_SECONDS", (0.2, 0.4))
    with servers.cluster(replicas=1) as cluster:
        async with opened(cluster, running) as topology:
            slot = slot_of(b"k")
            before = topology.slots.primary_of(slot)
            owner = cluster.owner(slot)
            owner.command("SET", "k", "v")
            assert owner.command("WAIT", 1, 5000) == 1
            owner.kill()
            await eventually(lambda: topology.slots.primary_of(slot) != before)
            assert await _patiently(topology) == b"v"
            await eventually(lambda: before not in topology._primaries)


async def _patiently(topology: Topology) -> object:
    while True:
        try:
            return await topology.execute(b"k", "GET", b"k", retry=True)
        except Unavailable as error:
            await asyncio.sleep((error.retry_ms or 100) / 1000)


async def test_refresh_asks_again(redis_cluster: servers.Cluster, running: Running) -> None:
    async with opened(redis_cluster, running) as topology:
        wrong = Endpoint(redis_cluster.nodes[0].host, redis_cluster.nodes[0].port)
        slot = slot_of(b"k")
        right = topology.slots.primary_of(slot)
        assert right is not None
        if wrong == right:
            wrong = Endpoint(redis_cluster.nodes[1].host, redis_cluster.nodes[1].port)
        topology._adopt(topology.slots.with_move(slot, wrong))
        await asyncio.gather(*[topology.refresh() for _ in range(100)])
        assert topology.slots.primary_of(slot) == right


async def test_a_stopped_node_does_not_hold_up_the_refresh(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.1)
    with servers.cluster() as cluster:
        async with opened(cluster, running, reply_seconds=60.0, deadline_seconds=2.0) as topology:
            cluster.nodes[0].pause()
            for _ in range(5):
                await topology.refresh()
            cluster.nodes[0].resume()
            assert len(topology.primaries) == 3


async def test_an_unlisted_primary_is_retired_once_idle(redis_cluster: servers.Cluster, running: Running) -> None:
    async with opened(redis_cluster, running) as topology:
        stranger = Endpoint("127.0.0.1", servers.free_port())
        topology.moved(Redirection(5, stranger))
        assert stranger in topology._primaries
        for _ in range(3):
            await topology.refresh()
        assert stranger not in topology._primaries


async def test_nobody_serving_a_slot_is_unavailable_in_time(running: Running) -> None:
    with servers.cluster() as cluster:
        async with opened(cluster, running, deadline_seconds=0.5) as topology:
            slot = slot_of(b"k")
            for node in cluster.nodes:
                node.command("CLUSTER", "DELSLOTS", slot)
            await topology.refresh()
            with pytest.raises(Unavailable):
                await topology.execute(b"k", "GET", b"k", retry=True)


async def test_whoever_watches_hears_of_each_connection(running: Running, eventually: Eventually) -> None:
    with servers.valkey() as server:
        topology, heard = Topology(parse_address(server.url), name="test"), list[bool]()
        topology.watch_connects(lambda: heard.append(True))
        async with running(topology.serve()):
            await topology.connected(10)
            assert len(heard) == 1
            await asyncio.to_thread(server.restart)
            await eventually(lambda: len(heard) == 2)
