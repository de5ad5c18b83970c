"""An application of Python functions behind real WebSockets: what its answers become on the wire.

contracts/apigateway 17, cases 8 to 12: handshakes, authorizers, routes, answers and error frames.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nodes
import pytest
from nodes import Node
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from gateway.options import Secret
from gateway.tokens import mint

SECRET_KEY = "a secret key for the tests of an application".replace(" ", "-")
PATIENCE_SECONDS = 15.0

APPLICATION = '''
import json
import time
import urllib.error
import urllib.request

ENDS = []


def post(event, data):
    """Call the management API as the documentation says; return the status."""
    context = event["requestContext"]
    url = f"http://{context['domainName']}/{context['stage']}/@connections/{context['connectionId']}"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, data=data, method="POST"), timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def connect(event, context):
    query = event.get("queryStringParameters", {})
    status = query.get("status", "200")
    if status == "raise":
        raise ValueError("no")
    if status == "hang":
        time.sleep(5)
    if status == "none":
        return None
    answer = {"statusCode": int(status), "headers": {}}
    if "protocol" in query:
        answer["headers"]["Sec-WebSocket-Protocol"] = query["protocol"]
    if "post" in query:
        answer["tags"] = {"posted": str(post(event, b"too early"))}
    return answer


def authorize(event, context):
    token = event["queryStringParameters"]["token"]
    if token == "unauthorized":
        raise Exception("Unauthorized")
    if token == "crash":
        raise ValueError("crash")
    if token == "nobody":
        return {}
    effect = "Allow" if token == "allow" else "Deny"
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": event["methodArn"]}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": "ada", "policyDocument": policy, "context": {"room": "blue"}}


async def echo(event, context):
    return {"statusCode": 200, "body": json.dumps(event)}


def fail(event, context):
    raise ValueError("no")


def hang(event, context):
    time.sleep(5)


def back(event, context):
    post(event, b"posted")
    return {"statusCode": 200, "body": "never sent"}


def disconnect(event, context):
    ENDS.append(event)


def ends(event, context):
    return {"statusCode": 200, "body": json.dumps(ENDS)}
'''

ROUTES = {
    "$connect": {"integration": {"handler": "app_of_tests:connect", "timeout_ms": 300}},
    "$disconnect": {"integration": {"handler": "app_of_tests:disconnect"}},
    "echo": {"integration": {"handler": "app_of_tests:echo"}, "route_response": True},
    "quiet": {"integration": {"handler": "app_of_tests:echo"}},
    "fail": {"integration": {"handler": "app_of_tests:fail"}},
    "hang": {"integration": {"handler": "app_of_tests:hang", "timeout_ms": 100}},
    "back": {"integration": {"handler": "app_of_tests:back"}},
    "ends": {"integration": {"handler": "app_of_tests:ends"}, "route_response": True},
    "checked": {"integration": {"handler": "app_of_tests:echo"}, "route_response": True, "model": "checked"},
    "ping": {"integration": {"type": "mock", "response": "pong"}, "route_response": True},
}
SOURCES = ["route.request.querystring.token"]
APIS = [
    {"name": "open", "stage": "open", "routes": ROUTES, "models": {"checked": {"required": ["text"]}}},
    {
        "name": "guarded",
        "stage": "guarded",
        "routes": {key: ROUTES[key] for key in ("$disconnect", "echo", "ends")},
        "authorizer": {"handler": "app_of_tests:authorize", "identity_sources": SOURCES},
    },
    {"name": "tokens", "stage": "tokens", "routes": {"echo": ROUTES["echo"]}, "authorizer": {"type": "jwt"}},
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder: Path = tmp_path_factory.mktemp("application")
    (folder / "app_of_tests.py").write_text(APPLICATION)
    env = {
        "PYTHONPATH": str(folder),
        "HEADRACE_APIGATEWAY_APIS": json.dumps(APIS),
        "HEADRACE_APIGATEWAY_OPEN": "true",
        "HEADRACE_SECRET_KEY": SECRET_KEY,
    }
    with nodes.node(env=env) as one:
        yield one


def url(node: Node, path: str) -> str:
    return f"ws://127.0.0.1:{node.port}{path}"


async def heard(websocket: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(websocket.recv(), PATIENCE_SECONDS)


async def asked(websocket: ClientConnection, action: str, **members: object) -> Any:
    await websocket.send(json.dumps({"action": action, **members}))
    return json.loads(await heard(websocket))


async def refused(node: Node, path: str) -> tuple[int, Any]:
    with pytest.raises(InvalidStatus) as error:
        await connect(url(node, path))
    response = error.value.response
    return response.status_code, json.loads(response.body or b"")


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("status=400", 400, "Bad Request"),
        ("status=401", 401, "Unauthorized"),
        ("status=403", 403, "Forbidden"),
        ("status=500", 500, "Internal server error"),
        ("status=raise", 502, "Internal server error"),
        ("status=none", 502, "Internal server error"),
        ("status=hang", 504, "Endpoint request timed out"),
    ],
)
async def test_connect_decides_how_the_handshake_is_answered(node: Node, query: str, status: int, message: str) -> None:
    assert await refused(node, f"/open?{query}") == (status, {"message": message})


async def test_connect_chooses_the_subprotocol_or_there_is_none(node: Node) -> None:
    async with connect(url(node, "/open?protocol=chat"), subprotocols=["other", "chat"]) as websocket:  # type: ignore[list-item]
        assert websocket.subprotocol == "chat"
    async with connect(url(node, "/open/"), subprotocols=["chat"]) as websocket:  # type: ignore[list-item]
        assert websocket.subprotocol is None


async def test_a_post_from_within_connect_finds_nobody(node: Node) -> None:
    async with connect(url(node, "/open?post=1")) as websocket:
        context = (await asked(websocket, "echo"))["requestContext"]
        listed = await called(node, "GET", "/headrace/v1/connections?api=open")
        (one,) = [one for one in listed["connections"] if one["connection"] == context["connectionId"]]
        assert one["tags"] == {"posted": "410"}


async def called(node: Node, method: str, path: str) -> Any:
    async with httpx.AsyncClient(base_url=node.url, headers=node.headers, timeout=PATIENCE_SECONDS) as http:
        answer = await http.request(method, path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("?token=deny", 403, "Forbidden"),
        ("?token=nobody", 403, "Forbidden"),
        ("?token=unauthorized", 401, "Unauthorized"),
        ("?token=", 401, "Unauthorized"),
        ("", 401, "Unauthorized"),
        ("?token=crash", 500, "Internal server error"),
    ],
)
async def test_an_authorizer_keeps_out(node: Node, query: str, status: int, message: str) -> None:
    assert await refused(node, f"/guarded{query}") == (status, {"message": message})


async def test_what_the_authorizer_says_shows_until_the_end(node: Node) -> None:
    shown = {"principalId": "ada", "room": "blue"}
    async with connect(url(node, "/guarded?token=allow")) as websocket:
        context = (await asked(websocket, "echo"))["requestContext"]
        assert context["authorizer"] == shown
    async with connect(url(node, "/guarded?token=allow")) as websocket:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (ends := await ends_of(websocket, context["connectionId"])):
                await asyncio.sleep(0.05)
    (end,) = ends
    assert end["requestContext"]["authorizer"] == shown
    assert (end["requestContext"]["eventType"], end["requestContext"]["disconnectStatusCode"]) == ("DISCONNECT", 1000)


async def ends_of(websocket: ClientConnection, connection: str) -> list[Any]:
    return [end for end in await asked(websocket, "ends") if end["requestContext"]["connectionId"] == connection]


async def test_a_token_of_the_node_opens(node: Node) -> None:
    token = mint(Secret(SECRET_KEY), subject="ada", lifetime_seconds=600, now_ms=time.time_ns() // 1_000_000)
    async with connect(url(node, f"/tokens?token={token}")) as websocket:
        authorizer = (await asked(websocket, "echo"))["requestContext"]["authorizer"]
        assert (authorizer["principalId"], authorizer["sub"]) == ("ada", "ada")
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(url(node, "/tokens"), additional_headers=headers):
        pass
    for query in ("", "?token=x", f"?token={token}x"):
        assert await refused(node, f"/tokens{query}") == (401, {"message": "Unauthorized"})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("unknown", "Forbidden"),
        ("fail", "Internal server error"),
        ("hang", "Endpoint request timed out"),
        ("checked", "Bad request body"),
    ],
)
async def test_failures_are_told_and_the_connection_stays_open(node: Node, action: str, message: str) -> None:
    async with connect(url(node, "/open")) as websocket:
        connection = (await asked(websocket, "echo"))["requestContext"]["connectionId"]
        error = await asked(websocket, action)
        assert list(error) == ["message", "connectionId", "requestId"]
        assert (error["message"], error["connectionId"]) == (message, connection)
        assert len(error["requestId"]) == 16
        await websocket.send('{"action": "ping"}')
        assert await heard(websocket) == "pong"


async def test_only_a_route_with_a_response_answers(node: Node) -> None:
    async with connect(url(node, "/open")) as websocket:
        await websocket.send('{"action": "quiet"}')
        event = await asked(websocket, "echo", text="hi")
        assert json.loads(event["body"]) == {"action": "echo", "text": "hi"}
        assert (await asked(websocket, "checked", text="hi"))["requestContext"]["routeKey"] == "checked"


async def test_a_function_posts_back_by_the_address_in_its_event(node: Node) -> None:
    async with connect(url(node, "/open")) as websocket:
        await websocket.send('{"action": "back"}')
        assert await heard(websocket) == "posted"
        await websocket.send('{"action": "ping"}')
        assert await heard(websocket) == "pong"
