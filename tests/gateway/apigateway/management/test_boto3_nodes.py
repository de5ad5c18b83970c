"""boto3 and the JavaScript SDK against two real nodes, with real sockets (contracts/apigateway 17: 1, 3 to 8, 16)."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import nodes
import npm
import pytest
import servers
from botocore.exceptions import ClientError
from management import JS_PACKAGE, JS_SCRIPT, KEY, SECRET, apart, boto, signed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

POLICY = {"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": "arn:aws:execute-api:*"}
PATIENCE_SECONDS = 10


class Asking(ThreadingHTTPServer):
    """A back end that posts to a connection while its `$connect` runs, as applications try to."""

    endpoint = ""
    outcomes: ClassVar[list[str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server = self.server
            assert isinstance(server, Asking)
            event = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if event["requestContext"]["eventType"] == "CONNECT":
                server.ask(event["requestContext"]["connectionId"])
            answer = b'{"statusCode": 200}'
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), self.Handler)

    def ask(self, connection: str) -> None:
        try:
            boto(self.endpoint).post_to_connection(ConnectionId=connection, Data=b"too early")
            self.outcomes.append("written")
        except ClientError as error:
            self.outcomes.append(error.response["Error"]["Code"])


@pytest.fixture(scope="module")
def backend() -> Iterator[Asking]:
    with Asking() as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        yield server
        server.shutdown()
        running.join()


@pytest.fixture(scope="module")
def both(backend: Asking) -> Iterator[list[nodes.Node]]:
    quiet = {"routes": {"$connect": {"integration": {"type": "mock"}}}, "limits": {"buffer_bytes": 65_536}}
    asking = {"routes": {"$connect": {"integration": {"uri": f"http://127.0.0.1:{backend.server_port}/"}}}}
    apis = [
        {"name": "chat", "stages": ["prod", "test"], **quiet},
        {"name": "eager", "stage": "eager", **asking},
        {"name": "first", "stage": "v1", "path": "/ws/v1", **quiet},
    ]
    env = {
        "HEADRACE_APIGATEWAY_APIS": json.dumps(apis),
        # Longer than a node is stopped here, however busy the machine is: nobody is held to be gone.
        "HEADRACE_LEASE_SECONDS": "30",
        "HEADRACE_APIGATEWAY_CREDENTIALS": json.dumps([{"access_key": KEY, "secret": SECRET, "policy": [POLICY]}]),
    }
    with servers.valkey() as redis, nodes.on(redis, count=2, env=env) as started:
        yield started


@pytest.fixture(params=["owner", "other"])
def client(both: list[nodes.Node], request: pytest.FixtureRequest) -> Any:
    """boto3 at the node that has the socket, and at the other."""
    return boto(f"{both[0 if request.param == 'owner' else 1].url}/prod")


@contextlib.asynccontextmanager
async def opened(node: nodes.Node, path: str = "/prod") -> AsyncIterator[tuple[ClientConnection, str]]:
    """Open a connection and learn its id: a message that no route takes is answered with it."""
    async with connect(f"ws://127.0.0.1:{node.port}{path}", user_agent_header="tests/1") as websocket:
        await websocket.send("who am I?")
        told = json.loads(await heard(websocket))
        assert told["message"] == "Forbidden"
        yield websocket, told["connectionId"]


async def heard(websocket: ClientConnection) -> str | bytes:
    return await asyncio.wait_for(websocket.recv(), PATIENCE_SECONDS)


async def test_what_is_posted_arrives_in_order(both: list[nodes.Node], client: Any) -> None:
    async with opened(both[0]) as (websocket, connection):
        for data in (b'{"a": 1}', "tëxt", b"", "x" * 131_072, "last"):
            answer = await apart(client.post_to_connection, ConnectionId=connection, Data=data)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
        seen = [await heard(websocket) for _ in range(5)]
    assert seen == ['{"a": 1}', "tëxt", "", "x" * 131_072, "last"]


async def test_what_is_no_text_is_a_bad_request_where_the_api_has_only_text(
    both: list[nodes.Node], client: Any
) -> None:
    async with opened(both[0]) as (_, connection):
        with pytest.raises(client.exceptions.ClientError) as raised:
            await apart(client.post_to_connection, ConnectionId=connection, Data=b"\xff\x00")
        assert raised.value.response["Error"]["Code"] == "BadRequestException"


async def test_a_connection_is_shown(both: list[nodes.Node], client: Any) -> None:
    started = time.time()
    async with opened(both[0]) as (_, connection):
        shown = await apart(client.get_connection, ConnectionId=connection)
        again = await apart(client.get_connection, ConnectionId=connection)
    assert shown["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "tests/1"}
    assert started - 1 <= shown["ConnectedAt"].timestamp() <= shown["LastActiveAt"].timestamp() <= time.time() + 1
    assert shown["LastActiveAt"] == again["LastActiveAt"], "to look at a connection is no activity of its"


async def test_a_deleted_connection_is_closed_and_gone(both: list[nodes.Node], client: Any) -> None:
    async with opened(both[0]) as (websocket, connection):
        answer = await apart(client.delete_connection, ConnectionId=connection)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
        with pytest.raises(ConnectionClosed):
            await heard(websocket)
        assert websocket.close_code == 1000
        for call, data in ((client.post_to_connection, {"Data": b"x"}), (client.get_connection, {})):
            with pytest.raises(client.exceptions.GoneException):
                await apart(call, ConnectionId=connection, **data)


async def test_a_closed_connection_is_gone(both: list[nodes.Node], client: Any) -> None:
    async with opened(both[0]) as (_, connection):
        pass
    with pytest.raises(client.exceptions.GoneException):
        await apart(client.post_to_connection, ConnectionId=connection, Data=b"x")


async def test_ids_of_nobody(both: list[nodes.Node], client: Any) -> None:
    with pytest.raises(client.exceptions.GoneException):
        await apart(client.post_to_connection, ConnectionId="L0SM9cOFvHcCIhw=", Data=b"x")
    with pytest.raises(client.exceptions.ClientError) as raised:
        await apart(client.post_to_connection, ConnectionId="nobody", Data=b"x")
    assert raised.value.response["Error"]["Code"] == "BadRequestException"


async def test_a_connection_of_another_stage_is_forbidden(both: list[nodes.Node], client: Any) -> None:
    async with opened(both[0], "/test") as (_, connection):
        for call, data in (
            (client.post_to_connection, {"Data": b"x"}),
            (client.get_connection, {}),
            (client.delete_connection, {}),
        ):
            with pytest.raises(client.exceptions.ForbiddenException):
                await apart(call, ConnectionId=connection, **data)
        for path in ("/test", "", "/a/b"):
            await apart(boto(both[1].url + path).get_connection, ConnectionId=connection)


async def test_a_stage_whose_name_is_a_path_of_the_node_is_posted_to_by_its_name(both: list[nodes.Node]) -> None:
    # Back ends build the endpoint from the event: https://{domainName}/{stage}.
    async with opened(both[0], "/ws/v1") as (websocket, connection):
        for path in ("/v1", "/ws/v1"):
            await apart(boto(both[1].url + path).post_to_connection, ConnectionId=connection, Data=path)
            assert await heard(websocket) == path


@pytest.mark.parametrize("number", [0, 1])
async def test_a_connection_is_gone_until_its_connect_has_ended_and_open_right_after(
    both: list[nodes.Node], backend: Asking, number: int
) -> None:
    backend.endpoint = f"{both[number].url}/eager"
    backend.outcomes.clear()
    async with opened(both[0], "/eager") as (websocket, connection):
        assert backend.outcomes == ["GoneException"]
        await apart(boto(backend.endpoint).post_to_connection, ConnectionId=connection, Data=b"in time")
        assert await heard(websocket) == "in time"


async def test_a_repeated_post_is_written_once_through_whichever_node(both: list[nodes.Node]) -> None:
    async with opened(both[0]) as (websocket, connection), httpx.AsyncClient() as http:
        for number, node in enumerate((both[1], both[0], both[1])):
            url = f"{node.url}/prod/@connections/{connection.replace('=', '%3D')}"
            headers = {
                "amz-sdk-invocation-id": "6a1f0e7c-3f0e-4f0b-9d55-6f1b0f6f3a11",
                "amz-sdk-request": f"attempt={number}",
            }
            assert (await http.send(signed("POST", url, b"once", headers=headers))).status_code == 200
        await apart(boto(both[1].url).post_to_connection, ConnectionId=connection, Data=b"then")
        assert [await heard(websocket), await heard(websocket)] == ["once", "then"]


async def test_a_post_whose_answer_is_lost_is_repeated_and_written_once(
    both: list[nodes.Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    async with opened(both[0]) as (websocket, connection), losing_answers(both[1], count=2) as port:
        client = boto(f"http://127.0.0.1:{port}/prod", retries={"total_max_attempts": 3, "mode": "legacy"})
        answer = await apart(client.post_to_connection, ConnectionId=connection, Data=b"once")
        assert answer["ResponseMetadata"]["RetryAttempts"] == 2
        await apart(client.post_to_connection, ConnectionId=connection, Data=b"then")
        assert [await heard(websocket), await heard(websocket)] == ["once", "then"]


@pytest.mark.parametrize("mode", ["legacy", "standard"])
async def test_a_post_to_an_owner_that_stands_still_is_repeated_and_written_once(
    both: list[nodes.Node], mode: str
) -> None:
    owner, other = both
    client = boto(f"{other.url}/prod", retries={"total_max_attempts": 3, "mode": mode})
    statuses: list[int] = []

    def go_on(response: Any, **_: object) -> None:
        statuses.append(response[0].status_code)
        owner.resume()

    client.meta.events.register("needs-retry", go_on)
    async with opened(owner) as (websocket, connection):
        owner.pause()
        await apart(client.post_to_connection, ConnectionId=connection, Data=b"once")
        await apart(client.post_to_connection, ConnectionId=connection, Data=b"then")
        assert [await heard(websocket), await heard(websocket)] == ["once", "then"]
    assert statuses == [503, 200, 200]


@contextlib.asynccontextmanager
async def losing_answers(node: nodes.Node, *, count: int) -> AsyncIterator[int]:
    """Stand before a node, and hang up instead of handing out its first `count` answers; gives the port."""
    left = count

    async def stand_between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        to, of = await asyncio.open_connection("127.0.0.1", node.port)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                of.write(head + await reader.readexactly(length))
                answer = await to.readuntil(b"\r\n\r\n")
                left -= 1
                if left >= 0:
                    break
                writer.write(answer)
        of.close()
        writer.close()

    server = await asyncio.start_server(stand_between, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_the_javascript_sdk_through_either_node(both: list[nodes.Node], request: pytest.FixtureRequest) -> None:
    sdk = npm.installed(request.config.cache.mkdir("npm"), JS_PACKAGE)
    for node in both:
        async with opened(both[0]) as (websocket, connection):
            told = await apart(
                npm.run,
                folder=sdk,
                script=JS_SCRIPT,
                arguments=(f"{node.url}/prod", connection, "L0SM9cOFvHcCIhw="),
                environment={"KEY": KEY, "SECRET": SECRET},
            )
            seen = json.loads(told)
            assert [await heard(websocket) for _ in range(3)] == ["héllo", "", "x" * 131_072]
            with pytest.raises(ConnectionClosed):
                await heard(websocket)
        assert [seen[name]["status"] for name in ("text", "empty", "most", "shown", "deleted")] == [200] * 4 + [204]
        assert (seen["gone"]["known"], seen["goneThen"]["known"]) == ("GoneException", "GoneException")
        assert seen["tooMuch"]["known"] == "PayloadTooLargeException"
        # The API has text messages only.
        assert (seen["bytes"]["name"], seen["bytes"]["status"]) == ("BadRequestException", 400)
        assert seen["shown"]["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "tests/1"}


async def test_a_reader_that_is_slow_is_a_limit_until_it_reads(both: list[nodes.Node], client: Any) -> None:
    async with opened(both[0]) as (other, other_id):
        reader = Slow(both[0])
        connection = await apart(reader.open)
        sent = 0
        with pytest.raises(client.exceptions.LimitExceededException):
            for _ in range(1000):
                await apart(client.post_to_connection, ConnectionId=connection, Data=b"x" * 100_000)
                sent += 1
        await apart(client.post_to_connection, ConnectionId=other_id, Data=b"still")
        assert await heard(other) == "still"
        await apart(reader.read_messages, count=sent, size=100_000)
        await apart(client.post_to_connection, ConnectionId=connection, Data=b"y" * 100_000)
        await apart(reader.read_messages, count=1, size=100_000)
        reader.socket.close()


class Slow:
    """A client with a small buffer, which reads when it is told to."""

    def __init__(self, node: nodes.Node) -> None:
        self._node = node
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(PATIENCE_SECONDS)

    def open(self) -> str:
        self.socket.connect(("127.0.0.1", self._node.port))
        self.socket.sendall(
            f"GET /prod HTTP/1.1\r\nHost: 127.0.0.1:{self._node.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: aGVhZHJhY2UgYmVuY2ghIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        seen = b""
        while not seen.endswith(b"\r\n\r\n"):
            seen += self.socket.recv(1)
        self.socket.sendall(b"\x81\x81\0\0\0\0?")
        told = b""
        while not told.endswith(b"}"):
            told += self.socket.recv(1)
        return str(json.loads(told[told.index(b"{") :])["connectionId"])

    def read_messages(self, count: int, size: int) -> None:
        """Read so many messages of `size` bytes, in frames of at most 32 KiB."""
        frames = -(-size // 32_768)
        left = count * (size + 4 * frames)
        while left > 0:
            part = self.socket.recv(min(left, 65_536))
            assert part
            left -= len(part)
