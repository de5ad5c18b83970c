"""Running a node: one listener under uvicorn, the long-lived loops beside it, and an end in good order.

`run` owns the life of a node that `gateway.__main__` has put together:

1. the loops and the HTTP server live in one TaskGroup: when one crashes, the node ends with that error;
2. the first SIGTERM or SIGINT: unready at once; clients move to other nodes where there are any; then no new
   connections, publishes in flight are answered, sockets that are left are closed with 1012 and event streams end
   (uvicorn asks each connection's `shutdown`), then the loops are cancelled;
3. a second signal skips what is still being waited for.
"""

import asyncio
import contextlib
import logging
import math
import signal
import socket
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn

from gateway.asgi import AsgiApp
from gateway.config import Config
from gateway.metrics import Metrics
from gateway.tls import Tls

log = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that the kernel completes before they are accepted: a herd that comes back at once."""

CLOSE_SECONDS = 5
"""How long closing handshakes and responses in progress may take before what is left is cut."""

HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take, as the headers after it may."""

KEEP_ALIVE_SECONDS = 75
"""How long an idle HTTP connection is kept: longer than the usual proxy's minute, so that the proxy closes first."""

LAG_SECONDS = 0.25
"""How often the event loop's lateness is measured."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""They end the node."""


async def _stay(_: Collection[object]) -> None: ...


class BindError(Exception):
    """The address cannot be listened on; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A node that is put together and does not run yet.

    `loops` are awaited as long as the node lives, by name. `drain` answers the publishes in flight and returns within
    its own bound. `on_draining` is called once, first of all.
    """

    app: AsgiApp
    http: type[asyncio.Protocol]
    websocket: type[asyncio.Protocol]
    metrics: Metrics
    loops: Mapping[str, Callable[[], Coroutine[object, object, None]]]
    drain: Callable[[], Coroutine[object, object, None]]
    on_draining: Callable[[], None]
    move: Callable[[Collection[object]], Coroutine[object, object, None]] = _stay
    """Has the clients go to other nodes, of the given connections; returns at once where there are none."""
    end_seconds: float = math.inf
    """After so long the end is hastened."""
    tls: Tls | None = None
    """None: http and ws."""
    apply: Callable[[Config], None] = lambda _: None
    """Puts a configuration into force of which only live options have changed (`gateway.reloading`)."""


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet: until it does, connecting to it is refused."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise BindError(f"{host}: {error.strerror}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise BindError(f"{host}:{port}: {error.strerror}") from error
    return bound


class Stop:
    """What the signals ask for: `asked` at the first that ends the node, `hastened` at the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hastened = asyncio.Event()
        self.on_hangup: Callable[[], None] = _nothing
        """What SIGHUP asks for; nothing until the node is there. Unhandled it would end the process."""

    def on_signal(self) -> None:
        (self.hastened if self.asked.is_set() else self.asked).set()

    def _hang_up(self) -> None:
        self.on_hangup()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to `SIGNALS` and SIGHUP while inside."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            yield
        finally:
            for number in (*SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)


def _nothing(*_: object) -> None: ...


class _HttpServer(uvicorn.Server):
    """uvicorn without its own handling of signals, which would raise them again after a clean end."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.ssl is None:
            await super().startup(sockets)
        else:
            # uvicorn leaves a connection a minute for its handshake, in which nobody counts it.
            await super().startup([])
            self.servers = [await self._listen_with_tls(bound) for bound in sockets or []]
        self.listening.set()

    async def _listen_with_tls(self, bound: socket.socket) -> asyncio.Server:
        config = self.config

        def accept() -> asyncio.Protocol:
            # uvicorn's protocol classes take these; a type of `asyncio.Protocol` says nothing of it.
            make: Callable[..., asyncio.Protocol] = config.http_protocol_class
            return make(config=config, server_state=self.server_state, app_state=self.lifespan.state)

        return await asyncio.get_running_loop().create_server(
            accept,
            sock=bound,
            ssl=config.ssl,
            backlog=config.backlog,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=CLOSE_SECONDS,
        )

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    def discourage(self) -> None:
        """Have requests answered as the last ones of their connections: whoever has more to ask finds another node."""
        close = (b"connection", b"close")
        # uvicorn makes the second from the first, once a second.
        self.config.encoded_headers.append(close)
        self.server_state.default_headers = [*self.server_state.default_headers, close]

    def stop_accepting(self) -> None:
        for server in self.servers:
            server.close()


async def run(parts: Parts, listener: socket.socket, stop: Stop, *, on_listening: Callable[[], None]) -> None:
    """Serve until `stop` is asked for and the end is reached; a loop that crashes ends the node with its error."""
    settings = _settings(parts)
    # Not by uvicorn's own options, which know files that never change.
    settings.load()
    settings.ssl = parts.tls.context if parts.tls else None
    server = _HttpServer(settings)
    async with _loops(parts), asyncio.TaskGroup() as serving:
        ended = serving.create_task(server.serve(sockets=[listener]), name="http")
        await server.listening.wait()
        on_listening()
        await stop.asked.wait()
        await _end(parts, server, stop, ended)


@contextlib.asynccontextmanager
async def _loops(parts: Parts) -> AsyncIterator[None]:
    """Run the loops while inside; they are cancelled at the end."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_endless(name, loop), name=name) for name, loop in parts.loops.items()]
        tasks.append(group.create_task(_measure_lag(parts.metrics), name="lag"))
        yield
        for task in tasks:
            task.cancel()


async def _endless(name: str, loop: Callable[[], Coroutine[object, object, None]]) -> None:
    await loop()
    raise RuntimeError(f"the loop {name!r} ended although the node goes on")


async def _end(parts: Parts, server: _HttpServer, stop: Stop, ended: asyncio.Task[None]) -> None:
    log.info("going away: clients move, publishes in flight are answered, then sockets are closed")
    parts.on_draining()
    server.discourage()
    async with asyncio.TaskGroup() as ending:
        hastened = ending.create_task(_hastened(stop, parts.end_seconds))
        await _unless(hastened, ending.create_task(parts.move(server.server_state.connections)))
        server.stop_accepting()
        await _unless(hastened, ending.create_task(parts.drain()))
        server.should_exit = True
        await asyncio.wait((ended, hastened), return_when=asyncio.FIRST_COMPLETED)
        server.force_exit = hastened.done()
        if server.force_exit:
            log.info("the end was hastened: what was left was not waited for")
        hastened.cancel()


async def _hastened(stop: Stop, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds if seconds < math.inf else None):
            await stop.hastened.wait()


async def _unless(hastened: asyncio.Task[None], work: asyncio.Task[None]) -> None:
    """Wait for `work`, or give it up."""
    await asyncio.wait((work, hastened), return_when=asyncio.FIRST_COMPLETED)
    work.cancel()


async def _measure_lag(metrics: Metrics) -> None:
    clock = asyncio.get_running_loop().time
    while True:
        before = clock()
        await asyncio.sleep(LAG_SECONDS)
        metrics.loop_lagged(max(clock() - before - LAG_SECONDS, 0.0))


def _settings(parts: Parts) -> uvicorn.Config:
    options: dict[str, Any] = {
        "app": parts.app,
        "http": parts.http,
        "ws": parts.websocket,
        "interface": "asgi3",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # X-Forwarded-* are believed from nobody: connection limits count by the peer's own address.
        "proxy_headers": False,
        # Given, so that uvicorn does not read the environment.
        "forwarded_allow_ips": [],
        "workers": 1,
        "backlog": BACKLOG,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": CLOSE_SECONDS,
    }
    return uvicorn.Config(**options)
