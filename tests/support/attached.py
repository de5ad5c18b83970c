"""Connections of API Gateway without sockets: what stands behind the endpoint, on real Redis, node by node.

async with attached.office(server, "a") as a, attached.office(server, "b") as b:
    socket = a.attach()
    await b.connections.post(socket.facts.id, b"hello")
    assert socket.sent == [b"hello"]
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import servers

from broker.errors import NotSubscribed
from broker.hub import Hub
from broker.names import TopicName
from broker.ports import Placed, Since
from broker.positions import Position, Recovery
from broker.store.keys import Keys
from cluster import scripts
from cluster.address import parse_address
from cluster.bus import Bus
from cluster.clearing import Clearing
from cluster.directory import Directory
from cluster.inbox import Inbox
from cluster.membership import Advertised
from cluster.node import Node
from cluster.topology import Topology
from gateway.apigateway.beyond.groups import Groups, Member
from gateway.apigateway.beyond.many import Many
from gateway.apigateway.cluster.attachments import NodeAttachments
from gateway.apigateway.cluster.connections import ClusterConnections
from gateway.apigateway.cluster.endings import Endings
from gateway.apigateway.cluster.owners import Owners
from gateway.apigateway.cluster.table import Table
from gateway.apigateway.ports import Backend, Facts, Framing, Stage

KEYS = Keys("hr")
LEASE_SECONDS = 2.0
WAIT_SECONDS = 15.0
NOW_MS = 1_700_000_000_000


class PlainFraming:
    """Frames are the message with a mark in front; counts how often one was made."""

    def __init__(self) -> None:
        self.made = 0

    def framed(self, data: bytes) -> bytes:
        self.made += 1
        return b"|" + data


FRAMING = PlainFraming()


@dataclass(eq=False)
class FakeSocket:
    """Implements `ports.LocalConnection` and notes what it is given."""

    facts: Facts
    framing: Framing = field(default_factory=lambda: FRAMING)
    last_active_at_ms: int = NOW_MS
    paused: bool = False
    sent: list[bytes] = field(default_factory=list)
    closed: tuple[int, str] | None = None

    def send(self, data: bytes) -> bool:
        if not self.paused:
            self.sent.append(data)
        return not self.paused

    def write(self, data: bytes) -> None:
        self.sent.append(data.removeprefix(b"|"))

    def close(self, code: int, reason: str = "") -> None:
        self.closed = (code, reason)


@dataclass
class RecordingBackend:
    """The part of `ports.Backend` that is told of ends."""

    told: list[tuple[str, int, str, str]] = field(default_factory=list)
    """(connection, code, reason, event id)."""
    failures: list[Exception] = field(default_factory=list)
    """Raised by the next calls, one each."""
    facts: list[Facts] = field(default_factory=list)

    async def disconnect(self, facts: Facts, *, code: int, reason: str, event_id: str, now_ms: int) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.facts.append(facts)
        self.told.append((facts.id, code, reason, event_id))


class FakeHub:
    """Notes who follows what."""

    def __init__(self) -> None:
        self.following: set[tuple[str, TopicName]] = set()
        self.resumed: list[str] = []
        self.refusal: Exception | None = None
        self.members: dict[str, Member] = {}

    async def subscribe(
        self, subscriber: Member, topic: TopicName, since: Since, *, placed: Callable[[Placed], None]
    ) -> None:
        assert since == "now"
        if self.refusal:
            raise self.refusal
        name = subscriber.connection.facts.id
        self.members[name] = subscriber
        self.following.add((name, topic))
        placed(Placed(topic, Position(1, 0), Recovery.NONE, (), Position(1, 0)))

    def unsubscribe(self, subscriber: Member, topic: TopicName) -> None:
        try:
            self.following.remove((subscriber.connection.facts.id, topic))
        except KeyError:
            raise NotSubscribed from None

    def leave(self, subscriber: Member) -> None:
        self.following = {row for row in self.following if row[0] != subscriber.connection.facts.id}

    def resume(self, subscriber: Member) -> None:
        self.resumed.append(subscriber.connection.facts.id)


def facts_of(connection: str, **others: Any) -> Facts:
    told: dict[str, Any] = {
        "api": "chat",
        "stage": "prod",
        "connected_at_ms": NOW_MS,
        "source_ip": "192.0.2.1",
        "user_agent": "test",
        "domain_name": "chat.example",
    }
    return Facts(id=connection, **(told | others))


@dataclass
class Office:
    """One node, and what this room has on it."""

    node: Node
    directory: Directory
    inbox: Inbox
    table: Table
    groups: Groups
    endings: Endings
    owners: Owners
    connections: ClusterConnections
    attachments: NodeAttachments
    many: Many
    backend: RecordingBackend
    topology: Topology
    halt: "asyncio.Event"

    def attach(self, **others: Any) -> FakeSocket:
        socket = FakeSocket(facts_of(self.attachments.new_id(), **others))
        self.attachments.attach(socket)
        return socket

    def die(self) -> None:
        """Renew no lease and answer nobody any more, as after kill -9."""
        self.halt.set()


@asynccontextmanager
async def office(
    substrate: servers.Server | servers.Cluster, name: str, *, hub: Hub | None = None, backend: object = None
) -> AsyncIterator[Office]:
    topology = Topology(parse_address(substrate.url), name=name, scripts=scripts.ALL)
    bus = Bus(topology, channel_of=lambda topic: topic.encode())
    node = Node(topology, keys=KEYS, advertised=Advertised(name=name), lease_seconds=LEASE_SECONDS)
    directory = Directory(topology, node, keys=KEYS)
    inbox = Inbox(topology, bus, node, keys=KEYS)
    recording = cast(RecordingBackend, backend or RecordingBackend())

    def backend_of(stage: Stage) -> Backend | None:
        return cast(Backend, recording) if stage == Stage("chat", "prod") else None

    endings = Endings(directory, node, backend_of, now_ms=lambda: NOW_MS)
    clearing = Clearing(topology, node, keys=KEYS, tell=endings.tell, claim_seconds=2.0)
    groups = Groups(cast(Hub, hub))
    table = Table(in_group=groups.members_of)
    owners = Owners(node, monotonic=time.monotonic)
    made = Office(
        node=node,
        directory=directory,
        inbox=inbox,
        table=table,
        groups=groups,
        endings=endings,
        owners=owners,
        connections=ClusterConnections(table, node, inbox, owners),
        attachments=NodeAttachments(node, table, endings, groups),
        many=Many(table, groups, node, inbox, owners),
        backend=recording,
        topology=topology,
        halt=asyncio.Event(),
    )
    loops = (s.serve for s in (node, inbox, directory, clearing, endings, made.connections))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running(topology.serve(), bus.serve()))
        await stack.enter_async_context(running(_until(made.halt, [loop() for loop in loops])))
        await eventually(lambda: node.is_certain and inbox.listening.is_set())
        yield made


async def _until(halt: asyncio.Event, loops: list[Coroutine[Any, Any, None]]) -> None:
    async with running(*loops):
        await halt.wait()
    await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(check: Any, *, seconds: float = WAIT_SECONDS, what: str = "the condition") -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.01)
