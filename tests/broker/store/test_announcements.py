"""Announcements: written and read back; bytes that nobody wrote are refused."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import envelope

from broker.positions import MAX_EPOCH, Position
from broker.store.announcements import pack_batch, pack_end, read_announcement
from broker.store.base import MAX_ANNOUNCED_BYTES, Announcement

EPOCH = 3_764_983_047_883_109
BATCH = pack_batch(Position(EPOCH - 1, 6), Position(EPOCH, 7), 1_795_283_817_872, [envelope("a"), envelope("bc")])


def framed(header: object, bodies: bytes = b"") -> bytes:
    packed: bytes = msgpack.packb(header)
    return len(packed).to_bytes(4, "big") + packed + bodies


def test_a_batch_is_read_back() -> None:
    heard = read_announcement(BATCH)
    assert (heard.previous, heard.last, heard.ended) == (Position(EPOCH - 1, 6), Position(EPOCH, 8), False)
    assert heard.entries is not None
    assert [(entry.position, entry.time_ms, entry.message.payload) for entry in heard.entries] == [
        (Position(EPOCH, 7), 1_795_283_817_872, b"a"),
        (Position(EPOCH, 8), 1_795_283_817_872, b"bc"),
    ]


@pytest.mark.parametrize(("more", "has_bodies"), [(0, True), (1, False)])
def test_bodies_above_the_bound_are_left_out(more: int, has_bodies: bool) -> None:
    bare = len(envelope("x" * 100_000)) - 100_000
    body = envelope("x" * (MAX_ANNOUNCED_BYTES - bare + more))
    heard = read_announcement(pack_batch(Position(1, -1), Position(1, 0), 5, [body]))
    assert (heard.entries is not None) is has_bodies
    assert heard.last == Position(1, 0)


@pytest.mark.parametrize("end", [Position(EPOCH, 5), Position(MAX_EPOCH, -1)])
def test_an_end_is_read_back(end: Position) -> None:
    assert read_announcement(pack_end(end)) == Announcement(end, end, None, ended=True)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0",
        b"\xff\xff\xff\xff",
        framed(None),
        framed([]),
        framed({}),
        framed([0, 1, -1, 1, 0, 5]),
        framed([0, 1, -1, 1, 0, 5, []]),
        framed([0, 1, -1, 1, 0, 5, [1]]),
        framed([0, 1, -1, 1, 0, 5, [9]], envelope("a")),
        framed([0, 1, -1, 1, 0, 5, [len(envelope("a"))]], envelope("a") + b"x"),
        framed([0, 1, -1, 1, 0, 5, [len(envelope("a")) + 1, -1]], envelope("a")),
        framed([0, 1, -1, 1, 0, 5, ["1"]], b"x"),
        framed([0, 1, -1, 1, 0, 5, [1]], b"\xc1"),
        framed([0, 1, -1, 1, 0, 5, [1]], b"\x05"),
        framed([0, 1, -1, 1, 0, 5, [2]], msgpack.packb([7])),
        framed([0, 1, -1, 1, 0, 5, 0]),
        framed([0, 1, -2, 1, 0, 5, 1]),
        framed([0, 1, -1, MAX_EPOCH + 1, 0, 5, 1]),
        framed([0, 1, -1, "1", 0, 5, 1]),
        framed([1, 1, -2]),
        framed([1, 1]),
        framed([2, 1, 1]),
        BATCH[:-1],
        BATCH + b"x",
        *(BATCH[:cut] for cut in range(40)),
    ],
)
def test_what_nobody_wrote_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_announcement(payload)


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_no_bytes_raise_anything_else(header: bytes, bodies: bytes) -> None:
    for payload in (header, len(header).to_bytes(4, "big") + header + bodies):
        try:
            read_announcement(payload)
        except ValueError:
            continue
