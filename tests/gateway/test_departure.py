"""A node leaves: who is asked, who is closed when, and when there is no point in either."""

from collections.abc import Callable, Collection
from typing import Any, cast

import pytest

from cluster.membership import Advertised, Member
from cluster.servers import Server, Told
from gateway.bulletin import Bulletin
from gateway.departure import Crowd, Departure
from gateway.handshake import Front
from gateway.streams import StreamConnection

GRACE_SECONDS = 25.0


class Socket:
    def __init__(self, face: str = "realtime") -> None:
        self.face = face
        self.closing = False

    def shutdown(self) -> None:
        self.closing = True


class Stream(StreamConnection):
    """One whose `shutdown` takes it out of the node's connections, as the real one's does soon."""

    def __init__(self, connections: set[object]) -> None:
        connections.add(self)
        self._all = connections

    __slots__ = ("_all",)

    def shutdown(self) -> None:
        self._all.discard(self)


class Stage:
    """A node with time that a test sets, and what `during` does at each tick."""

    def __init__(
        self,
        *sockets: Socket,
        others: Collection[Advertised] = (Advertised(name="b", url="http://b", accepts=100),),
        load: int | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.now = 0.0
        self.sockets = set(sockets)
        self.connections: set[object] = {object()}
        self.asked: list[tuple[Told, int]] = []
        self.during: Callable[[], None] = lambda: None
        self.left: list[int] = []
        self.grace_seconds = grace_seconds
        own = Advertised(name="a", url="http://a", load=len(sockets) if load is None else load)
        self.node = cast(Any, type("Node", (), {}))()
        self.node.id, self.node.described = "a.1", own
        self.node.members = [Member("a.1", own), *(Member(f"{other.name}.1", other) for other in others)]
        self.front = cast(Any, type("Front", (), {}))()
        self.front.draining, self.front.node = False, self

    def tell(self, told: Told) -> None:
        raise AssertionError("nothing is told but this")

    def ask_to_leave(self, told: Told, *, deadline_ms: int) -> None:
        self.asked.append((told, deadline_ms))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.left.append(sum(not socket.closing for socket in self.sockets))
        self.during()

    async def move(self) -> float:
        """Return how long it took."""
        bulletin = Bulletin(Told())
        bulletin.tellers.append(self)
        departure = Departure(
            self.node, bulletin, grace_seconds=self.grace_seconds, monotonic=lambda: self.now, sleep=self.sleep
        )
        await departure.move(Crowd(cast(Front, self.front), self.connections, moving={"realtime"}))
        return self.now


def sockets(number: int, face: str = "realtime") -> list[Socket]:
    return [Socket(face) for _ in range(number)]


async def test_clients_are_asked_to_go_to_the_others_and_nobody_new_comes_in() -> None:
    stage = Stage(*sockets(300))
    await stage.move()
    assert stage.asked == [(Told((Server("http://b", 1),), 3000), 6000)]
    assert stage.front.draining


async def test_it_ends_when_the_last_one_has_left() -> None:
    stage = Stage(*sockets(10))
    stage.during = stage.sockets.clear
    assert await stage.move() == pytest.approx(0.1)


async def test_those_that_stay_are_closed_in_turn_once_they_had_time_to_move() -> None:
    stage = Stage(*sockets(300))
    assert await stage.move() == pytest.approx(6, abs=0.2)
    assert stage.left[43] == 300, "nobody within the spread, nor right after it"
    assert 130 <= stage.left[52] <= 170, "half of them in half of what is left"
    assert stage.left[-1] == 0


async def test_faces_that_cannot_be_asked_are_closed_from_the_beginning() -> None:
    stage = Stage(*sockets(300, "apigateway"))
    await stage.move()
    assert 130 <= stage.left[30] <= 170
    assert stage.left[-1] == 0


async def test_event_streams_are_closed_with_them() -> None:
    stage = Stage(*sockets(1), load=50)
    for _ in range(50):
        Stream(stage.connections)
    stage.during = stage.sockets.clear
    await stage.move()
    assert len(stage.connections) == 1, "what is no stream is left alone"


async def test_one_that_is_closing_already_is_not_waited_for() -> None:
    stage = Stage(*sockets(2))
    stage.during = lambda: [socket.shutdown() for socket in stage.sockets][:0] and None
    assert await stage.move() == pytest.approx(0.1)


@pytest.mark.parametrize(
    "stage",
    [
        Stage(*sockets(3), others=()),
        Stage(*sockets(3), others=(Advertised(name="b", url="http://b", draining=True),)),
        Stage(others=(Advertised(name="b", url="http://b"),)),
        Stage(*sockets(3), grace_seconds=0),
    ],
    ids=["alone", "all leave", "no clients", "no time"],
)
async def test_without_a_place_or_a_time_to_go_nobody_is_asked(stage: Stage) -> None:
    assert await stage.move() == 0
    assert stage.asked == []
    assert not stage.front.draining


async def test_a_survivor_behind_one_address_for_all_will_do() -> None:
    stage = Stage(*sockets(1), others=(Advertised(name="b", accepts=100),))
    stage.during = stage.sockets.clear
    await stage.move()
    assert stage.asked == [(Told((), 10), 5000)]
