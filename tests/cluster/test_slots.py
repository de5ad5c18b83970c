"""Slots, maps and redirections."""

import pytest
import servers
from hypothesis import given
from hypothesis import strategies as st

from cluster.address import Endpoint
from cluster.slots import SLOTS, Redirection, SlotMap, SlotRange, parse_redirection, parse_slots, slot_of

A, B, C = Endpoint("a", 1), Endpoint("b", 2), Endpoint("c", 3)


@given(st.binary(max_size=40) | st.text("{}ab", max_size=8).map(str.encode))
def test_slots_agree_with_another_implementation(key: bytes) -> None:
    assert slot_of(key) == servers.slot_of(key)


@pytest.mark.parametrize("key", [b"foo", b"{user}.x", b"x{}y", b"{{a}}b", b"a{b}c{d}", b"hr:{p/t%C3%B6}:log"])
def test_slots_agree_with_the_server(redis_cluster: servers.Cluster, key: bytes) -> None:
    assert slot_of(key) == redis_cluster.nodes[0].command("CLUSTER", "KEYSLOT", key)


def test_keys_of_a_topic_share_a_slot() -> None:
    assert slot_of(b"hr:{p/t}:log") == slot_of(b"hr:{p/t}:meta") == slot_of(b"p/t")


def test_one_primary_serves_everything() -> None:
    slots = SlotMap.of_one(A)
    assert slots.primaries == {A}
    assert slots.primary_of(0) == slots.primary_of(SLOTS - 1) == A


def test_ranges_and_a_hole() -> None:
    slots = SlotMap.of_ranges([SlotRange(0, 99, A), SlotRange(101, SLOTS - 1, B)])
    assert [slots.primary_of(slot) for slot in (0, 99, 100, 101, SLOTS - 1)] == [A, A, None, B, B]


def test_a_map_without_anything_knows_nobody() -> None:
    assert SlotMap.of_ranges([]).primary_of(5) is None
    assert not SlotMap.of_ranges([]).primaries


def test_a_move_changes_one_slot() -> None:
    before = SlotMap.of_one(A)
    after = before.with_move(7, B)
    assert [after.primary_of(slot) for slot in (6, 7, 8)] == [A, B, A]
    assert after.primaries == {A, B}
    assert after != before
    assert after.with_move(7, A) == before


def test_cluster_slots_is_read() -> None:
    reply = [[0, 99, [b"a", 1, b"id"], [b"replica", 9, b"id"]], [100, SLOTS - 1, [b"", 2, b"id", []]]]
    slots = parse_slots(reply, asked=C)
    assert slots.primary_of(99) == A
    assert slots.primary_of(100) == Endpoint("c", 2)


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_node_without_a_name_is_where_we_asked(host: bytes | None) -> None:
    assert parse_slots([[0, 1, [host, 2, b"id"]]], asked=C).primary_of(0) == Endpoint("c", 2)


@pytest.mark.parametrize(
    "reply", [None, b"x", [1], [[0, SLOTS, [b"a", 1]]], [[5, 4, [b"a", 1]]], [[0, 1]], [[0, 1, []]]]
)
def test_other_answers_are_refused(reply: object) -> None:
    with pytest.raises(ValueError):
        parse_slots(reply, asked=A)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("MOVED 3999 127.0.0.1:6381", Endpoint("127.0.0.1", 6381)),
        ("ASK 3999 host.example:6381", Endpoint("host.example", 6381)),
        ("MOVED 3999 2001:db8::1:6381", Endpoint("2001:db8::1", 6381)),
        ("MOVED 3999 :6381", Endpoint("c", 6381)),
    ],
)
def test_redirections(text: str, target: Endpoint) -> None:
    assert parse_redirection(text, asked=C) == Redirection(3999, target)


@pytest.mark.parametrize("text", ["MOVED", "MOVED x a:1", "MOVED 16384 a:1", "MOVED 1 a"])
def test_other_redirections_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_redirection(text, asked=C)
