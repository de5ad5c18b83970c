"""Push configurations in the records: sealed as a whole, bound to their subscription, known to every node."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from http_node import eventually

from broker.errors import Unavailable
from broker.names import SubscriptionName
from broker.store.records import EVERYWHERE, Change
from broker.store.records_memory import MemoryRecords
from gateway import pushes as module
from gateway.options import Secret
from gateway.pushes import CONFIGS, STATUSES, Authorization, PushConfig, Pushes, PushType, RetryPolicy
from gateway.vault import Vault

NAME = SubscriptionName("p/s")
OTHER = SubscriptionName("p/o")
KEY = Secret("a key of the operator's")

HTTP = PushConfig(
    type=PushType.HTTP_ENDPOINT,
    endpoint="https://e.test/?token=query-secret",
    max_messages=3,
    authorization=Authorization.AUTOGEN,
    authorization_value="header-secret",
    retry=RetryPolicy.SLOWSTART,
    verification_hash="hash",
    mattermost_url="https://m.test/webhook-secret",
    base64_decode=True,
    created_ms=5,
)


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords(now_ms=lambda: 0)


def node(records: MemoryRecords, key: Secret = KEY) -> Pushes:
    ids = itertools.count()
    return Pushes(records, Vault(key), new_id=lambda: f"{id(ids)}-{next(ids)}")


@pytest.fixture
def pushes(records: MemoryRecords) -> Pushes:
    return node(records)


@pytest.fixture
async def running(pushes: Pushes) -> AsyncIterator[None]:
    task = asyncio.create_task(pushes.run())
    yield
    task.cancel()
    await asyncio.wait([task])


async def put(pushes: Pushes, config: PushConfig, name: SubscriptionName = NAME) -> None:
    await pushes.change(name, lambda _: config, created_ms=config.created_ms)


async def test_a_configuration_comes_back_as_it_was_kept(pushes: Pushes) -> None:
    assert await pushes.get(NAME, created_ms=5) is None
    await put(pushes, HTTP)
    assert await pushes.get(NAME, created_ms=5) == HTTP
    assert pushes.known == {NAME: HTTP}
    assert await pushes.several([(OTHER, 5), (NAME, 5), (NAME, 6)]) == [None, HTTP, None]


async def test_nothing_of_it_is_readable_where_it_lies_or_in_a_repr(pushes: Pushes, records: MemoryRecords) -> None:
    await put(pushes, HTTP)
    stored = await records.get(EVERYWHERE, CONFIGS, NAME)
    assert stored is not None
    for shown in (stored, repr(HTTP).encode()):
        assert b"secret" not in shown
    assert b"e.test" not in stored


async def test_a_record_copied_to_another_subscription_does_not_open(pushes: Pushes, records: MemoryRecords) -> None:
    await put(pushes, HTTP)
    stored = await records.get(EVERYWHERE, CONFIGS, NAME)
    await records.commit(EVERYWHERE, [Change(CONFIGS, OTHER, None, stored)])
    assert await pushes.get(OTHER, created_ms=5) is None


async def test_with_another_key_there_is_none(records: MemoryRecords) -> None:
    await put(node(records), HTTP)
    stranger = node(records, Secret("another key"))
    await stranger.refresh()
    assert stranger.known == {}


async def test_a_change_begins_from_what_is_there(pushes: Pushes) -> None:
    await put(pushes, HTTP)

    def verified(before: PushConfig | None) -> PushConfig | None:
        assert before == HTTP
        return replace(before, verified=True)

    made = await pushes.change(NAME, verified, created_ms=5)
    assert made == replace(HTTP, verified=True)
    assert pushes.known == {NAME: made}


async def test_of_another_subscription_with_that_name_nothing_is_taken_over(pushes: Pushes) -> None:
    await put(pushes, HTTP)
    assert await pushes.get(NAME, created_ms=6) is None
    seen: list[PushConfig | None] = []
    fresh = replace(HTTP, created_ms=6)
    await pushes.change(NAME, lambda before: seen.append(before) or fresh, created_ms=6)  # type: ignore[func-returns-value]
    assert seen == [None]
    assert await pushes.get(NAME, created_ms=6) == fresh
    await pushes.delete(NAME, created_ms=5)
    assert await pushes.get(NAME, created_ms=6) == fresh
    await pushes.delete(NAME, created_ms=6)
    assert pushes.known == {}
    await pushes.delete(NAME, created_ms=6)


async def test_a_change_that_another_got_in_the_way_of_is_made_anew(pushes: Pushes, records: MemoryRecords) -> None:
    await put(pushes, HTTP)
    other = node(records)
    calls = 0

    class Racing(MemoryRecords):
        pass

    commit = records.commit

    async def rival(space: object, changes: object) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            records.commit = commit  # type: ignore[method-assign]
            await put(other, replace(HTTP, max_messages=9))
        return await commit(space, changes)  # type: ignore[arg-type]

    records.commit = rival  # type: ignore[method-assign]
    made = await pushes.change(NAME, lambda now: replace(now or HTTP, verified=True), created_ms=5)
    assert made == replace(HTTP, max_messages=9, verified=True)


async def test_who_never_gets_through_is_told(pushes: Pushes, records: MemoryRecords) -> None:
    async def never(*_: object) -> bool:
        return False

    records.commit = never  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        await put(pushes, HTTP)


async def test_every_node_comes_to_know(
    pushes: Pushes, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch, running: None
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    await pushes.changes(0.01)
    other = node(records)
    await put(other, HTTP)
    await eventually(lambda: pushes.known == {NAME: HTTP})
    await pushes.changes(10)
    await put(other, replace(HTTP, verified=True), OTHER)
    await eventually(lambda: OTHER in pushes.known)
    await pushes.changes(10)
    # Nothing is new since.
    before = asyncio.get_running_loop().time()
    await pushes.changes(0.02)
    assert asyncio.get_running_loop().time() > before


async def test_what_did_not_change_is_not_read_again(pushes: Pushes, records: MemoryRecords) -> None:
    await put(pushes, HTTP)

    async def none(*_: object) -> dict[str, bytes]:
        raise AssertionError

    records.all = none  # type: ignore[assignment]
    await pushes.refresh()
    assert pushes.known == {NAME: HTTP}


async def test_a_status_lasts_until_the_configuration_changes(pushes: Pushes, records: MemoryRecords) -> None:
    assert await pushes.status(NAME) == ""
    await put(pushes, HTTP)
    await pushes.report(NAME, "it is well")
    await pushes.report(NAME, "it is not")
    assert await pushes.status(NAME) == "it is not"
    await put(pushes, replace(HTTP, verified=True))
    assert await pushes.status(NAME) == ""
    await pushes.report(NAME, "it is well")
    await pushes.delete(NAME, created_ms=5)
    assert not await records.all(EVERYWHERE, STATUSES)


async def test_of_a_configuration_that_is_gone_no_status_stays(pushes: Pushes, records: MemoryRecords) -> None:
    await put(pushes, HTTP)
    await pushes.delete(NAME, created_ms=5)
    await pushes.report(NAME, "too late")
    assert not await records.all(EVERYWHERE, STATUSES)


async def test_a_deletion_that_a_report_got_in_the_way_of_is_made_anew(pushes: Pushes, records: MemoryRecords) -> None:
    await put(pushes, HTTP)
    commit = records.commit

    async def rival(space: object, changes: object) -> bool:
        records.commit = commit  # type: ignore[method-assign]
        await pushes.report(NAME, "in between")
        return await commit(space, changes)  # type: ignore[arg-type]

    records.commit = rival  # type: ignore[method-assign]
    await pushes.delete(NAME, created_ms=5)
    assert pushes.known == {}
    assert not await records.all(EVERYWHERE, STATUSES)


async def test_what_an_older_key_sealed_is_sealed_again(pushes: Pushes, records: MemoryRecords) -> None:
    await put(pushes, HTTP)
    newer = Secret("the key that follows")
    rotating = Pushes(records, Vault(newer, old=KEY), new_id=lambda: "id")
    assert await rotating.reseal() == 1
    assert await rotating.reseal() == 0
    assert await node(records, newer).get(NAME, created_ms=5) == HTTP
