"""What the connector does with a connection's beginnings and ends; the rest is seen in test_client.py."""

import asyncio
import base64
import json
import time

import pytest

import headrace
from headrace import Client, Schedule


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
        transport = client._connector._link.transport
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
        monkeypatch.setattr(client._connector._failover, "ended", lambda server, now, **how: ends.append(how))
        await node.close(1012)
        await until(lambda: ends)
        assert ends[0]["spread_s"] == 1.234


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


@pytest.fixture
def both(node, second_node):
    """Two nodes over one log."""
    second_node.topics = node.topics
    second_node.name = "second"
    return node, second_node


LINES = "default/lines"


async def texts_of(subscription: headrace.Subscription, count: int) -> list[str]:
    events = subscription.events()
    async with asyncio.timeout(10):
        return [(await anext(events)).text for _ in range(count)]


async def test_a_drain_moves_the_client_before_it_leaves(both, until) -> None:
    node, second = both
    states: list[headrace.State] = []
    async with Client(node.url, on_state=states.append) as client, client.subscribe(LINES) as subscription:
        node.append(LINES, "0")
        old = next(iter(node.connections()))
        node.drain(second)
        await until(lambda: client.state.server == second.url)
        await until(lambda: old.close_code == 1000)
        node.append(LINES, "1")
        assert await texts_of(subscription, 2) == ["0", "1"]
        assert [state.connected for state in states] == [True, True]
        assert (await client.publish(LINES, text="2")).offset == 2


async def test_while_the_new_node_does_not_answer_the_old_one_goes_on(both, until) -> None:
    node, second = both
    asked = []

    def hold(frame: dict[str, object]) -> dict[str, object] | None:
        if frame["op"] == "subscribe":
            asked.append(frame)
            return {"op": "ok"}
        return None

    second.answer = hold
    async with Client(node.url) as client, client.subscribe(LINES) as subscription:
        node.drain(second)
        await until(lambda: asked)
        for number in range(3):
            node.append(LINES, str(number))
        assert await texts_of(subscription, 3) == ["0", "1", "2"]
        second.answer = lambda frame: None
        for connection in second.connections():
            second._subscribe(connection, asked[0])
        await until(lambda: not node.connections())
        node.append(LINES, "3")
        assert await texts_of(subscription, 1) == ["3"]


async def test_an_old_node_that_breaks_while_the_client_moves_costs_nothing(both, until) -> None:
    node, second = both
    second.answer = lambda frame: {"op": "ok"} if frame["op"] == "subscribe" and not second.silent else None
    async with Client(node.url) as client, client.subscribe(LINES) as subscription:
        node.drain(second)
        await until(lambda: second.ops("subscribe"))
        node.cut()
        await until(lambda: not node.connections())
        second.answer = lambda frame: None
        second.cut()
        await until(lambda: node.topic(LINES).followers)
        node.append(LINES, "0")
        assert await texts_of(subscription, 1) == ["0"]


async def test_publishes_in_flight_while_the_client_moves_are_stored_once(both, until) -> None:
    node, second = both
    async with Client(node.url) as client:
        await client.connected()
        node.mute = True
        futures = [client.publish_nowait(LINES, text=str(number)) for number in range(100)]
        await until(lambda: len(node.ops("publish")) == 100)
        node.drain(second)
        assert [published.offset for published in await asyncio.gather(*futures)] == list(range(100))
        assert node.texts(LINES) == [str(number) for number in range(100)]


async def test_a_node_that_greets_nobody_is_not_moved_to(both, until) -> None:
    node, second = both
    second.silent = True
    async with Client(node.url, schedule=Schedule(connect_timeout_s=0.05, base_s=0.01)) as client:
        await client.connected()
        node.drain(second)
        await until(lambda: len(second.headers) > 1)
        assert client.state.server == node.url
        second.silent = False
        await until(lambda: client.state.server == second.url)


async def test_a_client_that_finds_no_other_node_stays_to_the_end_and_comes_back(node, until) -> None:
    async with Client(node.url, schedule=Schedule(base_s=0.01, least_first_s=0.01)) as client:
        await client.connected()
        node.drain()
        await until(lambda: len(node.headers) > 1)
        assert client.state.connected
        node.refuse_status = None
        await node.close(1012)
        await until(lambda: client.state.connected and len(node.connections()) == 1)


async def test_closing_while_the_client_moves_leaves_nothing_open(both, until) -> None:
    node, second = both
    second.silent = True
    async with Client(node.url) as client:
        await client.connected()
        node.drain(second)
        await until(lambda: second.headers)
    await until(lambda: not node.connections() and not second.connections())


async def test_a_server_that_hangs_costs_a_moment(node, until) -> None:
    taken: list[asyncio.StreamWriter] = []
    hanging = await asyncio.start_server(lambda _, writer: taken.append(writer), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{hanging.sockets[0].getsockname()[1]}"
    servers = [headrace.Server(url, 1), headrace.Server(node.url, 0)]
    async with Client(servers, schedule=Schedule(second_dial_s=0.01, connect_timeout_s=60)) as client:
        assert (await client.connected()).server == node.url
    for writer in taken:
        writer.close()
    hanging.close()


async def test_a_time_to_come_back_is_kept(node, until) -> None:
    node.refuse_status, node.refusal = 503, {"error": {"retry_ms": 60_000}}
    async with Client(node.url) as client:
        await until(lambda: client.state.reason == "HTTP 503")
        node.refuse_status = None
        client.network_up()
        with pytest.raises(headrace.ConnectionFailed):
            await client.connected(timeout=0.1)
        assert len(node.headers) == 1


async def test_a_network_that_comes_back_is_tried_at_once(node, until) -> None:
    async with Client(node.url, schedule=Schedule(base_s=60, cap_s=60, least_first_s=60)) as client:
        await client.connected()
        await node.stop()
        await until(lambda: not client.state.connected)
        await node.start()
        client.network_up()
        await client.connected()
        client.network_up()
        await until(lambda: node.ops("ping"))


async def test_a_node_tells_of_others(both, until) -> None:
    node, second = both
    async with Client(node.url) as client:
        await client.connected()
        node.say({"op": "servers", "servers": [{"url": second.url, "weight": 1}], "spread_ms": 0})
        await until(lambda: second.url in client._connector._failover.servers)
        await node.stop()
        assert (await client.publish(LINES, text="x")).offset == 0


async def test_a_log_that_keeps_too_little_is_told(node, until, caplog, monkeypatch) -> None:
    monkeypatch.setattr(node, "_send", _with_retention(node._send, 1_000))
    async with Client(node.url) as client:
        await client.connected()
    assert "messages are kept for 1000 ms" in caplog.text


def _with_retention(send, retention_ms: int):
    def change(connection, frame) -> None:
        if frame["op"] == "welcome":
            frame = frame | {"limits": frame["limits"] | {"retention_ms": retention_ms}}
        send(connection, frame)

    return change
