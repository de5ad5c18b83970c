"""What identifies a publish that is sent again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidRequest
from broker.idempotency import DIGEST_BYTES, MAX_KEY_BYTES, check_once, digest_of
from broker.messages import Kind, Message, pack
from broker.store.base import IdempotencyKey, PublisherSequence

GOOD = ["k", "k" * MAX_KEY_BYTES, "é" * 127, "a#b/c d", "\n"]
BAD = ["", "k" * (MAX_KEY_BYTES + 1), "é" * 128, "a\0b", "\0", "\ud800"]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_key_is_taken(text: str) -> None:
    check_once(IdempotencyKey("me", text))
    check_once(PublisherSequence("me", text, 1))


@pytest.mark.parametrize("text", BAD)
def test_a_bad_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="key"):
        check_once(IdempotencyKey("me", text))
    with pytest.raises(InvalidRequest, match="publisher"):
        check_once(PublisherSequence("me", text, 1))


@pytest.mark.parametrize(("sequence", "good"), [(0, True), (2**53 - 1, True), (-1, False), (2**53, False)])
def test_a_sequence_number_is_one_that_every_client_can_count(sequence: int, good: bool) -> None:
    once = PublisherSequence("me", "p", sequence)
    if good:
        check_once(once)
    else:
        with pytest.raises(InvalidRequest, match="sequence"):
            check_once(once)


ENVELOPES = st.lists(st.binary(max_size=8).map(lambda payload: pack(Message(Kind.BINARY, payload))), max_size=4)


@given(ENVELOPES, ENVELOPES)
def test_different_batches_have_different_digests(one: list[bytes], other: list[bytes]) -> None:
    assert (digest_of(one) == digest_of(other)) == (one == other)
    assert len(digest_of(one)) == DIGEST_BYTES


def test_a_digest_stays_what_it_is() -> None:
    """It is stored with the key: nodes of two versions have to agree on it."""
    assert digest_of([b"a", b"b"]).hex() == digest_of([b"ab"]).hex() == "3dc9ae220222e2e156b2a5abb60d01c7"
