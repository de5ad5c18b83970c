import pytest

from headrace import frames
from headrace.dialects import Json
from headrace.errors import BadFrame, Forbidden
from headrace.failover import Server
from headrace.messages import Message, Published, Started
from headrace.positions import Position, Range, Recovery

PLACE = {"epoch": 1, "offset": 2}


def test_a_welcome_with_nothing_in_it_has_defaults() -> None:
    assert frames.read_welcome({"op": "welcome"}) == frames.Welcome()


def test_a_welcome() -> None:
    welcome = frames.read_welcome(
        {
            "node": "n",
            "servers": [{"url": "http://a", "weight": 1}],
            "ping_ms": 5,
            "spread_ms": 6,
            "limits": {"frame_bytes": 7, "in_flight": 8, "retention_ms": 9},
        }
    )
    assert welcome == frames.Welcome("n", "", (Server("http://a", 1),), 5, 6, 7, 8, 9)


def test_a_server_without_a_weight_has_the_usual_one() -> None:
    frame = {"servers": [{"url": "http://a"}, {"url": "http://b", "weight": 0}]}
    assert frames.read_servers(frame) == (Server("http://a", 1), Server("http://b", 0))


@pytest.mark.parametrize(
    "broken",
    [
        {"limits": []},
        {"servers": {}},
        {"servers": ["http://a"]},
        {"servers": [{}]},
        {"ping_ms": 0},
        {"ping_ms": 1.5},
        {"servers": [{"url": "http://a", "weight": -1}]},
        {"spread_ms": -1},
        {"limits": {"retention_ms": "long"}},
        {"limits": {"in_flight": True}},
    ],
)
def test_malformed_welcomes(broken) -> None:
    with pytest.raises(BadFrame):
        frames.read_welcome(broken)


def test_a_subscribed_frame() -> None:
    frame = {**PLACE, "after": {"epoch": 1, "offset": -1}, "recovery": "trimmed"}
    assert frames.read_started(frame, Json()) == Started(Position(1, -1), Position(1, 2), Recovery.TRIMMED)
    snapshot = {**PLACE, "time": 3, "text": "newest"}
    started = frames.read_started(frame | {"topic": "p/t", "snapshot": snapshot}, Json())
    assert started.snapshot == Message("p/t", Position(1, 2), 3, "text", b"newest")
    assert frames.read_started(frame | {"snapshot": None}, Json()).snapshot is None
    missing = [{"epoch": 1, "first": 2, "last": 3}]
    assert frames.read_missing({"missing": missing}) == (Range(1, 2, 3),)


@pytest.mark.parametrize(
    "broken",
    [
        {"after": None},
        {"after": {"epoch": 1}},
        {"recovery": "perhaps"},
        {"snapshot": 7},
        {"snapshot": {}},
        {"epoch": -1},
    ],
)
def test_malformed_subscribed_frames(broken) -> None:
    with pytest.raises(BadFrame):
        frames.read_started({**PLACE, "topic": "p/t", "after": PLACE, "recovery": "none"} | broken, Json())


@pytest.mark.parametrize("missing", [{}, [1], [{"epoch": 1, "first": 2}], [{}] * 10_001])
def test_malformed_missing(missing) -> None:
    with pytest.raises(BadFrame):
        frames.read_missing({"missing": missing})


def test_a_published_frame() -> None:
    assert frames.read_published({**PLACE, "duplicate": True}) == Published(1, 2, True)
    with pytest.raises(BadFrame):
        frames.read_published({"epoch": 1})


def test_an_error_frame() -> None:
    error = frames.read_error({"code": "forbidden", "reason": "no", "retry_ms": 0})
    assert isinstance(error, Forbidden) and error.retry_ms == 0
    with pytest.raises(BadFrame):
        frames.read_error({"reason": "no"})
    with pytest.raises(BadFrame):
        frames.read_topic({})
