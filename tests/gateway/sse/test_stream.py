"""One event stream between a hub and a connection, both written here: what passes in which state."""

import asyncio
from collections.abc import Sequence

from broker.names import ProjectName, TopicName
from broker.ports import Placed
from broker.positions import Position, Recovery
from broker.rights import Account, Principal
from gateway.metrics import Metrics
from gateway.sse.pulse import Pulse
from gateway.sse.stream import MAX_EXPIRY_SECONDS, EventStream, Streams
from gateway.sse.wire import EventDialect

TOPIC = TopicName("p/t")
PLACED = Placed(TOPIC, Position(7, 4), Recovery.NONE, (), Position(7, 4))

NOBODY = Principal("nobody")


class Recorder:
    """The hub, the host and its connection in one."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.sent = b""
        self.watched = NOBODY

    # The hub.
    def leave(self, _: object) -> None:
        self.done.append("leave")

    def resume(self, _: object) -> None:
        self.done.append("resume")

    # The watch over users.
    def watch(self, _: object, principal: Principal) -> None:
        self.watched = principal

    def unwatch(self, _: object, principal: Principal) -> None:
        assert principal == self.watched

    # The host.
    def start(self, headers: Sequence[tuple[bytes, bytes]], first: bytes) -> "Recorder":
        self.done.append("start")
        self.sent += first
        return self

    # The connection.
    def write(self, data: bytes) -> None:
        self.sent += data

    def end(self) -> None:
        self.done.append("end")


class Rig:
    def __init__(self, caller: Principal = NOBODY) -> None:
        self.recorder = Recorder()
        self.metrics = Metrics()
        self.pulse = Pulse(seconds=1000)
        hub = host = auth = self.recorder
        shared = Streams(hub, self.metrics, self.pulse, lambda: 1500, lambda: 1_000_000, auth)  # type: ignore[arg-type]
        dialect = EventDialect(chunked=False)
        self.stream = EventStream(shared, TOPIC, host, dialect, headers=(), caller=caller)  # type: ignore[arg-type]


async def test_a_stream_that_is_followed_starts_and_is_counted() -> None:
    rig = Rig()
    rig.stream.on_placed(PLACED)
    rig.stream.write(b"more")
    assert rig.recorder.done == ["start"]
    assert rig.recorder.sent.startswith(b"retry: 1500\nevent: recovery\nid: 7-4\n")
    assert rig.recorder.sent.endswith(b"more")
    assert rig.metrics.connections.counts[("sse",)] == 1
    rig.stream.connection_lost()
    assert rig.metrics.closed.counts[("sse", "lost")] == 1
    assert rig.pulse._places == {}


async def test_a_stream_that_never_began_leaves_no_trace() -> None:
    rig = Rig()
    rig.stream.shutdown()
    rig.stream.connection_lost()
    assert rig.recorder.done == ["leave"]
    assert rig.metrics.closed.counts == {}


async def test_nothing_is_said_to_a_paused_socket_that_it_need_not_hear() -> None:
    rig = Rig()
    rig.stream.on_placed(PLACED)
    sent = rig.recorder.sent
    rig.stream.pause_writing()
    assert rig.stream.paused
    rig.stream.on_pulse()
    assert rig.recorder.sent == sent
    rig.stream.resume_writing()
    assert not rig.stream.paused
    rig.stream.on_pulse()
    assert rig.recorder.sent == sent + b":\n\n"
    assert rig.recorder.done == ["start", "resume"]
    rig.stream.connection_lost()


async def test_its_topics_end_is_told_before_the_connection_is_closed() -> None:
    rig = Rig()
    rig.stream.on_placed(PLACED)
    rig.stream.topic_ended(TOPIC)
    assert b"event: ended\n" in rig.recorder.sent
    assert rig.recorder.done == ["start", "leave", "end"]
    rig.stream.connection_lost()
    assert rig.metrics.closed.counts[("sse", "topic_ended")] == 1


async def test_a_node_that_goes_away_says_nothing() -> None:
    rig = Rig()
    rig.stream.on_placed(PLACED)
    sent = rig.recorder.sent
    rig.stream.shutdown()
    assert (rig.recorder.sent, rig.recorder.done) == (sent, ["start", "leave", "end"])
    rig.stream.connection_lost()


async def test_a_token_that_lives_for_years_is_looked_at_daily() -> None:
    rig = Rig(Principal("alice", expires_ms=10**13))
    rig.stream.on_placed(PLACED)
    timer = rig.stream._expiry
    assert timer is not None
    # A loop rounds its time to milliseconds.
    assert timer.when() - asyncio.get_running_loop().time() <= MAX_EXPIRY_SECONDS + 1
    rig.stream.connection_lost()
    assert timer.cancelled()


def a_user(*topics: str) -> Principal:
    roles = {ProjectName("p"): frozenset({"consumer"})}
    return Principal("ann", account=Account(uuid="u", name="ann", projects=roles, topics=frozenset(topics)))


async def test_a_user_whose_token_is_gone_is_told_and_cut() -> None:
    rig = Rig(a_user("p/t"))
    rig.stream.on_placed(PLACED)
    rig.stream.on_principal(None)
    assert b'"unauthorized"' in rig.recorder.sent
    assert rig.recorder.done == ["start", "leave", "end"]
    rig.stream.connection_lost()
    assert rig.metrics.closed.counts[("sse", "revoked")] == 1


async def test_a_user_follows_for_as_long_as_it_may() -> None:
    rig = Rig(a_user("p/t"))
    rig.stream.on_placed(PLACED)
    rig.recorder.watched = a_user("p/t", "p/u")
    rig.stream.on_principal(rig.recorder.watched)
    assert rig.recorder.done == ["start"]
    rig.recorder.watched = a_user("p/u")
    rig.stream.on_principal(rig.recorder.watched)
    assert b'"forbidden"' in rig.recorder.sent
    assert rig.recorder.done == ["start", "leave", "end"]
    rig.stream.connection_lost()
    assert rig.metrics.closed.counts[("sse", "forbidden")] == 1
