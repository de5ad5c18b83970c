"""One pipelined connection to one Redis server.

Commands are queued in the order they are sent, all commands of a loop turn leave in one write, and replies are given
out first in, first out. A waiter that was cancelled keeps its place in that queue and its reply is thrown away: else
the next caller would get somebody else's data (CVE-2023-28858). The connection never retries anything; it says whether
a command that got no reply had been written (`UnknownOutcome`) or not (`Unavailable`).
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import cast

import hiredis

from broker.errors import Unavailable, UnknownOutcome
from cluster.address import Access, Endpoint

CONNECT_SECONDS = 3.0
"""Of dialling, TLS and the handshake together."""

REPLY_SECONDS = 3.0
"""How long a reply may take before the server counts as gone (it may be stopped, or the path is cut)."""

IDLE_SECONDS = 5.0
"""A connection that carries nothing is pinged this often, so that a dead one is found before it is needed."""

MAX_COMMANDS = 65_536
"""Unanswered commands of one connection; above it callers are refused."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of unanswered commands of one connection; one larger command passes when it is alone."""

FULL_RETRY_MS = 100
"""When to come back to a full connection: it empties within a few round trips."""

_TICKS = 4
"""Looks at the oldest unanswered command in the time that a reply may take."""

Word = bytes | str | int
_Waiter = tuple["asyncio.Future[object]", int, float]
"""Future, size of the command in bytes, and the loop time at which its reply is overdue."""


class ErrorReply(Exception):
    """Redis answered with an error. `code` is its first word, such as MOVED; the rest is for people."""

    @property
    def code(self) -> str:
        return str(self).partition(" ")[0]


class Connection(asyncio.Protocol):
    """The protocol object. `open_connection` makes one that has shaken hands."""

    def __init__(self, *, reply_seconds: float = REPLY_SECONDS) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(protocolError=hiredis.ProtocolError, replyError=ErrorReply)
        self._transport: asyncio.Transport | None = None
        self._waiters: deque[_Waiter] = deque()
        self._unanswered_bytes = 0
        self._out: list[bytes] = []
        self._unwritten = 0
        self._is_writable = True
        self._flush_is_due = False
        self._reply_seconds = reply_seconds
        self._last_used = self._loop.time()
        self._overdue: _Waiter | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._listener: Callable[[list[object]], None] | None = None
        self.is_open = False
        self.closed = asyncio.Event()
        self.reason = ""
        """Why it was lost, for a log line; empty while it is open."""

    @property
    def is_idle(self) -> bool:
        """True when every command has its reply."""
        return not self._waiters

    def send(self, *command: Word) -> "asyncio.Future[object]":
        """Queue a command; the future's result is the reply (an `ErrorReply` is returned, not raised).

        Raises `Unavailable` when the connection is lost or full. The future fails with `Unavailable` when the command
        was not written, with `UnknownOutcome` when it was and the connection ended before its reply.
        """
        if not self.is_open:
            raise Unavailable(retry_ms=FULL_RETRY_MS)
        packed = _pack(command)
        size = len(packed)
        if self._is_full(size):
            raise Unavailable("Too much is waiting for an answer.", retry_ms=FULL_RETRY_MS)
        now = self._loop.time()
        future = self._loop.create_future()
        self._waiters.append((future, size, now + self._reply_seconds))
        self._unanswered_bytes += size
        self._unwritten += 1
        self._last_used = now
        self._queue(packed)
        return future

    async def call(self, *command: Word) -> object:
        """Send a command and return its reply; raises `ErrorReply`, `Unavailable`, `UnknownOutcome`."""
        reply = await self.send(*command)
        if isinstance(reply, ErrorReply):
            raise reply
        return reply

    def listen(self, listener: Callable[[list[object]], None]) -> None:
        """Turn into a subscriber: from now on all that one read brings goes to `listener`, and `post` replaces `send`.

        Whoever listens looks after silence as well: replies are no longer expected, so none is overdue.
        """
        self._listener = listener
        if self._tick is not None:
            self._tick.cancel()

    def post(self, *command: Word) -> None:
        """Queue a command whose reply, if there is one, goes to the listener. Ignored when the connection is lost."""
        if self.is_open:
            self._queue(_pack(command))

    def close(self, reason: str = "closed") -> None:
        """Drop the connection now. Whatever waits fails as after a loss."""
        if not self.is_open:
            return
        self.is_open = False
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True
        self._tick = self._loop.call_later(self._reply_seconds / _TICKS, self._on_tick)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self.reason = self.reason or (type(exc).__name__ if exc else "closed by the server")
        if self._tick is not None:
            self._tick.cancel()
        self._fail_waiters()
        self.closed.set()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        self._schedule_flush()

    def data_received(self, data: bytes) -> None:
        replies: list[object] = []
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError:
            self.close("malformed reply")
        if self._listener is not None:
            self._listener(replies)
        else:
            self._give_out(replies)

    def _give_out(self, replies: list[object]) -> None:
        for reply in replies:
            if not self._waiters:
                self.close("reply to nothing")
                return
            future, size, _ = self._waiters.popleft()
            self._unanswered_bytes -= size
            if not future.done():
                future.set_result(reply)

    def _is_full(self, size: int) -> bool:
        if len(self._waiters) >= MAX_COMMANDS:
            return True
        return bool(self._waiters) and self._unanswered_bytes + size > MAX_BYTES

    def _queue(self, packed: bytes) -> None:
        self._out.append(packed)
        self._schedule_flush()

    def _schedule_flush(self) -> None:
        if self._out and not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if not self._is_writable or not self.is_open or self._transport is None:
            return
        data = b"".join(self._out)
        self._out.clear()
        self._unwritten = 0
        self._transport.write(data)

    def _on_tick(self) -> None:
        self._tick = self._loop.call_later(self._reply_seconds / _TICKS, self._on_tick)
        now = self._loop.time()
        if not self._waiters:
            if self.is_open and now - self._last_used >= IDLE_SECONDS:
                self.send("PING")
            return
        oldest = self._waiters[0]
        if now < oldest[2]:
            return
        # A loop that was held up itself may have the reply in the socket: judged at the next look only.
        if self._overdue is oldest:
            self.close("no reply in time")
        self._overdue = oldest

    def _fail_waiters(self) -> None:
        written = len(self._waiters) - self._unwritten
        for index, (future, _, _) in enumerate(self._waiters):
            if not future.done():
                future.set_exception(UnknownOutcome() if index < written else Unavailable(retry_ms=FULL_RETRY_MS))
                # Nobody may be left to read it: the waiter of a ping, or one that is just being cancelled.
                future.exception()
        self._waiters.clear()
        self._out.clear()
        self._unwritten = self._unanswered_bytes = 0


def _pack(command: tuple[Word, ...]) -> bytes:
    # hiredis' stub declares a tuple of exactly one word, and no result.
    return cast(bytes, hiredis.pack_command(cast("tuple[Word]", command)))


async def open_connection(
    endpoint: Endpoint, access: Access, *, name: str, reply_seconds: float = REPLY_SECONDS
) -> Connection:
    """Dial and shake hands (AUTH, SELECT, CLIENT SETNAME), or raise `Unavailable` within `CONNECT_SECONDS`."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await _dial(endpoint, access, reply_seconds)
            try:
                await _shake_hands(connection, access, name)
            except BaseException:
                connection.close("handshake failed")
                raise
            return connection
    except (OSError, TimeoutError, UnknownOutcome, Unavailable) as error:
        reason = f"Redis at {endpoint} cannot be reached ({type(error).__name__})."
        raise Unavailable(reason, retry_ms=FULL_RETRY_MS) from error
    except ErrorReply as error:
        raise Unavailable(f"Redis at {endpoint} refused the connection ({error.code}).") from error


async def _dial(endpoint: Endpoint, access: Access, reply_seconds: float) -> Connection:
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(reply_seconds=reply_seconds)

    if endpoint.path:
        _, connection = await loop.create_unix_connection(make, endpoint.path)
        return connection
    hostname = endpoint.host if access.tls else None
    transport, connection = await loop.create_connection(
        make, endpoint.host, endpoint.port, ssl=access.tls, server_hostname=hostname
    )
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connection


async def _shake_hands(connection: Connection, access: Access, name: str) -> None:
    greeting: list[asyncio.Future[object]] = []
    if access.password:
        user = (access.username,) if access.username else ()
        greeting.append(connection.send("AUTH", *user, access.password))
    if access.database:
        greeting.append(connection.send("SELECT", access.database))
    # The name only helps whoever reads CLIENT LIST, so a user without that right may go on without it.
    connection.send("CLIENT", "SETNAME", name)
    greeting.append(connection.send("PING"))
    for reply in await asyncio.gather(*greeting):
        if isinstance(reply, ErrorReply):
            raise reply
