"""What every store does alike with messages that live for a time only."""

import time

import pytest
from logs import EVERYTHING, NOTHING, TOPIC, envelope, keyed, numbered, put, put_one
from subs import CURSOR, LONG_MS, ORDERED, SHARED, SUB, FullStore, attempts, lease, offset_of, pull, subscribe, texts

from broker.messages import Kind, Message, pack
from broker.store.base import AppendRequest, IdempotencyKey, PublisherSequence
from broker.store.subscriptions import Ack, CursorAck, Settled


def a_moment_passes() -> None:
    """Let the shortest life end: it is the servers' clock that tells, and this is theirs."""
    until = time.time_ns() // 1_000_000 + 2
    while time.time_ns() // 1_000_000 < until:
        pass


async def put_lives(store: FullStore, **lives_ms: int) -> None:
    """Append messages in one request, each with its life."""
    envelopes = tuple(pack(Message(Kind.TEXT, text.encode(), {"key": text[0]})) for text in lives_ms)
    await put_one(store, AppendRequest(envelopes, lives_ms=tuple(lives_ms.values())))
    a_moment_passes()


@pytest.mark.parametrize("settings", [CURSOR, SHARED])
async def test_expired_messages_are_skipped_and_reported(store: FullStore, settings) -> None:  # type: ignore[no-untyped-def]
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, settings)
    await put_lives(store, a=1, b=1, c=0, d=1, e=LONG_MS, f=1)
    taken = await (pull if settings is CURSOR else lease)(store)
    assert (texts(taken), taken.expired) == (["c", "e"], 4)
    info = await store.subscription(SUB)
    assert (info.expired, info.delivered) == ((2, 2) if settings is CURSOR else (4, 2))
    if settings is CURSOR:
        assert (info.cursor.offset, info.pending) == (1, 4)
        assert await store.ack_cursor(SUB, 4) is CursorAck.COMMITTED
        assert ((await pull(store)).expired, (await store.subscription(SUB)).lag) == (1, 0)
    else:
        assert (info.pending, info.lag) == (2, 0)


async def test_a_log_of_expired_messages_alone_is_passed_over(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, CURSOR)
    await put_lives(store, a=1, b=1)
    window = await pull(store, 1)
    assert (texts(window), window.expired) == ([], 2)
    assert (await store.subscription(SUB)).lag == 0
    await put(store, "c")
    assert texts(await pull(store, 1)) == ["c"]


async def test_a_pull_looks_beyond_what_has_expired(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, SHARED)
    await put_lives(store, **{f"x{number}": 1 for number in range(150)}, y=0, z=0)
    taken = await lease(store, 1)
    assert (texts(taken), taken.expired, taken.more) == (["y"], 150, True)
    assert texts(await lease(store, 1, max_bytes=1)) == ["z"]


async def test_a_message_that_expires_between_two_attempts_is_not_given_out_again(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, SHARED)
    await put(store, "a")
    await put_one(store, AppendRequest((envelope("b"),), lives_ms=(300,)))
    taken = await lease(store, ms=0)
    assert texts(taken) == ["a", "b"]
    while (again := await lease(store, ms=0)).expired == 0:
        assert texts(again) == ["a", "b"]
    assert texts(again) == ["a"]
    assert (await store.subscription(SUB)).pending == 1


async def test_an_expired_message_gives_its_keys_turn_on(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, ORDERED)
    await put_one(store, AppendRequest((_keyed("a1"), _keyed("a2"), _keyed("a3")), lives_ms=(0, 200, 0)))
    first = await lease(store)
    assert texts(first) == ["a1"]
    until = time.time_ns() + 250_000_000
    while time.time_ns() < until:
        assert texts(await lease(store)) == []
    assert await store.settle(SUB, [Ack(offset_of(first.leases[0]), first.leases[0].token)]) == [Settled.OK]
    second = await lease(store)
    assert (attempts(second), second.expired) == ([("a3", 1)], 1)


def _keyed(text: str) -> bytes:
    return pack(Message(Kind.TEXT, text.encode(), {"key": text[0]}))


async def test_expired_messages_are_trimmed_when_they_are_the_oldest(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await put_lives(store, a=1, b=1, c=0, d=1)
    assert (await store.trim(TOPIC, EVERYTHING)).removed == 2
    info = await store.topic(TOPIC)
    assert info.log.first_offset == 2
    assert (await store.trim(TOPIC, EVERYTHING)).removed == 0


async def test_lives_go_with_any_kind_of_request(store: FullStore) -> None:
    await store.create_topic(TOPIC, NOTHING)
    await subscribe(store, SHARED)
    key, sequence = IdempotencyKey("me", "k"), PublisherSequence("me", "p", 7)
    requests = [
        AppendRequest((envelope("a"), envelope("b")), lives_ms=(1, 0)),
        AppendRequest((envelope("c"), envelope("d")), key, b"cd", (0, 1)),
        numbered(6, "e"),
        AppendRequest((envelope("f"),), sequence, b"f", (1,)),
        keyed("k2", "g"),
    ]
    for repeated in (False, True):
        outcomes = await store.append(TOPIC, requests[repeated:])
        assert [outcome.duplicate for outcome in outcomes] == [repeated] * (5 - repeated)  # type: ignore[union-attr]
    a_moment_passes()
    taken = await lease(store)
    assert (texts(taken), taken.expired) == (["b", "c", "e", "g"], 3)
