"""What the scripts of subscriptions take and answer, from and to values. Pure."""

from collections.abc import Sequence
from typing import cast

import msgpack

from broker.names import SubscriptionName, TopicName
from broker.positions import Position
from broker.store.subscriptions import (
    Ack,
    Extend,
    Lease,
    Leased,
    Nack,
    RetryKind,
    Settlement,
    SubscriptionInfo,
    SubscriptionKind,
    SubscriptionSettings,
    Window,
)
from broker.store.wire import Word, read_entries, read_log_state

LEASE_WORDS = 5
"""ID, time, envelope, attempt and token of each lease in an answer."""

_LEASED_HEAD = 8
_INFO_HEAD = 10
_CLAIMED, _CONFIRMED = b"?", b"="


def pack_settings(settings: SubscriptionSettings) -> bytes:
    packed: bytes = msgpack.packb(
        [
            settings.kind.value,
            settings.ack_deadline_s,
            settings.max_attempts,
            settings.dead_letter_topic,
            settings.retry_kind.value,
            settings.retry_min_ms,
            settings.retry_max_ms,
            settings.ordering_attribute,
            settings.max_outstanding,
        ]
    )
    return packed


def read_settings(packed: bytes) -> SubscriptionSettings:
    kind, ack_s, attempts, dead, retry, low, high, ordering, outstanding = msgpack.unpackb(packed)
    return SubscriptionSettings(
        kind=SubscriptionKind(kind),
        ack_deadline_s=ack_s,
        max_attempts=attempts,
        dead_letter_topic=dead,
        retry_kind=RetryKind(retry),
        retry_min_ms=low,
        retry_max_ms=high,
        ordering_attribute=ordering,
        max_outstanding=outstanding,
    )


def settings_args(settings: SubscriptionSettings) -> list[Word]:
    """Return kind, packed settings, and what the scripts themselves heed."""
    ordering = "" if settings.ordering_attribute is None else f"={settings.ordering_attribute}"
    return [
        settings.kind.value,
        pack_settings(settings),
        settings.ack_deadline_s,
        settings.max_outstanding,
        ordering.encode(errors="surrogatepass"),
    ]


def settlement_args(settlements: Sequence[Settlement]) -> list[Word]:
    args: list[Word] = []
    for one in settlements:
        match one:
            case Ack():
                verb, wait_ms = "a", 0
            case Nack():
                verb, wait_ms = "n", one.delay_ms
            case Extend():
                verb, wait_ms = "e", one.deadline_ms
            case _:
                verb, wait_ms = "r", 0
        args += [verb, one.offset, one.token.encode(errors="replace"), wait_ms]
    return args


def read_info(name: SubscriptionName, topic: TopicName, reply: Sequence[object]) -> SubscriptionInfo:
    settings = read_settings(cast(bytes, reply[0]))
    numbers = [int(cast(bytes, word)) for word in reply[1:_INFO_HEAD]]
    created_ms, generation, trimmed, expired, restarts, delivered, delivered_bytes, epoch, cursor = numbers
    pending, oldest, log = 0, None, None
    if len(reply) > _INFO_HEAD:
        pending, oldest_word = cast("tuple[int, bytes]", tuple(reply[_INFO_HEAD : _INFO_HEAD + 2]))
        oldest = int(oldest_word) if oldest_word else None
        log = read_log_state(reply[_INFO_HEAD + 2 :])
    return SubscriptionInfo(
        name=name,
        topic=topic,
        created_ms=created_ms,
        settings=settings,
        log=log,
        cursor=Position(epoch, cursor),
        generation=generation,
        pending=pending,
        lag=log.next_offset - max(cursor + 1, log.first_offset) if log else 0,
        oldest_unacked_ms=oldest,
        trimmed=trimmed,
        restarts=restarts,
        delivered=delivered,
        delivered_bytes=delivered_bytes,
        expired=expired,
    )


def read_window(reply: Sequence[object]) -> Window:
    trimmed, expired, restarted = cast("list[int]", reply[:3])
    return Window(tuple(read_entries(reply[3:])), trimmed, bool(restarted), expired)


def read_leased(reply: Sequence[object]) -> Leased:
    settings, now_ms, due, more, trimmed, expired, restarted, deadline_ms = cast(
        "tuple[bytes, int, bytes, int, int, int, int, int]", tuple(reply[:_LEASED_HEAD])
    )
    return Leased(
        _read_leases(reply[_LEASED_HEAD:], deadline_ms),
        read_settings(settings),
        now_ms,
        int(due) if due else None,
        bool(more),
        trimmed,
        bool(restarted),
        expired,
    )


def _read_leases(words: Sequence[object], deadline_ms: int) -> tuple[Lease, ...]:
    flat = [word for at in range(0, len(words), LEASE_WORDS) for word in words[at : at + 3]]
    attempts = cast("Sequence[int]", words[3::LEASE_WORDS])
    tokens = cast("Sequence[bytes]", words[4::LEASE_WORDS])
    leases = zip(read_entries(flat), attempts, tokens, strict=True)
    return tuple(Lease(entry, attempt, token.decode(), deadline_ms) for entry, attempt, token in leases)


def claimed(topic: str, nonce: bytes) -> bytes:
    """Return a registry's record of a subscription that its writer is about to create on `topic`, a local name."""
    return _CLAIMED + nonce.hex().encode() + b":" + topic.encode()


def confirmed(claim: bytes) -> bytes:
    """Return the record that takes a claim's place when the subscription is there."""
    return _CONFIRMED + claim[1:]


def topic_in(record: bytes) -> str:
    return record.partition(b":")[2].decode()
