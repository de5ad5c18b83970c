"""A page that comes and goes between nodes gets every message once, in order, whatever it comes back over."""

import asyncio
import random
from collections.abc import Sequence

import orjson
import pytest
from channel_site import Site, Sites, frame, page

from gateway.channel.settings import Channel

SETTINGS = Channel(hold_seconds=0.2, gone_seconds=2, lease_seconds=3)
MESSAGES = 150


class Page:
    """What our own script keeps between its connections."""

    def __init__(self, sites: Sequence[Site], seed: int) -> None:
        self.sites = sites
        self.random = random.Random(seed)
        self.client = ""
        self.last_id = ""
        self.got: list[str] = []

    async def visit(self) -> None:
        await self.random.choice([self.socket, self.poll])(self.random.choice(self.sites))

    async def socket(self, site: Site) -> None:
        async with page(site, client=self.client, last_id=self.last_id) as socket:
            wanted = self.random.randrange(12)
            try:
                async with asyncio.timeout(0.3):
                    for _ in range(wanted + 1):
                        self.take(await frame(socket))
            except TimeoutError:
                pass
            if self.random.random() < 0.5:
                socket.transport.abort()

    async def poll(self, site: Site) -> None:
        query = f"channel={site.token()}&client={self.client}&last_id={self.last_id}"
        if self.random.random() < 0.3:
            # Its answer is lost on the way.
            await site.get(f"/_ah/channel/poll?{query}")
        _, _, body = await site.get(f"/_ah/channel/poll?{query}")
        for received in orjson.loads(body):
            self.take(received)

    def take(self, received: dict[str, object]) -> None:
        assert "gap" not in received
        assert "error" not in received, received
        if "open" in received:
            opened = received["open"]
            assert isinstance(opened, dict)
            self.client, self.last_id = opened["client"], opened["last_id"]
        else:
            self.got.append(str(received["data"]))
            self.last_id = str(received["id"])


@pytest.mark.parametrize("seed", range(3))
async def test_every_message_comes_once_in_order(sites: Sites, seed: int) -> None:
    async with sites(SETTINGS, name="n1") as one, sites(SETTINGS, name="n2", client=one.client) as two:
        await one.room.channels.create(one.client)
        texts = [f"{number}" for number in range(MESSAGES)]

        async def send() -> None:
            for number, text in enumerate(texts):
                await (one, two)[number % 2].send(text)
                await asyncio.sleep(0.005)

        found = Page((one, two), seed)
        sending = asyncio.create_task(send())
        async with asyncio.timeout(60):
            while len(found.got) < MESSAGES:
                await found.visit()
        await sending
        assert found.got == texts
