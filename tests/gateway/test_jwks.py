"""The JWK set behind a URL, against a server that answers as it should, late, too much, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm

from broker.errors import Unavailable
from gateway import jwks
from gateway.jwks import FRESH_SECONDS, MAX_SET_BYTES, MAX_STALE_SECONDS, MIN_REFRESH_SECONDS, KeySet


def a_set(*kids: str) -> bytes:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return json.dumps({"keys": [OKPAlgorithm.to_jwk(public, as_dict=True) | {"kid": kid} for kid in kids]}).encode()


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Source:
    """An HTTP server on loopback that writes what it is told to, and counts who comes."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.body = a_set("a")
        self.answer: Answer = self.well
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            await self.answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def well(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(self.body), self.body))
        await writer.drain()


@asynccontextmanager
async def a_source() -> AsyncIterator[Source]:
    source = Source()
    server = await asyncio.start_server(source.serve, "127.0.0.1", 0)
    source.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    async with server:
        yield source


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_is_fetched_when_it_is_needed_and_known_from_then_on() -> None:
    async with a_source() as source:
        keys = KeySet(source.url, monotonic=Clock())
        assert keys.known("a") is None
        assert source.requests == []
        found = await keys.find("a")
        assert found is not None
        assert found.kid == "a"
        assert keys.known("a") == found
        assert await keys.find("a") == found
        assert len(source.requests) == 1
        assert source.requests[0].startswith(b"GET /keys HTTP/1.1")


async def test_an_unknown_kid_fetches_once_in_a_while_however_many_come() -> None:
    async with a_source() as source:
        clock = Clock()
        keys = KeySet(source.url, monotonic=clock)
        await keys.find("a")
        for number in range(100):
            assert await keys.find(f"unknown {number}") is None
        assert len(source.requests) == 1
        source.body = a_set("a", "b")
        clock.now += MIN_REFRESH_SECONDS
        assert await keys.find("b") is not None
        assert len(source.requests) == 2


async def test_all_who_wait_share_one_fetch() -> None:
    async with a_source() as source:
        keys = KeySet(source.url, monotonic=Clock())
        found = await asyncio.gather(*(keys.find("a") for _ in range(50)))
        assert all(found)
        assert len(source.requests) == 1


async def test_who_leaves_while_waiting_does_not_end_the_fetch_for_the_others() -> None:
    async with a_source() as source:
        keys = KeySet(source.url, monotonic=Clock())
        go_on = asyncio.Event()

        async def held(writer: asyncio.StreamWriter) -> None:
            await go_on.wait()
            await source.well(writer)

        source.answer = held
        first, second = (asyncio.ensure_future(keys.find("a")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        go_on.set()
        assert await second is not None
        assert len(source.requests) == 1


async def test_a_withdrawn_key_is_noticed() -> None:
    async with a_source() as source:
        clock = Clock()
        keys = KeySet(source.url, monotonic=clock)
        await keys.find("a")
        source.body = a_set("b")
        clock.now += FRESH_SECONDS - 1
        assert await keys.find("a") is not None
        clock.now += 1
        assert keys.known("a") is None
        assert await keys.find("a") is None


async def away(writer: asyncio.StreamWriter) -> None:
    return


async def failing(writer: asyncio.StreamWriter) -> None:
    body = a_set("a")
    writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


async def no_json(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")


async def no_set(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]")


async def cut(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")


async def no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x\r\n\r\n")


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


async def compressed(writer: asyncio.StreamWriter) -> None:
    # A gzip bomb would begin like this; it is not unpacked.
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08")


FAILURES = [away, failing, no_json, no_set, cut, no_http, endless, compressed]


@pytest.mark.parametrize("failure", FAILURES)
async def test_without_a_set_nobody_is_told_that_a_token_is_wrong(failure: Answer) -> None:
    async with a_source() as source:
        source.answer = failure
        keys = KeySet(source.url, monotonic=Clock())
        for _ in range(3):
            with pytest.raises(Unavailable) as refusal:
                await keys.find("a")
            assert refusal.value.retry_ms
        assert len(source.requests) == 1


@pytest.mark.parametrize("failure", FAILURES)
async def test_the_keys_go_on_to_serve_while_their_source_is_away(failure: Answer) -> None:
    async with a_source() as source:
        clock = Clock()
        keys = KeySet(source.url, monotonic=clock)
        found = await keys.find("a")
        source.answer = failure
        clock.now += FRESH_SECONDS
        assert await keys.find("a") == found
        assert await keys.find("a") == found
        assert len(source.requests) == 2
        clock.now += MAX_STALE_SECONDS
        with pytest.raises(Unavailable):
            await keys.find("a")
        source.answer = source.well
        clock.now += MIN_REFRESH_SECONDS
        assert await keys.find("a") == found


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with a_source() as source, a_source() as target:

        async def redirect(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 %d Go\r\nlocation: %s\r\n\r\n" % (status, target.url.encode()))

        source.answer = redirect
        with pytest.raises(Unavailable):
            await KeySet(source.url, monotonic=Clock()).find("a")
        assert target.requests == []


async def test_a_source_that_never_answers_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT_SECONDS", 0.4)
    async with a_source() as source:
        for_ever = asyncio.Event()

        async def dripping(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not for_ever.is_set():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

        source.answer = dripping
        with pytest.raises(Unavailable):
            await KeySet(source.url, monotonic=Clock()).find("a")
        for_ever.set()


async def test_the_bound_of_a_set_is_exact() -> None:
    async with a_source() as source:
        source.body = a_set("a").ljust(MAX_SET_BYTES)
        assert await KeySet(source.url, monotonic=Clock()).find("a") is not None
        source.body += b" "
        with pytest.raises(Unavailable):
            await KeySet(source.url, monotonic=Clock()).find("a")


async def test_a_proxy_from_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_source() as source, a_source() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await KeySet(source.url, monotonic=Clock()).find("a") is not None
        assert proxy.requests == []
