"""Single fields of a client frame: strict types, bounds, and a refusal that names the field."""

import pytest

from broker.errors import InvalidRequest
from gateway.realtime.fields import (
    MAX_ID_BYTES,
    MAX_INTEGER,
    read_id,
    read_identity,
    read_integer,
    read_string,
    read_text,
)


@pytest.mark.parametrize("good", [0, 1, MAX_INTEGER, "a", "ä" * (MAX_ID_BYTES // 2)])
def test_an_id_is_kept_as_it_is(good: object) -> None:
    assert read_id({"id": good}) == good
    assert read_id({}) is None


@pytest.mark.parametrize("bad", [-1, MAX_INTEGER + 1, 1.0, True, None, "", "ä" * (MAX_ID_BYTES // 2 + 1), [1]])
def test_no_other_id_is_taken(bad: object) -> None:
    with pytest.raises(InvalidRequest, match="'id'"):
        read_id({"id": bad})


@pytest.mark.parametrize(("value", "least", "most"), [(0, 0, MAX_INTEGER), (-1, -1, 5), (5, -1, 5)])
def test_an_integer_within_its_bounds(value: int, least: int, most: int) -> None:
    assert read_integer(value, "n", least=least, most=most) == value


@pytest.mark.parametrize("bad", [True, 1.0, "1", None, -1, 6])
def test_no_other_integer(bad: object) -> None:
    with pytest.raises(InvalidRequest, match="'n' must be an integer from 0 to 5"):
        read_integer(bad, "n", most=5)
    with pytest.raises(InvalidRequest, match=r"to 2\^53-1"):
        read_integer(MAX_INTEGER + 1, "n")


def test_texts_are_measured_in_bytes() -> None:
    assert read_text({}, "t", 4) is None
    assert read_text({"t": "ää"}, "t", 4) == "ää"
    assert read_text({"t": ""}, "t", 4, least=0) == ""
    for bad in ("", "äää"):
        with pytest.raises(InvalidRequest, match="1 to 4 bytes"):
            read_text({"t": bad}, "t", 4)


def test_an_identity_has_no_control_characters() -> None:
    assert read_identity({"key": "a b"}, "key", 10) == "a b"
    assert read_identity({}, "key", 10) is None
    for bad in ("\x00", "a\x1f", "\x7f", "\x9f"):
        with pytest.raises(InvalidRequest, match="control character"):
            read_identity({"key": bad}, "key", 10)


@pytest.mark.parametrize("bad", [None, 1, b"a", ["a"]])
def test_a_string_is_nothing_else(bad: object) -> None:
    assert read_string("a", "s") == "a"
    with pytest.raises(InvalidRequest, match="'s' must be a string"):
        read_string(bad, "s")
