"""What no server could be shown as a token."""

import pytest

from headrace.migratorydata import MigratoryDataException
from headrace.migratorydata.tokens import check_token


@pytest.mark.parametrize("token", [None, "", "some-token", "a.b.c\n"])
def test_tokens(token: str | None) -> None:
    check_token(token)


@pytest.mark.parametrize("wrong", [5, b"x", "two words", "\u00e9", "a\nb"])
def test_what_is_none(wrong: object) -> None:
    with pytest.raises(MigratoryDataException) as refused:
        check_token(wrong)
    assert refused.value.code == MigratoryDataException.E_ENTITLEMENT_TOKEN == 11
    assert "\u00e9" not in str(refused.value)
