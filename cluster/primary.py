"""The command connection to one primary: made, watched, made again."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from broker.errors import Unavailable
from broker.store.base import Script
from cluster.address import Access, Endpoint
from cluster.connection import REPLY_SECONDS, Connection, open_connection
from cluster.outage import Outage, backoff_seconds

logger = logging.getLogger(__name__)


class Primary:
    """One server that commands are sent to. `serve` keeps it connected; `ready` gives the connection or refuses."""

    def __init__(
        self,
        endpoint: Endpoint,
        access: Access,
        *,
        name: str,
        scripts: Callable[[], Iterable[Script]],
        on_lost: Callable[[], None],
        on_back: Callable[[], None] = lambda: None,
        reply_seconds: float = REPLY_SECONDS,
    ) -> None:
        self.endpoint = endpoint
        self.connection: Connection | None = None
        """None while the server is away."""
        self.outage = Outage(since=asyncio.get_running_loop().time())
        self._access = access
        self._name = name
        self._scripts = scripts
        self._on_lost = on_lost
        self._on_back = on_back
        self._reply_seconds = reply_seconds
        self.is_back = asyncio.Event()
        """Set while it is connected."""

    @property
    def is_idle(self) -> bool:
        """True when no answer is awaited from it."""
        return self.connection is None or self.connection.is_idle

    async def ready(self, deadline: float) -> Connection:
        """Return the connection, waiting for it no longer than the grace (and loop time `deadline`).

        Raises `Unavailable` with `retry_ms` while the server is away.
        """
        if self.connection is not None and self.connection.is_open:
            return self.connection
        now = asyncio.get_running_loop().time()
        patience = min(self.outage.grace_left(now), deadline - now)
        if patience <= 0:
            raise self.refusal()
        try:
            async with asyncio.timeout(patience):
                await self.is_back.wait()
        except TimeoutError:
            raise self.refusal() from None
        if self.connection is None:
            raise self.refusal()
        return self.connection

    def refusal(self) -> Unavailable:
        return Unavailable(retry_ms=self.outage.retry_ms(random.random()))

    async def serve(self) -> None:
        """Connect, wait until the connection is lost, connect again; until cancelled."""
        while True:
            connection = await self._connect()
            try:
                await connection.closed.wait()
            finally:
                connection.close()
                self._lose()
            logger.warning("Redis at %s is away: %s", self.endpoint, connection.reason)
            self._on_lost()
            await asyncio.sleep(backoff_seconds(1, random.random()))

    async def _connect(self) -> Connection:
        clock = asyncio.get_running_loop().time
        while True:
            try:
                connection = await self._open()
            except Unavailable as error:
                self.outage.failed(clock())
                if self.outage.failures == 1:
                    logger.warning("%s", error)
                await asyncio.sleep(backoff_seconds(self.outage.failures, random.random()))
                continue
            logger.info("Redis at %s is there", self.endpoint)
            self.outage.recovered()
            self.connection = connection
            self.is_back.set()
            self._on_back()
            return connection

    async def _open(self) -> Connection:
        connection = await open_connection(
            self.endpoint, self._access, name=self._name, reply_seconds=self._reply_seconds
        )
        try:
            # One that refuses to load scripts says so again, in words for the caller, when a script runs.
            await asyncio.gather(*[connection.send("SCRIPT", "LOAD", script.source) for script in self._scripts()])
        except BaseException:
            connection.close("loading scripts failed")
            raise
        return connection

    def _lose(self) -> None:
        self.connection = None
        self.is_back.clear()
        self.outage.lost(asyncio.get_running_loop().time())
