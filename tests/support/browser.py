"""A real browser for tests: Debian's Chromium, headless, driven over the DevTools protocol.

    async with browser.chromium() as chrome:
        page = await chrome.open("http://127.0.0.1:8080/")
        await page.evaluate("document.title")

A missing browser skips the test at home and fails it where `CI` is set.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

START_SECONDS = 30.0
ANSWER_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


def binary() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return found
    if os.environ.get("CI"):
        pytest.fail("chromium is missing (apt install chromium)")
    pytest.skip("chromium is missing (apt install chromium)")


class NoPage(AssertionError):
    """The tab is between two pages."""


class Page:
    """One tab. Not for concurrent use."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, a promise awaited. Raises `AssertionError` with its error."""
        answer = await self._call(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True}
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, *, seconds: float = 30.0) -> Any:
        """Poll until the expression is truthy, and return it; fail after `seconds`."""
        async with asyncio.timeout(seconds):
            while not (value := await self._value_between_pages(expression)):
                await asyncio.sleep(0.05)
        return value

    async def _value_between_pages(self, expression: str) -> Any:
        """While a page gives way to the next one there is nothing to evaluate in."""
        try:
            return await self.evaluate(expression)
        except NoPage:
            return None

    async def screenshot(self, path: Path) -> None:
        import base64

        answer = await self._call("Page.captureScreenshot", {"format": "png"})
        path.write_bytes(base64.b64decode(answer["data"]))

    async def _call(self, method: str, params: dict[str, object]) -> Any:
        self._sent += 1
        await self._connection.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                answer = json.loads(await self._connection.recv())
                if answer.get("id") == self._sent:
                    if "context" in answer.get("error", {}).get("message", ""):
                        raise NoPage(answer["error"]["message"])
                    assert "error" not in answer, answer["error"]
                    return answer["result"]


class Chromium:
    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: list[ClientConnection] = []

    async def open(self, url: str) -> Page:
        """Open `url` in a new tab and wait until it has loaded."""
        import httpx

        async with httpx.AsyncClient() as http:
            made = await http.put(f"http://127.0.0.1:{self._port}/json/new?{url}")
        connection = await connect(
            made.json()["webSocketDebuggerUrl"], max_size=MAX_ANSWER_BYTES, compression=None, ping_interval=None
        )
        self._connections.append(connection)
        page = Page(connection)
        await page.until(f"document.readyState === 'complete' && location.href !== 'about:blank' && {json.dumps(url)}")
        return page

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()


@asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Run a browser with an empty profile; its processes and files are gone afterwards."""
    profile = Path(tempfile.mkdtemp(prefix="headrace-chromium-"))
    child = subprocess.Popen(
        [binary(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    browser: Chromium | None = None
    try:
        browser = Chromium(await _debugging_port(profile, child))
        yield browser
    finally:
        if browser:
            await browser.close()
        os.killpg(child.pid, 9)
        child.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _debugging_port(profile: Path, child: "subprocess.Popen[bytes]") -> int:
    told = profile / "DevToolsActivePort"
    async with asyncio.timeout(START_SECONDS):
        while True:
            assert child.poll() is None, f"chromium ended with status {child.returncode}"
            if told.exists() and (lines := told.read_text().split()):
                return int(lines[0])
            await asyncio.sleep(0.05)
