"""Fan-out: one publisher, many sockets on one topic, against raw uvloop writes of ready frames in the same run."""

import asyncio
import time
from dataclasses import dataclass, field

from bench.processes import HOST, Node, node, reference
from bench.report import Report, Target
from bench.sockets import Frames, LoadSocket, connect, cpu_seconds, frame, keep_alive, request_answer
from bench.stream import Canon, Disorder, Follower

TOPIC = "default/bench/fanout"
TICK_SECONDS = 0.001
DRAIN_SECONDS = 15.0
MAX_LAG_SECONDS = 0.5
"""A rate holds when messages are no older than this at the sockets in the last third of a run."""
RAMP = 1.25
MAX_STEPS = 16


@dataclass(slots=True)
class Run:
    """One rate, held for some seconds."""

    rate: float
    seconds: float
    deliveries: int = 0
    cpu: float = 0.0
    lags: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    published: int = 0
    elapsed: float = 0.0

    @property
    def held(self) -> bool:
        """True when no backlog grew: the rate was really published, and arrived soon until the end."""
        late = sorted(self.lags[len(self.lags) * 2 // 3 :])
        kept_up = self.published >= 0.97 * self.rate * self.seconds
        return kept_up and bool(late) and late[int(len(late) * 0.95)] <= MAX_LAG_SECONDS and not self.faults

    @property
    def cpu_us(self) -> float:
        return self.cpu / self.deliveries * 1e6 if self.deliveries else 0.0

    @property
    def lag_p99_ms(self) -> float:
        return sorted(self.lags)[int(len(self.lags) * 0.99)] * 1000 if self.lags else 0.0


class Crowd:
    """The sockets that follow the topic, and the one stream that all of them must have received."""

    def __init__(self) -> None:
        self.canon = Canon()
        self.sockets: list[LoadSocket] = []
        self.followers: list[Follower] = []
        self.faults: list[str] = []

    async def join(self, node: Node, count: int) -> None:
        for start in range(0, count, 100):
            await asyncio.gather(*(self._join_one(node) for _ in range(start, min(start + 100, count))))

    async def _join_one(self, node: Node) -> None:
        socket = await connect(node.url, node.token)
        rest = await request_answer(socket, {"op": "subscribe", "id": 1, "topic": TOPIC, "since": "now"}, "subscribed")
        follower = Follower(self.canon)

        def receive(chunk: bytes) -> None:
            try:
                follower.receive(chunk)
            except Disorder as fault:
                self.faults.append(str(fault))
                socket.transport.abort()

        socket.receive = receive
        socket.lost = lambda: self.faults.append("a socket was closed by the node")
        if rest:
            receive(rest)
        self.sockets.append(socket)
        self.followers.append(follower)

    async def drained(self, messages: int) -> bool:
        """Wait until every socket has received so many messages; False when that does not happen in time."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            if self.canon.messages >= messages and all(f.place == self.canon.end for f in self.followers):
                return True
            await asyncio.sleep(0.01)
        return False

    def close(self) -> None:
        for socket in self.sockets:
            socket.lost = lambda: None
            socket.transport.abort()


class Source:
    """Publishes at a steady rate over one realtime connection and counts its answers."""

    def __init__(self, socket: LoadSocket, size: int) -> None:
        self.socket = socket
        self.size = size
        self.answered = 0
        self.refused: list[str] = []
        socket.receive = Frames(self._answer).receive

    def _answer(self, text: bytes) -> None:
        if b'"op":"published"' in text:
            self.answered += 1
        elif b'"op":"error"' in text:
            self.refused.append(text.decode())

    async def publish(self, run: Run) -> None:
        started = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - started) < run.seconds:
            due = int(elapsed * run.rate)
            if due > sent:
                text = f"{time.monotonic_ns():020d}".ljust(self.size, "x")
                one = frame({"op": "publish", "topic": TOPIC, "text": text})
                self.socket.transport.write(one * (due - sent))
                sent = due
            await asyncio.sleep(TICK_SECONDS)
        run.published = sent
        run.elapsed = time.monotonic() - started


async def hold(node: Node, crowd: Crowd, source: Source, rate: float, seconds: float) -> Run:
    """Publish at `rate` for `seconds`; returns what it cost and whether everything arrived."""
    run = Run(rate, seconds)
    before, cpu = crowd.canon.messages, cpu_seconds(node.pid)
    lags = asyncio.create_task(_watch_lag(crowd.canon, run))
    await source.publish(run)
    arrived = await crowd.drained(before + run.published)
    run.cpu = cpu_seconds(node.pid) - cpu
    lags.cancel()
    run.deliveries = (crowd.canon.messages - before) * len(crowd.followers)
    run.faults += crowd.faults + source.refused[:3]
    if not arrived:
        run.faults.append(f"{before + run.published - crowd.canon.messages} of {run.published} messages did not arrive")
    crowd.canon.trim(min(follower.place for follower in crowd.followers))
    return run


async def _watch_lag(canon: Canon, run: Run) -> None:
    """Sample the age of the newest message at the sockets."""
    while True:
        await asyncio.sleep(0.02)
        at = canon.data.rfind(b'"text":"')
        digits = bytes(canon.data[at + 8 : at + 28])
        if at >= 0 and digits.isdigit():
            run.lags.append((time.monotonic_ns() - int(digits)) / 1e9)


async def raw_writes(sockets: int, size: int, seconds: float) -> tuple[float, float]:
    """Return CPU microseconds a write and writes a second of raw uvloop sockets, one write a message."""
    with reference("writes") as (port, pid):
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bytes] = loop.create_future()
        crowd = [await loop.create_connection(asyncio.Protocol, HOST, port) for _ in range(sockets)]

        class Control(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                done.set_result(data)

        control, _ = await loop.create_connection(Control, HOST, port)
        await asyncio.sleep(0.3)
        cpu = cpu_seconds(pid)
        control.write(f"go 0 {seconds} {size}".encode())
        writes, elapsed = (await asyncio.wait_for(done, seconds + DRAIN_SECONDS)).split()
        used = cpu_seconds(pid) - cpu
        for transport, _ in crowd:
            transport.abort()
        control.abort()
        return used / int(writes) * 1e6, int(writes) / float(elapsed)


async def fanout(*, sockets: int, size: int, rate: float, seconds: float, steps: int = MAX_STEPS) -> Report:
    """Measure one steady rate, then climb until a backlog grows."""
    report = Report(
        "fanout",
        {"sockets": sockets, "payload bytes": size, "rate": rate, "seconds": seconds},
        ("what", "messages/s", "deliveries/s", "cpu us/delivery", "lag p99 ms"),
    )
    frame_bytes = 128 + size
    raw_us, raw_rate = await raw_writes(sockets, frame_bytes, seconds)
    report.rows.append(("raw writes one by one", raw_rate / sockets, raw_rate, raw_us, "-"))
    with node() as running:
        crowd = Crowd()
        publisher = await connect(running.url, running.token)
        await request_answer(publisher, {"op": "publish", "id": 1, "topic": TOPIC, "text": "first"}, "published")
        source = Source(publisher, size)
        await crowd.join(running, sockets)
        alive = asyncio.create_task(keep_alive(crowd.sockets))
        steady = await hold(running, crowd, source, rate, seconds)
        _add(report, "steady", steady, sockets)
        best, step = steady, rate
        for _ in range(steps):
            step *= RAMP
            tried = await hold(running, crowd, source, step, min(seconds, 4))
            _add(report, "climb" if tried.held else "backlog", tried, sockets)
            if not tried.held:
                break
            best = tried
        alive.cancel()
        crowd.close()
    report.targets.append(Target("cpu a delivery, steady, against a raw write", steady.cpu_us / raw_us, 1.25))
    report.targets.append(Target("highest rate against raw writes", best.rate * sockets / raw_rate, 5.0, at_least=True))
    return report


def _add(report: Report, what: str, run: Run, sockets: int) -> None:
    per_second = run.deliveries / run.elapsed if run.elapsed else 0.0
    report.rows.append((what, run.rate, per_second, run.cpu_us, run.lag_p99_ms))
    report.faults += run.faults
