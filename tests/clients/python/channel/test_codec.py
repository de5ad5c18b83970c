"""The wire format below the messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.channel.codec import Malformed, read_fields, signed32, write_field, write_varint

FIELDS = st.lists(st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1) | st.binary(max_size=200)))


@given(fields=FIELDS)
def test_fields_come_back_in_their_order(fields: list[tuple[int, int | bytes]]) -> None:
    data = b"".join(write_field(number, value) for number, value in fields)

    assert list(read_fields(data)) == fields


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (-1, "ffffffffffffffffff01")],
)
def test_varints(value: int, data: str) -> None:
    assert write_varint(value).hex() == data


@given(value=st.integers(-(2**31), 2**31 - 1))
def test_an_int32_comes_back(value: int) -> None:
    [(_, found)] = read_fields(write_field(1, value))
    assert isinstance(found, int)
    assert signed32(found) == value


def test_fixed_fields_are_skipped() -> None:
    assert list(read_fields(bytes.fromhex("0d010203041101020304050607081801"))) == [(3, 1)]


@pytest.mark.parametrize(
    "data",
    ["08", "0a", "0a02 61", "0d 0102", "11 01020304", "0b", "0c", "0f", "0001", "ff" * 10 + "01", "0aff01"],
)
def test_what_is_no_message(data: str) -> None:
    with pytest.raises(Malformed):
        list(read_fields(bytes.fromhex(data)))
