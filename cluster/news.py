"""What has nodes look at each other's leases at once instead of at their next beat: a channel that all of them hear.

A list of servers should be the same everywhere within two seconds of a change. Beats alone take up to two of theirs,
one until the change is told and one until it is read; an announcement takes as long as Redis does. It promises nothing
(`cluster.node`), and what it says is nothing but "look".
"""

import asyncio
import random

from broker.errors import Unavailable
from broker.store.keys import Keys
from cluster.bus import Bus
from cluster.node import Node

HEAR_AGAIN_SECONDS = 0.5
"""About so long after Redis refused to be heard."""


class News:
    """Inert until `serve` runs; then until it is cancelled."""

    def __init__(self, bus: Bus, node: Node, *, keys: Keys) -> None:
        self._bus = bus
        self._node = node
        self._channel = keys.news()
        self.listening = asyncio.Event()

    async def serve(self) -> None:
        while not self.listening.is_set():
            try:
                await self._bus.hear(self._channel, self._on_news)
            except Unavailable:
                await asyncio.sleep(HEAR_AGAIN_SECONDS * random.uniform(0.5, 1.5))
            else:
                self.listening.set()
        # From here on the bus hears it again after each reconnect.
        await asyncio.Event().wait()

    def _on_news(self, _: bytes) -> None:
        self._node.look_soon()
