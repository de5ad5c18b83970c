"""The game of the examples, as its README says to run it: two tabs, the back end, a node."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import browser
import nodes
import pytest
from browser import Chromium, Page
from nodes import Node
from servers import free_port

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/channel-tictactoe"
STATUS = "document.getElementById('status').textContent"
BOARD = "[].map.call(document.querySelectorAll('#board button'), function (b) { return b.textContent; }).join('')"

pytestmark = pytest.mark.timeout(180)


@contextmanager
def backend(port: int, node: Node) -> Iterator[None]:
    env = {**os.environ, "HEADRACE_SERVERS": node.url, "HEADRACE_TOKEN": node.token}
    env["PYTHONPATH"] = str(ROOT / "clients/python")
    child = subprocess.Popen([sys.executable, str(EXAMPLE / "game.py"), str(port)], env=env, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert b"the game is at" in child.stdout.readline()
        yield
    finally:
        child.kill()
        child.wait()


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a game."""
    port = free_port()
    config = tmp_path_factory.mktemp("game") / "headrace.toml"
    config.write_text((EXAMPLE / "headrace.toml").read_text().replace(":9000", f":{port}"))
    with nodes.node(options=("--config", str(config))) as node, backend(port, node):
        yield f"http://localhost:{port}/?g=1"


async def player(chrome: Chromium, game: str) -> Page:
    """Who comes to the game with no cookie is a new player."""
    page = await chrome.open(game)
    await page.until(f"{STATUS}.indexOf('Connecting') < 0")
    return page


async def move(page: Page, square: int) -> None:
    await page.until(f"{STATUS}.indexOf('your move') > 0")
    await page.evaluate(f"document.querySelectorAll('#board button')[{square}].click()")
    await page.until(f"{STATUS}.indexOf('your move') < 0")


async def test_two_play(game: str) -> None:
    async with browser.chromium() as chrome:
        x = await player(chrome, game)
        assert await x.evaluate(STATUS) == "Waiting for the other player."
        # Another host of the same machine has other cookies.
        o = await player(chrome, game.replace("localhost", "127.0.0.1"))
        for square in (0, 3, 1, 4):
            await move(x if square < 3 else o, square)
        await x.until(f"{STATUS}.indexOf('your move') > 0")
        await x.evaluate("document.querySelectorAll('#board button')[2].click()")
        await x.until(f"{STATUS} === 'You have won.'")
        await o.until(f"{STATUS} === 'You have lost.'")
        assert await x.evaluate(BOARD) == await o.evaluate(BOARD) == "XXXOO    "


async def test_one_hears_that_the_other_has_left(game: str) -> None:
    other_game = game.replace("g=1", "g=2")
    async with browser.chromium() as chrome:
        x = await player(chrome, other_game)
        o = await player(chrome, other_game.replace("localhost", "127.0.0.1"))
        await x.until(f"{STATUS}.indexOf('your move') > 0")
        await o.evaluate("location.href = 'about:blank'; 0")
        await x.until(f"{STATUS} === 'Waiting for the other player.'")
