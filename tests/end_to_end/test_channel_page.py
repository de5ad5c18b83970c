"""Our own script in Chromium, against real nodes: one restarts, one of two is killed (contracts/channel 9)."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import browser
import nodes
import pytest
import servers
from browser import Chromium, Page
from nodes import Node

from headrace import channel

pytestmark = pytest.mark.timeout(180)

COUNT = 120

PAGE = """<!doctype html><title>loading</title><body><script src="{base}/_ah/channel/jsapi"></script><script>
var got = [], noted = [], socket;
function follow(token, options) {{
  socket = new goog.appengine.Channel(token, options).open({{
    onopen: function () {{ noted.push("onopen"); }},
    onmessage: function (event) {{ got.push(event.data); }},
    onerror: function (error) {{ noted.push(error); }},
    onclose: function () {{ noted.push("onclose"); }}
  }});
}}
document.title = "ready";
</script>"""


POSTED: list[tuple[str, str, bytes]] = []
"""To the application: path, media type, body."""


class Pages(BaseHTTPRequestHandler):
    """The application's page: what follows `?` is where its script comes from."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        POSTED.append((self.path, self.headers["Content-Type"], body))
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        body = PAGE.format(base=self.path.partition("?")[2]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The origin of the application."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def pair(site: str) -> Iterator[list[Node]]:
    env = {"HEADRACE_ALLOWED_ORIGINS": site, "HEADRACE_LEASE_SECONDS": "2", "HEADRACE_CHANNEL_LEASE_SECONDS": "2"}
    with servers.valkey() as server, nodes.on(server, count=2, env=env) as running:
        yield running


@pytest.fixture
def two(pair: list[Node]) -> list[Node]:
    for node in pair:
        if not node.is_running:
            node.restart()
    return pair


async def following(chrome: Chromium, site: str, token: str, servers: list[Node], *ways: str) -> Page:
    """A page that follows a channel over these ways, at the first server."""
    page = await chrome.open(f"{site}/?{servers[0].url}")
    await page.until("document.title === 'ready'")
    options = {"servers": [node.url for node in servers] if len(servers) > 1 else [], "transports": ways or None}
    await page.evaluate(f"follow({json.dumps(token)}, {json.dumps(options)})")
    await page.until("socket.readyState === 1")
    return page


async def has(page: Page, messages: list[str]) -> None:
    await page.until(f"got.length >= {len(messages)}", seconds=60)
    assert await page.evaluate("got") == messages


@pytest.mark.parametrize("way", ["websocket", "sse", "poll"])
async def test_connected_on_one_sent_on_the_other_and_the_first_dies(two: list[Node], site: str, way: str) -> None:
    first, second = two
    channel.configure(second.url, second.token)
    client = f"player over {way}"
    token = await asyncio.to_thread(channel.create_channel, client)
    messages = [f"{number}" for number in range(COUNT)]
    async with browser.chromium() as chrome:
        page = await following(chrome, site, token, two, way)
        for number, message in enumerate(messages):
            await asyncio.to_thread(channel.send_message, client, message)
            if number == COUNT // 3:
                await asyncio.to_thread(first.kill)
        await has(page, messages)
        assert await page.evaluate("noted") == ["onopen"], "the page does not notice"


async def test_a_page_waits_for_its_node_to_come_back(two: list[Node], site: str) -> None:
    first, second = two
    channel.configure(second.url, second.token)
    token = await asyncio.to_thread(channel.create_channel, "patient")
    async with browser.chromium() as chrome:
        page = await following(chrome, site, token, [first])
        await asyncio.to_thread(channel.send_message, "patient", "before")
        await has(page, ["before"])
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(channel.send_message, "patient", "while it is away")
        await asyncio.to_thread(first.restart)
        await asyncio.to_thread(channel.send_message, "patient", "after")
        await has(page, ["before", "while it is away", "after"])
        assert await first_terminated(page, first) == ["onopen"]


async def first_terminated(page: Page, node: Node) -> object:
    """A node that ends in order is no error either."""
    await asyncio.to_thread(node.terminate)
    await asyncio.to_thread(node.restart)
    await asyncio.to_thread(channel.send_message, "patient", "once more")
    await has(page, ["before", "while it is away", "after", "once more"])
    return await page.evaluate("noted")


async def test_what_a_page_sends_goes_to_its_application(two: list[Node], site: str) -> None:
    first, _ = two
    channel.configure(first.url, first.token)
    token = await asyncio.to_thread(channel.create_channel, "player-1")
    async with browser.chromium() as chrome:
        page = await following(chrome, site, token, [first])
        assert await page.evaluate("socket.send('a b&c=d \u2713')") is True
        async with asyncio.timeout(30):
            while not POSTED:
                await asyncio.sleep(0.02)
        form = b"key=player~2D1&msg=a%20b%26c%3Dd%20%E2%9C%93"
        assert [("/_ah/channel/receive", "application/x-www-form-urlencoded", form)] == POSTED
        assert await page.evaluate("noted") == ["onopen"]
