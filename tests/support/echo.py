"""A WebSocket echo on our own protocol class, for conformance tools such as Autobahn (docs/conformance.md).

    python tests/support/echo.py --port 9001

Everything up to the message is what a node runs: uvloop, uvicorn, the HTTP class, the handshake, `gateway.websocket`.
Only the room is another: it sends every message back.
"""

import argparse
import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from gateway.auth import Authenticator
from gateway.config import Config, Limits
from gateway.framing import BINARY, TEXT, framed
from gateway.handshake import Front, Opening
from gateway.http import http_protocol
from gateway.metrics import Metrics
from gateway.reception import bounds_of
from gateway.server import Parts, Stop, bind, run
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import Services, WebSocket

PATH = "/"

FIN = 0x80

MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest message that Autobahn sends."""


class Echo(WebSocket):
    """Sends back every message, as text or binary as it came."""

    __slots__ = ()

    face = "echo"

    def on_message(self, data: bytes, *, text: bool) -> None:
        self.answer(framed(FIN | (TEXT if text else BINARY), data))


class EchoRoom:
    """The room at `PATH`: every client may enter, none may ask for a subprotocol."""

    def __init__(self, node: Services) -> None:
        self._node = node
        self.subprotocols: Sequence[str] = ()

    def open(self, transport: asyncio.Transport, opening: Opening) -> Echo:
        return Echo(transport, self._node, opening.address)


async def not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def compose(config: Config) -> Parts:
    limits, metrics = config.limits, Metrics()
    census = Census(connections=limits.connections, connections_per_address=limits.connections_per_address)
    node = Services(limits=limits, metrics=metrics, census=census, wheel=Wheel(), outbox=Outbox())
    auth = Authenticator(config, now_ms=lambda: time.time_ns() // 1_000_000, monotonic=time.monotonic)
    front = Front(node, auth, {PATH: EchoRoom(node)})
    return Parts(
        app=not_found,
        http=http_protocol(bounds_of(limits), census, metrics),
        websocket=front.protocol_class(),
        metrics=metrics,
        loops={},
        drain=front.drain,
        on_draining=lambda: None,
    )


async def serve(config: Config, listener: socket.socket) -> None:
    """Echo on a bound socket until SIGTERM or SIGINT."""
    stop = Stop()
    url = f"ws://{config.host}:{listener.getsockname()[1]}{PATH}"
    with stop.on_signals():
        await run(compose(config), listener, stop, on_listening=lambda: print(f"echo at {url}", flush=True))


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo WebSocket messages by the node's own protocol class.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001, help="0 takes a free one")
    options = parser.parse_args()
    config = Config(host=options.host, port=options.port, limits=Limits(frame_bytes=MESSAGE_BYTES))
    with bind(options.host, options.port) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, listener))


if __name__ == "__main__":
    main()
