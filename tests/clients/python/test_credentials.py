import pytest

from headrace.credentials import Credentials


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
