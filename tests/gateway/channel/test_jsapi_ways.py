"""What our own script does about ways that lie, hang or come and go; time runs faster for it where it would wait."""

import json
from collections.abc import AsyncIterator

import browser
import pytest
import pytest_asyncio
import servers
from browser import Chromium, Page
from channel_site import Site, Sites, commanding, new_client, sites_on

from gateway.channel.settings import Channel

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SETTINGS = Channel(hold_seconds=5, gone_seconds=1, lease_seconds=3)
PATIENCE_SECONDS = 30.0

SCENE = """new Promise(function (done, failed) {
  window.got = [];
  window.noted = [];
  window.made = [];
  window.muted = [];
  window.handler = {
    onopen: function () { noted.push("onopen"); },
    onmessage: function (event) { got.push(event.data); },
    onerror: function (error) { noted.push(error.code); },
    onclose: function () { noted.push("onclose"); },
    ongap: function (gap) { noted.push(["gap", gap.count]); }
  };
  window.faster = function (times) {
    var timeout = window.setTimeout;
    window.setTimeout = function (work, ms) { return timeout(work, ms / times); };
  };
  var Original = window.WebSocket;
  // `dead`: its frames stay on the way, in both directions; `mute`: nothing comes back.
  window.WebSocket = function (url) {
    var inner = new Original(url), outer = this;
    this.mute = window.muted.indexOf(made.push(this)) >= 0;
    inner.onmessage = function (event) { if (!outer.dead && !outer.mute) outer.onmessage(event); };
    inner.onclose = function () { outer.onclose(); };
    this.send = function (data) { if (!this.dead) inner.send(data); };
    this.close = function (code) { if (!this.dead) inner.close(code); };
    this.cut = function () { inner.close(3000); };
  };
  window.begin = function (token, options) {
    window.socket = new goog.appengine.Channel(token, options).open(handler);
  };
  var script = document.createElement("script");
  script.src = "/_ah/channel/jsapi";
  script.onload = function () { done(true); };
  script.onerror = failed;
  document.body.appendChild(script);
})"""


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


@pytest_asyncio.fixture(loop_scope="module")
async def page(chrome: Chromium, site: Site) -> AsyncIterator[Page]:
    page = await chrome.open(f"http://127.0.0.1:{site.served.port}/_ah/channel/jsapi")
    await page.evaluate(SCENE)
    yield page
    await page.evaluate("location.href = 'about:blank'; 0")


async def opened(page: Page, site: Site, *ways: str) -> None:
    options = {"transports": list(ways)} if ways else {}
    await page.evaluate(f"begin('{site.token()}', {json.dumps(options)})")
    await page.until("socket.readyState === 1")


async def got(page: Page, *messages: str) -> None:
    await page.until(f"got.length >= {len(messages)}")
    assert await page.evaluate("got") == list(messages)


async def test_a_dead_way_is_found_out(page: Page, site: Site) -> None:
    await page.evaluate("faster(10)")
    await opened(page, site, "websocket")
    await page.evaluate("made[0].dead = true")
    await site.send("one")
    await got(page, "one")
    assert await page.evaluate("made.length") == 2
    assert await page.evaluate("noted") == ["onopen"]


async def test_a_way_that_lives_is_left_alone(page: Page, site: Site) -> None:
    await page.evaluate("faster(100)")
    await opened(page, site, "websocket")
    await page.evaluate("new Promise(function (done) { setTimeout(done, 300000); })")
    await site.send("one")
    await got(page, "one")
    assert await page.evaluate("made.length") == 1


async def test_a_way_that_opens_and_says_nothing_gives_way(page: Page, site: Site) -> None:
    await page.evaluate("faster(10); window.muted = [1]")
    await opened(page, site)
    await site.send("one")
    await got(page, "one")
    assert await page.evaluate("[made.length, noted]") == [1, ["onopen"]]


@pytest.mark.parametrize("ways", [("websocket",), ("websocket", "poll")])
async def test_it_is_not_shut_out_by_an_attempt_of_its_own(page: Page, site: Site, ways: tuple[str, ...]) -> None:
    """The node has opened a connection whose first frame never came: the page is older than that, and means it."""
    await page.evaluate("faster(10)")
    await opened(page, site, *ways)
    await site.send("one")
    await got(page, "one")
    await page.evaluate("window.muted = [2]; made[0].cut()")
    await page.until("made.length > 1")
    await site.send("two")
    await got(page, "one", "two")
    assert await page.evaluate("noted") == ["onopen"]


@pytest.mark.parametrize("way", ["websocket", "sse", "poll"])
async def test_a_page_that_the_browser_keeps_comes_back(page: Page, site: Site, way: str) -> None:
    await opened(page, site, way)
    await site.send("one")
    await got(page, "one")
    for event in ("pagehide", "pageshow"):
        await page.evaluate(f"window.dispatchEvent(new PageTransitionEvent('{event}', {{persisted: true}}))")
        await site.send(event)
    await got(page, "one", "pagehide", "pageshow")
    assert await page.evaluate("noted") == ["onopen"]


async def test_a_network_that_comes_back_is_used_at_once(page: Page, site: Site) -> None:
    await opened(page, site, "websocket")
    await page.evaluate("made[0].dead = true")
    await site.send("one")
    await page.evaluate("window.dispatchEvent(new Event('online'))")
    await got(page, "one")
    assert await page.evaluate("[made.length, noted]") == [2, ["onopen"]]


async def test_a_channel_that_never_opens_gives_up(page: Page, site: Site) -> None:
    await page.evaluate(
        "faster(10); (function () { var now = Date.now; Date.now = function () { return now() * 10; }; })()"
    )
    await page.evaluate(f"begin('{site.token()}', {{servers: ['http://127.0.0.1:1']}})")
    await page.until("socket.readyState === 3")
    assert await page.evaluate("noted") == [0, "onclose"]


async def test_what_is_gone_is_told_of(sites: Sites, chrome: Chromium) -> None:
    settings = Channel(buffer_messages=2, gone_seconds=30, lease_seconds=30)
    async with sites(settings, name="small") as site:
        page = await chrome.open(f"http://127.0.0.1:{site.served.port}/_ah/channel/jsapi")
        await page.evaluate(SCENE)
        await opened(page, site, "websocket")
        await site.send("one")
        await got(page, "one")
        # It reads nothing while the others are sent.
        await page.evaluate("window.dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        await site.send("two", "three", "four", "five")
        await page.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        await got(page, "one", "four", "five")
        assert await page.evaluate("noted") == ["onopen", ["gap", 2]]
        await page.evaluate("location.href = 'about:blank'; 0")
