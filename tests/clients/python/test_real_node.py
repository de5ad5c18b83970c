"""Both clients against a real node with its embedded engine, killed and restarted."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

import headrace
from headrace import Client, Position, blocking

TOKEN = "a-token-for-tests-0123456789abcdef"
ROOT = Path(__file__).parents[3]


class Node:
    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-c", "from gateway.cli import main; main()", "serve"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--data", str(self.data)],
            cwd=ROOT,
            env=os.environ | {"HEADRACE_SERVICE_TOKEN": TOKEN},
            stdout=subprocess.PIPE,
            stderr=(self.data.parent / "log").open("a"),
            text=True,
        )
        assert self.process.stdout
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found[1])
                return
        refusal = (self.data.parent / "log").read_text()[-2000:]
        pytest.fail(refusal) if os.environ.get("CI") else pytest.skip(f"no node here: {refusal}")

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self._wait()

    def _wait(self) -> None:
        self.process.wait(30)
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Iterator[Node]:
    node = Node(tmp_path_factory.mktemp("node") / "data")
    node.start()
    yield node
    node.stop()


@pytest.fixture
def topic(real) -> str:
    """A topic of its own, created: following does not create one."""
    name = uuid4().hex
    url = f"{real.url}/v1/projects/default/topics/{name}"
    urlopen(Request(url, method="PUT", headers={"x-api-key": TOKEN}), timeout=10).close()
    return f"default/{name}"


async def read(subscription: headrace.Subscription, count: int) -> list[str]:
    texts = []
    async with asyncio.timeout(60):
        async for message in subscription:
            texts.append(message.text)
            if len(texts) == count:
                break
    return texts


@pytest.mark.parametrize("dialect", ["msgpack", "json"])
async def test_every_kind_goes_there_and_back(real, topic, dialect) -> None:
    async with Client(real.url, token=TOKEN, dialect=dialect) as client, client.subscribe(topic) as subscription:
        await client.publish(topic, text="grüße", attributes={"a": "b"})
        await client.publish(topic, json={"a": [1, None]})
        published = await client.publish(topic, data=b"\x00\xff")
        events = subscription.events()
        text, document, binary = [await anext(events) for _ in range(3)]
        assert (text.text, text.attributes) == ("grüße", {"a": "b"})
        assert document.json() == {"a": [1, None]}
        assert (binary.kind, binary.data, binary.position) == ("binary", b"\x00\xff", published.position)


async def test_a_position_goes_on_in_another_client(real, topic) -> None:
    async with Client(real.url, token=TOKEN) as client:
        await asyncio.gather(*(client.publish(topic, text=str(number)) for number in range(10)))
        async with client.subscribe(topic, since={"last": 5}) as subscription:
            assert await read(subscription, 2) == ["5", "6"]
            place = Position.parse(str(subscription.position))
    async with Client(real.url, token=TOKEN, dialect="json") as client:
        assert await read(client.subscribe(topic, since=place), 3) == ["7", "8", "9"]


async def test_a_key_stores_once(real, topic) -> None:
    async with Client(real.url, token=TOKEN) as client:
        first = await client.publish(topic, text="x", key="k")
        assert await client.publish(topic, text="x", key="k") == headrace.Published(first.epoch, first.offset, True)
        with pytest.raises(headrace.KeyConflict):
            await client.publish(topic, text="y", key="k")


async def test_refusals_have_their_types(real) -> None:
    async with Client(real.url, token=TOKEN) as client:
        with pytest.raises(headrace.InvalidName):
            await client.publish("nameless", text="x")
        with pytest.raises(headrace.InvalidName):
            await client.subscribe("nameless").started()
    async with Client(real.url, token="wrong") as client:
        with pytest.raises(headrace.Unauthorized):
            await client.connected()


def test_the_blocking_client(real, topic) -> None:
    with blocking.Client(real.url, token=TOKEN) as client:
        assert [client.publish(topic, text=str(number)).offset for number in range(5)] == list(range(5))
        texts = []
        for message in client.subscribe(topic, since="earliest"):
            texts.append(message.text)
            if len(texts) == 5:
                break
        assert texts == list("01234")


async def test_a_slow_subscriber_gets_everything(real, topic) -> None:
    count = 30_000
    async with (
        Client(real.url, token=TOKEN) as writer,
        Client(real.url, token=TOKEN) as reader,
        reader.subscribe(topic) as subscription,
    ):
        await publish_lines(writer, topic, count)
        assert await read(subscription, count) == [str(number) for number in range(count)]


async def publish_lines(client: Client, topic: str, count: int) -> None:
    futures = []
    for number in range(count):
        while True:
            try:
                futures.append(client.publish_nowait(topic, text=str(number), timeout=60))
                break
            except headrace.QueueFull:
                await client.room()
    await asyncio.gather(*futures)


async def test_a_node_killed_and_restarted_loses_and_repeats_nothing(real, topic) -> None:
    count = 20_000
    async with (
        Client(real.url, token=TOKEN) as writer,
        Client(real.url, token=TOKEN) as reader,
        reader.subscribe(topic, since="earliest") as subscription,
    ):
        writing = asyncio.create_task(publish_lines(writer, topic, count))
        texts = await read(subscription, 1_000)
        await asyncio.to_thread(real.kill)
        await asyncio.to_thread(real.start)
        texts += await read(subscription, count - 1_000)
        await writing
    assert texts == [str(number) for number in range(count)]
