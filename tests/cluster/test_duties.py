"""Duties on real servers: one owner at a time, taken over when it falls silent, and a stale token changes nothing."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.resources import files

import pytest
import servers

from broker.errors import Unavailable
from broker.names import parse_topic
from broker.store.base import Script
from broker.store.keys import Keys
from broker.store.scripts import load
from cluster import scripts
from cluster.address import parse_address
from cluster.duties import Duties, DutyLost, Held
from cluster.topology import Topology

Eventually = Callable[..., Awaitable[None]]
Running = Callable[..., AbstractAsyncContextManager[None]]
Substrate = servers.Server | servers.Cluster

KEYS = Keys("hr")
LEASE_SECONDS = 1.0
RETRY_SECONDS = 0.05


class Stoppable:
    """A node's commands and clock. `stop` makes both stand still, as SIGSTOP would."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self.stopped_at: float | None = None
        self.fails = False
        self.delay = 0.0
        """Seconds that an answer is on its way."""

    def monotonic(self) -> float:
        return time.monotonic() if self.stopped_at is None else self.stopped_at

    def stop(self) -> None:
        self.stopped_at = time.monotonic()

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        if self.fails:
            raise Unavailable
        while self.stopped_at is not None:
            await asyncio.sleep(0.01)
        answer = await self._topology.run(script, keys, args, retry=retry)
        await asyncio.sleep(self.delay)
        return answer

    async def execute(self, key: bytes, *command: bytes | str | int, retry: bool) -> object:
        return await self._topology.execute(key, *command, retry=retry)

    async def refresh(self) -> None: ...


@asynccontextmanager
async def connected(substrate: Substrate, running: Running) -> AsyncIterator[Topology]:
    topology = Topology(parse_address(substrate.url), name="test", scripts=scripts.ALL)
    async with running(topology.serve()):
        await topology.connected(10)
        yield topology


def duties(commands: Topology | Stoppable) -> Duties:
    clock = commands.monotonic if isinstance(commands, Stoppable) else time.monotonic
    return Duties(commands, keys=KEYS, lease_seconds=LEASE_SECONDS, retry_seconds=RETRY_SECONDS, monotonic=clock)


class Job:
    """Work that goes on until it is cancelled, and knows when it runs."""

    def __init__(self) -> None:
        self.held: Held | None = None
        self.times = 0

    async def work(self, held: Held) -> None:
        self.held, self.times = held, self.times + 1
        try:
            await asyncio.Event().wait()
        finally:
            self.held = None


async def test_one_node_at_a_time_and_given_back_at_once(substrate: Substrate, running: Running) -> None:
    async with connected(substrate, running) as topology:
        first, second = duties(topology), duties(topology)
        order: list[str] = []
        async with first.hold("a job") as held:
            assert held.is_ours
            assert first.held == {"a job"}
            waiting = asyncio.create_task(_once(second, order))
            await asyncio.sleep(3 * RETRY_SECONDS)
            order.append("first ends")
        await asyncio.wait_for(waiting, LEASE_SECONDS * 5)
        assert order == ["first ends", "second has it"]
        assert not held.is_ours
        assert first.held == frozenset()
        with pytest.raises(DutyLost):
            held.check()


async def _once(duties: Duties, order: list[str]) -> None:
    async with duties.hold("a job"):
        order.append("second has it")


async def test_it_is_kept_beyond_a_lease_by_renewals(valkey: servers.Server, running: Running) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology, duties(topology).hold("long") as held:
        token = valkey.client.get(KEYS.duty("long"))
        assert token == held.token
        deadline = held.until
        while held.until < deadline + 2 * LEASE_SECONDS:
            await asyncio.sleep(0.01)
            assert held.is_ours
        assert valkey.client.get(KEYS.duty("long")) == token


async def test_a_stopped_owner_is_replaced_and_its_token_refused(
    substrate: Substrate, running: Running, eventually: Eventually
) -> None:
    guarded = _guarded()
    key = KEYS.topic_duty(parse_topic("p/t"), "count")
    counter = KEYS.topic(parse_topic("p/t")).once
    async with connected(substrate, running) as topology:
        old_node, job = Stoppable(topology), Job()
        old = duties(old_node)
        async with running(old.run("count", job.work, key=key)):
            await eventually(lambda: job.held is not None)
            stale = job.held
            assert stale is not None
            assert await topology.run(guarded, [key, counter], [stale.token], retry=False) == 1
            old_node.stop()
            async with duties(topology).hold("count", key=key) as held:
                assert await topology.run(guarded, [key, counter], [stale.token], retry=False) == 0
                assert await topology.run(guarded, [key, counter], [held.token], retry=False) == 2
                old_node.stopped_at = None
                with pytest.raises(DutyLost):
                    stale.check()
                await eventually(lambda: job.held is None, what="the end of the stale work")
            await eventually(lambda: job.times == 2, what="the duty back at the first")


def _guarded() -> Script:
    """An effect that only the owner may have: counts, and says how far; 0 when it was refused."""
    fragment = (files("cluster") / "lua" / "_owner.lua").read_text()
    source = f"#!lua\n{fragment}\nreturn is_owner(KEYS[1], ARGV[1]) and redis.call('INCR', KEYS[2]) or 0"
    return Script("guarded", source, hashlib.sha1(source.encode()).hexdigest())


async def test_an_owner_cut_off_from_redis_ends_by_its_own_clock_before_another_begins(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        cut_off, mine, theirs = Stoppable(topology), Job(), Job()
        first, second = duties(cut_off), duties(topology)
        async with running(first.run("job", mine.work)):
            await eventually(lambda: mine.held is not None)
            async with running(second.run("job", theirs.work)):
                cut_off.fails = True
                while theirs.held is None:
                    await asyncio.sleep(0.001)
                assert mine.held is None
                assert mine.times == 1


async def test_an_owner_whose_lease_was_taken_away_hears_of_it_at_the_next_renewal(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        job = Job()
        async with running(duties(topology).run("job", job.work)):
            await eventually(lambda: job.held is not None)
            valkey.client.set(KEYS.duty("job"), b"somebody", px=10_000)
            await eventually(lambda: job.held is None, what="the end of the work")
            assert valkey.client.get(KEYS.duty("job")) == b"somebody", "not given back by one that does not hold it"


async def test_a_lease_counts_from_the_question_not_from_the_answer(valkey: servers.Server, running: Running) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        slow = Stoppable(topology)
        slow.delay = LEASE_SECONDS / 4
        async with duties(slow).hold("job") as held:
            assert held.until <= time.monotonic() + LEASE_SECONDS - slow.delay
            first = held.until
            while held.until == first:
                await asyncio.sleep(0.001)
            assert held.until <= time.monotonic() + LEASE_SECONDS - slow.delay


async def test_a_renewal_that_comes_too_late_revives_nothing(valkey: servers.Server, running: Running) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        slow = Stoppable(topology)
        with pytest.raises(DutyLost):
            async with duties(slow).hold("job") as held:
                # Asked for after a third of the lease, answered when it is over and the asked-for one is not.
                slow.delay = LEASE_SECONDS * 0.85
                try:
                    await asyncio.Event().wait()
                finally:
                    # Work that takes its time to end must not find itself the owner again.
                    deadline = time.monotonic() + 2 * LEASE_SECONDS
                    while time.monotonic() < deadline:
                        assert not held.is_ours
                        await asyncio.sleep(0.01)


async def test_a_lease_that_ran_out_is_not_renewed(valkey: servers.Server, running: Running) -> None:
    valkey.flush()
    key = KEYS.duty("job")
    async with connected(valkey, running) as topology:
        assert await topology.run(scripts.DUTY_KEEP, [key], [b"token", 1000], retry=True) == 0
        assert await topology.run(scripts.DUTY_TAKE, [key], [b"token", 1000], retry=True) == 0
        assert await topology.run(scripts.DUTY_TAKE, [key], [b"token", 60_000], retry=True) == 0
        left = await topology.run(scripts.DUTY_TAKE, [key], [b"other", 1000], retry=True)
        assert isinstance(left, int)
        assert 1000 < left <= 60_000
        assert await topology.run(scripts.DUTY_RELEASE, [key], [b"other"], retry=True) == 0
        assert await topology.run(scripts.DUTY_RELEASE, [key], [b"token"], retry=True) == 1


async def test_the_bodys_own_errors_pass_through_and_give_the_duty_back(
    valkey: servers.Server, running: Running
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        for error in (ValueError, TimeoutError):
            with pytest.raises(error):
                async with duties(topology).hold("job"):
                    raise error
            assert valkey.client.get(KEYS.duty("job")) is None


async def test_work_that_fails_or_returns_is_begun_again(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    begun: list[bytes] = []

    async def work(held: Held) -> None:
        begun.append(held.token)
        if len(begun) == 1:
            raise ValueError("once")

    async with connected(valkey, running) as topology, running(duties(topology).run("job", work)):
        await eventually(lambda: len(begun) >= 3)
        assert len(set(begun)) == len(begun), "each hold has a token of its own"


async def test_a_draining_node_gives_back_and_takes_no_more(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        leaving, job, next_job = duties(topology), Job(), Job()
        async with running(leaving.run("job", job.work)):
            await eventually(lambda: job.held is not None)
            await asyncio.wait_for(leaving.drain(), 5)
            assert job.held is None
            assert valkey.client.get(KEYS.duty("job")) is None
            async with running(duties(topology).run("job", next_job.work)):
                await eventually(lambda: next_job.held is not None)
            await asyncio.sleep(3 * RETRY_SECONDS)
            assert job.times == 1


async def test_one_that_should_have_it_goes_first_and_nobody_waits_for_ever(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    valkey.flush()
    async with connected(valkey, running) as topology:
        other, chosen = Job(), Job()
        yielding = Duties(
            topology, keys=KEYS, lease_seconds=LEASE_SECONDS, retry_seconds=0.5, prefers=lambda name: name != "job"
        )
        async with running(yielding.run("job", other.work)):
            async with running(duties(topology).run("job", chosen.work)):
                await eventually(lambda: chosen.held is not None)
                assert other.times == 0
            await eventually(lambda: other.held is not None, what="the other's turn")


def test_the_token_is_not_shown() -> None:
    held = Held("job", b"key", b"token", 0.0, time.monotonic)
    assert "token" not in repr(held)


def test_the_fragment_is_what_the_scripts_use() -> None:
    assert "is_owner" in load("duty_keep", package="cluster").source
