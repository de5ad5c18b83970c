"""Access lists and their reverse stay together."""

import asyncio

import pytest

from broker.acls import MAX_LISTED, AccessLists, Grants, Resource
from broker.errors import InvalidRequest, Unavailable
from broker.names import ProjectName
from broker.store.records_memory import MemoryRecords

P, Q = ProjectName("p"), ProjectName("q")
TOPIC, SUBSCRIPTION = Resource.TOPIC, Resource.SUBSCRIPTION


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords(now_ms=lambda: 0)


@pytest.fixture
def lists(records: MemoryRecords) -> AccessLists:
    return AccessLists(records)


async def test_a_list_is_replaced_and_read_both_ways(lists: AccessLists) -> None:
    await lists.replace(P, TOPIC, "t", ["b", "a", "b"])
    await lists.replace(P, TOPIC, "s", ["a"])
    await lists.replace(P, SUBSCRIPTION, "t", ["a"])
    assert await lists.of(P, TOPIC, "t") == ("b", "a")
    assert await lists.grants(P, "a") == Grants(("s", "t"), ("t",))
    assert await lists.grants(P, "b") == Grants(("t",))
    assert await lists.grants(Q, "a") == Grants()
    await lists.replace(P, TOPIC, "t", ["c", "b"])
    assert await lists.all_grants(P) == {"a": Grants(("s",), ("t",)), "b": Grants(("t",)), "c": Grants(("t",))}


async def test_nothing_is_left_of_a_list_that_is_dropped(lists: AccessLists, records: MemoryRecords) -> None:
    await lists.replace(P, TOPIC, "t", ["a", "b"])
    await lists.drop(P, TOPIC, "t")
    await lists.drop(P, TOPIC, "never")
    assert (await records.all(P, "topic_acl"), await records.all(P, "grants")) == ({}, {})


async def test_who_leaves_is_in_no_list_of_the_project(lists: AccessLists) -> None:
    for project in (P, Q):
        await lists.replace(project, TOPIC, "t", ["a", "b"])
        await lists.replace(project, SUBSCRIPTION, "s", ["a"])
    await lists.leave(P, "a")
    assert (await lists.of(P, TOPIC, "t"), await lists.of(P, SUBSCRIPTION, "s")) == (("b",), ())
    assert await lists.of(Q, TOPIC, "t") == ("a", "b")
    assert await lists.grants(P, "a") == Grants()


async def test_a_deleted_project_has_no_lists(lists: AccessLists) -> None:
    await lists.replace(P, TOPIC, "t", ["a"])
    await lists.replace(P, SUBSCRIPTION, "s", ["a"])
    await lists.forget(P)
    assert await lists.of(P, TOPIC, "t") == await lists.of(P, SUBSCRIPTION, "s") == ()
    assert await lists.all_grants(P) == {}


async def test_a_list_has_a_bound_and_its_change_fits_a_commit(lists: AccessLists) -> None:
    await lists.replace(P, TOPIC, "t", [f"a{n}" for n in range(MAX_LISTED)])
    await lists.replace(P, TOPIC, "t", [f"b{n}" for n in range(MAX_LISTED)])
    with pytest.raises(InvalidRequest, match="at most"):
        await lists.replace(P, TOPIC, "t", [f"c{n}" for n in range(MAX_LISTED + 1)])
    assert (await lists.of(P, TOPIC, "t"))[0] == "b0"


async def test_changes_at_the_same_time_both_count(lists: AccessLists) -> None:
    await asyncio.gather(*(lists.replace(P, TOPIC, f"t{n}", ["a"]) for n in range(5)))
    assert await lists.grants(P, "a") == Grants(tuple(f"t{n}" for n in range(5)))


async def test_a_change_that_is_always_overtaken_gives_up(
    lists: AccessLists, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overtaken(*_: object) -> bool:
        return False

    monkeypatch.setattr(records, "commit", overtaken)
    with pytest.raises(Unavailable):
        await lists.replace(P, TOPIC, "t", ["a"])
