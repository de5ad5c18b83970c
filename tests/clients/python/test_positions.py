import pytest

from headrace.positions import (
    Position,
    Range,
    Recovery,
    after_gap,
    checked_position,
    checked_since,
    parse_since,
    since_field,
)

TWO = (Range(7, 5, 9), Range(8, 10, 12))


@pytest.mark.parametrize("position", [Position(0, -1), Position(7, 0), Position(2**53 - 1, 2**53 - 1)])
def test_a_position_is_written_and_read(position) -> None:
    assert Position.parse(str(position)) == position
    assert parse_since(str(position)) == position


@pytest.mark.parametrize("text", ["", "7", "7-", "-1", "7--2", "7-1-1", "x-1", "7-+1", "٣-1", f"{2**53}-0", "7-1 "])
def test_other_texts_are_no_positions(text) -> None:
    with pytest.raises(ValueError):
        Position.parse(text)


@pytest.mark.parametrize(("epoch", "offset"), [(None, 0), (1, None), (True, 0), (1.0, 0), (-1, 0), (1, -2), (2**53, 0)])
def test_positions_are_checked(epoch, offset) -> None:
    with pytest.raises(ValueError):
        checked_position(epoch, offset)


@pytest.mark.parametrize("since", ["now", "earliest", {"last": 0}, {"time": 5}, Position(1, 2)])
def test_since_as_it_may_be(since) -> None:
    assert checked_since(since) == since


def test_a_map_may_be_a_position() -> None:
    assert checked_since({"epoch": 1, "offset": 2}) == Position(1, 2)
    assert since_field(Position(1, 2)) == {"epoch": 1, "offset": 2}


@pytest.mark.parametrize(
    "since", ["then", None, 5, {}, {"last": -1}, {"last": True}, {"last": 1, "time": 1}, {"epoch": 1}]
)
def test_since_as_it_may_not_be(since) -> None:
    with pytest.raises(ValueError):
        checked_since(since)


@pytest.mark.parametrize(
    ("recovery", "missing", "place"),
    [
        (Recovery.TRIMMED, TWO, Position(8, 12)),
        (Recovery.ROLLED_BACK, TWO[:1], Position(7, 4)),
        (Recovery.ROLLED_BACK, TWO, Position(8, 12)),
        (Recovery.LOST, (), "earliest"),
        (Recovery.TRIMMED, (), "earliest"),
    ],
)
def test_where_a_gap_leaves_a_subscriber(recovery, missing, place) -> None:
    assert after_gap(recovery, missing) == place
