"""Our own script in Chromium, over each of its ways (contracts/channel 6)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import browser
import pytest
import pytest_asyncio
import servers
from browser import Chromium, Page
from channel_site import Site, Sites, commanding, new_client, sites_on

from gateway.channel.settings import Channel

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SETTINGS = Channel(hold_seconds=5, gone_seconds=60, lease_seconds=3)
"""Who counts as gone has said so."""

WAYS = ["websocket", "sse", "poll"]
COUNT = 200
PATIENCE_SECONDS = 30.0

LOAD = """new Promise(function (done, failed) {
  var script = document.createElement("script");
  script.src = "/_ah/channel/jsapi";
  script.onload = function () { done(true); };
  script.onerror = failed;
  document.body.appendChild(script);
})"""

# What a page notes: which callback, the state, and what it was given.
NOTE = """(function () {
  window.noted = [];
  window.got = [];
  window.used = [];
  function noting(name, way) {
    var original = window[name];
    window[name] = function (url) { used.push(way); return new original(url); };
  }
  noting("WebSocket", "websocket");
  noting("EventSource", "sse");
  noting("XMLHttpRequest", "poll");
  function note(name) {
    return function (event) {
      if (name === "onmessage") got.push(event.data);
      else noted.push([name, this.readyState].concat(Array.prototype.slice.call(arguments)));
    };
  }
  window.handler = {};
  ["onopen", "onmessage", "onerror", "onclose", "ongap"].forEach(function (name) { handler[name] = note(name); });
  window.open_ = function (token, options) {
    window.socket = new goog.appengine.Channel(token, options).open(handler);
    return socket.readyState;
  };
})()"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(valkey: servers.Server) -> AsyncIterator[Sites]:
    async with commanding(valkey) as commands:
        yield sites_on(commands)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(sites: Sites) -> AsyncIterator[Site]:
    async with sites(SETTINGS) as site:
        yield site


@pytest.fixture
def site(running: Site) -> Site:
    running.client = new_client()
    return running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chrome() -> AsyncIterator[Chromium]:
    async with browser.chromium() as chrome:
        yield chrome


PAGES: list[Page] = []
"""Of the test that runs. A browser has six connections for a host: a tab that stays keeps one."""


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def left() -> AsyncIterator[None]:
    yield
    while PAGES:
        await PAGES.pop().evaluate("location.href = 'about:blank'; 0")


async def loaded(chrome: Chromium, site: Site) -> Page:
    """A page of the node's origin that has loaded the script."""
    page = await chrome.open(f"http://127.0.0.1:{site.served.port}/_ah/channel/jsapi")
    PAGES.append(page)
    await page.evaluate(LOAD)
    await page.evaluate(NOTE)
    return page


async def opened(page: Page, token: str, *ways: str, **options: object) -> None:
    given = {**({"transports": list(ways)} if ways else {}), **options}
    assert await page.evaluate(f"open_({json.dumps(token)}, {json.dumps(given)})") == 0, "CONNECTING"
    await page.until("socket.readyState === 1")


async def noted(page: Page) -> Any:
    return await page.evaluate("noted")


async def got(page: Page, *messages: str) -> None:
    await page.until(f"got.length >= {len(messages)}")
    assert await page.evaluate("got") == list(messages)


async def used(page: Page) -> str:
    """The way that the page took last."""
    way: str = await page.evaluate("used[used.length - 1]")
    return way


async def eventually(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("way", WAYS)
async def test_a_channel_opens_gets_its_messages_and_closes(chrome: Chromium, site: Site, way: str) -> None:
    page = await loaded(chrome, site)
    await opened(page, site.token(), way)
    await site.send("one", '{"two": "zwei \u2713"}', "<three>")
    await got(page, "one", '{"two": "zwei \u2713"}', "<three>")
    assert await used(page) == way
    assert site.kinds == ["connected"]
    await page.evaluate("socket.close()")
    assert await page.until("socket.readyState === 3")
    assert await noted(page) == [["onopen", 1], ["onclose", 3]]
    await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_closing_is_seen(chrome: Chromium, site: Site) -> None:
    page = await loaded(chrome, site)
    await opened(page, site.token())
    assert await page.evaluate("(socket.close(), socket.close(), [socket.readyState, socket.send('x')])") == [2, False]
    await page.until("socket.readyState === 3")
    assert await noted(page) == [["onopen", 1], ["onclose", 3]]


async def test_it_may_be_closed_before_it_is_open(chrome: Chromium, site: Site) -> None:
    page = await loaded(chrome, site)
    await page.evaluate(f"open_('{site.token()}'); socket.close()")
    await page.until("socket.readyState === 3")
    assert await noted(page) == [["onclose", 3]]


@pytest.mark.parametrize("way", WAYS)
async def test_a_bad_token(chrome: Chromium, site: Site, way: str) -> None:
    page = await loaded(chrome, site)
    await page.evaluate(f"open_('{site.token()}x', {{transports: ['{way}']}})")
    await page.until("socket.readyState === 3")
    error = {"code": 401, "description": "Invalid+token."}
    assert await noted(page) == [["onerror", 2, error], ["onclose", 3]]


async def test_a_token_that_times_out_while_the_channel_is_open(chrome: Chromium, site: Site) -> None:
    pages = [await loaded(chrome, site) for _ in WAYS]
    for page, way in zip(pages, WAYS, strict=True):
        await opened(page, site.token(way.encode(), minutes=1, ago_s=54), way)
    error = {"code": 401, "description": "Token+timed+out."}
    for page in pages:
        await page.until("socket.readyState === 3")
        assert await noted(page) == [["onopen", 1], ["onerror", 1, error], ["onclose", 3]]


async def test_a_new_token_in_time_keeps_it_open(chrome: Chromium, site: Site) -> None:
    pages = [await loaded(chrome, site) for _ in WAYS]
    clients = [new_client() for _ in WAYS]
    for page, client, way in zip(pages, clients, WAYS, strict=True):
        await opened(page, site.token(client, minutes=1, ago_s=54), way)
        before = await page.evaluate("socket.expires")
        await page.evaluate(f"socket.refresh('{site.token(client)}')")
        await page.until(f"socket.expires > {before}")
    for page, client in zip(pages, clients, strict=True):
        await page.until(f"Date.now() / 1000 > {before + 1}")
        await site.send("still here", to=client)
        await got(page, "still here")
        assert await noted(page) == [["onopen", 1]]
    assert await pages[0].evaluate("used") == ["websocket"], "it is the same socket"


@pytest.mark.parametrize("way", WAYS)
async def test_the_newest_wins(chrome: Chromium, site: Site, way: str) -> None:
    older, newer = await loaded(chrome, site), await loaded(chrome, site)
    await opened(older, site.token(), way)
    await opened(newer, site.token(), way)
    await older.until("socket.readyState === 3")
    error = {"code": 409, "description": "Another+connection+has+taken+over."}
    assert await noted(older) == [["onopen", 1], ["onerror", 1, error], ["onclose", 3]]
    await site.send("for the newer one")
    await got(newer, "for the newer one")
    assert await noted(newer) == [["onopen", 1]]


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_lost_or_repeated_over_reconnects(chrome: Chromium, site: Site, way: str) -> None:
    page = await loaded(chrome, site)
    await opened(page, site.token(), way)
    messages = [f"{number}" for number in range(COUNT)]
    for number, message in enumerate(messages):
        await site.send(message)
        if number % 50 == 25:
            site.room.evict()
        await asyncio.sleep(0.005)
    await got(page, *messages)
    assert await noted(page) == [["onopen", 1]], "the page does not notice"


async def test_callbacks_may_be_set_later_or_never(chrome: Chromium, site: Site) -> None:
    page = await loaded(chrome, site)
    await page.evaluate(f"window.socket = new goog.appengine.Channel('{site.token()}').open()")
    await page.evaluate("socket.onmessage = function (event) { got.push(this === socket, event.data); }")
    await page.until("socket.readyState === 1")
    await site.send("one")
    await page.until("got.length")
    assert await page.evaluate("got") == [True, "one"]


async def test_what_a_page_throws_does_not_end_its_channel(chrome: Chromium, site: Site) -> None:
    page = await loaded(chrome, site)
    await opened(page, site.token(), "poll")
    await page.evaluate("socket.onmessage = function (event) { got.push(event.data); throw new Error('mine'); }")
    await site.send("one", "two", "three")
    await got(page, "one", "two", "three")


async def test_the_globals(chrome: Chromium, site: Site) -> None:
    page = await loaded(chrome, site)
    states = {"CONNECTING": 0, "OPEN": 1, "CLOSING": 2, "CLOSED": 3}
    assert await page.evaluate("goog.appengine.Socket.ReadyState") == states
    names = "['onopen', 'onmessage', 'onerror', 'onclose']"
    assert (
        await page.evaluate(f"{names}.map(function (n) {{ return typeof new goog.appengine.Socket.Handler()[n]; }})")
        == ["function"] * 4
    )
    assert await page.evaluate("goog.appengine.Socket.BASE_URL") == f"http://127.0.0.1:{site.served.port}/_ah/channel/"


@pytest.mark.parametrize(
    "blocked", ["window.WebSocket = undefined", "window.WebSocket = function () { throw new Error('no'); }"]
)
async def test_without_websockets_there_are_streams(chrome: Chromium, site: Site, blocked: str) -> None:
    page = await loaded(chrome, site)
    await page.evaluate(f"{blocked}; 0")
    await opened(page, site.token())
    assert await used(page) == "sse"


async def test_without_either_there_are_polls(chrome: Chromium, site: Site) -> None:
    page = await loaded(chrome, site)
    await page.evaluate("window.WebSocket = window.EventSource = undefined; 0")
    await opened(page, site.token())
    await site.send("one")
    await got(page, "one")
    assert await used(page) == "poll"


async def test_a_way_that_fails_gives_way_and_nothing_is_lost(chrome: Chromium, site: Site) -> None:
    page = await loaded(chrome, site)
    await opened(page, site.token())
    await site.send("one")
    await got(page, "one")
    # From now on something on the way refuses every WebSocket.
    await page.evaluate("window.tries = 0; window.WebSocket = function () { tries += 1; throw new Error('no'); }; 0")
    site.room.evict()
    await site.send("two")
    await got(page, "one", "two")
    site.room.evict()
    await site.send("three")
    await got(page, "one", "two", "three")
    assert await noted(page) == [["onopen", 1]]
    assert await page.evaluate("tries") == 1, "it is left alone for a while"
    assert await used(page) == "sse"


@pytest.mark.parametrize("way", WAYS)
async def test_a_page_that_is_left_is_gone(chrome: Chromium, sites: Sites, way: str) -> None:
    async with sites(Channel(hold_seconds=5, gone_seconds=1, lease_seconds=3), name="quick") as site:
        page = await loaded(chrome, site)
        await opened(page, site.token(), way)
        await eventually(lambda: site.kinds == ["connected"])
        await page.evaluate("location.href = 'about:blank'; 0")
        await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_a_send_that_nobody_takes_is_told(chrome: Chromium, site: Site) -> None:
    """As with the original script, the channel stays open."""
    page = await loaded(chrome, site)
    await opened(page, site.token())
    assert await page.evaluate("socket.send('x')") is True
    await page.until("noted.length > 1")
    assert await noted(page) == [["onopen", 1], ["onerror", 1, {"code": 404, "description": "Not Found"}]]
    assert await page.evaluate("socket.readyState") == 1
