"""Event streams over HTTP: a response that takes over its socket.

A room answers a request with ready bytes for as long as the connection lasts. It finds the `StreamHost` of the request
in `scope["extensions"][EXTENSION]`, attaches itself, and either lets go again (to answer as usual, through `send`) or
starts: then the socket's protocol is exchanged for a bare `StreamConnection`, no task, queue or request state is left
behind, and a frame goes from the hub to the transport in one call. Between `attach` and the end the room is told of
the connection's fate.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

EXTENSION = "headrace.stream"
"""Key in the scope's extensions under which a `StreamHost` stands."""

CHUNKED_END = b"0\r\n\r\n"
"""The last chunk of a chunked body (RFC 9112, 7.1)."""

LINGER_SECONDS = 2.0
"""How long the last bytes of an ended stream may take on their way."""

KEEP_ALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""Seconds and probes: a vanished peer is noticed after a minute, or by retransmission where bytes are on their way."""


class StreamListener(Protocol):
    """What a room learns about the connection that it answers with a stream."""

    def pause_writing(self) -> None:
        """The outgoing buffer is above its high-water mark."""

    def resume_writing(self) -> None: ...

    def connection_lost(self) -> None:
        """The socket is gone. Called once, also when the stream was not started yet."""

    def shutdown(self) -> None:
        """The node goes away: end the stream."""


class StreamHost(Protocol):
    """What the HTTP protocol offers to a room that wants to answer with a stream."""

    def attach(self, listener: StreamListener) -> None:
        """From now on `listener` is told of this connection. Raises `ConnectionError` when the peer has left."""

    def detach(self) -> None:
        """The answer goes through `send` after all."""

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, reason: bytes = b"") -> bool:
        """Write a whole answer in one go, with its length; False, and nothing written, where `send` must do it.

        `reason` is for a contract that has its own phrases (contracts/channel 5), which `send` cannot write.
        """

    def start(self, headers: Sequence[tuple[bytes, bytes]], first: bytes) -> "StreamConnection":
        """Send status 200, `headers` and `first`, and hand the socket over.

        The body is chunked for HTTP/1.1 and ends with the connection for HTTP/1.0; `first` and all that follows is
        framed by the caller. Raises `ConnectionError` when `connection_lost` was called before.
        """


class StreamConnection(asyncio.Protocol):
    """A socket that a stream has taken over. What the peer sends is thrown away; its end is noticed."""

    __slots__ = ("_chunked", "_connections", "_ended", "_listener", "_released", "_transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        listener: StreamListener,
        connections: set[Any],
        released: Callable[[], None],
        *,
        chunked: bool,
    ) -> None:
        self._transport = transport
        self._listener = listener
        self._connections = connections
        self._released = released
        self._chunked = chunked
        self._ended = False
        connections.add(self)
        _keep_alive(transport)

    def write(self, data: bytes) -> None:
        """Hand framed bytes to the transport."""
        if not self._ended:
            self._transport.write(data)

    def end(self) -> None:
        """End the body and close. Idempotent; a peer that does not read is cut off after `LINGER_SECONDS`."""
        if self._ended:
            return
        self._ended = True
        if self._chunked:
            self._transport.write(CHUNKED_END)
        self._transport.close()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        pass

    def pause_writing(self) -> None:
        self._listener.pause_writing()

    def resume_writing(self) -> None:
        if not self._ended:
            self._listener.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._connections.discard(self)
        self._released()
        self._listener.connection_lost()

    def shutdown(self) -> None:
        """Called by uvicorn when it stops."""
        self._listener.shutdown()


def _keep_alive(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
