"""A real file goes through a node to a terminal, a Python program and a browser tab at once, while everything dies.

The file is Python's own library, more than 100,000 lines. The node and its Valkey are killed with -9 in the middle,
alone and together, and started again; then the three copies are compared with the file, line by line.
"""

import asyncio
import hashlib
import sys
import sysconfig
from pathlib import Path

import browser
import nodes
import pytest
from nodes import Node

from headrace import Client

TOPIC = "default/library"
LINES = 100_000

FOLLOW_IN_BROWSER = """
window.lines = []; window.ids = []; window.notices = [];
const source = new EventSource('/v1/projects/default/topics/library:stream?since=earliest&token=TOKEN');
source.onmessage = event => { window.lines.push(JSON.parse(event.data).text); window.ids.push(event.lastEventId); };
source.addEventListener('gap', event => window.notices.push(event.data));
source.addEventListener('recovery', event => window.notices.push(JSON.parse(event.data).recovery));
"""


def library_lines() -> list[str]:
    """Return the first lines of Python's library, as a text file would hold them."""
    lines: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("**/*.py")):
        if "site-packages" not in path.parts:
            lines += path.read_bytes().decode(errors="replace").split("\n")
        if len(lines) > LINES + 5000:
            break
    assert len(lines) > LINES
    return [line.replace("\r", "").replace("\0", "") for line in lines]


async def command(node: Node, *arguments: str, stdin: Path | None = None, stdout: Path) -> asyncio.subprocess.Process:
    with stdout.open("wb") as out:
        source = stdin.open("rb") if stdin else asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, stdin=source, stdout=out, stderr=None, env=node.env
        )


async def follow_in_python(node: Node, received: list[str], count: int) -> None:
    async with Client([node.url], token=node.token) as client:
        async for message in client.subscribe(TOPIC, since="earliest"):
            received.append(message.text)
            if len(received) >= count:
                return


async def reached(received: list[str], count: int) -> None:
    while len(received) < count:
        await asyncio.sleep(0.005)


async def kill_everything(node: Node, received: list[str], count: int) -> None:
    """Kill the node, then its Valkey, then both, each somewhere in the middle of the file."""
    await reached(received, count // 8)
    node.kill()
    await asyncio.to_thread(node.restart)
    await reached(received, count // 3)
    node.kill_engine()
    await reached(received, count * 2 // 3)
    node.kill()
    node.kill_engine()
    await asyncio.to_thread(node.restart)


@pytest.mark.timeout(300)
async def test_a_file_survives_every_kill(tmp_path: Path) -> None:
    lines = library_lines()
    source, copy = tmp_path / "library.txt", tmp_path / "copy.txt"
    source.write_text("".join(line + "\n" for line in lines), newline="")
    received: list[str] = []
    with nodes.node() as node:
        async with browser.chromium() as chrome, asyncio.timeout(240):
            await publish_first(node, lines[0])
            page = await chrome.open(node.url + "/")
            await page.evaluate(FOLLOW_IN_BROWSER.replace("TOKEN", node.token))
            terminal = await command(node, "sub", TOPIC, "--since", "earliest", "--count", str(len(lines)), stdout=copy)
            rest = tmp_path / "rest.txt"
            rest.write_text("".join(line + "\n" for line in lines[1:]), newline="")
            publisher = await command(node, "pub", TOPIC, stdin=rest, stdout=tmp_path / "pub.out")
            async with asyncio.TaskGroup() as group:
                group.create_task(follow_in_python(node, received, len(lines)))
                group.create_task(kill_everything(node, received, len(lines)))
            assert await publisher.wait() == 0
            assert await terminal.wait() == 0
            await page.until(f"window.lines.length >= {len(lines)}", seconds=60)
            in_browser = await page.evaluate("window.lines")
            ids = await page.evaluate("window.ids")
            notices = await page.evaluate("window.notices")
    assert received == lines, "the Python program"
    assert digest(copy.read_bytes()) == digest(source.read_bytes()), "the terminal"
    assert in_browser == lines, "the browser tab"
    assert [int(name.partition("-")[2]) for name in ids] == list(range(len(lines)))
    assert notices[0] == "none" and len(notices) >= 3 and set(notices[1:]) == {"complete"}, notices


async def publish_first(node: Node, line: str) -> None:
    """The topic exists from here on, so that a browser's stream is not refused."""
    async with Client([node.url], token=node.token) as client:
        await client.publish(TOPIC, text=line)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
