"""The realtime endpoint: the room that opens realtime sockets, and the node's WebSocket front with it inside."""

import asyncio

from cluster.servers import Server, Told
from gateway.bulletin import Bulletin
from gateway.config import Config
from gateway.context import Context
from gateway.handshake import Front, Handshake, Opening
from gateway.realtime.connection import Connection
from gateway.realtime.frames import Node
from gateway.realtime.shared import FACE, Shared
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import Services

__all__ = ["FACE", "PATH", "Endpoint", "advertised", "front", "node_facts", "own_told", "protocol_class"]

PATH = "/v1/realtime"


class Endpoint:
    """The room at `PATH`."""

    def __init__(self, context: Context, node: Services, bulletin: Bulletin) -> None:
        self._shared = Shared(context, node, node_facts(context), bulletin)
        self.subprotocols = tuple(self._shared.dialects)

    def open(self, transport: asyncio.Transport, opening: Opening) -> Connection:
        return Connection(transport, self._shared, opening)


def node_facts(context: Context) -> Node:
    config, limits = context.config, context.config.limits
    return Node(
        name=config.name,
        ping_ms=round(limits.ping_seconds * 1000),
        message_bytes=limits.message_bytes,
        frame_bytes=limits.frame_bytes,
        subscriptions=limits.subscriptions_per_connection,
        in_flight=limits.in_flight_publishes,
        retention_ms=config.retention.max_age_seconds * 1000,
        subjects_in=config.migratorydata.project,
    )


def own_told(config: Config) -> Told:
    """Return what clients are told by a node that knows of no other."""
    url = advertised(config.advertise, config.host, config.port, scheme=config.scheme)
    return Told((Server(url, config.weight),) if url else ())


def advertised(url: str, host: str, port: int, *, scheme: str = "http") -> str:
    """Return the base URL by which clients reach this node; "" where it cannot be known."""
    if url or host in ("", "0.0.0.0", "::"):
        return url
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def front(
    context: Context, *, census: Census | None = None, bulletin: Bulletin | None = None, grain_seconds: float = 1.0
) -> Front:
    """Return the node's WebSocket front with this room in it. `grain_seconds` is how finely deadlines are met."""
    bulletin = bulletin or Bulletin(own_told(context.config))
    limits = context.config.limits
    node = Services(
        limits=limits,
        metrics=context.metrics,
        census=census or Census(connections=limits.connections, connections_per_address=limits.connections_per_address),
        wheel=Wheel(grain_seconds=grain_seconds),
        outbox=Outbox(),
    )
    return Front(node, context.auth, {PATH: Endpoint(context, node, bulletin)})


def protocol_class(context: Context) -> type[Handshake]:
    """Return what uvicorn takes as `ws=`; its `front.drain()` ends the sockets."""
    return front(context).protocol_class()
