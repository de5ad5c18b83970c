"""Our own script's event stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from channel_site import Site, Sites
from http_node import Peer, eventually

from gateway.channel.settings import Channel

STEADY = Channel(gone_seconds=0.4, lease_seconds=3)


@dataclass
class Source:
    peer: Peer
    head: str = ""
    last_id: str = ""

    async def frame(self) -> dict[str, Any]:
        while True:
            text = (await self.peer.read_until(b"\n\n")).decode()
            lines = dict(line.partition(": ")[::2] for line in text.splitlines() if ": " in line)
            self.last_id = lines.get("id", self.last_id)
            if "data" in lines:
                found: dict[str, Any] = orjson.loads(lines["data"])
                return found


@asynccontextmanager
async def source(
    site: Site, token: str = "", *, headers: str = "", version: str = "1.1", **query: str
) -> AsyncIterator[Source]:
    more = "".join(f"&{name}={value}" for name, value in query.items())
    peer = await site.served.connect()
    path = f"/_ah/channel/stream?channel={token or site.token()}{more}"
    await peer.send(f"GET {path} HTTP/{version}\r\nHost: a\r\nAccept: text/event-stream\r\n{headers}\r\n".encode())
    head = (await peer.read_until(b"\r\n\r\n")).decode()
    yield Source(peer, head)
    peer.close()


async def test_messages_are_events(site: Site) -> None:
    async with source(site) as events:
        assert "200 OK" in events.head
        assert "content-type: text/event-stream" in events.head
        assert "cache-control: no-cache" in events.head
        assert (await events.frame())["open"]["client"].startswith("1.")
        await site.send("one", "two")
        assert [(await events.frame())["data"] for _ in range(2)] == ["one", "two"]


async def test_an_event_source_goes_on_by_itself(site: Site) -> None:
    async with source(site) as events:
        opened = (await events.frame())["open"]
        await site.send("one")
        await events.frame()
    await site.send("two")
    last = f"Last-Event-ID: {events.last_id}\r\n"
    async with source(site, client=opened["client"], last_id=opened["last_id"], headers=last) as events:
        await events.frame()
        assert (await events.frame())["data"] == "two"


async def test_an_old_protocol_gets_the_bare_stream(site: Site) -> None:
    async with source(site, version="1.0") as events:
        await events.frame()
        await site.send("one")
        assert (await events.frame())["data"] == "one"


async def test_a_refusal_is_a_stream_of_one_frame(site: Site) -> None:
    for token, description in (("bad", "Invalid+token."), (site.token(minutes=1, ago_s=100), "Token+timed+out.")):
        async with source(site, token) as events:
            assert "200 OK" in events.head
            assert await events.frame() == {"error": {"code": 401, "description": description}}


async def test_a_stream_ends_with_its_token(site: Site) -> None:
    async with source(site, site.token(minutes=1, ago_s=59.5)) as events:
        await events.frame()
        assert await events.frame() == {"error": {"code": 401, "description": "Token+timed+out."}}
        assert await events.peer.read_to_end() in (b"\r\n0\r\n\r\n", b"0\r\n\r\n")


async def test_a_stream_that_is_replaced_is_told(site: Site) -> None:
    async with source(site) as first:
        await first.frame()
        async with source(site) as second:
            await second.frame()
            assert (await first.frame())["error"]["code"] == 409


async def test_presence_follows_the_stream(sites: Sites) -> None:
    async with sites(STEADY) as site:
        async with source(site) as events:
            await events.frame()
            await eventually(lambda: site.kinds == ["connected"])
        await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_a_page_closes_its_stream_by_another_way(sites: Sites) -> None:
    async with sites(Channel(gone_seconds=600, lease_seconds=600)) as site:
        async with source(site) as events:
            label = (await events.frame())["open"]["client"]
            await site.dev("disconnect", site.token(), label)
            await asyncio.wait_for(events.peer.read_to_end(), 5)
        await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_an_event_source_that_repeats_its_url_comes_back_each_time(site: Site) -> None:
    async with source(site) as events:
        label = (await events.frame())["open"]["client"]
    for number in range(3):
        async with source(site, client=label, headers=f"Last-Event-ID: {events.last_id}\r\n") as events:
            assert "open" in await events.frame()
            await site.send(f"{number}")
            assert (await events.frame())["data"] == f"{number}"
