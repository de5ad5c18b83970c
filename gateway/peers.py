"""What makes a node one of several: its lease, its inbox, its connections' directory and its duties, put together."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgpack

from broker.errors import HeadraceError
from broker.store.base import ReplyError
from broker.store.keys import Keys
from cluster.bus import Bus
from cluster.clearing import Clearing, Ended, Tell
from cluster.directory import Directory
from cluster.duties import Duties
from cluster.inbox import Inbox
from cluster.membership import Advertised
from cluster.news import News
from cluster.node import Node
from cluster.servers import told
from cluster.topology import Topology
from gateway.bulletin import Bulletin
from gateway.config import Config
from gateway.handshake import Front
from gateway.metrics import node_version

LEAVE_SECONDS = 2.0
"""For giving back duties, and again for the lease. What is not given back runs out."""

UNLIMITED_ACCEPTS = 1000
"""New connections a second that a node says it takes where its configuration sets no limit."""

RETENTION = "retention"
"""The duty of trimming what topics should not keep."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Peers:
    """A node's part in the cluster."""

    node: Node
    inbox: Inbox
    directory: Directory
    duties: Duties
    clearing: Clearing
    news: News
    bulletin: Bulletin
    """What clients are told of all this."""
    tellers: dict[str, Tell] = field(default_factory=dict)

    def tell_of(self, kind: str, tell: Tell) -> None:
        """Have `tell` tell the ends of connections whose record in the directory is a msgpack map with this `kind`."""
        self.tellers[kind] = tell

    @property
    def loops(self) -> dict[str, Callable[[], Coroutine[object, object, None]]]:
        return {
            "node": self.node.serve,
            "inbox": self.inbox.serve,
            "directory": self.directory.serve,
            "clearing": self.clearing.serve,
            "news": self.news.serve,
        }

    def attend(self, front: Front) -> None:
        """Let the sockets follow the lease: unread while it may be taken, closed when it was."""
        front.node.has_stood_still = lambda: self.node.has_stood_still
        self.node.on_settled.append(front.settle)
        self.node.on_evicted.append(front.evict)

    def on_draining(self) -> None:
        self.node.advertised = replace(self.node.advertised, draining=True)
        self.node.look_soon()

    def reconfigure(self, config: Config) -> None:
        self.node.advertised = replace(self.node.advertised, weight=config.weight)
        self.node.look_soon()

    async def give_back(self) -> None:
        """End this node's duties, so that others take them now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self.duties.drain()

    async def leave(self) -> None:
        """Leave the cluster, when all sockets are closed."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self.node.leave()
        except (HeadraceError, ReplyError, TimeoutError) as error:
            log.info("the others see this node go when its lease has run out", extra={"reason": str(error)})


def build(config: Config, topology: Topology, bus: Bus, *, keys: Keys, url: str, load: Callable[[], int]) -> Peers:
    """Build them for a node that clients reach at `url` ("": unknown) and that has `load` sockets."""
    advertised = Advertised(
        name=config.name,
        url=url,
        weight=config.weight,
        version=node_version(),
        accepts=round(config.limits.accept_per_second) or UNLIMITED_ACCEPTS,
        since=time.time_ns() // 1_000_000,
    )
    node = Node(topology, keys=keys, advertised=advertised, load=load, lease_seconds=config.lease_seconds)
    bulletin = Bulletin(told((), own=node.described))
    node.on_looked.append(lambda: bulletin.post(told(node.members, own=node.described)))
    directory = Directory(topology, node, keys=keys)
    topology.watch_connects(directory.on_reconnect)
    topology.watch(directory.on_reconnect)
    tellers: dict[str, Tell] = {}
    return Peers(
        node=node,
        inbox=Inbox(topology, bus, node, keys=keys),
        directory=directory,
        duties=Duties(topology, keys=keys, lease_seconds=config.lease_seconds, prefers=node.prefers),
        clearing=Clearing(topology, node, keys=keys, tell=lambda end: _tell(end, tellers)),
        news=News(bus, node, keys=keys),
        bulletin=bulletin,
        tellers=tellers,
    )


async def _tell(end: Ended, tellers: dict[str, Tell]) -> None:
    """Let the room tell whose connection it was. An end that no room of this version tells is noted."""
    teller = tellers.get(kind_of(end.record))
    if teller is None:
        log.warning("nobody tells the end of a connection", extra={"event": end.event_id})
    else:
        await teller(end)


def kind_of(record: bytes) -> str:
    """Return whose connection a directory's record is; "" where it does not say."""
    try:
        told = msgpack.unpackb(record)
    except Exception:
        # What msgpack raises is not said to be complete.
        return ""
    return str(told.get("kind", "")) if isinstance(told, dict) else ""
