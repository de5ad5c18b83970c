"""Requests between nodes over real servers: answered once, repeated until answered, bounded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import servers

from broker.errors import Forbidden, LimitExceeded, ServerError, TooLarge, Unavailable, UnknownOperation
from broker.store.keys import Keys
from cluster import inbox as module
from cluster.address import parse_address
from cluster.bus import Bus
from cluster.inbox import Inbox
from cluster.letters import Request
from cluster.membership import Advertised
from cluster.node import Node
from cluster.topology import Topology

Eventually = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster

KEYS = Keys("hr")
SECONDS = 10.0


@dataclass
class Office:
    """One node with its inbox."""

    node: Node
    inbox: Inbox
    bus: Bus
    seen: list[Request] = field(default_factory=list)

    async def echo(self, request: Request) -> bytes:
        self.seen.append(request)
        return b"echo " + request.body


@asynccontextmanager
async def office(substrate: Substrate, running: Running, eventually: Eventually, name: str) -> AsyncIterator[Office]:
    topology = Topology(parse_address(substrate.url), name=name)
    bus = Bus(topology, channel_of=lambda topic: topic.encode())
    node = Node(topology, keys=KEYS, advertised=Advertised(name=name), lease_seconds=2)
    made = Office(node, Inbox(topology, bus, node, keys=KEYS), bus)
    made.inbox.handle("echo", made.echo)
    async with running(topology.serve(), bus.serve(), node.serve(), made.inbox.serve()):
        await eventually(made.inbox.listening.is_set)
        yield made


@asynccontextmanager
async def two(substrate: Substrate, running: Running, eventually: Eventually) -> AsyncIterator[tuple[Office, Office]]:
    async with (
        office(substrate, running, eventually, "a") as a,
        office(substrate, running, eventually, "b") as b,
    ):
        yield a, b


async def test_a_request_is_answered(substrate: Substrate, running: Running, eventually: Eventually) -> None:
    async with two(substrate, running, eventually) as (a, b):
        assert await a.inbox.request(b.node.id, "echo", b"1", timeout=SECONDS) == b"echo 1"
        assert await b.inbox.request(a.node.id, "echo", b"2", timeout=SECONDS) == b"echo 2"
        assert await a.inbox.request(a.node.id, "echo", b"3", timeout=SECONDS) == b"echo 3"
        bodies = [b"%d" % number for number in range(200)]
        asked = [a.inbox.request(b.node.id, "echo", body, timeout=SECONDS) for body in bodies]
        assert await asyncio.gather(*asked) == [b"echo " + body for body in bodies]
        assert b.seen[0].sender == a.node.id
        large = b"x" * 2_000_000
        assert await a.inbox.request(b.node.id, "echo", large, timeout=SECONDS) == b"echo " + large


async def test_a_refusal_comes_back_as_it_is(valkey: servers.Server, running: Running, eventually: Eventually) -> None:
    async def refuse(request: Request) -> bytes:
        raise Forbidden("not you")

    async def crash(request: Request) -> bytes:
        raise KeyError("secret detail")

    async with two(valkey, running, eventually) as (a, b):
        b.inbox.handle("refuse", refuse)
        b.inbox.handle("crash", crash)
        with pytest.raises(Forbidden, match="not you"):
            await a.inbox.request(b.node.id, "refuse", timeout=SECONDS)
        with pytest.raises(ServerError, match="The node failed to do that"):
            await a.inbox.request(b.node.id, "crash", timeout=SECONDS)
        with pytest.raises(UnknownOperation):
            await a.inbox.request(b.node.id, "what?", timeout=SECONDS)
        with pytest.raises(ValueError, match="handled already"):
            b.inbox.handle("crash", crash)


async def test_nobody_there_is_no_answer(valkey: servers.Server, running: Running, eventually: Eventually) -> None:
    async with office(valkey, running, eventually, "a") as a:
        with pytest.raises(Unavailable, match="did not answer"):
            await a.inbox.request("nobody.1", "echo", timeout=0.6)
        assert a.inbox._asked == {}


async def test_what_is_lost_on_the_way_is_sent_again_and_carried_out_once(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    async with two(valkey, running, eventually) as (a, b):
        # The first request finds nobody; the first answer finds nobody either.
        b.bus.stop_hearing(KEYS.inbox(b.node.id))
        a.bus.stop_hearing(KEYS.inbox(a.node.id))
        asking = asyncio.create_task(a.inbox.request(b.node.id, "echo", b"1", timeout=SECONDS))
        await asyncio.sleep(0.05)
        assert b.seen == []
        await b.bus.hear(KEYS.inbox(b.node.id), b.inbox._on_letter)
        await eventually(lambda: len(b.seen) == 1)
        await asyncio.sleep(0.05)
        assert not asking.done()
        await a.bus.hear(KEYS.inbox(a.node.id), a.inbox._on_letter)
        assert await asking == b"echo 1"
        assert len(b.seen) == 1


async def test_the_same_id_once_more_brings_the_same_answer(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    count = 0

    async def counting(request: Request) -> bytes:
        nonlocal count
        count += 1
        await asyncio.sleep(0.5)
        return b"%d" % count

    async with two(valkey, running, eventually) as (a, b):
        b.inbox.handle("count", counting)
        with pytest.raises(Unavailable):
            await a.inbox.request(b.node.id, "count", timeout=0.1, id=b"mine")
        assert await a.inbox.request(b.node.id, "count", timeout=SECONDS, id=b"mine") == b"1"
        assert await a.inbox.request(b.node.id, "count", timeout=SECONDS, id=b"mine") == b"1"
        assert await a.inbox.request(b.node.id, "count", timeout=SECONDS) == b"2"


async def test_a_cut_connection_costs_no_request(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    async with two(valkey, running, eventually) as (a, b):
        for number in range(5):
            asking = asyncio.create_task(a.inbox.request(b.node.id, "echo", b"%d" % number, timeout=SECONDS))
            valkey.command("CLIENT", "KILL", "TYPE", "pubsub")
            assert await asking == b"echo %d" % number
        assert len({request.id for request in b.seen}) == len(b.seen) == 5


async def test_a_node_that_begins_anew_hears_under_its_new_id_only(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    async with two(valkey, running, eventually) as (a, b):
        old = b.node.id
        b.node._evict()
        await eventually(lambda: b.node.id != old and b.inbox.listening.is_set())
        await eventually(lambda: not valkey.command("PUBSUB", "SHARDNUMSUB", KEYS.inbox(old))[1])  # type: ignore[index]
        with pytest.raises(Unavailable):
            await a.inbox.request(old, "echo", timeout=0.5)
        assert await a.inbox.request(b.node.id, "echo", timeout=SECONDS) == b"echo "


async def test_a_node_that_stood_still_does_not_do_what_lay_in_its_buffer(
    valkey: servers.Server, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(valkey, running, eventually) as (a, b):
        with monkeypatch.context() as patched:
            patched.setattr(Node, "has_stood_still", True)
            with pytest.raises(Unavailable):
                await a.inbox.request(b.node.id, "echo", timeout=0.5)
            assert b.seen == []
        assert await a.inbox.request(b.node.id, "echo", timeout=SECONDS) == b"echo "


async def test_everything_is_bounded(
    valkey: servers.Server, running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 100)
    monkeypatch.setattr(module, "MAX_REQUESTS", 2)
    monkeypatch.setattr(module, "MAX_HANDLED", 1)
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    go_on = asyncio.Event()
    begun: list[bytes] = []

    async def slow(request: Request) -> bytes:
        begun.append(request.body)
        await go_on.wait()
        return b"x" * len(request.body) * 2

    async with two(valkey, running, eventually) as (a, b):
        b.inbox.handle("slow", slow)
        with pytest.raises(TooLarge):
            await a.inbox.request(b.node.id, "echo", b"x" * 101, timeout=SECONDS)
        first = asyncio.create_task(a.inbox.request(b.node.id, "slow", b"1", timeout=SECONDS))
        second = asyncio.create_task(a.inbox.request(b.node.id, "slow", b"2", timeout=SECONDS))
        await eventually(lambda: len(begun) == 1)
        with pytest.raises(LimitExceeded):
            await a.inbox.request(b.node.id, "echo", timeout=SECONDS)
        await asyncio.sleep(0.5)
        assert len(begun) == 1, "the second is not taken while one is in work"
        go_on.set()
        assert await asyncio.gather(first, second) == [b"xx", b"xx"]
        with pytest.raises(TooLarge):
            await a.inbox.request(b.node.id, "slow", b"x" * 60, timeout=SECONDS)
        for _ in range(5):
            await a.inbox.request(b.node.id, "echo", timeout=SECONDS)
        assert len(b.inbox._answers) == 3
        assert b.inbox._answer_bytes == sum(map(len, b.inbox._answers.values()))


async def test_what_is_no_letter_is_passed_over(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    async with two(valkey, running, eventually) as (a, b):
        channel = KEYS.inbox(b.node.id)
        valkey.command("SPUBLISH", channel, b"rubbish")
        assert await a.inbox.request(b.node.id, "echo", timeout=SECONDS) == b"echo "
