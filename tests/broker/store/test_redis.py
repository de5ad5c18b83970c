"""The Redis store beyond the contract: what two nodes, lost answers and strange replies do to it."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
import servers
from direct import Direct
from logs import EVERYTHING, NOTHING, TOPIC, keyed, numbered, put, put_one, request, texts_after

from broker.errors import HeadraceError, Unavailable, UnknownOutcome
from broker.names import ProjectName, TopicName
from broker.positions import Link, extend_chain
from broker.store.base import SEQUENCE_WINDOW, Commands, ProjectInfo, ReplyError, Retention, Script
from broker.store.keys import Keys
from broker.store.memory import MemoryStore
from broker.store.once import OnceBounds
from broker.store.redis import REPLACE_ATTEMPTS, RedisStore
from broker.store.scripts import CREATE, DELETE, PUBLISH, REPLACE, TRIM

KEYS = Keys().topic(TOPIC)
P = ProjectName("p")


class Twice(Direct):
    """Every call that may be repeated is: the first answer was lost."""

    async def execute(self, key: bytes, *command: bytes | str | int, retry: bool) -> object:
        if retry:
            await super().execute(key, *command, retry=retry)
        return await super().execute(key, *command, retry=retry)


class Refusing(Direct):
    """Answers one script with an error."""

    def __init__(self, server: servers.Server, script: Script, error: Exception) -> None:
        super().__init__(server)
        self.script, self.error = script, error

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        if script is self.script:
            raise self.error
        return await super().run(script, keys, args, retry=retry)


@pytest.fixture
def server(valkey: servers.Server) -> servers.Server:
    valkey.flush()
    return valkey


async def test_everything_but_an_append_may_run_twice(server: servers.Server) -> None:
    store = RedisStore(Twice(server))
    await store.create_project(ProjectInfo(P, 0, 0))
    await store.configure_project(ProjectInfo(P, 0, 0, "text"))
    await store.create_topic(TopicName("p/t"), NOTHING)
    await put(store, "a", "b", topic=TopicName("p/t"))
    assert await texts_after(store, None, topic=TopicName("p/t")) == ["a", "b"]
    await store.delete_topic(TopicName("p/t"))
    await store.create_topic(TopicName("p/t"), NOTHING)
    await store.delete_project(P)
    assert server.client.keys("hr:{p}*") == []


async def test_prefixes_keep_deployments_apart(server: servers.Server) -> None:
    one, other = RedisStore(Direct(server)), RedisStore(Direct(server), prefix="other")
    await one.create_topic(TOPIC, NOTHING)
    await other.create_topic(TOPIC, NOTHING)
    await put(one, "a")
    assert await texts_after(other, None) == []
    assert all(key.startswith((b"hr:{", b"other:{")) for key in server.client.keys("*"))


async def test_a_listing_passes_over_what_is_not_there(server: servers.Server) -> None:
    store = RedisStore(Direct(server))
    await store.create_topic(TOPIC, NOTHING)
    server.client.hset("hr:{default}:topics", "dangling", 1)
    assert [info.name for info in await store.topics(ProjectName("default"))] == [TOPIC]


async def test_a_topic_that_exists_unlisted_is_listed_by_the_next_creation(server: servers.Server) -> None:
    store = RedisStore(Direct(server))
    await store.create_topic(TOPIC, NOTHING)
    server.client.delete("hr:{default}:topics")
    with pytest.raises(HeadraceError):
        await store.create_topic(TOPIC, NOTHING)
    assert len(await store.topics(ProjectName("default"))) == 1


async def test_a_topic_created_while_it_is_deleted_stays_listed(server: servers.Server) -> None:
    class CreatingMeanwhile(Direct):
        async def run(
            self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
        ) -> object:
            answer = await super().run(script, keys, args, retry=retry)
            if script is DELETE:
                await RedisStore(Direct(server)).create_topic(TOPIC, NOTHING)
            return answer

    store = RedisStore(CreatingMeanwhile(server))
    await store.create_topic(TOPIC, NOTHING)
    await store.delete_topic(TOPIC)
    assert [info.name for info in await store.topics(ProjectName("default"))] == [TOPIC]


async def test_two_nodes_configure_a_project_one_after_the_other(server: servers.Server) -> None:
    class Overtaken(Direct):
        times = 1

        async def run(
            self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
        ) -> object:
            if script is REPLACE and self.times:
                self.times -= 1
                await RedisStore(Direct(server)).configure_project(ProjectInfo(P, 0, 0, "theirs"))
            return await super().run(script, keys, args, retry=retry)

    await RedisStore(Direct(server)).create_project(ProjectInfo(P, 0, 0))
    overtaken = Overtaken(server)
    store = RedisStore(overtaken)
    assert (await store.configure_project(ProjectInfo(P, 0, 0, "mine"))).description == "mine"
    assert (await store.project(P)).description == "mine"
    overtaken.times = REPLACE_ATTEMPTS
    with pytest.raises(Unavailable):
        await store.configure_project(ProjectInfo(P, 0, 0, "mine"))


async def test_refusals_are_the_brokers_own(server: servers.Server) -> None:
    for script, text, expected in [
        (PUBLISH, "ERR half way", UnknownOutcome),
        (PUBLISH, "NOREPLICAS none", Unavailable),
        (CREATE, "ERR odd", Unavailable),
    ]:
        server.flush()
        if script is not CREATE:
            await RedisStore(Direct(server)).create_topic(TOPIC, NOTHING)
        store = RedisStore(Refusing(server, script, ReplyError(text)))
        call = store.append(TOPIC, [request("a")]) if script is PUBLISH else store.create_topic(TOPIC, NOTHING)
        with pytest.raises(expected):
            await call


async def test_a_script_cache_that_was_flushed_is_filled_again(
    server: servers.Server, connect: Callable[[servers.Server], AbstractAsyncContextManager[Commands]]
) -> None:
    async with connect(server) as commands:
        store = RedisStore(commands)
        await store.create_topic(TOPIC, NOTHING)
        await put(store, "a")
        server.client.script_flush()
        await put(store, "b")
        assert await texts_after(store, None) == ["a", "b"]


async def test_the_once_hash_holds_no_more_than_its_bound(server: servers.Server) -> None:
    store = RedisStore(Direct(server), once=OnceBounds(max_records=50))
    await store.create_topic(TOPIC, NOTHING)
    for step in range(40):
        await store.append(
            TOPIC,
            [keyed(f"{step}-{number}", "a") for number in range(5)]
            + [numbered(step * 3 + number, publisher=f"p{step % 7}") for number in range(3)],
        )
        records = int(server.client.hget(KEYS.meta, "once").split(b":")[2])
        fields = list(server.client.hgetall(KEYS.once))
        held = [field for field in fields if field[:1] in (b"k", b"p")]
        queued = [field for field in fields if field[:1] == b"q"]
        assert len(held) == records <= 50
        assert len(queued) == len([field for field in fields if field[:1] in (b"k", b"h")])
    head, tail, *_ = map(int, server.client.hget(KEYS.meta, "once").split(b":"))
    assert {b"q%d" % number for number in range(head, tail)} == set(queued)


async def test_trimming_forgets_old_records_too(server: servers.Server) -> None:
    store = RedisStore(Direct(server), once=OnceBounds(max_age_ms=0))
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [keyed("k", "a"), *(numbered(sequence) for sequence in (1, 5000, 5001))])
    assert server.client.hlen(KEYS.once) == 1 + 2 + (1 + 1 + 3)
    await store.trim(TOPIC, Retention(max_messages=9, max_bytes=999, max_age_ms=10**9))
    assert list(server.client.hgetall(KEYS.once)) == [b"v"]
    assert TRIM.name == "trim"


async def test_only_what_is_too_old_is_forgotten(server: servers.Server) -> None:
    store = RedisStore(Direct(server))
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [keyed("old", "a"), keyed("new", "b")])
    server.client.hset(KEYS.once, "q0", b"0:" + server.client.hget(KEYS.once, "q0").partition(b":")[2])
    server.client.hset(KEYS.meta, "once", "0:2:2:0")
    assert (await put_one(store, keyed("new", "b"))).duplicate
    assert not (await put_one(store, keyed("old", "a"))).duplicate
    assert (await put_one(store, keyed("new", "b"))).duplicate


@pytest.mark.parametrize(
    "sequences", [[10, 5, 12], [5, 4000, 4000 - SEQUENCE_WINDOW + 1], [0, 1], list(range(SEQUENCE_WINDOW * 2 + 7))]
)
async def test_a_publisher_leaves_nothing_behind(server: servers.Server, sequences: list[int]) -> None:
    store, forgetful = RedisStore(Direct(server)), RedisStore(Direct(server), once=OnceBounds(max_age_ms=0))
    await store.create_topic(TOPIC, NOTHING)
    await store.append(TOPIC, [numbered(sequence) for sequence in sequences])
    slots = len({sequence % SEQUENCE_WINDOW for sequence in sequences})
    assert server.client.hget(KEYS.meta, "once").split(b":")[2] == b"%d" % slots
    assert server.client.hlen(KEYS.once) == 1 + 2 + slots
    await forgetful.trim(TOPIC, EVERYTHING)
    assert list(server.client.hgetall(KEYS.once)) == [b"v"]
    assert server.client.hget(KEYS.meta, "once").split(b":")[2] == b"0"


@pytest.mark.parametrize("seed", range(8))
async def test_it_answers_as_the_memory_store_does(server: servers.Server, seed: int) -> None:
    """Random requests and trims on both; whatever does not hang on the clock is the same."""
    dice = random.Random(seed)
    bounds = OnceBounds(max_records=40) if seed % 2 else OnceBounds()
    real, memory = RedisStore(Direct(server), once=bounds), MemoryStore(now_ms=lambda: 0, once=bounds)
    for store in (real, memory):
        await store.create_topic(TOPIC, NOTHING)
    for _ in range(150):
        batch = [_any_request(dice, sequences=not seed % 2) for _ in range(dice.randint(1, 4))]
        outcomes = [_plain(await store.append(TOPIC, batch)) for store in (real, memory)]
        assert outcomes[0] == outcomes[1]
        if dice.random() < 0.1:
            limits = Retention(max_messages=dice.randint(0, 60), max_bytes=dice.randint(0, 600), max_age_ms=10**13)
            assert await real.trim(TOPIC, limits) == await memory.trim(TOPIC, limits)
    infos = [await store.topic(TOPIC) for store in (real, memory)]
    assert infos[0].bytes == infos[1].bytes
    assert infos[0].log.first_offset == infos[1].log.first_offset
    assert await texts_after(real, None) == await texts_after(memory, None)


def _any_request(dice: random.Random, *, sequences: bool):  # type: ignore[no-untyped-def]
    texts = [dice.choice("abc") * dice.randint(1, 3) for _ in range(dice.randint(1, 2))]
    match dice.randint(0, 2 if sequences else 1):
        case 0:
            return request(*texts)
        case 1:
            return keyed(str(dice.randint(0, 60)), *texts)
    return numbered(dice.randint(0, 3000), texts[0], publisher=dice.choice("pq"))


def _plain(outcomes: Sequence[object]) -> list[object]:
    return [
        outcome.code if isinstance(outcome, HeadraceError) else (outcome.first.offset, outcome.count, outcome.duplicate)  # type: ignore[attr-defined]
        for outcome in outcomes
    ]


async def test_the_scripts_keep_the_chain_that_python_would(server: servers.Server) -> None:
    dice = random.Random(1)
    store = RedisStore(Direct(server))
    chain: tuple[Link, ...] = (await store.create_topic(TOPIC, NOTHING)).log.chain
    for number in range(160):
        for _ in range(dice.choice([0, 0, 1, 2])):
            await put(store, "a")
        if dice.random() < 0.2:
            await store.trim(TOPIC, Retention(max_messages=dice.randint(0, 9), max_bytes=10**9, max_age_ms=10**13))
        before = (await store.topic(TOPIC)).log
        server.client.hset(KEYS.meta, "replid", f"{number:040x}")
        log = (await store.topic(TOPIC)).log
        chain = extend_chain(chain, Link(log.epoch, log.next_offset), first_offset=before.first_offset)
        assert log.chain == chain
