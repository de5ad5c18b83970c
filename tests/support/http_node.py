"""A real uvicorn server on port 0 with our HTTP protocol class, and raw sockets to talk to it."""

import asyncio
import contextlib
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from broker.accounts import Accounts
from broker.catalog import AutoCreate, Catalog, CatalogDefaults
from broker.consumers import Consumers
from broker.deadletters import DeadLetters
from broker.hub import Hub
from broker.listening import Listening
from broker.messages import Kind, Message
from broker.names import TopicName, parse_topic
from broker.publish import Publisher, PublishRequest
from broker.rights import Principal
from broker.schema_catalog import SchemaCatalog
from broker.store.memory import MemoryStore
from broker.store.records_memory import MemoryRecords
from broker.subscriptions import Subscriptions
from broker.waiting import Waiting
from gateway.admission import Admission
from gateway.auth import Authenticator
from gateway.config import Auth, Config, Limits, Push, Secret
from gateway.context import Context
from gateway.http import http_protocol
from gateway.metrics import Metrics
from gateway.outgoing import Outgoing
from gateway.pushes import Pushes
from gateway.reception import Bounds
from gateway.session import Census
from gateway.tokens import mint
from gateway.vault import Vault

OPERATOR = "operator-token-for-tests"
SECRET = Secret("a secret key of the node, long enough to sign with")

TLS = ssl.create_default_context()

PATIENCE_SECONDS = 10.0


async def eventually(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return once `condition()` is true, fail after `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        await asyncio.sleep(0.005)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def token(*, publish: tuple[str, ...] = (), subscribe: tuple[str, ...] = (), seconds: int = 24 * 3600) -> str:
    """Return a JWT that the nodes of `Node` accept."""
    return mint(
        SECRET, subject="tester", publish=publish, subscribe=subscribe, lifetime_seconds=seconds, now_ms=now_ms()
    )


@dataclass
class Node:
    """A node's services over a memory store, whose announcements the hub hears at once. `async with` runs the hub."""

    auto_create: AutoCreate = AutoCreate.NONE
    anonymous: Principal | None = None
    origins: tuple[str, ...] = ()
    metrics: Metrics = field(default_factory=Metrics)
    pull_wait_seconds: float = 5
    push: Push = field(default_factory=lambda: Push(plain_http=True, allowed_networks=("127.0.0.0/8",)))
    ahead_ms: int = 0
    """How far this node's clock is ahead of the wall clock: `later` plays that time passes."""

    def __post_init__(self) -> None:
        anonymous = self.anonymous or Principal("@anonymous")
        self.config = Config(
            service_token=Secret(OPERATOR),
            secret_key=SECRET,
            allowed_origins=self.origins,
            limits=Limits(pull_wait_seconds=self.pull_wait_seconds),
            push=self.push,
            auth=Auth(anonymous_publish=anonymous.publish, anonymous_subscribe=anonymous.subscribe),
        )
        self.now_ms: Callable[[], int] = lambda: now_ms() + self.ahead_ms
        self.store = MemoryStore(now_ms=self.now_ms, announce=self._announce)
        self.listening = Listening(self)
        self.hub = Hub(self.store, self.listening, observer=self.metrics, now_ms=now_ms, monotonic=time.monotonic)
        self.listening.deliver_to(self.hub)
        self._followed: set[TopicName] = set()
        defaults = CatalogDefaults(auto_create=self.auto_create)
        self.catalog = Catalog(self.store, monotonic=time.monotonic, defaults=defaults)
        self.records = MemoryRecords(now_ms=now_ms)
        self.schemas = SchemaCatalog(self.records, monotonic=time.monotonic, new_id=lambda: str(uuid.uuid4()))
        self.publisher = Publisher(
            self.store,
            self.catalog,
            observer=self.metrics,
            monotonic=time.monotonic,
            gate=self.schemas,
            admit=self.catalog.admit,
            must_be_heard=self.catalog.must_be_heard,
        )
        waiting = Waiting(self.listening)
        self.subscriptions = Subscriptions(
            self.store,
            DeadLetters(self.store, self.catalog),
            waiting,
            monotonic=time.monotonic,
            limits_of=self.catalog.limits_of,
        )
        self.consumers = Consumers(self.subscriptions, waiting, monotonic=time.monotonic)
        self.pushes = Pushes(self.records, Vault(SECRET), new_id=lambda: str(uuid.uuid4()))
        self.outgoing = Outgoing(self.config.push.outgoing, tls=TLS)
        self.accounts = Accounts(self.records, Vault(SECRET), require_project=self.catalog.project)
        self.auth = Authenticator(self.config, now_ms=now_ms, monotonic=time.monotonic, accounts=self.accounts)

    @property
    def context(self) -> Context:
        return Context(
            config=self.config,
            hub=self.hub,
            publisher=self.publisher,
            catalog=self.catalog,
            subscriptions=self.subscriptions,
            consumers=self.consumers,
            accounts=self.accounts,
            schemas=self.schemas,
            pushes=self.pushes,
            outgoing=self.outgoing,
            auth=self.auth,
            metrics=self.metrics,
            now_ms=self.now_ms,
        )

    async def __aenter__(self) -> "Node":
        self._running = asyncio.create_task(self.hub.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])
        await self.outgoing.close()

    async def say(self, topic: str, *texts: str) -> None:
        messages = tuple(Message(Kind.TEXT, text.encode()) for text in texts)
        await self.publisher.publish(PublishRequest(parse_topic(topic), messages))

    def later(self, *, seconds: float) -> None:
        self.ahead_ms += int(seconds * 1000)

    def listens(self, topic: str) -> bool:
        """Tell whether anything on this node follows `topic` or waits for its messages."""
        return parse_topic(topic) in self._followed

    # The bus.

    async def follow(self, topic: TopicName) -> None:
        self._followed.add(topic)

    def unfollow(self, topic: TopicName) -> None:
        self._followed.discard(topic)

    def _announce(self, topic: TopicName, payload: bytes) -> None:
        if topic in self._followed:
            self.listening.on_announcements([(topic, payload)])


class _Server(uvicorn.Server):
    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


@dataclass
class Served:
    """A server that is listening."""

    port: int
    census: Census
    metrics: Metrics
    server: uvicorn.Server
    ended: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connect(self) -> "Peer":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return Peer(reader, writer)

    async def stop(self) -> None:
        self.server.should_exit = True
        await asyncio.wait_for(asyncio.shield(self.ended), PATIENCE_SECONDS)


@dataclass
class Peer:
    """A raw client. Every read has a deadline."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE_SECONDS)

    async def read_response(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response with a Content-Length."""
        head = (await self.read_until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        body = await asyncio.wait_for(self.reader.readexactly(length), PATIENCE_SECONDS)
        return int(first.split(" ")[1]), headers, body

    async def read_to_end(self) -> bytes:
        """Return what comes until the server closes; a reset ends it too."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := await asyncio.wait_for(self.reader.read(65536), PATIENCE_SECONDS):
                parts.append(part)
        return b"".join(parts)

    async def is_closed(self) -> bool:
        """Wait until the server has closed; False when it says anything first."""
        return await self.read_to_end() == b""

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Vanish without a goodbye."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(
    app: AsgiApp,
    *,
    bounds: Bounds | None = None,
    census: Census | None = None,
    metrics: Metrics | None = None,
    admission: Admission | None = None,
    websocket: type | None = None,
) -> AsyncIterator[Served]:
    """Serve `app` as a node does; `websocket` is what a front's `protocol_class` gives."""
    census = census or Census(connections=1000, connections_per_address=1000)
    metrics = metrics or Metrics()
    protocol = http_protocol(bounds or Bounds(), census, metrics, admission)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]
        ws=websocket or "none",  # type: ignore[arg-type]
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    ended = asyncio.create_task(server.serve(sockets=[listener]))
    await eventually(lambda: server.started or ended.done(), "the server")
    try:
        yield Served(listener.getsockname()[1], census, metrics, server, ended)
    finally:
        server.should_exit = True
        await asyncio.wait_for(ended, PATIENCE_SECONDS)
