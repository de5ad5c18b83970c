"""API Gateway on real nodes: what becomes of connections when their node dies or leaves, and our own calls.

contracts/apigateway 17, case 15: the connection is on one node, the post goes through another, the first one is killed.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import nodes
import pytest
import pytest_asyncio
import servers
from management import KEY, SECRET, apart, boto
from nodes import Node
from receiver import Received, Receiver, answering, receiving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

LEASE_SECONDS = 2
SLACK_SECONDS = 8.0
"""For a loaded machine, beyond the time that is promised."""

PATIENCE_SECONDS = 15.0
GROUP = "default/chat/lobby"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class App:
    """A back end that lets everybody in, as the user that the query names, and remembers its events."""

    receiver: Receiver
    ends: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.receiver.answer = self._answer

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        event = request.json
        told: dict[str, Any] = {"statusCode": 200}
        kind = event["requestContext"]["eventType"]
        if kind == "DISCONNECT":
            self.ends.append({**event["requestContext"], "webhook-id": request.headers["webhook-id"]})
        elif kind == "MESSAGE":
            told["body"] = event["requestContext"]["connectionId"]
        await answering(200, json.dumps(told).encode())(request, writer)

    def ends_of(self, connection: str) -> list[dict[str, Any]]:
        return [end for end in self.ends if end["connectionId"] == connection]


Chat = tuple[App, list[Node]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chat() -> AsyncIterator[Chat]:
    """Three nodes; a test that ends one starts it again."""
    async with receiving() as receiver:
        with servers.valkey() as redis:
            running = nodes.on(redis, count=3, env=settings(receiver.port))
            started = await asyncio.to_thread(running.__enter__)
            try:
                yield App(receiver), started
            finally:
                # Not in this thread: nodes that end tell the back end, which lives on this loop.
                await asyncio.to_thread(running.__exit__, None, None, None)


def settings(port: int) -> dict[str, str]:
    routes: dict[str, Any] = dict.fromkeys(("$connect", "$disconnect"), "app")
    routes["$default"] = {"integration": "app", "route_response": True}
    integrations = {"app": {"uri": f"http://127.0.0.1:{port}/"}}
    api = {"name": "chat", "stage": "prod", "routes": routes, "integrations": integrations}
    policy = {"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": "arn:aws:execute-api:*"}
    return {
        "HEADRACE_APIGATEWAY_APIS": json.dumps([api]),
        "HEADRACE_APIGATEWAY_CREDENTIALS": json.dumps([{"access_key": KEY, "secret": SECRET, "policy": [policy]}]),
        "HEADRACE_LEASE_SECONDS": str(LEASE_SECONDS),
        "HEADRACE_AUTO_CREATE": "all",
    }


@contextlib.asynccontextmanager
async def opened(node: Node) -> AsyncIterator[tuple[ClientConnection, str]]:
    """Open a connection and ask the application for its id."""
    async with connect(f"ws://127.0.0.1:{node.port}/prod") as websocket:
        await websocket.send("who am I?")
        yield websocket, str(await heard(websocket))


async def heard(websocket: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(websocket.recv(), PATIENCE_SECONDS)


async def eventually(check: Any, *, seconds: float = PATIENCE_SECONDS, what: str = "the condition") -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.05)


async def post_until_told(client: Any, connection: str) -> str:
    """Post until the answer is not that the owner cannot be reached; return the error's code."""
    deadline = asyncio.get_running_loop().time() + 2 * LEASE_SECONDS + SLACK_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        try:
            await apart(client.post_to_connection, ConnectionId=connection, Data=b"x")
        except client.exceptions.ClientError as error:
            code = str(error.response["Error"]["Code"])
            if code != "ServiceUnavailableException":
                return code
    raise AssertionError("the connection is not gone in time")


async def test_our_own_calls_reach_every_node(chat: Chat) -> None:
    _, three = chat
    async with (
        contextlib.AsyncExitStack() as stack,
        httpx.AsyncClient(base_url=three[0].url, headers=three[0].headers, timeout=PATIENCE_SECONDS) as http,
    ):
        opened_ = [await stack.enter_async_context(opened(three[number % 3])) for number in range(6)]
        ids = [connection for _, connection in opened_]
        assert await told(http, "connections:post", connections=ids, text="all") == {
            "posted": 6,
            "not_reached": 0,
            "failed": {},
        }
        assert [await heard(websocket) for websocket, _ in opened_] == ["all"] * 6
        assert (await told(http, "groups:join", group=GROUP, connections=ids[:4]))["joined"] == 4
        assert (await http.get(f"/headrace/v1/connections:count?group={GROUP}")).json() == {"count": 4}
        listed = (await http.get("/headrace/v1/connections?api=chat&limit=4")).json()
        rest = (await http.get(f"/headrace/v1/connections?api=chat&after={listed['next']}")).json()
        assert sorted(one["connection"] for one in listed["connections"] + rest["connections"]) == sorted(ids)
        # Published over another API, through another node.
        published = await http.post(
            f"{three[1].url}/v1/projects/default/topics/chat%2Flobby:publish",
            json={"messages": [{"data": "aGVsbG8="}, {"data": "/w=="}]},
        )
        assert published.status_code == 200, published.text
        assert [[await heard(one), await heard(one)] for one, _ in opened_[:4]] == [["hello", b"\xff"]] * 4
        assert (await told(http, "connections:close", to={"api": "chat"}, code=4001, reason="bye"))["closed"] == 6
        for websocket, _ in opened_:
            with pytest.raises(ConnectionClosed):
                await heard(websocket)
            assert (websocket.close_code, websocket.close_reason) == (4001, "bye")


async def told(http: httpx.AsyncClient, call: str, **body: object) -> Any:
    answer = await http.post(f"/headrace/v1/{call}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_stopped_node_s_sockets_are_closed_when_it_comes_back(chat: Chat) -> None:
    app, (a, b, _) = chat
    async with opened(a) as (websocket, connection):
        a.pause()
        assert await post_until_told(boto(f"{b.url}/prod"), connection) == "GoneException"
        await eventually(lambda: app.ends_of(connection), what="the end")
        a.resume()
        with pytest.raises(ConnectionClosed):
            await heard(websocket)
        assert websocket.close_code == 1012
    async with opened(a) as (websocket, other):
        assert other != connection
        await apart(boto(f"{b.url}/prod").post_to_connection, ConnectionId=other, Data=b"back")
        assert await heard(websocket) == "back"
    assert len(app.ends_of(connection)) == 1


async def test_a_killed_node_s_connections_are_gone_and_their_ends_told_once(chat: Chat) -> None:
    app, (a, b, c) = chat
    async with contextlib.AsyncExitStack() as stack:
        on_a = [await stack.enter_async_context(opened(a)) for _ in range(5)]
        on_b, stays = await stack.enter_async_context(opened(b))
        client = boto(f"{b.url}/prod")
        for websocket, connection in on_a:
            await apart(client.post_to_connection, ConnectionId=connection, Data=connection.encode())
            assert await heard(websocket) == connection
        await asyncio.to_thread(a.kill)
        gone = [connection for _, connection in on_a]
        assert await post_until_told(client, gone[0]) == "GoneException"
        await eventually(lambda: all(app.ends_of(one) for one in gone), what="the ends")
        for connection in gone:
            for through in (b, c):
                with pytest.raises(client.exceptions.GoneException):
                    await apart(boto(f"{through.url}/prod").get_connection, ConnectionId=connection)
            (end,) = app.ends_of(connection)
            assert (end["eventType"], end["disconnectStatusCode"]) == ("DISCONNECT", 1006)
            assert (end["apiId"], end["stage"], end["routeKey"]) == ("chat", "prod", "$disconnect")
        assert len({app.ends_of(one)[0]["webhook-id"] for one in gone}) == len(gone)
        await apart(client.post_to_connection, ConnectionId=stays, Data=b"still here")
        assert await heard(on_b) == "still here"
        await asyncio.to_thread(a.restart)
        async with opened(a) as (websocket, connection):
            assert connection not in gone
            await apart(client.post_to_connection, ConnectionId=connection, Data=b"back")
            assert await heard(websocket) == "back"
        assert all(len(app.ends_of(one)) == 1 for one in gone), "once in the ordinary case"


async def test_a_node_that_leaves_tells_the_ends_itself(chat: Chat) -> None:
    app, (a, b, _) = chat
    async with contextlib.AsyncExitStack() as stack:
        ids = [(await stack.enter_async_context(opened(a)))[1] for _ in range(5)]
        assert await asyncio.to_thread(a.terminate) == 0
        assert [[end["disconnectStatusCode"] for end in app.ends_of(one)] for one in ids] == [[1012]] * 5
        client = boto(f"{b.url}/prod")
        with pytest.raises(client.exceptions.GoneException):
            await apart(client.post_to_connection, ConnectionId=ids[0], Data=b"x")
    await asyncio.to_thread(a.restart)
