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
