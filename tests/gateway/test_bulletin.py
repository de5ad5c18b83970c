"""What clients are told, and when it is news to them."""

from cluster.servers import Server, Told
from gateway.bulletin import Bulletin

ONE = (Server("http://a", 1),)
TWO = (*ONE, Server("http://b", 1))


class Room:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def tell(self, told: Told) -> None:
        self.heard.append(told)

    def ask_to_leave(self, told: Told, *, deadline_ms: int) -> None:
        self.heard.append((told, deadline_ms))


def posted(*news: Told) -> tuple[Bulletin, Room]:
    bulletin, room = Bulletin(Told(ONE, 1000)), Room()
    bulletin.tellers.append(room)
    for told in news:
        bulletin.post(told)
    return bulletin, room


def test_another_list_is_told_and_the_same_is_not() -> None:
    bulletin, room = posted(Told(ONE, 1000), Told(TWO, 1000), Told(TWO, 1000), Told(ONE, 1000))
    assert room.heard == [Told(TWO, 1000), Told(ONE, 1000)]
    assert bulletin.told == Told(ONE, 1000)


def test_who_comes_hears_what_holds_though_it_is_no_news() -> None:
    bulletin, room = posted(Told(ONE, 1400))
    assert room.heard == []
    assert bulletin.told.spread_ms == 1400


def test_a_spread_that_creeps_is_news_at_some_time() -> None:
    _, room = posted(*(Told(ONE, spread_ms) for spread_ms in range(1000, 2100, 100)))
    assert room.heard == [Told(ONE, 2000)]


def test_after_the_request_to_leave_nothing_is_told() -> None:
    bulletin, room = posted()
    bulletin.ask_to_leave(Told(TWO, 500), deadline_ms=5000)
    bulletin.post(Told(ONE, 9000))
    assert room.heard == [(Told(TWO, 500), 5000)]
    assert bulletin.told == Told(ONE, 9000), "a handshake that is decided late is welcomed with what holds"
