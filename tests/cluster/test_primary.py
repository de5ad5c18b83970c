"""One primary's command connection: there, away, back."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager

import pytest
import servers

from broker.errors import Unavailable
from broker.store.base import Script
from cluster.address import Access, Endpoint
from cluster.outage import GRACE_SECONDS
from cluster.primary import Primary

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Running = Callable[[Coroutine[object, object, None]], AbstractAsyncContextManager[None]]

SOURCE = "#!lua\nreturn 7"
SEVEN = Script("seven", SOURCE, hashlib.sha1(SOURCE.encode()).hexdigest())


def primary_of(server: servers.Server, *, on_lost: Callable[[], None] = lambda: None) -> Primary:
    endpoint = Endpoint(server.host, server.port)
    return Primary(endpoint, Access(), name="test", scripts=lambda: [SEVEN], on_lost=on_lost, reply_seconds=0.5)


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_it_connects_and_loads_the_scripts(valkey: servers.Server, running: Running) -> None:
    valkey.client.script_flush()
    primary = primary_of(valkey)
    async with running(primary.serve()):
        connection = await primary.ready(soon())
        assert await connection.call("EVALSHA", SEVEN.digest, 0) == 7
        assert primary.is_idle
        assert not primary.outage.is_away
    assert not connection.is_open


async def test_a_restart_within_the_grace_is_waited_out(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.outage.GRACE_SECONDS", 10.0)
    lost: list[None] = []
    with servers.valkey() as server:
        primary = primary_of(server, on_lost=lambda: lost.append(None))
        async with running(primary.serve()):
            before = await primary.ready(soon())
            await asyncio.to_thread(server.restart)
            await before.closed.wait()
            after = await primary.ready(soon())
            assert after is not before
            assert await after.call("EVALSHA", SEVEN.digest, 0) == 7
            assert len(lost) == 1


async def test_after_the_grace_calls_are_refused_with_a_time_to_come_back(
    running: Running, eventually: Eventually
) -> None:
    with servers.valkey() as server:
        primary = primary_of(server)
        async with running(primary.serve()):
            await primary.ready(soon())
            server.kill()
            await eventually(lambda: primary.connection is None)
            with pytest.raises(Unavailable) as caught:
                await primary.ready(soon())
            assert caught.value.retry_ms
            await eventually(lambda: primary.outage.grace_left(soon(0)) == 0)
            with pytest.raises(Unavailable):
                # Refused in this very loop turn: nothing queues.
                primary.ready(soon()).send(None)
            server.restart()
            await eventually(lambda: primary.connection is not None)


async def test_it_serves_nobody_before_it_runs(valkey: servers.Server) -> None:
    primary = primary_of(valkey)
    with pytest.raises(Unavailable):
        await primary.ready(soon(0.01))
    assert GRACE_SECONDS > 0.01


async def test_a_stopped_server_is_away_until_it_goes_on(running: Running, eventually: Eventually) -> None:
    with servers.redis7() as server:
        primary = primary_of(server)
        async with running(primary.serve()):
            connection = await primary.ready(soon())
            server.pause()
            with pytest.raises(Exception, match="known"):
                await connection.call("INCR", "n")
            await eventually(lambda: primary.outage.is_away)
            server.resume()
            await eventually(lambda: not primary.outage.is_away)
