"""What the connector does with a connection's beginnings and ends; the rest is seen in test_client.py."""

import asyncio
import base64
import json
import time

import pytest

import headrace
from headrace import Client


async def test_a_token_function_that_fails_is_tried_again(node) -> None:
    answers = iter([RuntimeError("no vault"), "token"])

    def token() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with Client(node.url, token=token) as client:
        await client.connected()
    assert len(node.headers) == 1


async def test_a_token_function_gets_one_second_chance(node) -> None:
    asked = []

    def token() -> str:
        asked.append(1)
        return "wrong"

    node.refuse_status = 401
    async with Client(node.url, token=token) as client:
        with pytest.raises(headrace.Unauthorized):
            await client.connected()
    assert len(asked) == 2


@pytest.mark.parametrize(("status", "error"), [(403, headrace.Forbidden), (404, headrace.Refused)])
async def test_when_every_server_refuses_the_client_is_over(node, second_node, status, error) -> None:
    node.refuse_status = second_node.refuse_status = status
    async with Client([node.url, second_node.url]) as client:
        with pytest.raises(error):
            await client.connected()
    assert len(node.headers) == len(second_node.headers) == 1


async def test_a_busy_server_is_tried_again(node, until) -> None:
    node.refuse_status = 503
    async with Client(node.url) as client:
        await until(lambda: len(node.headers) >= 2)
        assert client.state.reason == "HTTP 503"
        node.refuse_status = None
        assert (await client.connected()).node == "scripted"


async def test_what_is_asked_within_one_turn_is_one_write(node, until, monkeypatch) -> None:
    async with Client(node.url) as client:
        await client.connected()
        writes = []
        transport = client._connector._transport
        monkeypatch.setattr(transport, "send", lambda frames, *, binary: writes.append(len(frames)))
        futures = [client.publish_nowait("default/lines", text="x") for _ in range(50)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert writes == [50]
        monkeypatch.undo()
        node.cut()
        await asyncio.gather(*futures)


async def test_closing_twice_and_closing_what_never_opened_is_fine(node) -> None:
    client = Client(node.url)
    await client.close()
    async with Client(node.url) as second:
        pass
    await second.close()


async def test_a_client_works_on_uvloop(node) -> None:
    uvloop = pytest.importorskip("uvloop")
    url = node.url

    def elsewhere() -> int:
        async def once() -> int:
            async with Client(url) as client:
                return (await client.publish("default/lines", text="x")).offset

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(once())

    assert await asyncio.to_thread(elsewhere) == 0


async def test_each_accepted_token_gives_a_new_second_chance(node, until) -> None:
    async with Client(node.url, token=lambda: "made") as client:
        for count in (2, 3, 4):
            await client.connected()
            await node.close(4501, "expired")
            await until(lambda expected=count: len(node.headers) == expected)
        await client.connected()


async def test_the_spread_of_the_node_is_respected(node, until, monkeypatch) -> None:
    node.spread_ms = 1234
    async with Client(node.url) as client:
        await client.connected()
        ends = []
        monkeypatch.setattr(client._connector._failover, "ended", lambda server, **how: ends.append(how))
        await node.close(1012)
        await until(lambda: ends)
        assert (ends[0]["code"], ends[0]["spread_ms"]) == (1012, 1234)


def expiring(number: int) -> str:
    claims = json.dumps({"exp": time.time() + 3600, "jti": number}).encode()
    return f"h.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.s"


async def test_a_fresh_token_is_shown_before_the_old_one_expires(node, until, monkeypatch) -> None:
    monkeypatch.setattr("headrace.credentials.MIN_REFRESH_S", 0.0)
    monkeypatch.setattr("headrace.credentials.MAX_REFRESH_S", 0.01)
    made = []

    def token() -> str:
        made.append(expiring(len(made)))
        if len(made) > 3:
            raise RuntimeError(made[-1])
        return made[-1]

    async with Client(node.url, token=token) as client:
        await client.connected()
        await until(lambda: len(made) > 3)
        await until(lambda: len(node.ops("hello")) == 3)
        assert [hello["token"] for hello in node.ops("hello")[1:]] == made[1:3]
        assert len(node.headers) == 1


async def test_a_token_that_fails_is_not_told(node, until, monkeypatch, caplog) -> None:
    monkeypatch.setattr("headrace.credentials.MIN_REFRESH_S", 0.0)
    monkeypatch.setattr("headrace.credentials.MAX_REFRESH_S", 0.01)
    answers = iter([expiring(0)])

    def token() -> str:
        for answer in answers:
            return answer
        raise RuntimeError("s3cret")

    async with Client(node.url, token=token) as client:
        await client.connected()
        await until(lambda: "RuntimeError" in caplog.text)
        assert client.state.connected
    assert "s3cret" not in caplog.text


async def test_a_client_that_breaks_says_so_without_what_it_worked_on(node, monkeypatch) -> None:
    def broken(now: float) -> None:
        raise RuntimeError("s3cret")

    async with Client(node.url) as client:
        monkeypatch.setattr(client._protocol, "connect", broken)
        with pytest.raises(headrace.HeadraceError) as caught:
            await client.connected()
        assert str(caught.value) == "The client broke: RuntimeError."
        with pytest.raises(RuntimeError):
            await client._connector._task
