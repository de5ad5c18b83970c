"""Channel tokens: contracts/channel 3 and 9, case 3."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.channel.errors import InvalidToken, TokenTimedOut
from gateway.channel.tokens import MAX_TOKEN_CHARS, Grant, Tokens
from gateway.options import Secret

SECRET, OTHER = Secret("the secret key of a node"), Secret("another secret key")
TOKENS = Tokens(SECRET)
NOW = 1000.5


def made(client_id: bytes = b"player", *, minutes: int = 1, tokens: Tokens = TOKENS) -> str:
    return tokens.make(client_id, minutes=minutes, now=NOW, random=7)


def signed(rest: str, secret: Secret = SECRET) -> str:
    """A token with a good digest, whatever it says."""
    key = hmac.digest(secret.value.encode(), b"headrace channel token HMAC-SHA256 v1", hashlib.sha256)
    return f"{hmac.digest(key, rest.encode(), hashlib.sha256).hex()[:32]}-{rest}"


def test_it_has_the_shape_of_the_original() -> None:
    digest, rest = made().split("-", 1)
    assert len(digest) == 32
    assert rest == "channel-7-1061-player"
    assert made() == signed(rest)


def test_a_minute_ends_on_the_second_after_it() -> None:
    assert TOKENS.read(made(), now=1060.999) == Grant(b"player", 1061)
    with pytest.raises(TokenTimedOut):
        TOKENS.read(made(), now=1061.0)


@given(st.binary(max_size=256))
def test_every_client_id_comes_back(client_id: bytes) -> None:
    token = made(client_id)
    assert len(token) <= MAX_TOKEN_CHARS
    assert token.rpartition("-")[2] == token.split("-", 4)[4], "what follows the last dash is the whole client id"
    assert TOKENS.read(token, now=NOW).client_id == client_id


@given(st.data())
def test_no_changed_token_is_taken(data: st.DataObject) -> None:
    token = made()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(max_codepoint=255).filter(lambda letter: letter != token[at]))
    with pytest.raises(InvalidToken):
        TOKENS.read(token[:at] + other + token[at + 1 :], now=NOW)


@pytest.mark.parametrize("end", [0, 1, 32, 33, 40, -1])
def test_no_part_of_a_token_is_taken(end: int) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.read(made()[:end], now=NOW)


@pytest.mark.parametrize(
    "rest",
    [
        "chanel-7-1061-player",
        "CHANNEL-7-1061-player",
        "channel-7-10x1-player",
        "channel-7--1061-player",
        "channel-7-٣-player",
        "channel-7--player",
        "channel-7-1061",
        "channel-7",
        "channel",
        "",
        "channel-7-1061-a-b",
        "channel-7-1061-a~",
        "channel-7-1061-" + "a" * MAX_TOKEN_CHARS,
    ],
)
def test_a_good_digest_alone_is_not_enough(rest: str) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.read(signed(rest), now=NOW)


def test_a_token_that_is_no_channel_of_ours_is_invalid_before_it_is_late() -> None:
    with pytest.raises(InvalidToken):
        TOKENS.read(signed("other-7-1061-player"), now=2000)
    with pytest.raises(InvalidToken):
        TOKENS.read(made(tokens=Tokens(OTHER)), now=2000)


def test_an_unkeyed_hash_as_the_original_made_it_is_refused() -> None:
    rest = "channel-7-1061-player"
    with pytest.raises(InvalidToken):
        TOKENS.read(f"{hashlib.md5(rest.encode()).hexdigest()}-{rest}", now=NOW)


def test_tokens_outlive_the_change_of_the_secret_key_by_one() -> None:
    before = made()
    after = Tokens(OTHER, old=SECRET)
    assert after.read(before, now=NOW).client_id == b"player"
    assert made(tokens=after) == made(tokens=Tokens(OTHER)), "new ones are signed with the new key"
    with pytest.raises(InvalidToken):
        Tokens(OTHER).read(before, now=NOW)


def test_a_refusal_holds_nothing_of_the_token() -> None:
    with pytest.raises(InvalidToken) as refusal:
        TOKENS.read("secret-looking", now=NOW)
    assert "secret" not in str(refusal.value)
