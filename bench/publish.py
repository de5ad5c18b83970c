"""Publish: acknowledged messages a second over one realtime connection and over HTTP, beside bare work in the same run.

The references: the publish script itself in a loop on the node's own engine, one message a call, pipelined and one by
one; and for HTTP a FastAPI route that does nothing, driven by the same load generator.
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import redis

from bench.processes import HOST, Node, node, reference
from bench.report import Report, Target
from bench.sockets import Frames, connect, frame, request_answer
from broker.messages import Kind, Message, pack
from broker.names import TopicName
from broker.store import scripts, wire
from broker.store.base import MAX_ANNOUNCED_BYTES, AppendRequest, PublisherSequence
from broker.store.keys import Keys
from broker.store.once import ONCE_BOUNDS

TOPIC = "default/bench/publish"
SCRIPT_TOPIC = "default/bench/script"
HTTP_TOPIC = "default/bench"
WINDOW = 1000
"""Publishes in flight over one realtime connection; below what a node allows."""
HTTP_CONNECTIONS = 64
PIPELINE = 100
"""Script calls in one write of the reference."""


async def realtime(running: Node, *, size: int, seconds: float) -> tuple[float, list[str]]:
    """Return acknowledged publishes a second over one connection with `WINDOW` in flight, and what went wrong."""
    socket = await connect(running.url, running.token)
    text = "x" * size
    sent = answered = 0
    positions: list[int] = []
    faults: list[str] = []
    deadline = time.monotonic() + seconds
    finished = asyncio.Event()

    def send(count: int) -> None:
        nonlocal sent
        ops = [
            frame({"op": "publish", "id": n, "topic": TOPIC, "text": text, "publisher": "bench", "seq": n})
            for n in range(sent + 1, sent + count + 1)
        ]
        socket.transport.write(b"".join(ops))
        sent += count

    def on_text(answer: bytes) -> None:
        nonlocal answered
        if b'"op":"published"' in answer:
            answered += 1
            at = answer.index(b'"offset":') + 9
            positions.append(int(answer[at:].partition(b",")[0].partition(b"}")[0]))
        elif b'"op":"error"' in answer:
            faults.append(answer.decode())
            finished.set()

    frames = Frames(on_text)

    def receive(chunk: bytes) -> None:
        frames.receive(chunk)
        if time.monotonic() < deadline:
            send(WINDOW - (sent - answered))
        elif answered == sent:
            finished.set()

    socket.receive = receive
    started = time.monotonic()
    send(WINDOW)
    await asyncio.wait_for(finished.wait(), seconds + 30)
    elapsed = time.monotonic() - started
    socket.transport.abort()
    if len(set(positions)) != len(positions) or len(positions) != sent:
        faults.append(f"{sent} published, {len(set(positions))} different positions answered")
    if positions != sorted(positions):
        faults.append("the answers are out of order")
    return answered / elapsed, faults


async def http_rate(
    port: int, request: bytes | Callable[[], bytes], *, seconds: float, connections: int = HTTP_CONNECTIONS
) -> float:
    """Return requests a second over kept-alive connections, one request in flight each; only 200s count.

    A `request` that is a function makes each of them.
    """
    make = request if callable(request) else lambda: request
    deadline = time.monotonic() + seconds
    answered = 0

    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.buffer = b""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            # uvloop's transports are not asyncio's by type.
            self.transport = cast(asyncio.Transport, transport)
            self.transport.write(make())

        def data_received(self, data: bytes) -> None:
            nonlocal answered
            self.buffer += data
            head, end, body = self.buffer.partition(b"\r\n\r\n")
            if not end or len(body) < _content_length(head):
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self.done.set_exception(ConnectionError(head.partition(b"\r\n")[0].decode()))
                return
            self.buffer = b""
            answered += 1
            if time.monotonic() < deadline:
                self.transport.write(make())
            else:
                self.transport.abort()
                self.done.set_result(None)

    loop = asyncio.get_running_loop()
    started = time.monotonic()
    clients = [(await loop.create_connection(Client, HOST, port))[1] for _ in range(connections)]
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), seconds + 30)
    return answered / (time.monotonic() - started)


def _content_length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + 15
    return int(head[at:].partition(b"\r\n")[0])


def http_request(path: str, body: bytes, token: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nx-api-key: {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def publish_request(token: str, size: int) -> bytes:
    data = (b"eHh4" * (size // 3 + 1))[: size * 4 // 12 * 4]
    body = b'{"messages":[{"data":"' + data + b'"}]}'
    return http_request("/v1/projects/default/topics/bench:publish", body, token)


class ScriptLoop:
    """The bare script loop: `publish.lua`, one message a call, with a publisher's sequence number as a client's has."""

    def __init__(self, running: Node, size: int) -> None:
        self._redis = redis.Redis(unix_socket_path=str(running.data / "engine.sock"))
        self._keys = Keys().topic(TopicName(SCRIPT_TOPIC))
        self._envelope = pack(Message(Kind.TEXT, b"x" * size))
        self._sequence = 0

    def rate(self, seconds: float, *, pipelined: int) -> float:
        """Return calls a second with so many in one write."""
        started, calls = time.monotonic(), 0
        while time.monotonic() - started < seconds:
            with self._redis.pipeline(transaction=False) as pipeline:
                for _ in range(pipelined):
                    pipeline.evalsha(scripts.PUBLISH.digest, 3, *self._call())
                pipeline.execute()
            calls += pipelined
        return calls / (time.monotonic() - started)

    def _call(self) -> tuple[bytes | str | int, ...]:
        self._sequence += 1
        once = PublisherSequence("bench", "loop", self._sequence)
        request = wire.publish_args([AppendRequest((self._envelope,), once, self._sequence.to_bytes(16, "big"))])
        keys, bounds = self._keys, ONCE_BOUNDS
        return (
            *(keys.log, keys.meta, keys.once, keys.live),
            *(MAX_ANNOUNCED_BYTES, bounds.max_records, bounds.max_age_ms),
            *request,
        )


async def create_topics(running: Node) -> None:
    """Publish once to each topic, so that none is created while the clock runs."""
    socket = await connect(running.url, running.token)
    for topic in (TOPIC, SCRIPT_TOPIC, HTTP_TOPIC):
        await request_answer(socket, {"op": "publish", "id": 1, "topic": topic, "text": "first"}, "published")
    socket.transport.abort()


async def publish(*, size: int, seconds: float) -> Report:
    """Measure the node and its references, one after the other."""
    report = Report("publish", {"payload bytes": size, "seconds": seconds}, ("what", "acknowledged/s"))
    with node() as running:
        await create_topics(running)
        loop = ScriptLoop(running, size)
        bare = loop.rate(seconds, pipelined=PIPELINE)
        report.rows.append((f"bare script loop, {PIPELINE} in a write", bare))
        report.rows.append(("bare script loop, one by one", loop.rate(seconds, pipelined=1)))
        rate, faults = await realtime(running, size=size, seconds=seconds)
        report.faults += faults
        report.rows.append((f"realtime, one connection, {WINDOW} in flight", rate))
        port = int(running.url.rpartition(":")[2])
        http = await http_rate(port, publish_request(running.token, size), seconds=seconds)
        report.rows.append((f"HTTP :publish, one message a request, {HTTP_CONNECTIONS} connections", http))
    with reference("http") as (port, _):
        nothing = await http_rate(port, http_request("/nothing", b"{}", ""), seconds=seconds)
        report.rows.append((f"FastAPI route that does nothing, {HTTP_CONNECTIONS} connections", nothing))
    report.targets.append(Target("realtime against the bare script loop", rate / bare, 0.25, at_least=True))
    report.targets.append(Target("HTTP :publish against an empty FastAPI route", http / nothing, 1.0, at_least=True))
    return report
