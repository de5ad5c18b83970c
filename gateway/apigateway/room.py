"""The room put together: sockets, management API and our own calls, over the connections of the cluster.

Each part knows the others by `ports` alone; here they meet. The endpoint lets sockets in as their application decides,
the table has this node's, the id of a connection leads to its node, and the directory owes each one's end.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.apigateway.application.backend import Backends, Node
from gateway.apigateway.beyond import extensions
from gateway.apigateway.beyond.groups import Groups
from gateway.apigateway.beyond.many import Many
from gateway.apigateway.cluster.attachments import NodeAttachments
from gateway.apigateway.cluster.connections import ClusterConnections
from gateway.apigateway.cluster.endings import Endings
from gateway.apigateway.cluster.owners import Owners
from gateway.apigateway.cluster.records import KIND
from gateway.apigateway.cluster.table import Table
from gateway.apigateway.configuration.definitions import Api, Ordering
from gateway.apigateway.management import routes
from gateway.apigateway.management.credentials import credentials_of
from gateway.apigateway.management.throttle import Throttle
from gateway.apigateway.ports import Stage
from gateway.apigateway.sockets.endpoint import Endpoint, new_request_id
from gateway.apigateway.sockets.socket import Deployment
from gateway.app import Claim
from gateway.context import Context
from gateway.metrics import Metrics
from gateway.peers import Peers
from gateway.websocket import Services

Loop = Callable[[], Coroutine[object, object, None]]


@dataclass(frozen=True, slots=True)
class Room:
    """What a node needs of it. `drain` finishes what sockets asked for and tells their ends, within its own bounds."""

    claims: tuple[Claim, ...]
    endpoint: Endpoint
    loops: Mapping[str, Loop]
    drain: Callable[[], Coroutine[object, object, None]]
    close: Callable[[], Coroutine[object, object, None]]


def build(context: Context, peers: Peers, services: Services) -> Room:
    """Put the room together.

    Raises `ConfigError` where a function that the configuration names cannot be found.
    """
    section, clock = context.config.apigateway, time.monotonic
    backends = _backends(context)
    groups = Groups(context.hub)
    table = Table(monotonic=clock, in_group=groups.members_of)
    endings = Endings(peers.directory, peers.node, backends.of, now_ms=context.now_ms)
    peers.tell_of(KIND, endings.tell)
    _show(context.metrics, table, endings)
    owners = Owners(peers.node, monotonic=clock)
    connections = ClusterConnections(table, peers.node, peers.inbox, owners)
    many = Many(table, groups, peers.node, peers.inbox, owners)
    attachments = NodeAttachments(peers.node, table, endings, groups)
    requests = {api.name: _requests(api, clock()) for api in section.apis}
    address = section.domain or own_address(peers.node.advertised.url, context.config.port)
    deployments: dict[str, Deployment] = {}
    for api in section.apis:
        deployments |= _deployed(
            api,
            backends,
            attachments,
            services,
            requests=requests[api.name],
            domain_name=api.domain or address,
            now_ms=context.now_ms,
        )
    endpoint = Endpoint(deployments, checks_origin=section.check_origin)

    async def drain() -> None:
        await asyncio.gather(endpoint.drain(), endings.drain())

    management = routes.build(context, section, connections, throttles=requests)
    return Room(
        claims=(
            Claim(extensions.takes, extensions.build(context, connections, many)),
            Claim(routes.takes, management),
            Claim(endpoint.takes, endpoint.app),
        ),
        endpoint=endpoint,
        loops={"apigateway": connections.serve, "apigateway-ends": endings.serve},
        drain=drain,
        close=backends.close,
    )


def _show(metrics: Metrics, table: Table, endings: Endings) -> None:
    metrics.watch("headrace_apigateway_connections", "Connections whose $connect has ended well.", lambda: len(table))
    metrics.watch("headrace_apigateway_ends_owed", "Ends that wait to be told.", lambda: len(endings))
    metrics.watch("headrace_apigateway_ends_given_up", "Ends that could not be told.", lambda: endings.given_up)


def _backends(context: Context) -> Backends:
    section = context.config.apigateway
    node = Node(
        now_ms=context.now_ms,
        read_claims=context.auth.claims,
        credentials=credentials_of(section),
        observe=context.metrics.back_end_called,
    )
    return Backends(section, node)


def _deployed(
    api: Api,
    backends: Backends,
    attachments: NodeAttachments,
    services: Services,
    *,
    requests: Throttle,
    domain_name: str,
    now_ms: Callable[[], int],
) -> dict[str, Deployment]:
    """Return the stages of an API by their paths. They share its throttles: AWS counts by account."""
    limits = api.limits
    connects = Throttle(
        rate=limits.connects_per_second, burst=max(limits.connects_per_second, 1.0), now=time.monotonic()
    )
    made: dict[str, Deployment] = {}
    for stage in api.stages:
        name = Stage(api.name, stage.name)
        backend = backends.of(name)
        assert backend is not None, "every configured stage has a back end"
        made[stage.path] = Deployment(
            stage=name,
            domain_name=domain_name,
            limits=limits,
            backend=backend,
            attachments=attachments,
            node=services,
            now_ms=now_ms,
            monotonic=time.monotonic,
            new_request_id=new_request_id,
            connects=connects,
            requests=requests,
            ordered=api.ordering is Ordering.CONNECTION,
        )
    return made


def _requests(api: Api, now: float) -> Throttle:
    return Throttle(rate=api.limits.requests_per_second, burst=api.limits.requests_burst, now=now)


def own_address(url: str, port: int) -> str:
    """Return host and port as events tell them where nothing else is configured: back ends call the node there."""
    return urlsplit(url).netloc or f"localhost:{port}"
