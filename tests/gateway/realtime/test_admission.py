"""Tokens that are shown on an open connection: which are taken, which end it, and who waits for whom."""

import asyncio
from typing import Any

from sockets import text

from broker.errors import Unavailable
from broker.rights import Account, Principal

EPOCH = 3682271640000001
TOPIC = "default/lines"
NOBODY = Principal("@anonymous")
READER = Principal("reader", subscribe=("default/*",))
USER = Principal("@user/u", subscribe=("default/*",), account=Account(uuid="u", name="u"))


def subscribe(topic: str = TOPIC, **more: Any) -> dict[str, Any]:
    return {"op": "subscribe", "id": 1, "topic": topic, **more}


def publish(**more: Any) -> dict[str, Any]:
    return {"op": "publish", "id": 5, "topic": TOPIC, "text": "x", **more}


async def test_a_refused_token_closes_and_falls_back_to_nothing(node: Any) -> None:
    async with node.client() as client:
        client.send(text({"op": "hello", "id": 2, "token": "bad"}) + text(publish()))
        answer = await client.receive()
        assert (answer["id"], answer["code"]) == (2, "unauthorized")
        assert await client.closed() == 4500
    assert node.publisher.requests == []


async def test_an_expired_token_has_its_own_close_code(node: Any) -> None:
    async with node.client() as client:
        answer = await client.ask({"op": "hello", "id": 2, "token": "old"})
        assert (answer["id"], answer["code"]) == (2, "unauthorized")
        assert await client.closed() == 4501


async def test_a_hello_without_a_token_keeps_the_rights(node: Any) -> None:
    async with node.client() as client:
        assert await client.ask({"op": "hello", "client": "a/1"}) == {"op": "ok"}
        assert (await client.ask(publish()))["op"] == "published"


async def test_what_follows_a_hello_that_fetches_waits_for_it(endpoint: Any, auth: Any) -> None:
    credentials = auth({"fetch": Principal("f", publish=("*",))}, NOBODY)
    async with endpoint(credentials) as node, node.client() as client:
        client.send(text({"op": "hello", "id": 1, "token": "fetch"}) + text(publish(id=2)) + text(publish(id=3)))
        client.send(text(publish(id=4)))
        assert node.publisher.requests == []
        credentials.gate.set()
        assert [(await client.receive())["op"] for _ in range(4)] == ["ok", "published", "published", "published"]
        assert node.publisher.requests[0].once is None


async def test_an_answer_meanwhile_does_not_end_the_wait(endpoint: Any, auth: Any) -> None:
    credentials = auth({"fetch": Principal("f")}, gate=asyncio.Event())
    async with endpoint(credentials) as node, node.client() as client:
        node.publisher.holds = True
        client.send(text(publish(id=1)) + text({"op": "hello", "id": 2, "token": "fetch"}) + text(publish(id=3)))
        await client.writer.drain()
        async with asyncio.timeout(5):
            while not node.publisher.waiting:
                await asyncio.sleep(0.005)
        node.publisher.waiting[0](node.publisher.outcome())
        assert (await client.receive())["id"] == 1
        credentials.gate.set()
        assert (await client.receive())["id"] == 2
        assert (await client.receive())["code"] == "forbidden"
        assert len(node.publisher.requests) == 1


async def test_a_fetch_that_fails_is_no_refusal_of_the_token(endpoint: Any, auth: Any) -> None:
    credentials = auth({}, NOBODY, failure=Unavailable())
    credentials.gate.set()
    async with endpoint(credentials) as node, node.client() as client:
        answer = await client.ask({"op": "hello", "id": 1, "token": "fetch"})
        assert (answer["code"], answer["retry_ms"]) == ("unavailable", 1000)
        assert (await client.ask({"op": "ping"}))["op"] == "pong"


async def test_a_connection_is_watched_under_its_latest_token(endpoint: Any, auth: Any, eventually: Any) -> None:
    credentials = auth({"user": USER, "other": READER}, NOBODY)
    async with endpoint(credentials) as node:
        async with node.client(x_api_key="user") as client:
            assert [principal for _, principal in credentials.watched] == [USER]
            await client.ask({"op": "hello", "token": "other"})
            assert [principal for _, principal in credentials.watched] == [READER]
        await eventually(lambda: not credentials.watched)


async def test_rights_that_are_taken_away_end_what_they_granted(endpoint: Any, auth: Any) -> None:
    credentials = auth({"user": USER}, NOBODY)
    async with endpoint(credentials) as node, node.client(x_api_key="user") as client:
        await client.ask(subscribe())
        bearer, _ = credentials.watched.pop()
        fewer = Principal("@user/u", account=USER.account)
        credentials.watch(bearer, fewer)
        bearer.on_principal(fewer)
        ended = await client.receive()
        assert (ended["code"], ended["topic"]) == ("forbidden", TOPIC)
        assert (await client.ask(subscribe(id=2)))["code"] == "forbidden"


async def test_a_revoked_token_ends_the_connection(endpoint: Any, auth: Any) -> None:
    credentials = auth({"user": USER}, NOBODY)
    async with endpoint(credentials) as node, node.client(x_api_key="user") as client:
        credentials.watched[0][0].on_principal(None)
        assert await client.closed() == 4500
