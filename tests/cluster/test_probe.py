"""The readiness probe tells the truth: both halves of a publish, primary by primary."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import servers

from cluster import probe as module
from cluster.address import Endpoint, parse_address
from cluster.bus import Bus
from cluster.probe import Probe, Probed, ProbeReport
from cluster.slots import slot_of
from cluster.topology import Topology

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster


def names(number: int) -> tuple[bytes, bytes]:
    return b"probe:{%d}:key" % number, b"probe:{%d}:channel" % number


@asynccontextmanager
async def opened(
    substrate: Substrate, running: Running, *, seconds: float = 2.0
) -> AsyncIterator[tuple[Probe, Topology, Bus]]:
    topology = Topology(parse_address(substrate.url), name="test", deadline_seconds=seconds)
    bus = Bus(topology, channel_of=lambda topic: topic.encode())
    async with running(topology.serve(), bus.serve()):
        await topology.connected(10)
        yield Probe(topology, bus, names=names, seconds=seconds), topology, bus


async def test_every_primary_is_probed(substrate: Substrate, running: Running) -> None:
    async with opened(substrate, running) as (probe, _, _bus):
        for _ in range(3):
            report = await probe.check()
            assert report.ready
            assert report.reasons == ()
            assert {one.primary.port for one in report.probed} == {server.port for server in substrate.primaries}
            assert all(0 < one.latency_ms < 2000 for one in report.probed)


async def test_probes_at_the_same_time_do_not_mix(valkey: servers.Server, running: Running) -> None:
    async with opened(valkey, running) as (probe, _, _bus):
        reports = await asyncio.gather(*[probe.check() for _ in range(20)])
        assert all(report.ready for report in reports)
        assert probe._awaited == {}


async def test_another_nodes_probe_is_not_taken_for_ours(valkey: servers.Server, running: Running) -> None:
    async with opened(valkey, running) as (probe, _, _bus):
        assert (await probe.check()).ready
        waiting = probe._awaited[b"ours"] = asyncio.get_running_loop().create_future()
        probe._on_heard(b"theirs")
        assert not waiting.done()


async def test_a_killed_server_is_not_ready_and_recovers(running: Running, eventually: Eventually) -> None:
    with servers.valkey() as server:
        async with opened(server, running) as (probe, topology, _bus):
            assert (await probe.check()).ready
            server.kill()
            report = await probe.check()
            assert not report.ready
            assert str(server.port) in report.reasons[0]
            server.restart()
            await topology.connected(10)
            assert (await _until_ready(probe)).ready


async def _until_ready(probe: Probe) -> ProbeReport:
    for _ in range(100):
        report = await probe.check()
        if report.ready:
            return report
        await asyncio.sleep(0.05)
    return report


async def test_a_demoted_server_is_not_ready_although_announcements_arrive(running: Running) -> None:
    with servers.redis7() as server:
        async with opened(server, running, seconds=0.5) as (probe, _, _bus):
            assert (await probe.check()).ready
            server.command("REPLICAOF", "127.0.0.1", servers.free_port())
            assert not (await probe.check()).ready
            server.command("REPLICAOF", "NO", "ONE")
            assert (await probe.check()).ready


async def test_a_server_without_memory_still_takes_the_probe_or_says_why(running: Running) -> None:
    with servers.valkey() as server:
        async with opened(server, running) as (probe, _, _bus):
            assert (await probe.check()).ready
            server.command("CONFIG", "SET", "maxmemory", 1)
            report = await probe.check()
            assert report.reasons == (f"Redis at 127.0.0.1:{server.port}: appends are refused (OOM).",)


async def test_a_deaf_bus_is_not_ready_although_appends_succeed(running: Running) -> None:
    with servers.valkey() as server:
        async with opened(server, running, seconds=0.3) as (probe, _, bus):
            assert (await probe.check()).ready
            connection = bus._ears[Endpoint(server.host, server.port)]._connection
            assert connection is not None and connection._transport is not None
            connection._transport.pause_reading()
            report = await probe.check()
            assert not report.ready
            assert "own ear" in report.reasons[0]


async def test_one_dead_primary_degrades_and_does_not_unready(running: Running, eventually: Eventually) -> None:
    with servers.cluster() as cluster:
        async with opened(cluster, running, seconds=1.0) as (probe, _, _bus):
            assert len((await probe.check()).probed) == 3
            for node in cluster.nodes:
                node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
            cluster.nodes[0].kill()
            report = await _until_only(probe, [True, True, False])
            assert report.ready
            assert len(report.reasons) == 1


async def _until_only(probe: Probe, outcome: list[bool]) -> ProbeReport:
    for _ in range(20):
        report = await probe.check()
        if sorted(one.ok for one in report.probed) == sorted(outcome):
            return report
    raise AssertionError(f"last seen: {report}")


async def test_a_probed_slot_that_moves_is_left_for_one_of_the_primary(
    running: Running, eventually: Eventually
) -> None:
    with servers.cluster() as cluster:
        async with opened(cluster, running) as (probe, topology, bus):
            await probe.check()
            node = cluster.nodes[0]
            endpoint = Endpoint(node.host, node.port)
            key, channel = names(probe._numbers[endpoint])
            await asyncio.to_thread(cluster.migrate, slot_of(key), cluster.nodes[1])
            await topology.refresh()
            assert (await _until_only(probe, [True] * 3)).ready
            assert names(probe._numbers[endpoint])[0] != key
            wanted = {names(number)[1] for number in probe._numbers.values()}
            assert probe._hearing == set(bus._channels) == wanted
            assert channel not in wanted


async def test_nothing_known_is_not_ready(running: Running) -> None:
    topology = Topology(parse_address(f"redis+cluster://127.0.0.1:{servers.free_port()}"), name="test")
    bus = Bus(topology, channel_of=lambda topic: topic.encode())
    report = await Probe(topology, bus, names=names).check()
    assert not report.ready
    assert report.reasons == ("No primary of Redis is known.",)


async def test_a_primary_with_too_few_slots_to_be_probed_says_so(
    redis_cluster: servers.Cluster, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_NUMBERS", 1)
    async with opened(redis_cluster, running) as (probe, _, _bus):
        report = await probe.check()
        assert report.ready
        assert len(report.reasons) == 2
        assert "too few slots" in report.reasons[0]


def test_a_report_names_what_is_wrong() -> None:
    good, bad = Probed(Endpoint("a", 1), "", 1.5), Probed(Endpoint("b", 2), "it is away.", 2000)
    assert ProbeReport((good, bad)).ready
    assert ProbeReport((good, bad)).reasons == ("Redis at b:2: it is away.",)
    assert not ProbeReport((bad,)).ready
