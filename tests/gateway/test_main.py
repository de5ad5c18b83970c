"""The composition root: what a node is made of runs, and what cannot run is said."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import servers

from cluster.address import parse_address
from cluster.engine import Engine
from gateway import __main__ as root
from gateway.__main__ import CRASHED, MISCONFIGURED, Substrate, compose, in_force, run_node, substrate
from gateway.config import Config, ConfigError, Mistake, Secret
from gateway.secrets import with_kept_secrets
from gateway.server import Parts, Stop, bind, run

WAIT_SECONDS = 60
TOKEN = "operator-token-0123456789"
HEADERS = {"x-api-key": TOKEN}


@pytest.fixture
def embedded(tmp_path: Path) -> Config:
    return with_kept_secrets(Config(port=0, data=str(tmp_path / "data"), service_token=Secret(TOKEN)))


def on_redis(url: str) -> Config:
    return Config(redis=Secret(url), service_token=Secret(TOKEN), secret_key=Secret("k" * 32), port=0)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[str]:
    """Run a composed node on its Redis, and yield its URL."""
    listener, stop, listening = bind("127.0.0.1", 0), Stop(), asyncio.Event()
    config = in_force(config, listener)
    async with asyncio.timeout(WAIT_SECONDS), substrate(config, stop) as redis, asyncio.TaskGroup() as group:
        group.create_task(run(compose(config, redis), listener, stop, on_listening=listening.set))
        await listening.wait()
        yield f"http://127.0.0.1:{config.port}"
        stop.asked.set()


async def publish(url: str, text: str) -> httpx.Response:
    async with httpx.AsyncClient(headers=HEADERS, timeout=10) as client:
        body = {"messages": [{"data": text}]}
        return await client.post(f"{url}/v1/projects/default/topics/demo:publish", json=body)


async def ready(url: str) -> bool:
    async with httpx.AsyncClient(timeout=10) as client:
        return (await client.get(f"{url}/readyz")).status_code == 200


async def eventually_ready(url: str) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await ready(url):
            await asyncio.sleep(0.1)


def test_the_name_and_the_port_are_settled_once() -> None:
    with bind("127.0.0.1", 0) as listener:
        made = in_force(Config(port=0), listener)

        assert made.port == listener.getsockname()[1]
        assert made.name.startswith("node-")
        assert in_force(Config(port=0), listener).name != made.name
        assert in_force(Config(name="mine"), listener).name == "mine"


async def test_a_node_with_an_engine_of_its_own_publishes(embedded: Config) -> None:
    async with running(embedded) as url:
        await eventually_ready(url)
        assert (await publish(url, "aGVsbG8=")).json() == {"messageIds": ["0"]}
    async with running(embedded) as url:
        await eventually_ready(url)
        assert (await publish(url, "aGVsbG8=")).json() == {"messageIds": ["1"]}


async def test_a_node_on_a_redis_publishes_and_is_unready_without_it() -> None:
    with servers.valkey() as redis:
        config = replace(on_redis(redis.url), name="probed")
        async with running(config) as url:
            await eventually_ready(url)
            async with httpx.AsyncClient(headers=HEADERS) as client:
                assert (await client.put(f"{url}/v1/projects/default/topics/demo")).status_code == 200
            assert (await publish(url, "aGVsbG8=")).status_code == 200
            await asyncio.to_thread(redis.kill)
            async with asyncio.timeout(WAIT_SECONDS):
                while await ready(url):
                    await asyncio.sleep(0.1)
            await asyncio.to_thread(redis.restart)
            await eventually_ready(url)


async def test_an_address_that_is_none_ends_the_node_with_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    with bind("127.0.0.1", 0) as listener:
        status = await run_node(on_redis("redis+sentinel://a,b/c"), listener, on_listening=lambda _: None)

    assert status == MISCONFIGURED
    assert "redis" in caplog.text


async def test_a_mistake_that_shows_when_a_node_is_put_together_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> Parts:
        raise ConfigError([Mistake("apigateway.apis.chat", "there is no such function"), Mistake("here", "another")])

    monkeypatch.setattr(root, "compose", mistaken)
    with bind("127.0.0.1", 0) as listener, caplog.at_level(logging.ERROR):
        status = await run_node(on_redis("redis://127.0.0.1:1"), listener, on_listening=lambda config: None)
    assert status == MISCONFIGURED
    assert caplog.messages == ["apigateway.apis.chat: there is no such function", "here: another"]


async def test_data_that_another_node_serves_is_refused(embedded: Config, caplog: pytest.LogCaptureFixture) -> None:
    first = Engine(Path(embedded.data))
    await first.start()
    try:
        with bind("127.0.0.1", 0) as listener:
            status = await run_node(embedded, listener, on_listening=lambda _: None)
    finally:
        await first.stop()

    assert status == CRASHED
    assert "Another node serves the data" in caplog.text


async def test_a_crashed_part_ends_the_node_and_is_named(
    embedded: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = compose

    def doomed(config: Config, redis: Substrate) -> root.Parts:
        async def crash() -> None:
            raise ZeroDivisionError("a mistake of ours")

        parts = made(config, redis)
        return replace(parts, loops={**parts.loops, "doomed": crash})

    monkeypatch.setattr(root, "compose", doomed)
    with caplog.at_level(logging.CRITICAL), bind("127.0.0.1", 0) as listener:
        async with asyncio.timeout(WAIT_SECONDS):
            status = await run_node(embedded, listener, on_listening=lambda _: None)

    assert status == CRASHED
    assert "a mistake of ours" in caplog.text


async def test_a_node_told_to_stop_does_not_wait_for_its_engine(embedded: Config) -> None:
    stop = Stop()
    stop.asked.set()
    async with asyncio.timeout(WAIT_SECONDS), substrate(embedded, stop) as redis:
        assert redis.loops.keys() == {"engine"}


async def test_a_node_that_never_ran_is_drained_at_once() -> None:
    config = replace(on_redis("redis://127.0.0.1:1"), name="still")
    parts = compose(config, Substrate(parse_address("redis://127.0.0.1:1"), {}))

    assert {"topology", "bus", "hub", "retention"} <= parts.loops.keys()
    await parts.drain()
