"""Stages of an API on a real port, with an application in this process behind them and nothing else of the cluster.

async with deployed.served(application) as d:
    async with sockets.raw(d.port) as client:
        await client.shake(upgrade("/prod"))
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import sockets

from broker.errors import HeadraceError, Unauthorized
from broker.rights import Principal
from gateway.apigateway.configuration.definitions import ApiLimits
from gateway.apigateway.management.throttle import Throttle
from gateway.apigateway.ports import (
    Admitted,
    ConnectRequest,
    Denied,
    Facts,
    LocalConnection,
    Reply,
    Stage,
)
from gateway.apigateway.sockets.endpoint import Endpoint, new_request_id
from gateway.apigateway.sockets.socket import Deployment, Socket
from gateway.config import Config, Limits
from gateway.handshake import Front
from gateway.metrics import Metrics
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import Services

GRAIN_SECONDS = 0.01
DOMAIN = "api.example.com:8443"


@dataclass
class Application:
    """A back end whose answers are set by the test; it keeps what it is asked."""

    verdict: Denied | Exception | None = None
    subprotocol: str | None = None
    authorizer: dict[str, Any] | None = None
    token_ms: int | None = None
    """How long the token holds that opens a connection."""
    reply: Callable[[str | bytes], Awaitable[Reply]] | None = None
    """What a message is answered; None: nothing."""
    gate: asyncio.Event | None = None
    """While it is there and not set, `$connect` waits."""
    requests: list[ConnectRequest] = field(default_factory=list)
    received: list[str | bytes] = field(default_factory=list)
    ids: list[tuple[str, str]] = field(default_factory=list)
    """(request id, message id) of each message."""

    async def connect(self, request: ConnectRequest) -> Admitted | Denied:
        self.requests.append(request)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        if self.verdict:
            return self.verdict
        expires_ms = None if self.token_ms is None else request.requested_at_ms + self.token_ms
        facts = replace(request.facts, authorizer=self.authorizer, expires_ms=expires_ms)
        return Admitted(facts=facts, subprotocol=self.subprotocol)

    async def receive(self, facts: Facts, body: str | bytes, *, request_id: str, message_id: str, now_ms: int) -> Reply:
        self.received.append(body)
        self.ids.append((request_id, message_id))
        return await self.reply(body) if self.reply else Reply()

    async def disconnect(self, facts: Facts, *, code: int, reason: str, event_id: str, now_ms: int) -> None:
        raise AssertionError("the sockets leave this to their attachments")


@dataclass
class Attached:
    """What the endpoint tells of its sockets."""

    failure: HeadraceError | None = None
    promised: list[Facts] = field(default_factory=list)
    connections: dict[str, LocalConnection] = field(default_factory=dict)
    ends: list[tuple[str, int, str]] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)
    given: int = 0

    def new_id(self) -> str:
        self.given += 1
        return f"{self.given:015}="

    async def promise(self, facts: Facts) -> None:
        if self.failure:
            raise self.failure
        self.promised.append(facts)

    def attach(self, connection: LocalConnection) -> None:
        self.connections[connection.facts.id] = connection

    def on_writable(self, connection: LocalConnection) -> None:
        self.writable.append(connection.facts.id)

    def ended(self, facts: Facts, *, code: int, reason: str) -> None:
        self.connections.pop(facts.id, None)
        self.ends.append((facts.id, code, reason))

    @property
    def only(self) -> Socket:
        """The one socket that is open."""
        (socket,) = self.connections.values()
        assert isinstance(socket, Socket)
        return socket


class _Nobody:
    """The node's credentials, which no socket of an API has."""

    anonymous = Principal("@anonymous")

    def known(self, token: str) -> Principal | None:
        raise Unauthorized

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return origin != "http://evil.example"


@dataclass
class Served:
    port: int
    front: Front
    endpoint: Endpoint
    attached: Attached
    application: Application
    metrics: Metrics

    @property
    def total(self) -> int:
        return self.front.node.census.total

    async def ended(self) -> list[tuple[int, str]]:
        """Return code and reason of the ends, once there is one."""
        await eventually(lambda: bool(self.attached.ends))
        return [(code, reason) for _, code, reason in self.attached.ends]


def deployment(
    node: Services, application: Application, attached: Attached, *, limits: ApiLimits, ordered: bool = False
) -> Deployment:
    return Deployment(
        stage=Stage("abcdef1234", "prod"),
        domain_name=DOMAIN,
        limits=limits,
        backend=application,
        attachments=attached,
        node=node,
        now_ms=lambda: time.time_ns() // 1_000_000,
        monotonic=time.monotonic,
        new_request_id=new_request_id,
        connects=Throttle(rate=limits.connects_per_second, burst=limits.connects_per_second, now=time.monotonic()),
        requests=Throttle(rate=limits.requests_per_second, burst=limits.requests_burst, now=time.monotonic()),
        ordered=ordered,
    )


@contextlib.asynccontextmanager
async def served(
    application: Application | None = None,
    *,
    limits: ApiLimits | None = None,
    paths: tuple[str, ...] = ("/prod",),
    checks_origin: bool = False,
    ordered: bool = False,
    **node_limits: Any,
) -> AsyncIterator[Served]:
    """Serve one stage at all of `paths`; times of `limits` are met a hundredth of a second late at most."""
    config = Config(limits=Limits(**node_limits))
    metrics, bounds = Metrics(), config.limits
    census = Census(connections=bounds.connections, connections_per_address=bounds.connections_per_address)
    wheel = Wheel(grain_seconds=GRAIN_SECONDS)
    node = Services(limits=bounds, metrics=metrics, census=census, wheel=wheel, outbox=Outbox())
    front = Front(node, _Nobody(), {})  # type: ignore[arg-type]
    application, attached = application or Application(), Attached()
    made = deployment(node, application, attached, limits=limits or ApiLimits(), ordered=ordered)
    endpoint = Endpoint(dict.fromkeys(paths, made), checks_origin=checks_origin)
    front.waiting_rooms.append(endpoint)
    async with sockets.serving(front, config) as port:
        yield Served(port, front, endpoint, attached, application, metrics)
        if application.gate:
            application.gate.set()


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(sockets.PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)
