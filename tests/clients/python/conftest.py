"""A scripted node: speaks the realtime protocol from memory, and misbehaves on request."""

import asyncio
import http
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgpack
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from headrace import Schedule

EPOCH = 1_000


@dataclass
class Topic:
    entries: list[dict[str, object]] = field(default_factory=list)
    followers: set[ServerConnection] = field(default_factory=set)
    identities: dict[tuple[object, object], int] = field(default_factory=dict)


class ScriptedNode:
    """Keeps its topics over `stop` and `start`, as the log would be kept."""

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.received: list[dict[str, object]] = []
        self.answer: Callable[[dict[str, object]], dict[str, object] | None] = lambda frame: None
        """Returns a frame to send instead of doing what was asked."""
        self.refused: dict[str, str] = {}
        """Acks that are settled in vain, with their code."""
        self.refuse_status: int | None = None
        self.refusal: object = {}
        self.retry_after = "0"
        self.name = "scripted"
        self.silent = False
        """Says no welcome and answers nothing."""
        self.headers: list[dict[str, str]] = []
        self.spread_ms = 0
        self.servers: list[dict[str, object]] = []
        self.ping_ms = 25_000
        self.mute = False
        self.port = 0
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            subprotocols=["headrace.v1+msgpack", "headrace.v1+json"],  # type: ignore[list-item]
            process_request=self._process_request,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def connections(self) -> set[ServerConnection]:
        return set(self._server.connections) if self._server else set()

    def cut(self) -> None:
        """Break every connection without a word."""
        for connection in self.connections():
            connection.transport.abort()

    async def close(self, code: int, reason: str = "") -> None:
        for connection in self.connections():
            await connection.close(code, reason)

    def topic(self, name: str) -> Topic:
        return self.topics.setdefault(name, Topic())

    def append(self, name: str, text: str) -> int:
        """Store a text and send it to the followers."""
        return self._append(name, {"kind": "text", "data": text.encode()})

    def texts(self, name: str) -> list[str]:
        return [entry["data"].decode() for entry in self.topic(name).entries]  # type: ignore[attr-defined]

    def say(self, frame: dict[str, object]) -> None:
        """Send a frame to every connection."""
        for connection in self.connections():
            self._send(connection, frame)

    def drain(self, *others: "ScriptedNode", spread_ms: int = 0) -> None:
        """Ask every client to go elsewhere, and turn new ones away."""
        self.refuse_status = 503
        servers = [{"url": other.url, "weight": 1} for other in others]
        self.say({"op": "drain", "deadline_ms": 10_000, "spread_ms": spread_ms, "servers": servers})

    def ops(self, op: str) -> list[dict[str, object]]:
        return [frame for frame in self.received if frame["op"] == op]

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(dict(request.headers.raw_items()))
        if self.refuse_status is None:
            return None
        response = connection.respond(http.HTTPStatus(self.refuse_status), json.dumps(self.refusal))
        response.headers["Retry-After"] = self.retry_after
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        if self.silent:
            await connection.wait_closed()
            return
        limits = {"message_bytes": 1_500_000, "frame_bytes": 2_200_000, "subscriptions": 1000, "in_flight": 1024}
        self._send(
            connection,
            {
                "op": "welcome",
                "connection": "c",
                "node": self.name,
                "servers": self.servers,
                "ping_ms": self.ping_ms,
                "spread_ms": self.spread_ms,
                "limits": limits,
            },
        )
        try:
            async for data in connection:
                frame = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
                self.received.append(frame)
                if not self.mute:
                    self._answer(connection, frame)
        finally:
            for topic in self.topics.values():
                topic.followers.discard(connection)

    def _answer(self, connection: ServerConnection, frame: dict[str, object]) -> None:
        scripted = self.answer(frame)
        if scripted is not None:
            self._send(connection, scripted)
            return
        match frame["op"]:
            case "publish":
                self._publish(connection, frame)
            case "subscribe":
                self._subscribe(connection, frame)
            case "unsubscribe":
                self.topic(str(frame["topic"])).followers.discard(connection)
                self._send(connection, {"op": "ok"})
            case "attach":
                self._send(connection, self._attached(frame))
            case "ack" | "nack" | "release" | "extend":
                refused = [{"ack": ack, "code": self.refused[ack]} for ack in frame["acks"] if ack in self.refused]  # type: ignore[attr-defined]
                settled = {"op": "settled", "id": frame["id"], "subscription": frame["subscription"]}
                self._send(connection, settled | {"refused": refused})
            case "ping":
                self._send(connection, {"op": "pong"})
            case _:
                self._send(connection, {"op": "ok"})

    def _attached(self, frame: dict[str, object]) -> dict[str, object]:
        names = {"subscription": frame["subscription"], "topic": "default/lines"}
        return {"op": "attached", "id": frame["id"], **names, "window": frame["window"], "ack_deadline_s": 10}

    def deliver(self, subscription: str, *offsets: int, attempt: int = 1) -> None:
        """Send deliveries to every connection."""
        deliveries = [
            {
                "ack": f"{offset}.{attempt}-t",
                "attempt": attempt,
                "epoch": EPOCH,
                "offset": offset,
                "time": offset,
                "kind": "text",
                "data": str(offset).encode(),
            }
            for offset in offsets
        ]
        frame = {"op": "delivery", "subscription": subscription, "topic": "default/lines", "deliveries": deliveries}
        self.say(frame)

    def _publish(self, connection: ServerConnection, frame: dict[str, object]) -> None:
        topic = self.topic(str(frame["topic"]))
        identity = (frame.get("publisher", ""), frame.get("seq", frame.get("key")))
        known = topic.identities.get(identity)
        offset = known if known is not None else self._append(str(frame["topic"]), _entry(frame))
        topic.identities[identity] = offset
        answer = {"op": "published", "id": frame["id"], "epoch": EPOCH, "offset": offset, "time": offset}
        self._send(connection, answer | ({"duplicate": True} if known is not None else {}))

    def store_silently(self, frame: dict[str, object]) -> dict[str, object]:
        """Store a publish, and lose the answer."""
        topic = self.topic(str(frame["topic"]))
        topic.identities[frame["publisher"], frame["seq"]] = self._append(str(frame["topic"]), _entry(frame))
        return {"op": "pong"}

    def _append(self, name: str, entry: dict[str, object]) -> int:
        topic = self.topic(name)
        topic.entries.append(entry)
        for connection in topic.followers:
            self._send(connection, self._message(name, len(topic.entries) - 1))
        return len(topic.entries) - 1

    def _message(self, name: str, offset: int) -> dict[str, object]:
        entry = self.topic(name).entries[offset]
        return {"op": "message", "topic": name, "epoch": EPOCH, "offset": offset, "time": offset, **entry}

    def _subscribe(self, connection: ServerConnection, frame: dict[str, object]) -> None:
        name = str(frame["topic"])
        topic, since = self.topic(name), frame.get("since", "now")
        end = len(topic.entries) - 1
        match since:
            case "now":
                after = end
            case {"offset": int(offset)}:
                after = offset
            case {"last": int(count)}:
                after = max(end - count, -1)
            case _:
                after = -1
        recovery = "complete" if isinstance(since, dict) and "offset" in since else "none"
        place = {"epoch": EPOCH, "offset": after}
        answer = {"op": "subscribed", "id": frame["id"], "topic": name, "epoch": EPOCH, "offset": end, "after": place}
        self._send(connection, answer | {"recovery": recovery, "missing": []})
        for offset in range(after + 1, end + 1):
            self._send(connection, self._message(name, offset))
        topic.followers.add(connection)

    def _send(self, connection: ServerConnection, frame: dict[str, object]) -> None:
        protocol = connection.protocol
        if protocol.state.name != "OPEN":
            return
        if connection.subprotocol == "headrace.v1+json":
            protocol.send_text(json.dumps(_as_json(frame)).encode())
        else:
            protocol.send_binary(msgpack.packb(frame))
        connection.send_data()


def _entry(frame: dict[str, object]) -> dict[str, object]:
    if "text" in frame:
        return {"kind": "text", "data": str(frame["text"]).encode()}
    kept = {"kind": frame["kind"], "data": frame["data"]}
    return kept | ({"attributes": frame["attributes"]} if "attributes" in frame else {})


def _as_json(frame: dict[str, object]) -> dict[str, object]:
    if "data" not in frame:
        return frame
    text = frame["data"].decode()  # type: ignore[attr-defined]
    return {key: value for key, value in frame.items() if key not in ("kind", "data")} | {"text": text}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients here come back sooner than others: nobody waits for seconds."""
    monkeypatch.setattr("headrace.client.Schedule", lambda: Schedule(base_s=0.1, cap_s=1.0, least_first_s=0.01))


@pytest.fixture
async def node() -> AsyncIterator[ScriptedNode]:
    scripted = ScriptedNode()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def second_node() -> AsyncIterator[ScriptedNode]:
    scripted = ScriptedNode()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture(scope="session")
def vectors() -> dict[str, object]:
    path = Path(__file__).parents[3] / "protocol" / "vectors.json"
    loaded: dict[str, object] = json.loads(path.read_text())
    return loaded


async def until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Poll until `condition` is true, or fail after `within_s` seconds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., object]:
    return until
