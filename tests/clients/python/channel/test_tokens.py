"""Tokens of the stub: contracts/channel 3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.channel import tokens
from headrace.channel.tokens import InvalidTokenError, TokenTimedOutError

KEY = b"k" * 32


def mint(client_id: str = "a", *, minutes: int = 1, now: float = 1000.5) -> str:
    return tokens.mint(KEY, client_id, minutes=minutes, now=now, number=7)


@given(data=st.binary(max_size=64))
def test_any_client_id_comes_back_and_needs_no_encoding(data: bytes) -> None:
    client_id = data.decode(errors="surrogateescape")
    token = mint(client_id)

    assert tokens.read(KEY, token, now=1000.5) == client_id
    # What a page's script takes for the client's key: all after the last `-`.
    assert tokens.unescaped(token.rpartition("-")[2]) == client_id
    assert all(char.isascii() and (char.isalnum() or char in "-_.~") for char in token)


def test_the_shape_is_the_sdks() -> None:
    mac, rest = mint("player_1").split("-", 1)

    assert rest == "channel-7-1061-player_1"
    assert len(mac) == 32
    assert not mac.strip("0123456789abcdef")


@pytest.mark.parametrize("now", [1000.5, 1060, 1060.999])
def test_a_token_serves_until_its_second(now: float) -> None:
    assert tokens.read(KEY, mint(), now=now) == "a"


@pytest.mark.parametrize("now", [1061.0, 1061.5, 99999])
def test_and_no_longer(now: float) -> None:
    with pytest.raises(TokenTimedOutError):
        tokens.read(KEY, mint(), now=now)


def test_any_byte_that_is_changed_makes_it_invalid() -> None:
    token = mint("a-b c")
    for at in range(len(token)):
        changed = token[:at] + ("0" if token[at] != "0" else "1") + token[at + 1 :]
        with pytest.raises(InvalidTokenError):
            tokens.read(KEY, changed, now=0)


@pytest.mark.parametrize(
    "rest",
    ["", "channel", "channel-7-1061", "other-7-1061-a", "channel-7-soon-a", "channel-7--a", "channel-7-१-a", "x"],
    ids=["nothing", "one part", "three parts", "other word", "no digits", "no expiry", "other digits", "word"],
)
def test_what_is_signed_and_yet_no_token(rest: str) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.read(KEY, tokens.sign(KEY, rest), now=0)


@pytest.mark.parametrize("token", ["", "-", "a", "é", "\ud800-channel-1-2-a", "-channel-7-1061-a", "x" * 5000])
def test_what_was_never_signed(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.read(KEY, token, now=0)


def test_another_stubs_token_is_invalid() -> None:
    with pytest.raises(InvalidTokenError):
        tokens.read(b"other", mint(), now=0)


@pytest.mark.parametrize("tail", ["", "a-b", "-", "a-b-c-d"])
def test_the_client_id_is_all_the_rest(tail: str) -> None:
    assert tokens.read(KEY, tokens.sign(KEY, f"channel-7-1061-{tail}"), now=0) == tail


def test_a_token_is_known_by_its_looks_to_whoever_has_no_key() -> None:
    token = mint()

    assert tokens.looks_valid(token, now=1060)
    assert not tokens.looks_valid(token, now=1061)
    for other in ("", "a", token[1:], f"{token}/", token.replace("channel", "chanel"), token.replace("7", "x", 1)):
        assert not tokens.looks_valid(other, now=0) or other == token


def test_both_exceptions_have_one_base() -> None:
    assert InvalidTokenError.__bases__ == TokenTimedOutError.__bases__ == (tokens.Error,)


def test_the_client_id_that_a_text_names() -> None:
    token = tokens.mint(b"key", "a-b é", minutes=1, now=1.0, number=2)
    assert tokens.client_id_in(token) == "a-b é"
    assert tokens.client_id_in("x" + token) is None
