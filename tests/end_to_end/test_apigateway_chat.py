"""The chat of the examples, as its README says to run it: the page in Chromium, the back end, a node."""

import asyncio
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import browser
import nodes
import pytest
import pytest_asyncio
from browser import Chromium, Page
from servers import free_port
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/apigateway-chat"
LINES = "[...document.querySelectorAll('#messages li')].map(node => node.textContent)"

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Chat:
    page: str
    endpoint: str
    browser: Chromium

    async def join(self, name: str) -> Page:
        page = await self.browser.open(f"{self.page}/?endpoint={self.endpoint}")
        await page.evaluate(f"document.getElementById('name').value = {json.dumps(name)}")
        await page.evaluate("document.getElementById('join').requestSubmit()")
        await page.until(f"{LINES}.includes('You are in.')")
        return page


async def say(page: Page, text: str) -> None:
    await page.evaluate(f"document.getElementById('text').value = {json.dumps(text)}")
    await page.evaluate("document.getElementById('say').requestSubmit()")


@contextmanager
def backend(port: int, node: nodes.Node, database: Path) -> Iterator[None]:
    env = {
        **os.environ,
        "CHAT_DATABASE": str(database),
        "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI": f"{node.url}/prod",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, str(EXAMPLE / "backend.py"), str(port)]
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert b"the chat is at" in child.stdout.readline()
        yield
    finally:
        child.kill()
        child.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chat(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chat]:
    port, folder = free_port(), tmp_path_factory.mktemp("chat")
    text = (EXAMPLE / "headrace.toml").read_text().replace("127.0.0.1:9000", f"127.0.0.1:{port}")
    assert tomllib.loads(text)["apigateway"]["apis"][0]["integrations"]["backend"]["uri"].endswith(f":{port}/")
    config = folder / "headrace.toml"
    config.write_text(text)
    running = nodes.node(options=("--config", str(config)))
    node = await asyncio.to_thread(running.__enter__)
    try:
        with backend(port, node, folder / "chat.sqlite"):
            async with browser.chromium() as chrome:
                yield Chat(f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{node.port}/prod", chrome)
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def test_two_pages_talk_and_one_hears_the_other_leave(chat: Chat) -> None:
    alice, bob = await chat.join("Alice"), await chat.join("Bob <b>")
    await say(alice, "hello, <i>everybody</i> ✓")
    for page in (alice, bob):
        await page.until(f"{LINES}.includes('Alicehello, <i>everybody</i> ✓')")
    await say(bob, "hello, Alice")
    await alice.until(f"{LINES}.includes('Bob <b>hello, Alice')")
    await bob.evaluate("socket.close()")
    await alice.until(f"{LINES}.includes('Bob <b> has left.')")


async def test_a_message_that_no_route_takes_is_explained(chat: Chat) -> None:
    carol = await chat.join("Carol")
    await carol.evaluate("socket.send('what is this?')")
    await carol.until(f"{LINES}.some(line => line.startsWith('Send {{'))")


async def test_who_has_no_name_does_not_get_in(chat: Chat) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(chat.endpoint):
            pass
    assert refused.value.response.status_code == 400
