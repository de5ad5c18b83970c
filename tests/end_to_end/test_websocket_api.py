"""A WebSocket API on a real node, seen by its clients and by its back end (contracts/apigateway 17: 8, 9, 11, 12, 14).

The first half follows the list of end-to-end tests that serverless-offline runs against AWS too (case 17).
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import nodes
import pytest
import pytest_asyncio
import servers
from botocore.exceptions import ClientError
from management import KEY, SECRET, apart, boto
from nodes import Node
from receiver import Received, Receiver, answering, receiving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

PATIENCE_SECONDS = 15.0
ID = re.compile(r"[A-Za-z0-9_-]{15}=")

pytestmark = pytest.mark.asyncio(loop_scope="module")

Event = dict[str, Any]


@dataclass
class Application:
    """Functions behind HTTP: they answer by the action of a message, and remember every event."""

    receiver: Receiver
    events: list[Event] = field(default_factory=list)
    authorized: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.receiver.answer = self._answer

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        event = request.json
        known = self.authorized if request.target == "/authorizer" else self.events
        known.append(event)
        try:
            told = _authorize(event) if known is self.authorized else await self._handle(event)
        except ZeroDivisionError:
            await answering(500)(request, writer)
        else:
            await answering(200, json.dumps(told).encode())(request, writer)

    async def _handle(self, event: Event) -> Any:
        context = event["requestContext"]
        if context["eventType"] == "CONNECT":
            query = event.get("queryStringParameters", {})
            return 1 / 0 if "exception" in query else _let_in(query)
        if context["eventType"] == "DISCONNECT":
            return {"statusCode": 200}
        match context["routeKey"]:
            case "getClientInfo":
                return {"statusCode": 200, "body": json.dumps({"id": context["connectionId"]})}
            case "getCallInfo":
                return {"statusCode": 200, "body": json.dumps(event)}
            case "send":
                return {"statusCode": 200, "body": await self._send(event)}
            case "makeError":
                return 1 / 0
            case "malformed":
                return ["no", "object"]
            case "slow":
                await asyncio.sleep(1)
        return {"statusCode": 200, "body": f"{context['routeKey']}: {event['body']}"}

    async def _send(self, event: Event) -> str:
        """Post to other connections as AWS's documentation says: at `domainName` and `stage`."""
        context, asked = event["requestContext"], json.loads(event["body"])
        client = boto(f"http://{context['domainName']}/{context['stage']}")
        for connection in asked["clients"]:
            try:
                await apart(client.post_to_connection, ConnectionId=connection, Data=asked["data"])
            except ClientError as error:
                return f"Error: {error.response['Error']['Code']}"
        return "sent"

    def of(self, connection: str, kind: str) -> list[Event]:
        return [
            event
            for event in self.events
            if event["requestContext"]["connectionId"] == connection and event["requestContext"]["eventType"] == kind
        ]

    def connection_of(self, mark: str) -> str:
        """Return the id of the connection whose query has this mark."""
        marked = [event for event in self.events if event.get("queryStringParameters", {}).get("mark") == mark]
        return str(marked[0]["requestContext"]["connectionId"])

    async def end_of(self, connection: str) -> tuple[int, str]:
        """Return code and reason of a connection's `$disconnect`, of which there is one."""
        await eventually(lambda: self.of(connection, "DISCONNECT"))
        (event,) = self.of(connection, "DISCONNECT")
        return event["requestContext"]["disconnectStatusCode"], event["requestContext"]["disconnectReason"]


def _let_in(query: dict[str, str]) -> Event:
    told: Event = {"statusCode": int(query.get("status", "200"))}
    if "subprotocol" in query:
        told["headers"] = {"Sec-WebSocket-Protocol": query["subprotocol"]}
    return told


def _authorize(event: Event) -> Event:
    shown = next(value for name, value in event["headers"].items() if name.lower() == "auth123")
    if shown == "crash":
        raise ZeroDivisionError
    effect = "Allow" if shown == "good" else "Deny"
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": event["methodArn"]}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": "ada", "policyDocument": policy, "context": {"tier": "gold", "level": 3}}


def settings(port: int) -> dict[str, str]:
    app = {"uri": f"http://127.0.0.1:{port}/events"}
    both = dict.fromkeys(("$connect", "$disconnect"), "app")

    def api(name: str, *two_way: str, **members: Any) -> dict[str, Any]:
        routes = both | {key: {"integration": "app", "route_response": True} for key in two_way}
        given = {"name": name, "stage": name, "integrations": {"app": app}}
        return given | members | {"routes": routes | members.get("routes", {})}

    main = ("getClientInfo", "getCallInfo", "send", "makeError", "malformed", "$default")
    hasty = {"slow": {"integration": app | {"timeout_ms": 100}, "route_response": True}}
    authorizer = {
        "uri": f"http://127.0.0.1:{port}/authorizer",
        "identity_sources": ["route.request.header.Auth123"],
    }
    apis = [
        api("main", *main, routes={"oneWay": "app", **hasty}),
        api("auth", "$default", authorizer=authorizer),
        api("paths", "chat/join", "chat/", "/1", route_selection_expression="${request.body.a}/${request.body.b.c[1]}"),
        api("plain", "fixed", "other", route_selection_expression="fixed"),
        api("dollar", "$default", "other", route_selection_expression=r"\$default"),
        api("brief", "$default", limits={"idle_seconds": 0.5}),
        api("old", "$default", limits={"connection_seconds": 0.5, "idle_seconds": 0}),
        {"name": "bare", "stage": "bare", "routes": {"ping": {"integration": {"type": "mock"}}}},
        api("relaxed", "$default", profile="relaxed"),
    ]
    policy = {"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": "arn:aws:execute-api:*"}
    return {
        "HEADRACE_APIGATEWAY_APIS": json.dumps(apis),
        "HEADRACE_APIGATEWAY_CREDENTIALS": json.dumps([{"access_key": KEY, "secret": SECRET, "policy": [policy]}]),
    }


Scene = tuple[Application, Node]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene() -> AsyncIterator[Scene]:
    async with receiving() as receiver:
        with servers.valkey() as redis:
            running = nodes.on(redis, count=1, env=settings(receiver.port))
            (node,) = await asyncio.to_thread(running.__enter__)
            try:
                yield Application(receiver), node
            finally:
                # Not in this thread: a node that ends tells the back end, which lives on this loop.
                await asyncio.to_thread(running.__exit__, None, None, None)


def client_of(node: Node, path: str, **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{node.port}/{path}", **options)


@contextlib.asynccontextmanager
async def opened(node: Node, path: str = "main", **options: Any) -> AsyncIterator[tuple[ClientConnection, str]]:
    """Open a connection of the stage `main` and ask for its id."""
    async with client_of(node, path, **options) as client:
        yield client, json.loads(await asked(client, {"action": "getClientInfo"}))["id"]


async def asked(client: ClientConnection, message: object) -> str:
    await client.send(message if isinstance(message, str) else json.dumps(message))
    return await heard(client)


async def heard(client: ClientConnection) -> str:
    return str(await asyncio.wait_for(client.recv(), PATIENCE_SECONDS))


async def closed(client: ClientConnection) -> tuple[int | None, str | None]:
    with contextlib.suppress(ConnectionClosed):
        await heard(client)
    return client.close_code, client.close_reason


async def refused(node: Node, path: str, **options: Any) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as denial:
        async with client_of(node, path, **options):
            pass
    return denial.value.response.status_code, json.loads(denial.value.response.body or b"null")


async def eventually(check: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not check():
            await asyncio.sleep(0.01)


# The list of serverless-offline.


async def test_a_plain_request_is_told_to_upgrade(scene: Scene) -> None:
    async with httpx.AsyncClient(base_url=scene[1].url) as http:
        for path in ("/main", "/main/", f"/main/{time.time_ns()}", f"/main/{time.time_ns()}/1"):
            answer = await http.get(path)
            assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")


async def test_a_client_learns_who_it_is(scene: Scene) -> None:
    async with opened(scene[1]) as (_, connection):
        assert ID.fullmatch(connection)


@pytest.mark.parametrize("message", ['{"action": "action123"}', '{"hello": "world"}', "no JSON", '{"action": "Send"}'])
async def test_what_no_route_is_for_goes_to_the_default(scene: Scene, message: str) -> None:
    async with client_of(scene[1], "main") as client:
        assert await asked(client, message) == f"$default: {message}"


async def test_clients_send_to_each_other_through_the_back_end(scene: Scene) -> None:
    async with opened(scene[1]) as (one, first), opened(scene[1]) as (two, second):
        await one.send(json.dumps({"action": "send", "data": "Hello World!", "clients": [first, second]}))
        assert {await heard(one), await heard(one)} == {"Hello World!", "sent"}
        assert await heard(two) == "Hello World!"


async def test_nothing_is_sent_to_a_client_that_is_not_there(scene: Scene) -> None:
    async with opened(scene[1]) as (client, _):
        async with opened(scene[1]) as (_, gone):
            pass
        for connection, code in ((gone, "GoneException"), ("non-existing-id", "BadRequestException")):
            message = {"action": "send", "data": "Hello", "clients": [connection]}
            assert await asked(client, message) == f"Error: {code}"


@pytest.mark.parametrize("action", ["makeError", "malformed"])
async def test_a_back_end_that_fails_is_an_error_frame_and_the_connection_stays(scene: Scene, action: str) -> None:
    async with opened(scene[1]) as (client, connection):
        told = await asked(client, {"action": action})
        request_id = json.loads(told)["requestId"]
        assert told == (
            f'{{"message": "Internal server error", "connectionId":"{connection}", "requestId":"{request_id}"}}'
        )
        assert request_id == scene[0].of(connection, "MESSAGE")[-1]["requestContext"]["requestId"]
        assert json.loads(await asked(client, {"action": "getClientInfo"}))["id"] == connection


async def test_a_connect_that_raises_is_502(scene: Scene) -> None:
    assert await refused(scene[1], "main?exception=1") == (502, {"message": "Internal server error"})


async def test_whoever_comes_and_goes_is_told_of(scene: Scene) -> None:
    app, node = scene
    async with opened(node) as (one, first), opened(node) as (two, second):
        await two.close()
        assert await app.end_of(second) == (1000, "")
        async with opened(node) as (three, third):
            await one.close(4001, "I leave")
            assert await app.end_of(first) == (4001, "I leave")
            await three.close(1001)
            assert await app.end_of(third) == (1001, "")
    seen = [(event["requestContext"]["eventType"], event["requestContext"]["connectionId"]) for event in app.events]
    told = [event for event in seen if event[0] != "MESSAGE" and event[1] in (first, second, third)]
    assert told == [
        ("CONNECT", first),
        ("CONNECT", second),
        ("DISCONNECT", second),
        ("CONNECT", third),
        ("DISCONNECT", first),
        ("DISCONNECT", third),
    ]


async def test_the_events_of_a_connection(scene: Scene) -> None:
    app, node = scene
    before_ms = time.time_ns() // 1_000_000
    async with opened(node, "main?now=1&now=2", user_agent_header="tests/1") as (client, connection):
        shown = json.loads(await asked(client, '{"action":"getCallInfo"}'))
    await app.end_of(connection)
    host = f"127.0.0.1:{node.port}"
    (begun,), (ended,) = app.of(connection, "CONNECT"), app.of(connection, "DISCONNECT")
    headers = begun["headers"]
    assert headers == {
        "Host": host,
        "User-Agent": "tests/1",
        "Sec-WebSocket-Version": "13",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Port": str(node.port),
        "X-Forwarded-Proto": "http",
    } | {name: headers[name] for name in ("Sec-WebSocket-Key", "Sec-WebSocket-Extensions", "X-Amzn-Trace-Id")}
    assert begun["multiValueHeaders"] == {name: [value] for name, value in headers.items()}
    assert begun["queryStringParameters"] == {"now": "2"}
    assert begun["multiValueQueryStringParameters"] == {"now": ["1", "2"]}
    assert (shown["body"], shown["isBase64Encoded"]) == ('{"action":"getCallInfo"}', False)
    assert set(shown) == {"requestContext", "body", "isBase64Encoded"}
    assert ended["headers"] == {"Host": host, "x-api-key": "", "X-Forwarded-For": "", "x-restapi": ""}
    common = ("apiId", "connectedAt", "connectionId", "domainName", "identity", "messageDirection", "stage")
    contexts = [event["requestContext"] for event in (begun, shown, ended)]
    assert len({json.dumps({name: context[name] for name in common}) for context in contexts}) == 1
    assert contexts[0]["identity"] == {"sourceIp": "127.0.0.1", "userAgent": "tests/1"}
    assert (contexts[0]["domainName"], contexts[0]["stage"], contexts[0]["apiId"]) == (host, "main", "main")
    times = [before_ms, contexts[0]["connectedAt"], *(context["requestTimeEpoch"] for context in contexts)]
    assert times == sorted(times)
    assert len({context["requestId"] for context in contexts}) == 3


async def test_posts_and_deletes_of_open_and_closed_clients(scene: Scene) -> None:
    app, node = scene
    rest = boto(f"{node.url}/main")
    async with opened(node) as (client, connection):
        await apart(rest.post_to_connection, ConnectionId=connection, Data="hello")
        assert await heard(client) == "hello"
        with pytest.raises(ClientError, match="BadRequestException"):
            await apart(rest.post_to_connection, ConnectionId=connection, Data=b"\xff")
        await apart(rest.delete_connection, ConnectionId=connection)
        assert (await closed(client))[0] == 1000
    assert await app.end_of(connection) == (1000, "Connection Closed Normally")
    for call, more in (
        (rest.post_to_connection, {"Data": b"x"}),
        (rest.get_connection, {}),
        (rest.delete_connection, {}),
    ):
        with pytest.raises(rest.exceptions.GoneException):
            await apart(call, ConnectionId=connection, **more)


# Case 9: what `$connect` answers.


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_connect_s_status_is_the_handshake_s(scene: Scene, status: int) -> None:
    assert (await refused(scene[1], f"main?status={status}"))[0] == status


async def test_connect_selects_the_subprotocol(scene: Scene) -> None:
    async with client_of(scene[1], "main?subprotocol=b", subprotocols=["a", "b"]) as client:  # type: ignore[list-item]
        assert client.subprotocol == "b"


async def test_without_a_connect_route_everybody_may_come(scene: Scene) -> None:
    async with client_of(scene[1], "bare") as client:
        assert json.loads(await asked(client, "{}"))["message"] == "Forbidden"


async def test_a_stage_that_is_not_there_is_forbidden(scene: Scene) -> None:
    assert await refused(scene[1], "nowhere") == (403, {"message": "Forbidden"})


# Case 10, as far as sockets show it.


async def test_an_authorizer_decides_and_its_context_stays(scene: Scene) -> None:
    app, node = scene
    headers = {"Auth123": "good"}
    async with client_of(node, "auth?mark=good", additional_headers=headers) as client:
        assert await asked(client, "echo") == "$default: echo"
    connection = app.connection_of("good")
    await app.end_of(connection)
    for kind in ("CONNECT", "MESSAGE", "DISCONNECT"):
        authorizer = app.of(connection, kind)[0]["requestContext"]["authorizer"]
        assert (authorizer["principalId"], authorizer["tier"], authorizer["level"]) == ("ada", "gold", 3)
    asked_ = app.authorized[-1]
    assert (asked_["type"], asked_["methodArn"].split(":")[-1]) == ("REQUEST", "auth/auth/$connect")
    assert (asked_["headers"]["Connection"], asked_["headers"]["content-length"]) == ("Upgrade", "0")
    assert asked_["stageVariables"] == {}


@pytest.mark.parametrize(("shown", "status"), [(None, 401), ("bad", 403), ("crash", 500)])
async def test_an_authorizer_s_refusals(scene: Scene, shown: str | None, status: int) -> None:
    headers = {} if shown is None else {"Auth123": shown}
    assert (await refused(scene[1], "auth", additional_headers=headers))[0] == status


# Case 11: which route a message takes.


@pytest.mark.parametrize(
    ("stage", "message", "route"),
    [
        ("paths", {"a": "chat", "b": {"c": ["x", "join"]}}, "chat/join"),
        ("paths", {"a": "chat"}, "chat/"),
        ("paths", {"a": "chat", "b": {"c": ["x"]}}, "chat/"),
        ("paths", {"b": {"c": [0, 1]}}, "/1"),
        ("paths", {"a": "chat", "b": {"c": ["x", "leave"]}}, None),
        ("paths", [], None),
        ("paths", "no JSON", None),
        ("plain", "no JSON", "fixed"),
        ("plain", {"action": "other"}, "fixed"),
        ("dollar", {"action": "other"}, "$default"),
        ("main", {"action": ["getClientInfo"]}, "$default"),
    ],
)
async def test_the_route_of_a_message(scene: Scene, stage: str, message: object, route: str | None) -> None:
    async with client_of(scene[1], stage) as client:
        told = await asked(client, message)
        if route is None:
            assert json.loads(told)["message"] == "Forbidden"
            assert json.loads(await asked(client, message))["message"] == "Forbidden", "still open"
        else:
            assert told.startswith(f"{route}: ")


# Case 12: what is answered.


async def test_one_way_says_nothing_and_two_way_answers(scene: Scene) -> None:
    app, node = scene
    async with client_of(node, "main") as client:
        await client.send('{"action": "oneWay", "n": 1}')
        assert await asked(client, "two-way") == "$default: two-way"
    await eventually(lambda: any(event.get("body") == '{"action": "oneWay", "n": 1}' for event in app.events))


async def test_an_integration_that_takes_too_long(scene: Scene) -> None:
    async with client_of(scene[1], "main") as client:
        assert json.loads(await asked(client, {"action": "slow"}))["message"] == "Endpoint request timed out"
        assert await asked(client, "still open") == "$default: still open"


# Case 14: the end.


@pytest.mark.parametrize("stage", ["brief", "old"])
async def test_an_idle_or_old_connection_goes_away(scene: Scene, stage: str) -> None:
    app, node = scene
    async with client_of(node, f"{stage}?mark={stage}", ping_interval=None) as client:
        assert await closed(client) == (1001, "Going away")
    assert await app.end_of(app.connection_of(stage)) == (1001, "Going away")


@pytest.mark.parametrize(
    ("sent", "code"),
    [(b"\x00", 1003), ("x" * 33_000, 1009), (["y" * 32_000] * 5, 1009)],
    ids=["binary", "frame", "message"],
)
async def test_what_the_limits_do_not_let_in(scene: Scene, sent: Any, code: int) -> None:
    app, node = scene
    async with opened(node) as (client, connection):
        with contextlib.suppress(ConnectionClosed):
            await client.send(sent)
        assert (await closed(client))[0] == code
    assert (await app.end_of(connection))[0] == code


async def test_a_client_that_closes_without_a_code(scene: Scene) -> None:
    app, node = scene
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(
        b"GET /main?mark=bare HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x88\x80\0\0\0\0")
    assert await reader.read() == b"\x88\x00"
    writer.close()
    assert await app.end_of(app.connection_of("bare")) == (1005, "Client-side close frame status not set")


async def test_the_relaxed_profile_takes_binary_messages(scene: Scene) -> None:
    async with client_of(scene[1], "relaxed") as client:
        await client.send(b"\x00\xff")
        assert await heard(client) == "$default: AP8="
        assert any(event.get("body") == "AP8=" and event["isBase64Encoded"] for event in scene[0].events)
