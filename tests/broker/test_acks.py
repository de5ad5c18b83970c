"""Ack ids: what is written is read, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.acks import MAX_ACK_BYTES, MAX_ACKS, MAX_ATTEMPT, AckId, ack_of, check_kind, parse_ack, parse_acks
from broker.errors import InvalidRequest
from broker.messages import Entry, Kind, Message
from broker.positions import MAX_EPOCH, Position
from broker.store.subscriptions import Lease, SubscriptionKind

TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1, max_size=100)


@given(st.integers(0, MAX_EPOCH), st.integers(1, MAX_ATTEMPT), TOKENS)
def test_a_lease_comes_back_as_it_went(offset: int, attempt: int, token: str) -> None:
    entry = Entry(Position(7, offset), 0, Message(Kind.TEXT, b""))
    text = ack_of(Lease(entry, attempt, token, 0))
    assert parse_ack(text) == AckId(offset, token, attempt)
    assert ":" not in text


@pytest.mark.parametrize(("text", "offset"), [("0", 0), ("12", 12), ("007", 7)])
def test_a_cursors_ack_is_its_offset(text: str, offset: int) -> None:
    assert parse_ack(text) == AckId(offset)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1.",
        "1.2",
        "1.2-",
        "1.-token",
        "1.x-token",
        "x.1-token",
        ".1-token",
        "²",
        "1.²-token",
        "1.1-tökèn",
        "9007199254740992",
        "99999999999999999",
        "1.2147483649-token",
        "1.1-" + "x" * MAX_ACK_BYTES,
        "1_0",
        "1e3",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_ack(text)


def test_a_call_has_some_and_not_too_many() -> None:
    assert parse_acks(["1", "2.1-t"]) == [AckId(1), AckId(2, "t", 1)]
    assert len(parse_acks(["1"] * MAX_ACKS)) == MAX_ACKS
    for texts in ([], ["1"] * (MAX_ACKS + 1), ["1", "x"]):
        with pytest.raises(InvalidRequest):
            parse_acks(texts)


def test_the_kinds_are_told_apart() -> None:
    cursor, shared = AckId(1), AckId(1, "t", 1)
    check_kind([cursor], SubscriptionKind.CURSOR)
    check_kind([shared], SubscriptionKind.SHARED)
    for kind in SubscriptionKind:
        with pytest.raises(InvalidRequest):
            check_kind([cursor, shared], kind)
