"""Opening one connection: a token for it, the handshake, and a fresh token before the one shown expires."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from headrace.credentials import Credentials
from headrace.dialects import Dialect
from headrace.transport import OpenFailed, Transport

TOKEN_TIMEOUT_S = 10.0
"""For the application's token function."""

logger = logging.getLogger("headrace")


@dataclass(slots=True, eq=False)
class Link:
    """One connection, from its dial on. `moved` brings the one that takes over from it, which `mover` looks for."""

    server: str
    moved: "asyncio.Future[Link]"
    transport: Transport = field(init=False)
    mover: asyncio.Task[None] | None = None

    def abort(self) -> None:
        self.transport.abort()


class Opener:
    """`on_frames` gets what each connection brings. `timeout_s` is for connection, TLS and handshake together."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        dialect: Dialect,
        tls: ssl.SSLContext | None,
        timeout_s: float,
        on_frames: Callable[[Link, list[bytes]], None],
        on_writable: Callable[[], None],
    ) -> None:
        self._credentials = credentials
        self._dialect = dialect
        self._tls = tls
        self._timeout_s = timeout_s
        self._on_frames = on_frames
        self._on_writable = on_writable

    async def open(self, server: str) -> Link:
        """Connect and shake hands, or raise `OpenFailed`."""
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                headers = await self._credentials.headers()
        except Exception as error:
            raise OpenFailed(f"the token function failed: {type(error).__name__}") from error
        link = Link(server, asyncio.get_running_loop().create_future())
        link.transport = await Transport.open(
            server,
            subprotocol=self._dialect.subprotocol,
            headers=headers,
            tls=self._tls,
            timeout=self._timeout_s,
            on_frames=partial(self._on_frames, link),
            on_writable=self._on_writable,
        )
        return link

    async def open_greeted(self, server: str) -> Link:
        """As `open`, and wait for the welcome: what is to take over must be there."""
        link = await self.open(server)
        try:
            async with asyncio.timeout(self._timeout_s):
                await link.transport.greeted.wait()
        except TimeoutError:
            link.abort()
            raise OpenFailed("no welcome in time") from None
        except BaseException:
            link.abort()
            raise
        return link

    async def keep_fresh(self, present: Callable[[str], None]) -> None:
        """Show a fresh token before the one shown expires. Where that fails, the next connection brings another."""
        while (wait_s := self._credentials.refresh_in(time.time())) is not None:
            await asyncio.sleep(wait_s)
            try:
                async with asyncio.timeout(TOKEN_TIMEOUT_S):
                    token = await self._credentials.token()
            except Exception as error:
                # Only its name: what a token function raises may quote what it read.
                logger.warning("the token function failed: %s", type(error).__name__)
                return
            if token:
                present(token)
