"""The envelope: what goes in comes out, and nothing above its bounds goes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidMessage, TooLarge
from broker.messages import (
    MAX_ATTRIBUTES,
    MAX_ENVELOPE_BYTES,
    MAX_LIFE_MS,
    Kind,
    Message,
    lives_of,
    pack,
    unpack,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))

MESSAGES = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    payload=st.binary(max_size=300),
    attributes=st.dictionaries(TEXTS, TEXTS, max_size=5),
    verbatim=st.booleans(),
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert unpack(pack(message)) == message


@given(MESSAGES)
def test_an_envelope_ends_where_it_ends(message: Message) -> None:
    """An announcement joins envelopes, and a digest runs over them joined: none may be the beginning of another."""
    envelope = pack(message)
    for cut in (envelope[:-1], envelope + b"\x00"):
        with pytest.raises(ValueError):
            unpack(cut)


def test_the_stored_form_is_this_one() -> None:
    """What is in a log today has to be readable tomorrow."""
    assert pack(Message(Kind.BINARY, b"\x00\xff")) == b"\x93\x00\x80\xc4\x02\x00\xff"
    assert pack(Message(Kind.TEXT, b"hi", {"k": "v"})) == b"\x93\x01\x81\xa1k\xa1v\xc4\x02hi"
    assert pack(Message(Kind.JSON, b"{}", verbatim=True)) == b"\x94\x02\x80\xc4\x02{}\xc3"


@pytest.mark.parametrize("payload", [b"", b"x", b"x" * 300, b"x" * 70_000])
def test_the_bound_counts_the_whole_envelope(payload: bytes) -> None:
    message = Message(Kind.TEXT, payload, {"a": "b"})
    size = len(pack(message))
    assert size > len(payload)
    assert len(pack(message, max_bytes=size)) == size
    with pytest.raises(TooLarge):
        pack(message, max_bytes=size - 1)


def test_the_default_bound_is_argos() -> None:
    assert MAX_ENVELOPE_BYTES == 1_500_000
    pack(Message(Kind.BINARY, b"x" * (MAX_ENVELOPE_BYTES - 8)))
    for size in (MAX_ENVELOPE_BYTES - 7, MAX_ENVELOPE_BYTES, MAX_ENVELOPE_BYTES + 1):
        with pytest.raises(TooLarge):
            pack(Message(Kind.BINARY, b"x" * size))


def test_attributes_are_counted() -> None:
    most = {str(number): "x" for number in range(MAX_ATTRIBUTES)}
    assert unpack(pack(Message(Kind.TEXT, b"", most))).attributes == most
    with pytest.raises(InvalidMessage):
        pack(Message(Kind.TEXT, b"", {**most, "one more": "x"}))


@pytest.mark.parametrize("attributes", [{"\ud800": "x"}, {"x": "\udfff"}])
def test_attributes_are_unicode(attributes: dict[str, str]) -> None:
    with pytest.raises(InvalidMessage):
        pack(Message(Kind.TEXT, b"", attributes))


def test_a_time_to_live_is_kept_beside_the_envelope() -> None:
    assert unpack(pack(Message(Kind.TEXT, b"x", life_ms=5))) == Message(Kind.TEXT, b"x")
    assert pack(Message(Kind.TEXT, b"x", life_ms=5)) == pack(Message(Kind.TEXT, b"x"))


def test_times_to_live_are_told_only_where_there_is_one() -> None:
    forever, short = Message(Kind.TEXT, b""), Message(Kind.TEXT, b"", life_ms=1)
    assert lives_of([forever, forever]) == ()
    assert lives_of([forever, short]) == (0, 1)
    assert lives_of([Message(Kind.TEXT, b"", life_ms=MAX_LIFE_MS)]) == (MAX_LIFE_MS,)
    for life_ms in (-1, MAX_LIFE_MS + 1):
        with pytest.raises(InvalidMessage):
            lives_of([short, Message(Kind.TEXT, b"", life_ms=life_ms)])
