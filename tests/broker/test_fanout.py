"""Writing: one encoding a dialect, one write a socket a read, and what happens to those who cannot take it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from broker.fanout import Delivery, Fanout, Frames, cut, write_all
from broker.live import Gap, Step
from broker.members import Deliver, Members, Send
from broker.messages import Entry, Kind, Message
from broker.names import TopicName
from broker.observe import Silent
from broker.positions import Link, LogState, Position, Range, Recovery

EPOCH = 1000
TOPIC, OTHER = TopicName("p/t"), TopicName("p/other")


class Digits:
    """A dialect whose frames are ten bytes long."""

    def __init__(self, mark: bytes = b".") -> None:
        self.mark = mark
        self.calls = 0

    def message(self, topic: TopicName, entry: Entry) -> bytes:
        self.calls += 1
        return b"%s%09d" % (self.mark, entry.position.offset)

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes:
        return recovery.encode()


@dataclass(eq=False)
class Socket:
    dialect: Digits
    room: int = 1000
    written: list[bytes] = field(default_factory=list)

    @property
    def paused(self) -> bool:
        return len(self.written) >= self.room

    def write(self, data: bytes) -> None:
        if self.room < 0:
            raise OSError("broken")
        self.written.append(data)

    def topic_ended(self, topic: TopicName) -> None: ...


class Counting(Silent):
    def __init__(self) -> None:
        self.frames = self.fallen = 0
        self.latencies: list[float] = []

    def delivered(self, frames: int) -> None:
        self.frames += frames

    def left_feed(self) -> None:
        self.fallen += 1

    def delivery_latency(self, seconds: float) -> None:
        self.latencies.append(seconds)


def steps(first: int, last: int) -> list[Step]:
    return [Entry(at(n), 5000, Message(Kind.TEXT, b"x")) for n in range(first, last + 1)]


def at(offset: int) -> Position:
    return Position(EPOCH, offset)


def members(*sockets: Socket) -> "Members[Socket, Digits]":
    everyone: Members[Socket, Digits] = Members(lambda socket: socket.dialect)
    state = LogState((Link(EPOCH, 0),), 0, None)
    everyone.start(state)
    for socket in sockets:
        (send,) = everyone.enter(socket, at(-1), state)
        assert isinstance(send, Send)
        everyone.sent(send)
    return everyone


@dataclass
class Writing:
    chunk_bytes: int = 100

    def __post_init__(self) -> None:
        self.observer = Counting()
        self.dropped: list[object] = []
        self.fanout = Fanout(
            observer=self.observer, now_ms=lambda: 5250, drop=self.dropped.append, chunk_bytes=self.chunk_bytes
        )

    def deliver(self, *deliveries: "tuple[TopicName, Members[Socket, Digits], list[Step]]") -> None:
        self.fanout.deliver([Delivery(t, m, Deliver(at(-1), s)) for t, m, s in deliveries])  # type: ignore[arg-type]


def test_frames_are_joined_up_to_the_mark() -> None:
    frames = [b"x" * 40, b"y" * 60, b"z", b"w" * 500, b"v"]
    chunks = cut(at(-1), steps(0, 4), frames, limit=100)
    assert [(chunk.before.offset, len(chunk.data), chunk.frames) for chunk in chunks] == [
        (-1, 100, 2),
        (1, 1, 1),
        (2, 500, 1),
        (3, 1, 1),
    ]
    assert cut(at(0), [], [], limit=100) == []


def test_each_dialect_is_encoded_once_and_each_socket_written_once() -> None:
    writing, one, two = Writing(), Digits(b"1"), Digits(b"2")
    sockets = [Socket(dialect) for dialect in (one, one, two)]
    writing.deliver((TOPIC, members(*sockets), steps(0, 1)))
    assert [socket.written for socket in sockets] == [[b"10000000001000000001"]] * 2 + [[b"20000000002000000001"]]
    assert (one.calls, two.calls) == (2, 2)
    assert writing.observer.frames == 6
    assert writing.observer.latencies == [0.25]


def test_a_socket_that_fills_up_falls_at_the_chunk_before_which_it_stopped() -> None:
    writing = Writing()
    slow, fast, full = Socket(Digits(), room=1), Socket(Digits()), Socket(Digits(), room=0)
    everyone = members(slow, fast, full)
    writing.deliver((TOPIC, everyone, steps(0, 24)))
    assert [len(s.written) for s in (slow, fast, full)] == [1, 3, 0]
    assert everyone._paused == {full: at(-1), slow: at(9)}
    assert writing.observer.fallen == 2
    assert writing.observer.frames == 10 + 25


def test_a_gap_is_a_frame_like_any_other() -> None:
    writing, socket = Writing(), Socket(Digits())
    gap = Gap(Recovery.TRIMMED, (Range(EPOCH, 0, 1),), at(1))
    writing.deliver((TOPIC, members(socket), [gap, *steps(2, 2)]))
    assert socket.written == [b"trimmed.000000002"]


def test_several_topics_are_one_write_while_they_stay_below_the_mark() -> None:
    writing, dialect = Writing(), Digits()
    both, one = Socket(dialect), Socket(dialect)
    first, second = members(both), members(both, one)
    writing.deliver((TOPIC, first, steps(0, 1)), (OTHER, second, steps(0, 0)))
    assert both.written == [b".000000000.000000001.000000000"]
    assert one.written == [b".000000000"]
    assert writing.observer.frames == 4


def test_several_topics_above_the_mark_are_several_writes_of_at_most_the_mark() -> None:
    writing, socket = Writing(), Socket(Digits())
    topics = [(TopicName(f"p/{n}"), members(socket), steps(0, size)) for n, size in enumerate((3, 4, 24, 0, 1))]
    writing.deliver(*topics)
    assert [len(data) for data in socket.written] == [90, 100, 100, 50, 30]


def test_a_full_socket_falls_out_of_all_topics_of_a_read() -> None:
    writing, socket = Writing(), Socket(Digits(), room=0)
    first, second = members(socket), members(socket)
    writing.deliver((TOPIC, first, steps(0, 1)), (OTHER, second, steps(0, 0)))
    assert first._paused == second._paused == {socket: at(-1)}


@pytest.mark.parametrize("topics", [1, 2])
def test_a_socket_that_raises_is_dropped_and_hurts_nobody(topics: int) -> None:
    writing, dialect = Writing(), Digits()
    sockets = [Socket(dialect), Socket(dialect), Socket(dialect)]
    everyone = [members(*sockets) for _ in range(topics)]
    sockets[1].room = -1
    sockets[1].__class__ = Raising
    writing.deliver(*((TopicName(f"p/{n}"), m, steps(0, 0)) for n, m in enumerate(everyone)))
    assert [len(socket.written) for socket in sockets] == [1, 0, 1]
    assert writing.dropped == [sockets[1]]


class Raising(Socket):
    paused = False  # type: ignore[assignment]


def test_a_cohort_is_encoded_once_and_frames_are_kept_for_the_next() -> None:
    writing, dialect = Writing(), Digits()
    for _ in range(2):
        everyone: Members[Socket, Digits] = members()
        sockets = [Socket(dialect), Socket(dialect, room=1)]
        cohort_effects = [everyone.enter(socket, at(-1), LogState((Link(EPOCH, 0),), 0, None)) for socket in sockets]
        (send,) = cohort_effects[0]
        assert isinstance(send, Send)
        whole = Send(send.cohort, steps(0, 24), None, joins=True)
        whole.cohort.members.add(sockets[1])
        writing.fanout.send(TOPIC, everyone, whole)  # type: ignore[arg-type]
        assert [len(socket.written) for socket in sockets] == [3, 1]
        assert everyone._paused == {sockets[1]: at(9)}
    assert dialect.calls == 25
    assert writing.observer.fallen == 0, "they were not in the feed"


def test_whoever_is_full_after_a_page_is_not_read_another_one_for() -> None:
    writing, socket = Writing(), Socket(Digits(), room=1)
    everyone = members()
    (send,) = everyone.enter(socket, at(-1), LogState((Link(EPOCH, 0),), 0, None))
    assert isinstance(send, Send)
    writing.fanout.send(TOPIC, everyone, Send(send.cohort, steps(0, 1), None, joins=False))  # type: ignore[arg-type]
    assert everyone._paused == {socket: at(1)}


def test_kept_frames_are_bounded() -> None:
    frames, dialect = Frames(max_bytes=30), Digits()
    for step in (*steps(0, 3), *steps(3, 3), *steps(0, 0)):
        frames.of(dialect, TOPIC, step)
    assert dialect.calls == 5, "0 was let go of, 3 was kept"


def test_the_loop_tells_apart_who_is_full_and_who_is_broken() -> None:
    dialect = Digits()
    fine, full, broken = Socket(dialect), Socket(dialect, room=0), Raising(dialect, room=-1)
    paused, raised = write_all([full, broken, fine], b"data")
    assert paused == [full]
    assert list(raised) == [broken]
    assert fine.written == [b"data"]
