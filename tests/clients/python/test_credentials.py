import base64
import json

import pytest

from headrace.credentials import MAX_REFRESH_S, MIN_REFRESH_S, Credentials, expiry_of


async def fresh() -> str:
    return "async"


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        (None, []),
        ("", []),
        ("plain", [("Authorization", "Bearer plain")]),
        ("from-a-file\n", [("Authorization", "Bearer from-a-file")]),
        (lambda: "made", [("Authorization", "Bearer made")]),
        (fresh, [("Authorization", "Bearer async")]),
    ],
)
async def test_where_the_token_comes_from(token, headers) -> None:
    assert await Credentials(token).headers() == headers


def test_a_plain_token_has_no_second_chance() -> None:
    assert not Credentials("plain").refused()
    assert not Credentials(None).refused()


def test_a_function_has_one_second_chance_until_a_token_is_accepted() -> None:
    credentials = Credentials(lambda: "made")
    assert [credentials.refused(), credentials.refused()] == [True, False]
    credentials.accepted()
    assert credentials.refused()


def test_the_token_is_not_shown() -> None:
    assert "s3cret" not in repr(Credentials("s3cret"))


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a b", "ü", "a\x00"])
async def test_what_cannot_stand_in_a_header_is_refused_without_being_shown(token) -> None:
    with pytest.raises(ValueError) as caught:
        Credentials(token)
    assert token not in str(caught.value)
    with pytest.raises(ValueError):
        await Credentials(lambda: token).headers()


def jwt(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{part}.c2ln"


@pytest.mark.parametrize(
    ("token", "expires"),
    [
        (jwt({"exp": 1000}), 1000.0),
        (jwt({"exp": 1000.5}), 1000.5),
        (jwt({}), None),
        (jwt({"exp": "1000"}), None),
        (jwt({"exp": True}), None),
        (jwt({"exp": 1e300}), None),
        (jwt([]), None),
        ("a.%%%.c", None),
        ("a.b", None),
        ("plain", None),
    ],
)
def test_the_expiry_that_a_token_says_of_itself(token, expires) -> None:
    assert expiry_of(token) == expires


@pytest.mark.parametrize(
    ("lives_s", "refresh_s"),
    [(100, 75), (MIN_REFRESH_S, None), (-5, None), (10**9, MAX_REFRESH_S)],
)
async def test_a_token_is_refreshed_well_before_it_expires_and_never_in_a_rush(lives_s, refresh_s) -> None:
    credentials = Credentials(lambda: jwt({"exp": 5000 + lives_s}))
    assert credentials.refresh_in(5000) is None
    await credentials.token()
    assert credentials.refresh_in(5000) == refresh_s


async def test_a_plain_token_cannot_be_refreshed() -> None:
    credentials = Credentials(jwt({"exp": 5100}))
    await credentials.token()
    assert credentials.refresh_in(5000) is None
