"""The first page, in a browser: it follows, publishes, survives a restart, and shows a broker's strings as text."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import browser
import nodes
import pytest
from browser import Page
from nodes import Node

from headrace import Client

BODIES = "[...document.querySelectorAll('#messages .body')].map(node => node.textContent)"
NOTES = "[...document.querySelectorAll('#messages .note')].map(node => node.textContent)"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes.node() as running:
        yield running


@asynccontextmanager
async def opened(node: Node, path: str = "/") -> AsyncIterator[Page]:
    async with browser.chromium() as chrome:
        page = await chrome.open(node.url + path)
        yield page


async def follow(page: Page, *, token: str, topic: str, since: str = "earliest") -> None:
    for name, value in (("token", token), ("topic", topic), ("since", since)):
        await page.evaluate(f"document.getElementById('{name}').value = {json.dumps(value)}")
    await page.evaluate("document.getElementById('follow').requestSubmit()")


async def publish(page: Page, text: str, kind: str = "text") -> None:
    await page.evaluate(f"document.getElementById('message').value = {json.dumps(text)}")
    await page.evaluate(f"document.getElementById('kind').value = {json.dumps(kind)}")
    await page.evaluate("document.getElementById('publish').requestSubmit()")


async def shows(page: Page, *bodies: str) -> None:
    await page.until(f"JSON.stringify({BODIES}) === JSON.stringify({json.dumps(bodies)})")


@pytest.mark.timeout(180)
async def test_the_page_follows_publishes_and_survives_a_restart(node: Node) -> None:
    async with opened(node) as page:
        async with Client(node.url, token=node.token) as client:
            await client.publish("default/page", text="before")
        await follow(page, token=node.token, topic="default/page")
        await shows(page, "before")

        await publish(page, "from the page")
        await publish(page, '{"a": [1]}', "json")
        await shows(page, "before", "from the page", '{"a":[1]}')
        await page.until("document.getElementById('published').textContent.startsWith('stored at ')")

        await asyncio.to_thread(node.kill)
        await page.until(f"{STATUS}.includes('trying again')")
        await asyncio.to_thread(node.restart)
        async with Client(node.url, token=node.token) as client:
            await client.publish("default/page", text="after")
        await shows(page, "before", "from the page", '{"a":[1]}', "after")
        assert "Continued without a gap." in await page.evaluate(NOTES)
        assert (
            await page.evaluate("location.href + document.cookie + JSON.stringify(localStorage)") == f"{node.url}/{{}}"
        )


async def test_what_a_broker_says_is_text(node: Node) -> None:
    attack = "<img src=x onerror=\"document.title='attacked'\"><script>document.title='attacked'</script>"
    async with opened(node) as page:
        async with Client(node.url, token=node.token) as client:
            await client.publish("default/attack", text=attack, attributes={attack: attack})
        await follow(page, token=node.token, topic="default/attack")

        await shows(page, attack)
        assert await page.evaluate("document.title") == "Headrace"
        assert await page.evaluate("document.querySelectorAll('#messages img, #messages script').length") == 0


async def test_a_refusal_is_shown(node: Node) -> None:
    async with opened(node) as page:
        await follow(page, token="not-the-token", topic="default/page")
        await page.until("document.getElementById('status').dataset.state === 'bad'")

        await follow(page, token=node.token, topic="default/page", since="yesterday")
        assert "EPOCH-OFFSET" in await page.evaluate(STATUS)

        await follow(page, token=node.token, topic="no-slash")
        await page.until(f"{NOTES}.length > 0 && document.getElementById('status').dataset.state === 'bad'")


async def test_the_reference_is_rendered_from_the_description(node: Node) -> None:
    async with opened(node, "/docs") as page:
        await page.until("document.querySelectorAll('#reference article').length > 5")
        text = await page.evaluate("document.getElementById('reference').textContent")

        assert "/v1/projects/{project}/topics/{topic}:publish" in text
        assert "/readyz" in text
