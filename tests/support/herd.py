"""A herd of real clients of both kinds around one topic, and what must be true of it whatever befell its nodes.

    async with herd.around(nodes, topic, Size(...)) as crowd:
        await crowd.all_hear()                   # everybody is there
        nodes[0].kill()
        await crowd.all_hear()                   # everybody is back
        account = await crowd.account()          # nothing is written any more, everybody has everything
    await account.check(nodes[1])                # nothing lost, repeated or out of order; each message stands once

Times are Unix seconds, so that those of both kinds can be held together.
"""

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from nodes import Node

from headrace import Client, HeadraceError, Published, State

PATIENCE_S = 120.0
"""For what must come, on a loaded machine."""
PUBLISH_TIMEOUT_S = 120.0
LOOK_S = 0.05
STABLE_S = 5.0
"""A connection that held so long counts as one (protocol/failover.md 3)."""
ANSWER_BYTES = 2**28
PACKAGE = Path(__file__).parents[2] / "clients" / "js" / "dist" / "node.js"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many there are of each kind, and how often each writer writes."""

    followers: int = 12
    writers: int = 3
    js_followers: int = 6
    js_writers: int = 2
    period_s: float = 0.1


@dataclass(slots=True)
class Publish:
    sent: float
    answered: float | None = None
    outcome: str | None = None


@dataclass(slots=True)
class Member:
    """One client. `states`: whether it is connected, to which server, since when, and why not."""

    name: str
    states: list[tuple[bool, str, float, str]] = field(default_factory=list)

    def was_on(self, url: str, at: float) -> bool:
        """Whether it was connected to this server at a moment."""
        before = [state for state in self.states if state[2] <= at]
        return bool(before) and before[-1][:2] == (True, url)

    def away_s(self, at: float) -> float:
        """From a moment on until it was connected anew; 0 where it never was."""
        return next((when - at for connected, _, when, _ in self.states if connected and when > at), 0.0)

    @property
    def breaks(self) -> list[str]:
        """Why it was without a connection, after its first one."""
        return [
            f"{self.name}: {after[3]} ({before[1]}, {after[2] - before[2]:.2f} s after its beginning)"
            for before, after in pairwise(self.states)
            if before[0] and not after[0]
        ]


@dataclass(slots=True)
class Follower(Member):
    texts: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def silence_s(self, since: float) -> float:
        """The longest time without a message that ended after a moment."""
        return max((after - before for before, after in pairwise(self.times) if after > since), default=0.0)


@dataclass(slots=True)
class Writer(Member):
    publishes: list[Publish] = field(default_factory=list)

    @property
    def slowest_s(self) -> float:
        return max(publish.answered - publish.sent for publish in self.publishes if publish.answered is not None)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of everybody."""

    topic: str
    extra: int
    """Messages that no writer wrote."""
    followers: list[Follower]
    writers: list[Writer]

    @property
    def members(self) -> list[Follower | Writer]:
        return [*self.followers, *self.writers]

    @property
    def breaks(self) -> list[str]:
        return [broken for member in self.members for broken in member.breaks]

    @property
    def written(self) -> int:
        return self.extra + sum(len(writer.publishes) for writer in self.writers)

    async def check(self, node: Node) -> None:
        """Hold everybody to the log as `node` reads it."""
        log = await self._log(node)
        for writer in self.writers:
            assert {publish.outcome for publish in writer.publishes} == {"ok"}, f"{writer.name}: failed publishes"
            own = [text for text in log if text.startswith(f"{writer.name}-")]
            expected = [f"{writer.name}-{number}" for number in range(len(writer.publishes))]
            assert own == expected, f"{writer.name}: {difference(own, expected)}"
        for follower in self.followers:
            assert follower.gaps == []
            assert follower.texts == log, f"{follower.name}: {difference(follower.texts, log)}"

    async def _log(self, node: Node) -> list[str]:
        texts: list[str] = []
        async with Client(node.url, token=node.token) as client, asyncio.timeout(PATIENCE_S):
            async for message in client.subscribe(self.topic, since="earliest"):
                texts.append(message.text)
                if len(texts) == self.written:
                    break
            end = await client.publish(self.topic, text="end")
            assert end.offset == self.written, "each message stands in the log once"
        return texts

    def figures(self, what: str, *, at: float, struck: Iterable[str]) -> str:
        """Say how those fared who were on one of the `struck` servers at the moment `at`."""
        urls = list(struck)
        hit = [one for one in self.members if any(one.was_on(url, at) for url in urls)]
        assert hit, "nobody was there"
        silences = [one.silence_s(at) for one in hit if isinstance(one, Follower)]
        slowest = [one.slowest_s for one in hit if isinstance(one, Writer)]
        return (
            f"\n{what}: {len(hit)} of {len(self.members)} clients were on it, {self.written} messages\n"
            f"  connected again after    {quantiles([one.away_s(at) for one in hit])}\n"
            f"  longest silence          {quantiles(silences)}\n"
            f"  slowest publish          {quantiles(slowest)}\n"
            f"  breaks of a connection   {len(self.breaks)}\n"
            f"  accepts in a second      {self.peak(at)} at most on one node, as clients saw it"
        )

    def peak(self, since: float) -> int:
        """How many came to one node within one second, at most."""
        came: dict[str, list[float]] = {}
        for one in self.members:
            for connected, server, when, _ in one.states:
                if connected and when > since:
                    came.setdefault(server, []).append(when)
        return max((most_within(sorted(times), seconds=1.0) for times in came.values()), default=0)


def most_within(times: Sequence[float], *, seconds: float) -> int:
    """The most of these sorted times that lie within so long."""
    most = first = 0
    for last, when in enumerate(times):
        while when - times[first] > seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def quantiles(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, most {ordered[-1]:.2f} s"


def difference(seen: Sequence[str], expected: Sequence[str]) -> str:
    """Say in short what is wrong with a list."""
    at = next(
        (n for n, (a, b) in enumerate(zip(seen, expected, strict=False)) if a != b), min(len(seen), len(expected))
    )
    lost, repeated = len(set(expected) - set(seen)), len(seen) - len(set(seen))
    around = f"{seen[at : at + 3]} instead of {expected[at : at + 3]}"
    return f"{len(seen)} of {len(expected)}, {lost} lost, {repeated} repeated, first at {at}: {around}"


class PythonHerd:
    """Clients of the Python package, in this process."""

    def __init__(self, topic: str, size: Size) -> None:
        self.followers = [Follower(f"pyf{number}") for number in range(size.followers)]
        self.writers = [Writer(f"pyw{number}") for number in range(size.writers)]
        self._topic = topic
        self._period_s = size.period_s
        self._hushed = asyncio.Event()
        self._writing: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def running(self, servers: Sequence[str], token: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            following = []
            for follower in self.followers:
                client = await stack.enter_async_context(_client(servers, token, follower))
                following.append(tasks.create_task(self._follow(client, follower)))
            for writer in self.writers:
                client = await stack.enter_async_context(_client(servers, token, writer))
                self._writing.append(tasks.create_task(self._write(client, writer)))
            try:
                yield
            finally:
                for task in [*following, *self._writing]:
                    task.cancel()

    async def _follow(self, client: Client, follower: Follower) -> None:
        on_gap = lambda gap: follower.gaps.append(gap.recovery.value)  # noqa: E731
        async for message in client.subscribe(self._topic, since="earliest", on_gap=on_gap):
            follower.texts.append(message.text)
            follower.times.append(time.time())

    async def _write(self, client: Client, writer: Writer) -> None:
        unanswered: set[asyncio.Future[Published]] = set()
        while not self._hushed.is_set():
            publish = Publish(time.time())
            text = f"{writer.name}-{len(writer.publishes)}"
            writer.publishes.append(publish)
            future = client.publish_nowait(self._topic, text=text, timeout=PUBLISH_TIMEOUT_S)
            future.add_done_callback(partial(_answer, publish))
            unanswered.add(future)
            future.add_done_callback(unanswered.discard)
            await asyncio.sleep(self._period_s)
        await asyncio.gather(*unanswered, return_exceptions=True)

    async def seen(self, text: str) -> None:
        await until(lambda: all(text in follower.texts for follower in self.followers), f"everybody has {text}")

    async def hush(self) -> int:
        self._hushed.set()
        if self._writing:
            await asyncio.wait(self._writing)
        return sum(len(writer.publishes) for writer in self.writers)

    async def finish(self, count: int) -> tuple[list[Follower], list[Writer]]:
        await until(lambda: all(len(follower.texts) >= count for follower in self.followers), f"{count} messages")
        # Copies: what ends these clients is no break.
        return deepcopy(self.followers), deepcopy(self.writers)


def _client(servers: Sequence[str], token: str, member: Member) -> Client:
    def note(state: State) -> None:
        member.states.append((state.connected, state.server, time.time(), state.reason))

    return Client(servers, token=token, name=member.name, on_state=note)


def _answer(publish: Publish, future: "asyncio.Future[Published]") -> None:
    error = asyncio.CancelledError() if future.cancelled() else future.exception()
    publish.answered = time.time()
    publish.outcome = "ok" if error is None else error.code if isinstance(error, HeadraceError) else repr(error)


class JavaScriptHerd:
    """Clients of the JavaScript package, in one process of Node."""

    def __init__(self, topic: str, size: Size) -> None:
        self._settings: dict[str, Any] = {
            "package": str(PACKAGE),
            "topic": topic,
            "followers": size.js_followers,
            "writers": size.js_writers,
            "period_ms": size.period_s * 1000,
            "timeout_ms": PUBLISH_TIMEOUT_S * 1000,
        }

    @asynccontextmanager
    async def running(self, servers: Sequence[str], token: str) -> AsyncIterator[None]:
        settings = json.dumps(self._settings | {"servers": list(servers), "token": token})
        script = str(Path(__file__).with_name("herd.mjs"))
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            program(), script, settings, stdin=pipe, stdout=pipe, limit=ANSWER_BYTES
        )
        try:
            yield
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()

    async def _order(self, line: str) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            answer = await self._process.stdout.readline()
        assert answer, "the JavaScript clients' process ended"
        return json.loads(answer)

    async def seen(self, text: str) -> None:
        await self._order(f"seen {text}")

    async def hush(self) -> int:
        return int((await self._order("hush"))["written"])

    async def finish(self, count: int) -> tuple[list[Follower], list[Writer]]:
        told = await self._order(f"finish {count}")
        for one in [*told["followers"], *told["writers"]]:
            one["states"] = [tuple(state) for state in one["states"]]
        for one in told["writers"]:
            one["publishes"] = [Publish(**each) for each in one["publishes"]]
        return [Follower(**one) for one in told["followers"]], [Writer(**one) for one in told["writers"]]


class Crowd:
    """Both kinds. `all_hear` says something, and returns when every follower has heard it."""

    def __init__(self, topic: str, voice: Client, kinds: Sequence[PythonHerd | JavaScriptHerd]) -> None:
        self._topic = topic
        self._voice = voice
        self._kinds = kinds
        self._said = 0

    async def say(self) -> str:
        text = f"hear{self._said}"
        self._said += 1
        await self._voice.publish(self._topic, text=text, timeout=PUBLISH_TIMEOUT_S)
        return text

    async def all_hear(self) -> None:
        text = await self.say()
        await asyncio.gather(*(kind.seen(text) for kind in self._kinds))

    async def all_settle(self) -> None:
        """Everybody is there, and has been long enough for a break to count as the first."""
        await self.all_hear()
        await asyncio.sleep(STABLE_S)

    async def account(self) -> Account:
        async with asyncio.timeout(PATIENCE_S):
            written = sum(await asyncio.gather(*(kind.hush() for kind in self._kinds)))
        each = await asyncio.gather(*(kind.finish(written + self._said) for kind in self._kinds))
        followers = [follower for some, _ in each for follower in some]
        return Account(self._topic, self._said, followers, [writer for _, some in each for writer in some])


@asynccontextmanager
async def around(nodes: Sequence[Node], topic: str, size: Size, *, urls: Sequence[str] = ()) -> AsyncIterator[Crowd]:
    """Run a herd that knows all nodes, by `urls` where it does not reach them by their own."""
    servers, token = urls or [node.url for node in nodes], nodes[0].token
    kinds: list[PythonHerd | JavaScriptHerd] = [PythonHerd(topic, size), JavaScriptHerd(topic, size)]
    async with Client(servers, token=token) as voice, AsyncExitStack() as stack:
        crowd = Crowd(topic, voice, kinds)
        await crowd.say()
        for kind in kinds:
            await stack.enter_async_context(kind.running(servers, token))
        yield crowd


async def until(is_true: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not is_true():
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise AssertionError(f"it did not come true: {what}") from None


def program() -> str:
    """Node.js, where the built package is there too; else the test is skipped, or fails in CI."""
    found = shutil.which("node")
    if found is None or not PACKAGE.exists():
        reason = "Node.js, or the built package (npm test), is missing"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
