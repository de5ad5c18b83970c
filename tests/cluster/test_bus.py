"""The bus on real servers: whatever makes it miss announcements ends in a possible gap, and it hears again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import servers

from broker.errors import Unavailable
from broker.names import TopicName
from cluster import bus as module
from cluster import ear as ear_module
from cluster.address import Endpoint, parse_address
from cluster.bus import RECONNECTED, REMAPPED, REPEATED, STALLED, UNSUBSCRIBED, Bus
from cluster.slots import slot_of
from cluster.topology import Topology

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster


def channel_of(topic: str) -> bytes:
    return f"bus:{{{topic}}}:live".encode()


class Notes:
    """Writes down what the bus tells."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[TopicName, bytes]]] = []
        self.gaps: list[tuple[set[TopicName], str]] = []

    @property
    def heard(self) -> list[tuple[TopicName, bytes]]:
        return [item for batch in self.batches for item in batch]

    def gaps_of(self, topic: TopicName) -> list[str]:
        return [reason for topics, reason in self.gaps if topic in topics]

    def on_announcements(self, batch: Sequence[tuple[TopicName, bytes]]) -> None:
        self.batches.append(list(batch))

    def on_possible_gap(self, topics: Collection[TopicName], reason: str) -> None:
        self.gaps.append((set(topics), reason))


@asynccontextmanager
async def opened(substrate: Substrate, running: Running) -> AsyncIterator[tuple[Bus, Notes, Topology]]:
    topology = Topology(parse_address(substrate.url), name="test")
    bus, notes = Bus(topology, channel_of=channel_of), Notes()
    bus.deliver_to(notes)
    async with running(topology.serve(), bus.serve()):
        await topology.connected(10)
        yield bus, notes, topology


def announce(substrate: Substrate, topic: str, payload: str) -> None:
    channel = channel_of(topic)
    server = substrate.owner(slot_of(channel)) if isinstance(substrate, servers.Cluster) else substrate
    server.command("SPUBLISH", channel, payload)


def _has_subscribers(substrate: Substrate, topic: str) -> bool:
    channel = channel_of(topic)
    return any(server.command("PUBSUB", "SHARDNUMSUB", channel) != [channel, 0] for server in substrate.primaries)


def topic(name: str) -> TopicName:
    return TopicName(name)


A = topic("p/a")


async def test_announcements_of_followed_topics_arrive_in_order(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with opened(substrate, running) as (bus, notes, _):
        topics = [topic(f"p/{number}") for number in range(20)]
        await asyncio.gather(*[bus.follow(name) for name in topics])
        for number in range(5):
            for name in topics:
                announce(substrate, name, str(number))
        await eventually(lambda: len(notes.heard) == 100)
        for name in topics:
            assert [payload for found, payload in notes.heard if found == name] == [b"0", b"1", b"2", b"3", b"4"]
        assert notes.gaps == []


async def test_one_read_is_one_batch(running: Running, eventually: Eventually) -> None:
    with servers.valkey() as server:
        async with opened(server, running) as (bus, notes, _):
            await bus.follow(A)
            await bus.follow(topic("p/b"))
            pipeline = server.client.pipeline(transaction=True)
            for number in range(10):
                pipeline.execute_command("SPUBLISH", channel_of("p/a" if number % 2 else "p/b"), number)
            pipeline.execute()
            await eventually(lambda: len(notes.heard) == 10)
            assert [int(payload) for _, payload in notes.heard] == list(range(10))
            assert len(notes.batches) < 10


async def test_an_unfollowed_topic_is_silent(substrate: Substrate, running: Running, eventually: Eventually) -> None:
    async with opened(substrate, running) as (bus, notes, _):
        await bus.follow(A)
        bus.unfollow(A)
        bus.unfollow(topic("p/never"))
        await eventually(lambda: not _has_subscribers(substrate, A))
        announce(substrate, A, "no")
        await bus.follow(A)
        announce(substrate, A, "yes")
        await eventually(lambda: bool(notes.heard))
        assert notes.heard == [(A, b"yes")]


async def test_a_channel_of_no_topic_is_heard_by_its_callback(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with opened(substrate, running) as (bus, notes, _):
        heard: list[bytes] = []
        await bus.hear(channel_of("x"), heard.append)
        announce(substrate, "x", "hello")
        await eventually(lambda: heard == [b"hello"])
        bus.stop_hearing(channel_of("x"))
        assert notes.batches == []


@pytest.mark.parametrize("start", [servers.valkey, servers.redis7])
async def test_a_kill_and_restart_is_a_possible_gap(
    running: Running, eventually: Eventually, start: Callable[[], AbstractAsyncContextManager[servers.Server]]
) -> None:
    with start() as server:  # type: ignore[attr-defined]
        async with opened(server, running) as (bus, notes, _):
            topics = {topic(f"p/{number}") for number in range(10)}
            await asyncio.gather(*[bus.follow(name) for name in topics])
            server.restart()
            await eventually(lambda: {name for found, _ in notes.gaps for name in found} == topics)
            assert {reason for _, reason in notes.gaps} == {RECONNECTED}
            for name in topics:
                announce(server, name, "after")
            await eventually(lambda: len(notes.heard) == len(topics))


async def test_a_killed_subscriber_connection_is_a_possible_gap(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    async with opened(substrate, running) as (bus, notes, _):
        await bus.follow(A)
        for server in substrate.primaries:
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: notes.gaps_of(A) == [RECONNECTED])
        announce(substrate, A, "after")
        await eventually(lambda: notes.heard == [(A, b"after")])


async def test_a_stopped_server_is_a_possible_gap(
    running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ear_module, "PING_SECONDS", 0.1)
    with servers.valkey() as server:
        async with opened(server, running) as (bus, notes, _):
            await bus.follow(A)
            ear = bus._ears[Endpoint(server.host, server.port)]
            server.pause()
            await eventually(lambda: ear.outage.is_away)
            server.resume()
            await eventually(lambda: notes.gaps_of(A) == [RECONNECTED])
            announce(server, A, "after")
            await eventually(lambda: (A, b"after") in notes.heard)


async def test_an_output_buffer_cut_is_a_possible_gap(running: Running, eventually: Eventually) -> None:
    with servers.redis7("--client-output-buffer-limit", "pubsub 1mb 1mb 1") as server:
        async with opened(server, running) as (bus, notes, _):
            await bus.follow(A)
            connection = bus._ears[Endpoint(server.host, server.port)]._connection
            assert connection is not None and connection._transport is not None
            connection._transport.pause_reading()
            sent = 0
            while server.command("PUBSUB", "SHARDNUMSUB", channel_of(A))[1]:  # type: ignore[index]
                announce(server, A, "x" * 500_000)
                sent += 1
                assert sent < 1000
            connection._transport.resume_reading()
            await eventually(lambda: notes.gaps_of(A) == [RECONNECTED])
            assert len(notes.heard) < sent
            announce(server, A, "after")
            await eventually(lambda: (A, b"after") in notes.heard)


async def test_an_unasked_end_is_a_possible_gap_of_its_own(running: Running, eventually: Eventually) -> None:
    """The slot map may know nothing of it: it is asked for again where it was."""
    with servers.valkey() as server:
        async with opened(server, running) as (bus, notes, _):
            await bus.follow(A)
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda: notes.gaps_of(A) == [RECONNECTED])
            ear = bus._ears[Endpoint(server.host, server.port)]
            ear._on_replies([[b"sunsubscribe", channel_of(A), 0]])
            await eventually(lambda: notes.gaps_of(A) == [RECONNECTED, UNSUBSCRIBED])


async def test_a_confirmation_out_of_the_blue_is_a_possible_gap(valkey: servers.Server, running: Running) -> None:
    async with opened(valkey, running) as (bus, notes, _):
        await bus.follow(A)
        ear = bus._ears[Endpoint(valkey.host, valkey.port)]
        ear._on_replies([[b"ssubscribe", channel_of(A), 1]])
        assert notes.gaps_of(A) == [REPEATED]
        await bus.follow(A)


async def test_a_wrong_map_is_corrected_by_the_refusal(
    redis_cluster: servers.Cluster, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.topology.REFRESH_SECONDS", (1000.0, 1000.0))
    async with opened(redis_cluster, running) as (bus, notes, topology):
        await bus.follow(A)
        slot = slot_of(channel_of(A))
        right = topology.slots.primary_of(slot)
        wrong = redis_cluster.other_than(redis_cluster.owner(slot))
        topology._adopt(topology.slots.with_move(slot, Endpoint(wrong.host, wrong.port)))
        await eventually(lambda: notes.gaps_of(A) == [REMAPPED])
        assert topology.slots.primary_of(slot) == right
        announce(redis_cluster, A, "after")
        await eventually(lambda: notes.heard == [(A, b"after")])


async def test_what_was_never_confirmed_misses_nothing(running: Running, eventually: Eventually) -> None:
    with servers.valkey() as server:
        async with opened(server, running) as (bus, notes, _):
            await bus.follow(A)
            server.pause()
            following = asyncio.ensure_future(bus.follow(topic("p/b")))
            await asyncio.sleep(0.05)
            server.restart()
            await following
            await eventually(lambda: notes.gaps_of(A) == [RECONNECTED])
            assert notes.gaps_of(topic("p/b")) == []


async def test_a_refused_subscription_is_asked_for_again(running: Running) -> None:
    with servers.redis7() as server:
        server.command("ACL", "SETUSER", "default", "resetchannels")
        async with opened(server, running) as (bus, notes, _):
            following = asyncio.ensure_future(bus.follow(A))
            await asyncio.sleep(0.05)
            assert not following.done()
            server.command("ACL", "SETUSER", "default", "allchannels")
            await following
            assert notes.gaps == []


async def test_a_migrated_slot_is_a_possible_gap(running: Running, eventually: Eventually) -> None:
    with servers.cluster() as cluster:
        async with opened(cluster, running) as (bus, notes, topology):
            others = [topic(f"p/{number}") for number in range(30)]
            await asyncio.gather(*[bus.follow(name) for name in [A, *others]])
            slot = slot_of(channel_of(A))
            target = cluster.other_than(cluster.owner(slot))
            await asyncio.to_thread(cluster.migrate, slot, target)
            await eventually(lambda: bool(notes.gaps_of(A)))
            assert notes.gaps_of(A)[0] in {UNSUBSCRIBED, REMAPPED}
            assert topology.slots.primary_of(slot) == Endpoint(target.host, target.port)
            before = len(notes.heard)
            announce(cluster, A, "after")
            for name in others:
                announce(cluster, name, "still")
            await eventually(lambda: len(notes.heard) == before + 1 + len(others))
            assert not any(notes.gaps_of(name) for name in others if slot_of(channel_of(name)) != slot)


async def test_slots_that_wander_for_a_while_are_followed(running: Running, eventually: Eventually) -> None:
    with servers.cluster() as cluster:
        async with opened(cluster, running) as (bus, notes, _):
            await bus.follow(A)
            slot = slot_of(channel_of(A))
            for _ in range(6):
                await asyncio.to_thread(cluster.migrate, slot, cluster.other_than(cluster.owner(slot)))
            await eventually(lambda: _is_subscribed_at(cluster, slot))
            announce(cluster, A, "after")
            await eventually(lambda: (A, b"after") in notes.heard)
            assert notes.gaps_of(A)


def _is_subscribed_at(cluster: servers.Cluster, slot: int) -> bool:
    return cluster.owner(slot).command("PUBSUB", "SHARDNUMSUB", channel_of(A)) == [channel_of(A), 1]


async def test_a_manual_failover_is_a_possible_gap(running: Running, eventually: Eventually) -> None:
    """redis-py's own cluster pub/sub stays silent for ever after this one."""
    with servers.cluster(replicas=1) as cluster:
        async with opened(cluster, running) as (bus, notes, _):
            await bus.follow(A)
            slot = slot_of(channel_of(A))
            before = cluster.owner(slot)
            replica = cluster.replicas[cluster.nodes.index(before)]
            await asyncio.to_thread(cluster.promote, replica, slot)
            await eventually(lambda: bool(notes.gaps_of(A)))
            await eventually(lambda: bool(_said(cluster, slot, notes)))


def _said(cluster: servers.Cluster, slot: int, notes: Notes) -> bool:
    cluster.owner(slot).command("SPUBLISH", channel_of(A), "after")
    return (A, b"after") in notes.heard


async def test_a_loop_that_stood_still_is_a_possible_gap(
    valkey: servers.Server, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.1)
    async with opened(valkey, running) as (bus, notes, _):
        await bus.follow(A)
        await asyncio.sleep(0.01)
        time.sleep(0.5)
        await eventually(lambda: notes.gaps_of(A) == [STALLED])


async def test_following_while_the_server_is_away_is_unavailable(running: Running, eventually: Eventually) -> None:
    with servers.valkey() as server:
        async with opened(server, running) as (bus, notes, _):
            await bus.follow(A)
            server.kill()
            ear = bus._ears[Endpoint(server.host, server.port)]
            await eventually(lambda: ear.outage.is_away)
            with pytest.raises(Unavailable) as caught:
                await bus.follow(topic("p/b"))
            assert caught.value.retry_ms
            server.restart()
            await eventually(lambda: notes.gaps_of(A) == [RECONNECTED])
            assert notes.gaps_of(topic("p/b")) == []
            assert server.command("PUBSUB", "SHARDCHANNELS") == [channel_of(A)]


async def test_a_cancelled_follow_leaves_nothing_behind(running: Running, eventually: Eventually) -> None:
    with servers.valkey() as server:
        async with opened(server, running) as (bus, _, _topology):
            await bus.follow(A)
            for _ in range(3):
                following = asyncio.ensure_future(bus.follow(topic("p/b")))
                await asyncio.sleep(0)
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            await bus.follow(topic("p/c"))
            await eventually(
                lambda: (
                    sorted(server.command("PUBSUB", "SHARDCHANNELS"))  # type: ignore[call-overload]
                    == [channel_of(A), channel_of("p/c")]
                )
            )


async def test_unfollowing_ends_a_follow_that_still_waits(running: Running) -> None:
    with servers.valkey() as server:
        async with opened(server, running) as (bus, _, _topology):
            await bus.follow(A)
            server.pause()
            following = asyncio.ensure_future(bus.follow(topic("p/b")))
            await asyncio.sleep(0.01)
            bus.unfollow(topic("p/b"))
            with pytest.raises(Unavailable):
                await following
            server.resume()


async def test_a_follow_given_up_does_not_take_its_successor_along(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    async with opened(valkey, running) as (bus, notes, _):
        first = asyncio.ensure_future(bus.follow(A))
        await asyncio.sleep(0)
        bus.unfollow(A)
        second = asyncio.ensure_future(bus.follow(A))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
        await second
        announce(valkey, A, "here")
        await eventually(lambda: notes.heard == [(A, b"here")])


async def test_following_a_slot_that_nobody_serves_is_unavailable(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLLOW_SECONDS", 0.3)
    with servers.cluster() as cluster:
        async with opened(cluster, running) as (bus, _, topology):
            slot = slot_of(channel_of(A))
            for node in cluster.nodes:
                node.command("CLUSTER", "DELSLOTS", slot)
            await topology.refresh()
            with pytest.raises(Unavailable):
                await bus.follow(A)
            assert bus._channels == {}
