"""Our own script's WebSocket, as a client of its own hears it."""

import orjson
import pytest
import websockets
from channel_site import Site, Sites, data, frame, page
from http_node import Node, eventually
from websockets.asyncio.client import connect

from gateway.channel.settings import Channel

STEADY = Channel(hold_seconds=1, gone_seconds=0.4, lease_seconds=3)


async def test_messages_come_in_their_order(site: Site) -> None:
    async with page(site) as socket:
        opened = (await frame(socket))["open"]
        assert opened["client"].startswith("1.")
        await site.send("one", "two")
        await site.room.channels.send(site.client, b"\xff")
        await site.send("é" * 1000)
        assert await data(socket, 4) == ["one", "two", "\N{REPLACEMENT CHARACTER}", "é" * 1000]


async def test_a_page_goes_on_after_the_last_message_that_it_got(site: Site) -> None:
    async with page(site) as socket:
        opened = (await frame(socket))["open"]
        await site.send("one", "two", "three")
        one = await frame(socket)
        await data(socket, 2)
    async with page(site, client=opened["client"], last_id=one["id"]) as socket:
        assert (await frame(socket))["open"]["last_id"] == one["id"]
        assert await data(socket, 2) == ["two", "three"]


async def test_a_page_that_knows_no_place_goes_on_after_what_was_delivered(site: Site) -> None:
    async with page(site) as socket:
        await frame(socket)
        await site.send("one")
        await data(socket, 1)
    await site.send("two")
    async with page(site) as socket:
        await frame(socket)
        assert await data(socket, 1) == ["two"]


async def test_the_newest_connection_wins(site: Site) -> None:
    async with page(site) as first:
        mine = (await frame(first))["open"]["client"]
        async with page(site) as second:
            await frame(second)
            told = {"error": {"code": 409, "description": "Another+connection+has+taken+over."}}
            assert await frame(first) == told
            with pytest.raises(websockets.ConnectionClosed):
                await frame(first)
            async with page(site, client=mine) as again:
                assert await frame(again) == told
            await site.send("for the second")
            assert await data(second, 1) == ["for the second"]


@pytest.mark.parametrize(("ago_s", "description"), [(0, "Invalid+token."), (100, "Token+timed+out.")])
async def test_a_token_that_is_not_good_is_told_inside(site: Site, ago_s: int, description: str) -> None:
    token = site.token(minutes=1, ago_s=ago_s) + ("" if ago_s else "x")
    async with page(site, token) as socket:
        assert await frame(socket) == {"error": {"code": 401, "description": description}}
        with pytest.raises(websockets.ConnectionClosed):
            await frame(socket)
    assert site.told_of == []


async def test_a_channel_ends_with_its_token(site: Site) -> None:
    async with page(site, site.token(minutes=1, ago_s=59.5)) as socket:
        await frame(socket)
        assert await frame(socket) == {"error": {"code": 401, "description": "Token+timed+out."}}
        with pytest.raises(websockets.ConnectionClosed):
            await frame(socket)


async def test_a_new_token_in_time_keeps_it_open(site: Site) -> None:
    async with page(site, site.token(minutes=1, ago_s=57)) as socket:
        await frame(socket)
        await socket.send(orjson.dumps({"token": site.token()}).decode())
        assert (await frame(socket))["refreshed"]["expires"] > site.node.now_ms() / 1000 + 3000
        site.node.later(seconds=30)
        await site.send("still there")
        assert await data(socket, 1) == ["still there"]


@pytest.mark.parametrize("sent", ["x", "{}", '{"token": "x"}', "other"])
async def test_what_is_no_token_of_this_channel_ends_it(site: Site, sent: str) -> None:
    async with page(site) as socket:
        await frame(socket)
        text = orjson.dumps({"token": site.token(b"other")}).decode() if sent == "other" else sent
        await socket.send(text)
        assert (await frame(socket))["error"]["code"] in (400, 401)
        with pytest.raises(websockets.ConnectionClosed):
            await frame(socket)


async def test_a_page_that_closes_is_gone_at_once_and_one_that_is_lost_after_a_while(sites: Sites) -> None:
    async with sites(Channel(gone_seconds=600, lease_seconds=600)) as site:
        async with page(site) as socket:
            await frame(socket)
        await eventually(lambda: site.kinds == ["connected", "disconnected"])
        async with page(site) as socket:
            await frame(socket)
            socket.transport.abort()
        async with page(site) as socket:
            await frame(socket)
            assert site.kinds == ["connected", "disconnected", "connected"], "it came back in time"


async def test_a_lost_page_is_gone_after_a_while(sites: Sites) -> None:
    async with sites(STEADY) as site:
        async with page(site) as socket:
            await frame(socket)
            socket.transport.abort()
        await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_a_page_of_a_foreign_origin_gets_no_socket(sites: Sites) -> None:
    async with sites(STEADY, node=Node(origins=("https://app.example",))) as site:
        url = f"ws://127.0.0.1:{site.served.port}/_ah/channel/socket?channel={site.token()}"
        async with connect(url, origin=websockets.Origin("https://app.example")) as socket:
            await frame(socket)
        with pytest.raises(websockets.InvalidStatus):
            await connect(url, origin=websockets.Origin("https://evil.example"))


async def test_a_bad_place_is_refused(site: Site) -> None:
    async with page(site, last_id="x") as socket:
        assert (await frame(socket))["error"]["code"] == 400
