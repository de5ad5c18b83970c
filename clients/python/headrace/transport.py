"""One WebSocket, as bytes in and frames out, over asyncio and the sans-I/O layer of `websockets`.

That library's own asyncio connection writes each message with a system call and hands each one over through a queue;
here all frames of one loop turn are one write, and all that one read brought is one call. No extensions are offered.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import urlsplit, urlunsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

CLOSE_TIMEOUT_S = 2.0
"""For the closing handshake; then the socket is dropped."""

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""One inbound WebSocket message: a message of the server's default bound fits several times."""

MAX_RETRY_MS = 10**9
"""More in a refusal is taken for nonsense."""

PATH = "/v1/realtime"


class OpenFailed(Exception):
    """No connection came about. `status` is the HTTP answer, None when there was none."""

    def __init__(self, reason: str, *, status: int | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended; `code` is None when it broke without a close frame."""

    code: int | None
    reason: str


def realtime_url(server: str) -> str:
    """Return the WebSocket URL of a base URL: http becomes ws, https becomes wss."""
    parts = urlsplit(server)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + PATH, "", ""))


class Transport(asyncio.Protocol):
    """An open WebSocket. `on_frames` gets what one read brought, an empty list for mere signs of life."""

    def __init__(
        self,
        url: str,
        *,
        subprotocol: str,
        headers: Sequence[tuple[str, str]],
        on_frames: Callable[[list[bytes]], None],
        on_writable: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._subprotocol = Subprotocol(subprotocol)
        self._protocol = ClientProtocol(parse_uri(url), subprotocols=[self._subprotocol], max_size=MAX_MESSAGE_BYTES)
        self._headers = headers
        self._on_frames = on_frames
        self._on_writable = on_writable
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[Closed] = self._loop.create_future()
        self.greeted = asyncio.Event()
        """Set with the first frame."""
        self._fragments: list[bytes] = []
        self._early: list[bytes] | None = []
        self.writable = True
        self._closing = False

    @classmethod
    async def open(
        cls,
        server: str,
        *,
        subprotocol: str,
        headers: Sequence[tuple[str, str]],
        tls: ssl.SSLContext | None,
        timeout: float,
        on_frames: Callable[[list[bytes]], None],
        on_writable: Callable[[], None],
    ) -> Self:
        """Connect and shake hands within `timeout` seconds, TLS included, or raise `OpenFailed`."""
        url = realtime_url(server)
        transport = cls(url, subprotocol=subprotocol, headers=headers, on_frames=on_frames, on_writable=on_writable)
        try:
            async with asyncio.timeout(timeout):
                await transport._connect(url, tls)
        except TimeoutError:
            transport.abort()
            raise OpenFailed("no connection in time") from None
        except OSError as error:
            raise OpenFailed(str(error) or type(error).__name__) from error
        except BaseException:
            transport.abort()
            raise
        return transport

    async def _connect(self, url: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        context = (tls or ssl.create_default_context()) if secure else None
        await self._loop.create_connection(
            lambda: self, parts.hostname or "", parts.port or (443 if secure else 80), ssl=context
        )
        await self._opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not its subclasses
        request = self._protocol.connect()
        for name, value in self._headers:
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._take()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._take()

    def _take(self) -> None:
        frames: list[bytes] = []
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._receive_response()
            elif isinstance(event, Frame):
                self._receive_frame(event, frames)
        if self._protocol.handshake_exc is not None:
            self._refuse(self._protocol.handshake_exc)
        self._flush()
        if self._early is not None:
            self._early += frames
        elif not self._closing:
            self._on_frames(frames)

    def start(self) -> None:
        """Deliver frames from now on, beginning with those that came along with the handshake."""
        frames, self._early = self._early or [], None
        if frames:
            self._on_frames(frames)

    def _receive_response(self) -> None:
        if self._opened.done() or self._protocol.handshake_exc is not None:
            return
        if self._protocol.subprotocol != self._subprotocol:
            self._opened.set_exception(OpenFailed("the server does not speak this protocol"))
        else:
            self._opened.set_result(None)

    def _refuse(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(_open_failed(error))

    def _receive_frame(self, frame: Frame, frames: list[bytes]) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return  # the library answers pings and close frames itself
        if frame.fin and not self._fragments:
            self._receive_message(bytes(frame.data), frames)
            return
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            self._receive_message(b"".join(self._fragments), frames)
            self._fragments = []

    def _receive_message(self, data: bytes, frames: list[bytes]) -> None:
        frames.append(data)
        self.greeted.set()

    def send(self, frames: Sequence[bytes], *, binary: bool) -> None:
        """Write all frames at once. Nothing is raised and nothing happens once the connection is over."""
        write = self._protocol.send_binary if binary else self._protocol.send_text
        try:
            for frame in frames:
                write(frame)
        except WebSocketException:
            return
        self._flush()

    def _flush(self) -> None:
        chunks = self._protocol.data_to_send()
        data = b"".join(chunks)
        if data and not self._transport.is_closing():
            self._transport.write(data)
        if b"" in chunks and not self._transport.is_closing():
            self._transport.close()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._on_writable()

    def pause_reading(self) -> None:
        """Stop reading the socket; the server then stops sending."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.receive_eof()
        received = self._protocol.close_rcvd
        if not self._opened.done():
            self._opened.set_exception(OpenFailed(str(error) if error else "the connection ended in the handshake"))
            self._opened.exception()
        if not self.closed.done():
            code, reason = (received.code, received.reason) if received else (None, str(error or "connection lost"))
            self.closed.set_result(Closed(None if code in (1005, 1006) else code, reason))

    async def close(self) -> None:
        """Close as RFC 6455 wants it, within `CLOSE_TIMEOUT_S`."""
        self._closing = True
        try:
            self._protocol.send_close(1000)
            self._flush()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await asyncio.shield(self.closed)
        except (WebSocketException, TimeoutError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop the socket now."""
        self._closing = True
        if hasattr(self, "_transport"):
            self._transport.abort()


def _open_failed(error: Exception) -> OpenFailed:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return OpenFailed(f"HTTP {status}", status=status, retry_after_s=_retry_after_s(error.response))
    return OpenFailed(str(error) if isinstance(error, InvalidHandshake) else "the handshake failed")


def _retry_after_s(response: Response) -> float:
    """Return when to come back: exactly, where the body says so, else in whole seconds; 0 for nothing said."""
    try:
        retry_ms: object = json.loads(response.body or b"")["error"]["retry_ms"]
    except (ValueError, KeyError, TypeError, RecursionError):
        retry_ms = None
    if isinstance(retry_ms, int) and not isinstance(retry_ms, bool) and 0 <= retry_ms < MAX_RETRY_MS:
        return retry_ms / 1000
    after = response.headers.get("Retry-After", "")
    return float(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0.0
