"""The names of subscriptions in memory: what the contract's tests do not see."""

import pytest
from logs import NOTHING, TOPIC
from subs import CURSOR, SUB, subscribe

from broker.errors import UnknownSubscription
from broker.store.memory import MemoryStore


async def test_a_replica_has_its_own_copy() -> None:
    store = MemoryStore(now_ms=lambda: 0)
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    replica = store.fork()
    await store.delete_subscription(SUB)
    assert (await replica.subscription(SUB)).name == SUB
    store.lose()
    with pytest.raises(UnknownSubscription):
        await store.subscription(SUB)
