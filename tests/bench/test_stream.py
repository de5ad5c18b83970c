"""The checker is held to bad histories: a loss, a repeat, a swap and a socket that differs must each be seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stream import TRIM_BYTES, Canon, Disorder, Follower, frames


def message(offset: int, text: str = "x") -> bytes:
    payload = f'{{"op":"message","topic":"p/t","epoch":7,"offset":{offset},"time":1,"text":"{text}"}}'.encode()
    head = bytes((0x81, len(payload))) if len(payload) < 126 else b"\x81\x7e" + len(payload).to_bytes(2, "big")
    return head + payload


def stream(*offsets: int) -> bytes:
    return b"".join(map(message, offsets))


@given(st.lists(st.integers(1, 90), max_size=30), st.integers(1, 40))
def test_any_cut_of_the_stream_is_the_same_stream(cuts: list[int], count: int) -> None:
    canon = Canon()
    whole = stream(*range(count))
    first, second = Follower(canon), Follower(canon)
    rest = whole
    for cut in cuts:
        first.receive(rest[:cut])
        rest = rest[cut:]
    second.receive(whole)
    first.receive(rest)
    assert canon.messages == count
    assert first.place == second.place == canon.end == len(whole)


@pytest.mark.parametrize(
    "offsets", [(0, 2), (0, 1, 1), (1, 0), (0, 1, 3, 2)], ids=["lost", "repeated", "swapped", "late swap"]
)
def test_a_bad_history_is_seen(offsets: tuple[int, ...]) -> None:
    with pytest.raises(Disorder):
        Follower(Canon()).receive(stream(*offsets))


def test_a_socket_that_differs_is_seen() -> None:
    canon = Canon()
    good, bad = Follower(canon), Follower(canon)
    good.receive(stream(0, 1, 2))
    with pytest.raises(Disorder):
        bad.receive(stream(0, 2))


def test_a_socket_that_differs_where_it_leads_is_seen() -> None:
    canon = Canon()
    good, bad = Follower(canon), Follower(canon)
    good.receive(stream(0))
    with pytest.raises(Disorder):
        bad.receive(stream(1, 2))


def test_a_frame_that_is_no_message_is_seen() -> None:
    with pytest.raises(Disorder):
        Follower(Canon()).receive(b"\x81\x02{}")


def test_what_all_have_compared_is_forgotten() -> None:
    canon = Canon()
    follower = Follower(canon)
    one = message(0, "x" * 60_000)
    count = TRIM_BYTES // len(one) + 2
    for offset in range(count):
        follower.receive(message(offset, "x" * 60_000))
    canon.trim(follower.place)
    assert len(canon.data) < len(one)
    follower.receive(message(count))
    assert canon.messages == count + 1


def test_frames_of_every_length_are_found() -> None:
    sizes = [0, 125, 126, 65535, 65536]
    data = b""
    for size in sizes:
        if size < 126:
            data += bytes((0x82, size))
        elif size < 65536:
            data += b"\x82\x7e" + size.to_bytes(2, "big")
        else:
            data += b"\x82\x7f" + size.to_bytes(8, "big")
        data += b"x" * size
    assert [stop - start for _, start, stop in frames(data, 0)] == sizes
    assert not list(frames(data[: sizes[1] + 1], 2))
