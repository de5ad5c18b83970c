"""Ids: AWS's shape, the owner in each, and a clear no to everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.cluster.identifiers import (
    ID_BYTES,
    SERIAL_BYTES,
    TAG_BYTES,
    connection_id,
    owner_tag,
    place_of,
    serial_of,
    tag_of,
)
from gateway.apigateway.errors import Malformed

SERIALS = st.binary(min_size=SERIAL_BYTES, max_size=SERIAL_BYTES)


@given(node=st.text(max_size=300), serial=SERIALS)
def test_an_id_looks_like_aws_and_leads_to_its_owner(node: str, serial: bytes) -> None:
    made = connection_id(tag_of(node), serial)
    assert len(made) == 16
    assert made.endswith("=")
    assert made.count("=") == 1
    assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
    assert owner_tag(made) == tag_of(node)
    assert place_of(made) == tag_of(node) + serial


@given(one=SERIALS, other=SERIALS)
def test_other_serials_make_other_ids(one: bytes, other: bytes) -> None:
    tag = tag_of("n0.00000000")
    assert (connection_id(tag, one) == connection_id(tag, other)) == (one == other)


@given(st.sets(st.integers(0, 2**48 - 1), max_size=50), st.binary(min_size=1, max_size=32))
def test_no_serial_comes_twice(numbers: set[int], key: bytes) -> None:
    assert len({serial_of(number, key) for number in numbers}) == len(numbers)


def test_serials_in_a_row_show_nothing() -> None:
    serials = [serial_of(number, b"k") for number in range(2000)]
    assert len(set(serials)) == 2000
    assert serials != [serial_of(number, b"l") for number in range(2000)]
    for at in range(SERIAL_BYTES):
        assert len({serial[at] for serial in serials}) > 200, "each byte takes nearly every value"


def test_other_lives_of_a_node_have_other_tags() -> None:
    assert tag_of("n0.00000000") != tag_of("n0.00000001")
    assert len(tag_of("n0.00000000")) == TAG_BYTES


@pytest.mark.parametrize("known", ["L0SM9cOFvHcCIhw=", "R1kmxc2VNjMCFIA=", "JC1dgf9yoAMCK-g=", "TXzPWdnOjoECGjA="])
def test_the_ids_of_aws_have_the_shape(known: str) -> None:
    assert len(place_of(known)) == ID_BYTES


def test_an_id_with_loose_last_bits_has_the_shape_too() -> None:
    assert owner_tag("aaaaaaaaaaaaaab=") == owner_tag("aaaaaaaaaaaaaaa=")


@pytest.mark.parametrize(
    "strange",
    [
        "",
        ".",
        "..",
        "L0SM9cOFvHcCIhw",
        "L0SM9cOFvHcCIhww",
        "L0SM9cOFvHcCIhw==",
        "L0SM9cOFvHcCIh==",
        "=L0SM9cOFvHcCIh=",
        "L0SM9cOFvHcC/hw=",
        "L0SM9cOFvHcC+hw=",
        "L0SM9cOFvHcC.hw=",
        "L0SM9cOFvHcCIhw=\n",
        "L0SM9cOFvHcCIh\u00e9=",
        "\u0661" * 15 + "=",
        "x" * 10_000,
    ],
)
def test_anything_else_is_malformed(strange: str) -> None:
    with pytest.raises(Malformed):
        owner_tag(strange)
