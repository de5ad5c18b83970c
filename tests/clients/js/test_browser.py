"""The bundle in a real browser, between two real nodes: one is killed, one drains, and no message is missed."""

import base64
import json
import os
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import browser
import nodes
import pytest
import servers
from nodes import Node

from headrace import Client, Schedule

DIST = Path(__file__).parents[3] / "clients" / "js" / "dist"
QUICK = {"baseMs": 200, "capMs": 1000, "connectTimeoutMs": 2000}
COUNT = 300
PATIENCE_S = 60

PAGE = """<!doctype html><title>loading</title><script type="module">
import { Client } from "./headrace.js";
const { servers, token, topic, schedule } = JSON.parse(atob(location.search.slice(1)));
window.seen = [];
window.gaps = [];
window.states = [];
window.outcomes = [];
const client = new Client(servers, { token, schedule, onState: (state) => states.push(state) });
window.client = client;
client.subscribe(topic, {
  since: "earliest",
  onMessage: (message) => seen.push(message.text),
  onGap: (gap) => gaps.push(gap),
});
window.publish = (from, to) => {
  for (let n = from; n < to; n += 1) {
    client.publish(topic, { text: `${n}` }).then(() => outcomes.push("stored"), (error) => outcomes.push(error.code));
  }
};
document.title = "ready";
</script>"""


class Pages(SimpleHTTPRequestHandler):
    """The bundle, and one page that uses it."""

    def do_GET(self) -> None:
        if not self.path.startswith("/?"):
            return super().do_GET()
        body = PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    if not (DIST / "headrace.js").exists():
        reason = "the built package (npm test) is missing"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, directory=str(DIST)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def running(site: str) -> Iterator[tuple[Node, Node]]:
    browser.binary()
    env = {"HEADRACE_AUTO_CREATE": "all", "HEADRACE_LEASE_SECONDS": "2", "HEADRACE_ALLOWED_ORIGINS": site}
    with servers.valkey() as redis, nodes.on(redis, count=2, env=env) as (a, b):
        yield a, b


def address(site: str, topic: str, first: Node, second: Node) -> str:
    """The page that begins on the first node and knows both."""
    preferred = [{"url": first.url, "weight": 1}, {"url": second.url, "weight": 0}]
    settings = {"servers": preferred, "token": first.token, "topic": topic, "schedule": QUICK}
    return f"{site}/?{base64.b64encode(json.dumps(settings).encode()).decode()}"


async def test_a_page_outlives_a_kill_and_a_drain(site, running) -> None:
    a, b = running
    topic = f"default/{uuid4().hex}"
    async with browser.chromium() as chrome:
        page = await chrome.open(address(site, topic, a, b))
        await page.until("document.title === 'ready' && client.state.connected")
        assert await page.evaluate("client.state.server") == a.url

        await page.evaluate(f"publish(0, {COUNT})")
        a.kill()
        await page.evaluate(f"publish({COUNT}, {2 * COUNT})")
        await page.until(f"outcomes.length === {2 * COUNT} && seen.length === {2 * COUNT}", seconds=PATIENCE_S)
        assert await page.evaluate("client.state.server") == b.url

        a.restart()
        b.await_peer(a)
        breaks = await page.evaluate("states.filter((state) => !state.connected).length")
        b.start_terminating()
        await page.evaluate(f"publish({2 * COUNT}, {3 * COUNT})")
        await page.until(f"client.state.server === '{a.url}' && client.state.connected", seconds=PATIENCE_S)
        await page.evaluate(f"publish({3 * COUNT}, {4 * COUNT})")
        await page.until(f"outcomes.length === {4 * COUNT} && seen.length === {4 * COUNT}", seconds=PATIENCE_S)
        assert await page.evaluate("states.filter((state) => !state.connected).length") == breaks

        assert await page.evaluate("seen") == [str(number) for number in range(4 * COUNT)]
        assert set(await page.evaluate("outcomes")) == {"stored"}
        assert await page.evaluate("gaps") == []
    await stands_once(a, topic)


async def stands_once(node: Node, topic: str) -> None:
    """Read the log with another client: each message is there once, in order."""
    async with Client(node.url, token=node.token, schedule=Schedule(base_s=0.2)) as client:
        texts: list[str] = []
        async for message in client.subscribe(topic, since="earliest"):
            texts.append(message.text)
            if len(texts) == 4 * COUNT:
                break
        assert texts == [str(number) for number in range(4 * COUNT)]
        assert (await client.publish(topic, text="end")).offset == 4 * COUNT
