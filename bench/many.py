"""One call that posts to many API Gateway connections, beside the fan-out of one message to as many sockets.

The same node, the same payload: realtime sockets that follow a topic, then API Gateway connections, first as members of
a group, which is a topic, then named in one call, then chosen by their API. What counts is the node's processor time a
delivery; every message must arrive at every socket.
"""

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable

import httpx

from bench.connections import join_all
from bench.post import STAGE, environment
from bench.processes import HOST, Node, node
from bench.report import Report, Target
from bench.sockets import HANDSHAKE_SECONDS, LoadSocket, connect, cpu_seconds, keep_alive, request_answer

TOPIC = "default/bench/connections"
"""What `bench.connections` subscribes to."""

AT_ONCE = 100
PAGE = 1000
WARM_ROUNDS = 3
ARRIVE_LOOKS, LOOK_SECONDS = 15_000, 0.002
LEAST_SECONDS = 0.01
"""What /proc counts processor time in."""

CALL_SECONDS = 30.0

Call = Callable[[], Awaitable[object]]


class Counting:
    """Sockets of a node, and how many bytes they have received in all. Each way is called `rounds` times."""

    def __init__(self, running: Node, sockets: list[LoadSocket], *, rounds: int) -> None:
        self.running = running
        self.rounds = rounds
        self.sockets = sockets
        self.received = 0
        for socket in sockets:
            socket.receive = self._count

    def _count(self, chunk: bytes) -> None:
        self.received += len(chunk)

    async def await_bytes(self, count: int) -> bool:
        """Return False when so many have not come in time."""
        for _ in range(ARRIVE_LOOKS):
            if self.received >= count:
                break
            await asyncio.sleep(LOOK_SECONDS)
        return self.received >= count

    def close(self) -> None:
        for socket in self.sockets:
            socket.transport.abort()


async def join_stage(running: Node, count: int) -> list[LoadSocket]:
    port = int(running.url.rpartition(":")[2])
    request = (
        f"GET /{STAGE} HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: aGVhZHJhY2UgYmVuY2ghIQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()
    loop, sockets = asyncio.get_running_loop(), []
    for start in range(0, count, AT_ONCE):
        some = range(start, min(start + AT_ONCE, count))
        made = await asyncio.gather(*(loop.create_connection(lambda: LoadSocket(request), HOST, port) for _ in some))
        sockets += [socket for _, socket in made]
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await asyncio.gather(*(asyncio.shield(socket.opened) for _, socket in made))
    return sockets


async def measure(counting: Counting, call: Call) -> tuple[float, list[str]]:
    """Return the node's microseconds a delivery, and what did not arrive."""
    each = await _warm(counting, call)
    pid, rounds = counting.running.pid, counting.rounds
    before, cpu = counting.received, cpu_seconds(pid)
    for number in range(1, rounds + 1):
        await call()
        if not await counting.await_bytes(before + number * each):
            return 0.0, [f"{before + number * each - counting.received} bytes did not arrive"]
    used = max(cpu_seconds(pid) - cpu, LEAST_SECONDS)
    return used / (rounds * len(counting.sockets)) * 1e6, []


async def _warm(counting: Counting, call: Call) -> int:
    """Return how many bytes one call brings to all sockets together, at least: a ping may come with one of them."""
    each: list[int] = []
    for _ in range(WARM_ROUNDS):
        before = counting.received
        await call()
        while True:
            seen = counting.received
            await asyncio.sleep(0.2)
            if counting.received == seen > before:
                break
        each.append(counting.received - before)
    return min(each)


async def many(*, count: int, size: int, rounds: int) -> Report:
    """Measure the four ways of one message to `count` sockets."""
    settings: dict[str, object] = {"connections": count, "payload bytes": size, "rounds": rounds}
    report = Report("many", settings, ("what", "sockets", "cpu us/delivery", "cpu ms/message"))
    env = {**environment("unused"), "HEADRACE_LIMITS_ACCEPT_PER_SECOND": "0"}
    env["HEADRACE_APIGATEWAY_APIS"] = json.dumps([{**json.loads(env["HEADRACE_APIGATEWAY_APIS"])[0], **_UNHURRIED}])
    text = "x" * size
    gc.disable()
    with node(env=env) as running:
        fanout = await _realtime(running, report, count, text, rounds)
        posted = await _stage(running, report, count, text, rounds)
    gc.enable()
    for what, cost in posted.items() if fanout else ():
        report.targets.append(Target(f"{what}, against the fan-out of one message", cost / fanout, 1.5))
    return report


_UNHURRIED = {"limits": {"requests_per_second": 0, "connects_per_second": 0, "idle_seconds": 0}}


async def _realtime(running: Node, report: Report, count: int, text: str, rounds: int) -> float:
    publisher = await connect(running.url, running.token)
    await request_answer(publisher, {"op": "publish", "id": 1, "topic": TOPIC, "text": "first"}, "published")
    alive = [publisher]
    keeping = asyncio.create_task(keep_alive(alive))
    counting = Counting(running, await join_all(running.url, running.token, count), rounds=rounds)
    alive += counting.sockets

    async def call() -> None:
        await request_answer(publisher, {"op": "publish", "id": 2, "topic": TOPIC, "text": text}, "published")

    cost = await _row(report, counting, "a topic's realtime sockets", call)
    keeping.cancel()
    counting.close()
    return cost


async def _stage(running: Node, report: Report, count: int, text: str, rounds: int) -> dict[str, float]:
    counting = Counting(running, await join_stage(running, count), rounds=rounds)
    base = f"{running.url}/headrace/v1/"
    async with httpx.AsyncClient(headers=running.headers, timeout=CALL_SECONDS) as http:

        def calling(verb: str, **body: object) -> Call:
            content = json.dumps(body).encode()

            async def call() -> None:
                answer = await http.post(base + verb, content=content)
                told = answer.json()
                if answer.status_code != 200 or told.get("not_reached"):
                    raise RuntimeError(f"{verb}: {answer.status_code} {answer.text[:200]}")

            return call

        ids = await _ids(http, base)
        await calling("groups:join", group=TOPIC, to={"api": STAGE})()
        ways = {
            "a group's connections": calling("groups:publish", group=TOPIC, text=text),
            "one call, connections named": calling("connections:post", connections=ids, text=text),
            "one call, all of an API": calling("connections:post", to={"api": STAGE}, text=text),
        }
        costs = {what: await _row(report, counting, what, call) for what, call in ways.items()}
    counting.close()
    return costs


async def _ids(http: httpx.AsyncClient, base: str) -> list[str]:
    ids: list[str] = []
    after = ""
    while True:
        page = (await http.get(f"{base}connections?limit={PAGE}{after}")).json()
        ids += [one["connection"] for one in page["connections"]]
        if "next" not in page:
            return ids
        after = f"&after={page['next']}"


async def _row(report: Report, counting: Counting, what: str, call: Call) -> float:
    cost, faults = await measure(counting, call)
    report.rows.append((what, len(counting.sockets), cost, cost * len(counting.sockets) / 1000))
    report.faults += faults
    return cost
