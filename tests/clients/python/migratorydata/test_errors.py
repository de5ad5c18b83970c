"""The exception's codes."""

from headrace.migratorydata.errors import MigratoryDataException


def test_the_codes_are_1_to_14() -> None:
    codes = [value for name, value in vars(MigratoryDataException).items() if name.startswith("E_")]
    assert codes == list(range(1, 15))


def test_it_says_its_code_and_its_detail_in_both_spellings() -> None:
    error = MigratoryDataException(MigratoryDataException.E_CONNECTION_DENY, "Why.")
    assert (error.get_code(), error.getCode(), error.get_detail(), error.getDetail(), str(error)) == (
        14,
        14,
        "Why.",
        "Why.",
        "Why.",
    )
