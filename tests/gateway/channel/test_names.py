"""Client ids in tokens."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.channel.names import decode, encode


@given(st.binary(max_size=256))
def test_any_bytes_come_back(client_id: bytes) -> None:
    text = encode(client_id)
    assert re.fullmatch(r"[A-Za-z0-9_.~]*", text)
    assert decode(text) == client_id


@pytest.mark.parametrize(
    ("client_id", "text"),
    [(b"", ""), (b"player_1.a", "player_1.a"), (b"a-b", "a~2Db"), (b"a~b c", "a~7Eb~20c"), ("é".encode(), "~C3~A9")],
)
def test_safe_ids_are_themselves(client_id: bytes, text: str) -> None:
    assert encode(client_id) == text
    assert decode(text) == client_id


@pytest.mark.parametrize("text", ["a-b", "~", "~4", "~zz", "~2d", "a b", "é", "a~"])
def test_what_was_never_written_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an encoded"):
        decode(text)
