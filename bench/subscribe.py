"""Subscribe: publish, pull and ack in batches of 100 over HTTP, beside the bare scripts in a loop in the same run.

Also what many subscriptions on one topic cost, and whether pulling stays as cheap when very many leases are pending.
Each script call and each request carries one batch; rates are messages a second. As many script calls go in one write
as there are connections, because the engine syncs its file once for all that it read.
"""

import asyncio
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

import orjson
import redis

from bench.lines import Line, connect_lines
from bench.processes import Node, node
from bench.report import Report, Target
from broker.messages import Kind, Message, pack
from broker.names import SubscriptionName, TopicName, local_of
from broker.store import scripts, wire
from broker.store.base import MAX_ANNOUNCED_BYTES, AppendRequest, Script
from broker.store.keys import Keys
from broker.store.once import ONCE_BOUNDS
from broker.store.subscriptions import LEASE_SCAN, MAX_HELD

TOPIC = TopicName("default/bench")
LONELY_TOPIC = TopicName("default/lonely")
"""With one subscription."""
PROJECT = "/v1/projects/default"
BATCH = 100
CONNECTIONS = 8
PULL_BYTES = 8 * 1024 * 1024
LEASED_AT_ONCE = 1000
WINDOW_HEAD, LEASED_HEAD = 3, 8
"""What stands before the entries in the answers of `pull_cursor` and `lease`."""
ACK_DEADLINE_S = 600
SEVERAL = 100
"""Subscriptions on one topic."""
SLICES = 30
"""Of a measurement that is taken in turn with another."""
COMPARED_PULLS = 60
"""Pulls with and without pending leases, in turn."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a script on a subscription."""

    script: Script
    name: str
    args: tuple[bytes | str | int, ...]


class Scripts:
    """The bare scripts in a loop over the engine's own socket, as many calls in one write as HTTP has connections.

    Nothing is decoded but what an ack needs.
    """

    def __init__(self, running: Node, size: int, topic: TopicName = TOPIC) -> None:
        self._topic = topic
        self._redis = redis.Redis(unix_socket_path=str(running.data / "engine.sock"))
        self._keys = Keys()
        self._envelopes = (pack(Message(Kind.TEXT, b"x" * size)),) * BATCH

    def publish(self, times: int = CONNECTIONS) -> int:
        """Append batches; return how many messages that were."""
        keys, bounds = self._keys.topic(self._topic), ONCE_BOUNDS
        request = wire.publish_args([AppendRequest(self._envelopes)])
        head = (keys.live, MAX_ANNOUNCED_BYTES, bounds.max_records, bounds.max_age_ms)
        with self._redis.pipeline(transaction=False) as pipeline:
            for _ in range(times):
                pipeline.evalsha(scripts.PUBLISH.digest, 3, keys.log, keys.meta, keys.once, *head, *request)
            pipeline.execute()
        return BATCH * times

    def pull_cursors(self, names: Sequence[str]) -> int:
        """Pull one batch of each cursor and ack it."""
        pulled = self._run([Call(scripts.PULL_CURSOR, name, (BATCH, PULL_BYTES, LEASE_SCAN)) for name in names])
        taken = [reply[WINDOW_HEAD::3] for reply in pulled]
        last = {name: cast(bytes, ids[-1]).rpartition(b"-")[2] for name, ids in zip(names, taken, strict=True) if ids}
        self._run([Call(scripts.ACK_CURSOR, name, (offset,)) for name, offset in last.items()])
        return sum(map(len, taken))

    def pull_shared(self, name: str, times: int = 1) -> int:
        """Lease batches and ack each message."""
        acks: list[tuple[bytes | str | int, ...]] = []
        for leased in self.lease(name, BATCH, times):
            ids = [cast(bytes, place).rpartition(b"-")[2] for place in leased[0::5]]
            tokens = cast("Sequence[bytes]", leased[4::5])
            acks.append(tuple(word for pair in zip(ids, tokens, strict=True) for word in ("a", *pair, 0)))
        self._run([Call(scripts.SETTLE, name, batch) for batch in acks if batch])
        return sum(map(len, acks)) // 4

    def lease(self, name: str, count: int, times: int = 1) -> list[list[object]]:
        """Lease messages and return what the script says of them: ID, time, envelope, attempt, token each."""
        args = [(count, PULL_BYTES, "", secrets.token_hex(8), LEASE_SCAN, MAX_HELD) for _ in range(times)]
        return [reply[LEASED_HEAD:] for reply in self._run([Call(scripts.LEASE, name, each) for each in args])]

    def _run(self, calls: Sequence[Call]) -> list[list[object]]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                keys = self._keys.subscription(self._topic, SubscriptionName(f"default/{call.name}"))
                pipeline.evalsha(call.script.digest, len(keys.all), *keys.all, keys.group, *call.args)
            return cast("list[list[object]]", pipeline.execute())


def bare_rate(step: Callable[[], int], seconds: float) -> float:
    """Return messages a second of a loop that ends in time, or with what there is."""
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds and (count := step()):
        done += count
    return done / (time.monotonic() - started)


class Http:
    """The same work as requests to the node."""

    def __init__(self, running: Node, size: int) -> None:
        self._token = running.token
        data = "eHh4" * (size // 3 + 1)
        messages = [{"data": data[: size * 4 // 12 * 4]}] * BATCH
        self._publish = self.request("POST", "/topics/bench:publish", {"messages": messages})

    def request(self, method: str, path: str, body: object) -> bytes:
        payload = orjson.dumps(body)
        head = f"{method} {PROJECT}{path} HTTP/1.1\r\nHost: bench\r\nx-api-key: {self._token}\r\n"
        return f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload

    async def create(self, line: Line, name: str, kind: str, topic: TopicName = TOPIC) -> None:
        body = {
            "topic": f"projects/default/topics/{local_of(topic)}",
            "ackDeadlineSeconds": ACK_DEADLINE_S,
            "kind": kind,
        }
        await line.ask(self.request("PUT", f"/subscriptions/{name}", body))

    async def publish(self, line: Line) -> int:
        await line.ask(self._publish)
        return BATCH

    async def pull(self, line: Line, name: str) -> list[str]:
        """Pull one batch; return its ack ids."""
        answer = await line.ask(self.request("POST", f"/subscriptions/{name}:pull", {"maxMessages": str(BATCH)}))
        return [message["ackId"] for message in orjson.loads(answer)["receivedMessages"]]

    async def ack(self, line: Line, name: str, acks: Sequence[str]) -> None:
        await line.ask(self.request("POST", f"/subscriptions/{name}:acknowledge", {"ackIds": acks}))

    async def pull_and_ack(self, line: Line, name: str) -> int:
        acks = await self.pull(line, name)
        if acks:
            await self.ack(line, name, acks)
        return len(acks)


async def rate(lines: Sequence[Line], step: Callable[[int, Line], Awaitable[int]], seconds: float) -> float:
    """Return messages a second of `step` repeated on each line; it gets the line's number."""
    started = time.monotonic()

    async def work(number: int, line: Line) -> int:
        done = 0
        while time.monotonic() - started < seconds and (count := await step(number, line)):
            done += count
        return done

    done = sum(await asyncio.gather(*(work(number, line) for number, line in enumerate(lines))))
    return done / (time.monotonic() - started)


class Course:
    """One run: it fills the report, measurement by measurement."""

    def __init__(self, report: Report, running: Node, lines: Sequence[Line], *, size: int, seconds: float) -> None:
        self._report = report
        self._scripts = Scripts(running, size)
        self._lonely = Scripts(running, size, LONELY_TOPIC)
        self._http = Http(running, size)
        self._lines = lines
        self._seconds = seconds

    async def create_topics(self) -> None:
        for topic in (TOPIC, LONELY_TOPIC):
            await self._lines[0].ask(self._http.request("PUT", f"/topics/{local_of(topic)}", {}))

    async def create(self, name: str, kind: str, topic: TopicName = TOPIC) -> str:
        await self._http.create(self._lines[0], name, kind, topic)
        return name

    def fill(self, count: int) -> None:
        """Publish at least so many."""
        for _ in range(0, count, BATCH * CONNECTIONS):
            self._scripts.publish()

    def compare(self, what: str, bare: float, http: float) -> None:
        self._report.rows += [
            (f"{what}: bare scripts, {CONNECTIONS} in a write", bare),
            (f"{what}: HTTP, {CONNECTIONS} connections", http),
        ]
        self._report.targets.append(Target(f"{what} over HTTP against bare scripts", http / bare, 1 / 3, at_least=True))

    async def publishing(self) -> None:
        bare = bare_rate(self._scripts.publish, self._seconds)
        http = await rate(self._lines, lambda _, line: self._http.publish(line), self._seconds)
        self.compare(f"publish {BATCH} a request", bare, http)

    async def consuming(self, backlog: int) -> None:
        """Pull and ack, both kinds: the shared one by all connections, of cursors one a connection."""
        shared = [await self.create(name, "shared") for name in ("bare-shared", "http-shared")]
        cursors = [await self.create(f"cursor-{number}", "cursor") for number in range(2 * CONNECTIONS)]
        self.fill(backlog)
        bare = bare_rate(lambda: self._scripts.pull_cursors(cursors[CONNECTIONS:]), self._seconds)
        http = await rate(
            self._lines, lambda number, line: self._http.pull_and_ack(line, cursors[number]), self._seconds
        )
        self.compare(f"cursor: pull and ack {BATCH}", bare, http)
        bare = bare_rate(lambda: self._scripts.pull_shared(shared[0], CONNECTIONS), self._seconds)
        http = await rate(self._lines, lambda _, line: self._http.pull_and_ack(line, shared[1]), self._seconds)
        self.compare(f"shared: pull and ack {BATCH}", bare, http)

    async def many(self, messages: int) -> None:
        """Publish to a topic with many subscriptions, and pull them all: each costs its own pulls and no more.

        Beside each step the same is done with another topic and its only subscription, so that both see one machine.
        """
        names = [await self.create(f"many-{number}", "shared") for number in range(SEVERAL)]
        lonely = await self.create("lonely", "shared", LONELY_TOPIC)
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(SLICES):
            for rates_of, each in zip(rates, (self._lonely, self._scripts), strict=True):
                rates_of.append(bare_rate(each.publish, self._seconds / SLICES))
        alone, crowded = map(statistics.median, rates)
        several: list[float] = []
        single: list[float] = []
        for name in names:
            for scripts_of, subscription, times in ((self._scripts, name, several), (self._lonely, lonely, single)):
                await self._go_back(subscription, messages)
                times.append(self._drain(scripts_of, subscription, messages))
        many, one = statistics.median(several) * 1000, statistics.median(single) * 1000
        self._report.rows += [
            ("publish: bare scripts, one subscription", alone),
            (f"publish: bare scripts, {SEVERAL} subscriptions", crowded),
            (f"ms to pull and ack {messages:,}: bare scripts, an only subscription", one),
            (f"ms to pull and ack {messages:,}: bare scripts, each of {SEVERAL}", many),
        ]
        self._report.targets += [
            Target("publishing with many subscriptions against one", crowded / alone, 0.8, at_least=True),
            Target("pulling each of many subscriptions against an only one", many / one, 1.2),
        ]

    async def _go_back(self, name: str, messages: int) -> None:
        """Let the last `messages` of its topic be before a subscription."""
        line, path = self._lines[0], f"/subscriptions/{name}"
        offsets = orjson.loads(await line.ask(self._http.request("GET", f"{path}:offsets", {})))
        await line.ask(self._http.request("POST", f"{path}:modifyOffset", {"offset": offsets["max"] - messages}))

    def _drain(self, of: Scripts, name: str, messages: int) -> float:
        """Return the seconds that it takes to pull and ack everything."""
        started, done = time.perf_counter(), 0
        while count := of.pull_shared(name):
            done += count
        if done != messages:
            self._report.faults.append(f"{name} gave {done} messages instead of {messages}")
        return time.perf_counter() - started

    async def pending(self, count: int) -> None:
        """Pull from a subscription with `count` leases and from one without, in turn, over one connection."""
        empty, deep = [await self.create(name, "shared") for name in ("empty", "deep")]
        self.fill(count + COMPARED_PULLS * BATCH)
        leased = 0
        while leased < count:
            leased += len(self._scripts.lease(deep, LEASED_AT_ONCE)[0]) // 5
        line = self._lines[0]
        took: dict[str, list[float]] = {empty: [], deep: []}
        for _ in range(COMPARED_PULLS):
            for name, times in took.items():
                started = time.perf_counter()
                acks = await self._http.pull(line, name)
                times.append(time.perf_counter() - started)
                if len(acks) != BATCH:
                    self._report.faults.append(f"a pull of {name} returned {len(acks)} messages")
                if name == empty:
                    await self._http.ack(line, name, acks)
        without, with_many = (statistics.median(took[name]) * 1000 for name in (empty, deep))
        self._report.rows += [
            (f"ms a pull of {BATCH} with no pending leases", without),
            (f"ms a pull of {BATCH} with {leased:,} pending leases", with_many),
        ]
        self._report.targets.append(Target("pulling with many pending leases against none", with_many / without, 1.5))


async def subscribe(*, size: int, seconds: float, backlog: int, pending: int) -> Report:
    """Measure the node and its references, one after the other."""
    settings: dict[str, object] = {"payload bytes": size, "seconds": seconds, "backlog": backlog, "pending": pending}
    report = Report("subscribe", settings, ("what", "messages/s or ms"))
    with node() as running:
        async with connect_lines(running.url, CONNECTIONS) as lines:
            course = Course(report, running, lines, size=size, seconds=seconds)
            await course.create_topics()
            await course.publishing()
            await course.consuming(backlog)
            await course.many(BATCH * 10)
            await course.pending(pending)
    return report
