"""Names of subscriptions over two slots: claims, what a crash leaves behind, and the cache of their topics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
import servers
from direct import Direct, store_on
from logs import NOTHING, TOPIC, put
from subs import CURSOR, SHARED, SUB, lease, pull, subscribe

from broker.errors import AlreadyExists, Unavailable, UnknownSubscription
from broker.names import DEFAULT_PROJECT, SubscriptionName, TopicName
from broker.store import redis_subscriptions, scripts
from broker.store.base import Script
from broker.store.keys import Keys
from broker.store.redis import RedisStore
from broker.store.subscriptions import CursorAck

OTHER = TopicName("default/other")
REGISTRY = Keys().subscriptions(DEFAULT_PROJECT)
KEYS = Keys().subscription(TOPIC, SUB)


class Meddling(Direct):
    """Does something before a certain script runs, once."""

    def __init__(self, server: servers.Server, script: Script, act: Callable[[], Awaitable[object]]) -> None:
        super().__init__(server)
        self._script, self._act = script, act

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        if script is self._script:
            self._script = scripts.PROBE
            await self._act()
        return await super().run(script, keys, args, retry=retry)


@pytest.fixture
async def server(valkey: servers.Server) -> servers.Server:
    valkey.flush()
    await store_on(valkey).create_topic(TOPIC, NOTHING)
    await store_on(valkey).create_topic(OTHER, NOTHING)
    return valkey


async def test_one_of_many_creators_of_a_name_has_it(server: servers.Server) -> None:
    stores = [store_on(server) for _ in range(6)]
    calls = [subscribe(store, CURSOR, topic=(TOPIC, OTHER)[at % 2]) for at, store in enumerate(stores)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    made = [result for result in results if not isinstance(result, AlreadyExists)]
    assert len(made) == 1
    assert (await store_on(server).subscription(SUB)).topic == made[0].topic  # type: ignore[union-attr]


async def test_a_claim_that_another_node_took_over_leaves_no_subscription_behind(server: servers.Server) -> None:
    """The other node saw the claim, and no subscription behind it yet."""
    second = store_on(server)
    first = RedisStore(
        Meddling(server, scripts.CREATE_SUBSCRIPTION, lambda: subscribe(second, CURSOR, topic=OTHER)),
    )
    with pytest.raises(AlreadyExists):
        await subscribe(first, CURSOR, topic=TOPIC)
    assert (await first.subscription(SUB)).topic == OTHER
    assert server.client.exists(KEYS.sub, KEYS.due, KEYS.leases) == 0
    assert server.client.xinfo_groups(KEYS.log) == []
    assert await first.subscriptions_of(TOPIC) == []


async def test_a_name_that_a_crash_left_claimed_is_free(server: servers.Server) -> None:
    server.client.hset(REGISTRY, "s", b"?00:t")
    store = store_on(server)
    with pytest.raises(UnknownSubscription):
        await store.subscription(SUB)
    assert await store.subscriptions(DEFAULT_PROJECT) == []
    await subscribe(store, CURSOR, topic=OTHER)
    assert (await store.subscription(SUB)).topic == OTHER


async def test_a_repeated_creation_finds_its_own_work(server: servers.Server) -> None:
    direct = Direct(server)

    class Twice(Direct):
        async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool):  # type: ignore[no-untyped-def]
            await direct.run(script, keys, args, retry=retry)
            return await direct.run(script, keys, args, retry=retry)

    store = RedisStore(Twice(server))
    info = await subscribe(store, SHARED)
    assert info == await store.subscription(SUB)
    await store.delete_subscription(SUB)
    assert await store.subscription_count(DEFAULT_PROJECT) == 0


async def test_a_name_that_is_claimed_again_and_again_is_given_up(
    server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_on(server)

    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(store, "_replace_field", never)
    with pytest.raises(Unavailable):
        await subscribe(store, CURSOR)


async def test_few_topics_are_remembered(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_subscriptions, "CACHED_SUBSCRIPTIONS", 3)
    store = store_on(server)
    for number in range(5):
        await subscribe(store, CURSOR, name=SubscriptionName(f"default/s{number}"))
        await pull(store, name=SubscriptionName(f"default/s{number}"))
    assert len(store._places) == 3


async def test_a_lost_group_is_made_again_at_the_cursor(server: servers.Server) -> None:
    store = store_on(server)
    await subscribe(store, SHARED)
    await put(store, "a", "b")
    await lease(store, 1)
    server.client.xgroup_destroy(KEYS.log, KEYS.group)
    assert [one.entry.position.offset for one in (await lease(store)).leases] == [1]
    server.client.xgroup_destroy(KEYS.log, KEYS.group)
    assert (await store.seek(SUB, 0)).lag == 2


@pytest.mark.parametrize(("age_s", "verdict"), [(10, CursorAck.COMMITTED), (11, CursorAck.TIMEOUT)])
async def test_the_ack_deadline_counts_the_primarys_whole_seconds(
    server: servers.Server, age_s: int, verdict: CursorAck
) -> None:
    store = store_on(server)
    await subscribe(store, CURSOR)
    while True:
        offset = (await put(store, "a")).offset
        await pull(store)
        second, _ = server.client.time()
        server.client.hset(KEYS.sub, "pulled_s", second - age_s)
        found = await store.ack_cursor(SUB, offset)
        # All within one second, or once more.
        if server.client.time()[0] == second:
            break
    assert found is verdict
