"""Records: what every implementation keeps to."""

import asyncio
from typing import Any

import pytest
import servers

from broker.errors import LimitExceeded, TooLarge
from broker.names import ProjectName
from broker.store.keys import Keys
from broker.store.records import EVERYWHERE, MAX_CHANGES, MAX_RECORD_BYTES, Change, Records, check
from broker.store.records_memory import MemoryRecords
from broker.store.records_redis import RedisRecords

P, Q = ProjectName("p"), ProjectName("q")


@pytest.fixture
def records(backend: Any) -> Records:
    topology = getattr(backend, "topology", None)
    return MemoryRecords(now_ms=lambda: 1_700_000_000_000) if topology is None else RedisRecords(topology)


async def test_what_is_committed_is_there(records: Records) -> None:
    assert await records.get(P, "a", "1") is None
    assert await records.commit(P, [Change("a", "1", None, b"one"), Change("b", "1", None, b"\0\xff")])
    assert await records.get(P, "a", "1") == b"one"
    assert await records.several(P, "b", ["absent", "1"]) == [None, b"\0\xff"]
    assert await records.several(P, "b", []) == []
    assert await records.all(P, "a") == {"1": b"one"}
    assert await records.all(P, "nothing") == {}


async def test_spaces_and_kinds_are_apart(records: Records) -> None:
    for space in (P, Q, EVERYWHERE):
        assert await records.commit(space, [Change("a", "é", None, space.encode() + b"!")])
    assert await records.get(Q, "a", "é") == b"q!"
    assert await records.all(EVERYWHERE, "a") == {"é": b"!"}
    assert await records.get(P, "b", "é") is None


async def test_a_commit_is_all_or_nothing(records: Records) -> None:
    await records.commit(P, [Change("a", "1", None, b"one")])
    assert not await records.commit(P, [Change("a", "2", None, b"two"), Change("a", "1", None, b"other")])
    assert not await records.commit(P, [Change("b", "2", None, b"two"), Change("a", "1", b"else", None)])
    assert (await records.all(P, "a"), await records.all(P, "b")) == ({"1": b"one"}, {})
    # A record that is only held to what was seen.
    assert not await records.commit(P, [Change("a", "1", b"else", b"else"), Change("a", "2", None, b"two")])
    assert await records.commit(P, [Change("a", "1", b"one", b"one"), Change("a", "2", None, b"two")])
    assert await records.commit(P, [Change("a", "1", b"one", None), Change("a", "2", b"two", b"three")])
    assert await records.all(P, "a") == {"2": b"three"}


async def test_a_repeated_commit_finds_its_own_work(records: Records) -> None:
    changes = [Change("a", "1", None, b"one"), Change("b", "1", None, b"index")]
    assert await records.commit(P, changes)
    assert await records.commit(P, changes)
    removal = [Change("a", "1", b"one", None), Change("b", "1", b"index", None)]
    assert await records.commit(P, removal)
    assert await records.commit(P, removal)
    assert await records.commit(P, [])


async def test_of_two_that_change_the_same_one_wins(records: Records) -> None:
    await records.commit(P, [Change("a", "1", None, b"0")])
    made = await asyncio.gather(*(records.commit(P, [Change("a", "1", b"0", b"by %d" % n)]) for n in range(1, 9)))
    assert made.count(True) == 1


async def test_a_kind_is_cleared_alone(records: Records) -> None:
    await records.commit(P, [Change("a", "1", None, b"one"), Change("b", "1", None, b"two")])
    await records.clear(P, "a")
    assert (await records.all(P, "a"), await records.all(P, "b")) == ({}, {"1": b"two"})


async def test_the_clock_is_in_milliseconds(records: Records) -> None:
    assert await records.now_ms() >= 1_700_000_000_000


async def test_bounds_refuse_before_anything_changes(records: Records) -> None:
    with pytest.raises(TooLarge):
        await records.commit(P, [Change("a", "1", None, b"x" * (MAX_RECORD_BYTES + 1))])
    with pytest.raises(LimitExceeded):
        await records.commit(P, [Change("a", str(n), None, b"x") for n in range(MAX_CHANGES + 1)])
    assert await records.all(P, "a") == {}


def test_a_commit_at_its_bounds_is_taken() -> None:
    check([Change("a", str(n), None, b"x" * 10) for n in range(MAX_CHANGES - 1)])
    check([Change("a", "1", None, b"x" * MAX_RECORD_BYTES), Change("a", "2", b"x", None)])


def test_a_space_is_one_slot_and_no_projects_slot_is_the_space_of_none() -> None:
    keys = Keys()
    assert keys.records(P, "users") == b"hr:{p}:records:users"
    assert keys.records(EVERYWHERE, "users") == b"hr:{@}:records:users"
    assert keys.records(ProjectName("@"), "users") != keys.records(EVERYWHERE, "users")
    assert servers.slot_of(keys.records(P, "a")) == servers.slot_of(keys.records(P, "b"))
