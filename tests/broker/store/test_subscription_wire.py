"""What the scripts of subscriptions take and answer, by tables."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import TOPIC, envelope
from subs import SUB

from broker.names import TopicName
from broker.positions import Link, Position
from broker.store import subscription_wire as wire
from broker.store.subscriptions import Ack, Extend, Nack, Release, RetryKind, SubscriptionKind, SubscriptionSettings

NUMBERS = st.integers(0, 2**53)
SETTINGS = st.builds(
    SubscriptionSettings,
    kind=st.sampled_from(SubscriptionKind),
    ack_deadline_s=NUMBERS,
    max_attempts=st.none() | NUMBERS,
    dead_letter_topic=st.none() | st.just(TopicName("default/dead")),
    retry_kind=st.sampled_from(RetryKind),
    retry_min_ms=NUMBERS,
    retry_max_ms=NUMBERS,
    ordering_attribute=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    max_outstanding=NUMBERS,
)


@given(SETTINGS)
def test_settings_come_back_as_they_were(settings: SubscriptionSettings) -> None:
    packed = wire.pack_settings(settings)
    assert wire.read_settings(packed) == settings
    assert wire.settings_args(settings)[:2] == [settings.kind.value, packed]


def test_no_ordering_differs_from_ordering_by_an_empty_name() -> None:
    ordering = [wire.settings_args(SubscriptionSettings(ordering_attribute=name))[-1] for name in (None, "", "k")]
    assert ordering == [b"", b"=", b"=k"]


def test_each_settlement_has_four_words() -> None:
    rows = [Ack(1, "t"), Nack(2, "t", 5), Extend(3, "é\ud800", 7), Release(4, "")]
    words = [*(b"a", 1, b"t", 0), *(b"n", 2, b"t", 5), *(b"e", 3, "é?".encode(), 7), *(b"r", 4, b"", 0)]
    assert wire.settlement_args(rows) == [word.decode() if word in (b"a", b"n", b"e", b"r") else word for word in words]


def info_words(*log: object) -> list[object]:
    settings = wire.pack_settings(SubscriptionSettings())
    return [settings, *(str(number).encode() for number in (1000, 2, 3, 9, 4, 5, 6, 77, 8)), *log]


def test_an_info_is_read_with_its_log() -> None:
    info = wire.read_info(SUB, TOPIC, info_words(9, b"500", b"77:0", 20, b"77-12"))
    assert (info.created_ms, info.generation, info.trimmed, info.restarts) == (1000, 2, 3, 4)
    assert info.expired == 9
    assert (info.delivered, info.delivered_bytes, info.cursor) == (5, 6, Position(77, 8))
    assert (info.pending, info.oldest_unacked_ms, info.lag) == (9, 500, 8)
    assert info.log is not None
    assert info.log.chain == (Link(77, 0),)


def test_an_info_without_a_topic_has_no_log() -> None:
    info = wire.read_info(SUB, TOPIC, info_words())
    assert (info.log, info.pending, info.lag, info.oldest_unacked_ms) == (None, 0, 0, None)


@pytest.mark.parametrize(("word", "deadline"), [(b"", None), (b"1234", 1234)])
def test_leases_are_read(word: bytes, deadline: int | None) -> None:
    head = [wire.pack_settings(SubscriptionSettings()), 1000, word, 1, 2, 7, 0, 5000]
    rows = [b"77-1", b"900", envelope("a"), 3, b"3.0.77.x", b"77-2", b"901", envelope("b"), 1, b"1.0.77.x"]
    leased = wire.read_leased([*head, *rows])
    assert (leased.now_ms, leased.next_deadline_ms, leased.more, leased.trimmed, leased.restarted) == (
        *(1000, deadline, True),
        *(2, False),
    )
    assert leased.expired == 7
    assert [(one.attempt, one.token, one.deadline_ms) for one in leased.leases] == [
        (3, "3.0.77.x", 5000),
        (1, "1.0.77.x", 5000),
    ]
    assert [one.entry.position for one in leased.leases] == [Position(77, 1), Position(77, 2)]
    assert wire.read_leased(head).leases == ()


def test_a_window_is_read() -> None:
    window = wire.read_window([4, 3, 1, b"77-1", b"900", envelope("a")])
    assert (window.trimmed, window.expired, window.restarted, len(window.entries)) == (4, 3, True, 1)


def test_a_claim_is_confirmed_under_the_same_nonce() -> None:
    claim = wire.claimed("a:b/ü", b"\0:nonce")
    assert wire.confirmed(claim) != claim
    assert wire.topic_in(claim) == wire.topic_in(wire.confirmed(claim)) == "a:b/ü"
    assert wire.claimed("a:b/ü", b"other") != claim
    assert msgpack.unpackb(wire.pack_settings(SubscriptionSettings()))[0] == "cursor"
