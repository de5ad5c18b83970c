"""Posts to API Gateway connections, beside HTTP `:publish` in the same run.

Each call is what boto3 sends: signed, with an invocation id of its own, over kept-alive connections. They go through
the node that owns the sockets, then through another node of the same cluster. Every post that was answered with 200
must have arrived at its socket: the bytes are counted.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from bench.processes import HOST, Node, node, valkey
from bench.publish import HTTP_CONNECTIONS, http_rate, publish_request
from bench.report import Report, Target
from bench.sockets import HANDSHAKE_SECONDS, LoadSocket, masked

ACCESS_KEY, REGION = "AKIDBENCH", "us-east-1"
STAGE = "bench"
TURN_SECONDS, ARRIVE_TURNS = 0.01, 1000
"""How often, and how many times, the sockets are looked at until what was answered has arrived."""

POLICY = [{"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": "arn:aws:execute-api:*"}]


def environment(secret: str) -> dict[str, str]:
    """Return the configuration of both nodes: one API without a back end, without a throttle, and one access key."""
    routes = {"$connect": {"integration": {"type": "mock"}}}
    api = {"name": STAGE, "stage": STAGE, "routes": routes, "limits": {"requests_per_second": 0}}
    return {
        "HEADRACE_SECRET_KEY": secrets.token_hex(32),
        "HEADRACE_AUTO_CREATE": "all",
        "HEADRACE_APIGATEWAY_APIS": json.dumps([api]),
        "HEADRACE_APIGATEWAY_CREDENTIALS": json.dumps([{"access_key": ACCESS_KEY, "secret": secret, "policy": POLICY}]),
    }


class Receiver:
    """A client of the API: it learns its connection's id, then counts what it receives."""

    def __init__(self) -> None:
        self.connection = ""
        self.received = 0
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._text = b""

    async def connect(self, url: str) -> None:
        """A message that no route takes is answered with an error frame, which names the connection."""
        parts = urlsplit(url)
        request = (
            f"GET /{STAGE} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: aGVhZHJhY2UgYmVuY2ghIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        _, self.socket = await asyncio.get_running_loop().create_connection(
            lambda: LoadSocket(request), parts.hostname or HOST, parts.port or 80
        )
        self.socket.receive = self._be_told
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await asyncio.shield(self.socket.opened)
            self.socket.transport.write(masked(b"who am I"))
            await self._told

    def _be_told(self, chunk: bytes) -> None:
        self._text += chunk
        if self._text.endswith(b"}"):
            self.connection = json.loads(self._text[self._text.index(b"{") :])["connectionId"]
            self.socket.receive = self._count
            self._told.set_result(None)

    def _count(self, chunk: bytes) -> None:
        self.received += len(chunk)


def signed_request(url: str, connection: str, body: bytes, secret: str, now: datetime) -> Callable[[], bytes]:
    """Return a maker of calls as boto3 signs them: host and date only, so that each may have its own invocation id."""
    host = urlsplit(url).netloc
    path = f"/{STAGE}/@connections/{quote(connection)}"
    moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/{REGION}/execute-api/aws4_request"
    canonical = (
        f"POST\n{quote(path, safe='/~')}\n\nhost:{host}\nx-amz-date:{moment}\n\nhost;x-amz-date\n"
        f"{hashlib.sha256(body).hexdigest()}"
    )
    told = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), told):
        key = hmac.digest(key, part.encode(), "sha256")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\nX-Amz-Date: {moment}\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders=host;x-amz-date, "
        f"Signature={key.hex()}\r\namz-sdk-request: attempt=1\r\nContent-Length: {len(body)}\r\n"
        "amz-sdk-invocation-id: 00000000-0000-0000-"
    ).encode()
    run, numbers = secrets.token_hex(2), itertools.count()
    return lambda: head + f"{run}-{next(numbers):012x}\r\n\r\n".encode() + body


async def post_rate(
    running: Node, receivers: list[Receiver], *, size: int, seconds: float, secret: str
) -> tuple[float, list[str]]:
    """Return posts a second through a node, and what did not arrive."""
    body, now = b"x" * size, datetime.now(UTC)
    makers = [signed_request(running.url, each.connection, body, secret, now) for each in receivers]
    turns, sent = itertools.cycle(makers), 0

    def make() -> bytes:
        nonlocal sent
        sent += 1
        return next(turns)()

    before = sum(each.received for each in receivers)
    rate = await http_rate(int(running.url.rpartition(":")[2]), make, seconds=seconds)
    frame = size + (2 if size < 126 else 4)
    for _ in range(ARRIVE_TURNS):
        if sum(each.received for each in receivers) - before >= sent * frame:
            break
        await asyncio.sleep(TURN_SECONDS)
    arrived = (sum(each.received for each in receivers) - before) / frame
    return rate, [] if arrived == sent else [f"{sent} posts were answered, {arrived:g} arrived"]


async def post(*, size: int, seconds: float, sockets: int) -> Report:
    """Measure `:publish`, posts through the owner, and posts through another node."""
    settings: dict[str, object] = {"payload bytes": size, "seconds": seconds, "sockets": sockets}
    report = Report("post", settings, ("what", "acknowledged/s"))
    secret = secrets.token_hex(20)
    env = environment(secret)
    with valkey() as redis, node(redis=redis, env=env) as owner:
        receivers = [Receiver() for _ in range(sockets)]
        for each in receivers:
            await each.connect(owner.url)
        port = int(owner.url.rpartition(":")[2])
        publishing = await http_rate(port, publish_request(owner.token, size), seconds=seconds)
        report.rows.append((f"HTTP :publish, one message a request, {HTTP_CONNECTIONS} connections", publishing))
        direct, faults = await post_rate(owner, receivers, size=size, seconds=seconds, secret=secret)
        report.faults += faults
        report.rows.append((f"post_to_connection through the owner, {HTTP_CONNECTIONS} connections", direct))
        with node(redis=redis, env=env) as other:
            through, faults = await post_rate(other, receivers, size=size, seconds=seconds, secret=secret)
        report.faults += faults
        report.rows.append((f"post_to_connection through another node, {HTTP_CONNECTIONS} connections", through))
        for each in receivers:
            each.socket.transport.abort()
    report.targets.append(Target("posts through the owner against :publish", direct / publishing, 0.5, at_least=True))
    report.targets.append(Target("posts through another node against the owner", through / direct, 0.5, at_least=True))
    return report
