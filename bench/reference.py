"""The bare work that the node is measured against, a process each: `python -m bench.reference KIND PORT`.

`writes`: raw uvloop sockets; on a line `go RATE SECONDS BYTES` it writes ready frames to each, one `write` a message
and socket, no faster than RATE messages a second (0: as fast as it can), then prints how many writes it made.
`idle`: raw uvloop sockets that keep nothing. `http`: a FastAPI route that does nothing, on uvicorn.
"""

import asyncio
import sys
from typing import cast

import uvloop

HOST = "127.0.0.1"
SLICE_SECONDS = 0.001
"""The step at which a throttled writer looks at the clock."""


class IdleProtocol(asyncio.Protocol):
    """The least that a connection can be."""

    __slots__ = ("transport",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


class WritesProtocol(asyncio.Protocol):
    """A socket in the set that `blast` writes to."""

    def __init__(self, transports: set[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by type.
        self._transport = cast(asyncio.Transport, transport)
        self._transports.add(self._transport)

    def data_received(self, data: bytes) -> None:
        _, rate, seconds, size = data.split()
        self._transports.discard(self._transport)
        asyncio.get_running_loop().create_task(self._blast(float(rate), float(seconds), int(size)))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.discard(self._transport)

    async def _blast(self, rate: float, seconds: float, size: int) -> None:
        loop = asyncio.get_running_loop()
        frame = b"\x81\x7e" + size.to_bytes(2, "big") + b"x" * size
        started = loop.time()
        sent = 0
        while (elapsed := loop.time() - started) < seconds:
            due = int(elapsed * rate) + 1 if rate else sent + 1
            if sent >= due:
                await asyncio.sleep(SLICE_SECONDS)
                continue
            for transport in self._transports:
                transport.write(frame)
            sent += 1
            await asyncio.sleep(0)
        self._transport.write(f"{sent * len(self._transports)} {loop.time() - started}\n".encode())


async def serve_sockets(kind: str, port: int) -> None:
    transports: set[asyncio.Transport] = set()
    factory = IdleProtocol if kind == "idle" else lambda: WritesProtocol(transports)
    server = await asyncio.get_running_loop().create_server(factory, HOST, port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


def serve_http(port: int) -> None:
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/nothing")
    async def nothing() -> dict[str, str]:
        return {}

    config = uvicorn.Config(
        app, host=HOST, port=port, loop="uvloop", http="httptools", log_level="critical", access_log=False
    )
    print("ready", flush=True)
    uvicorn.Server(config).run()


def main() -> None:
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "http":
        serve_http(port)
    else:
        uvloop.run(serve_sockets(kind, port))


if __name__ == "__main__":
    main()
