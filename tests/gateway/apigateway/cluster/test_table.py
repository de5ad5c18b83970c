"""The node's own connections: found, written to one by one and many at once, chosen, paged."""

import attached
import pytest
from attached import FakeSocket, PlainFraming, facts_of
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Forbidden
from gateway.apigateway.beyond.criteria import Criteria
from gateway.apigateway.cluster.identifiers import connection_id, place_of, serial_of, tag_of
from gateway.apigateway.cluster.table import FULL, GONE, Table
from gateway.apigateway.errors import BufferFull, Gone
from gateway.apigateway.ports import Stage

IDS = [connection_id(tag_of("a.0"), serial_of(number, b"k")) for number in range(50)]


def table_of(count: int, **others: object) -> tuple[Table, list[FakeSocket]]:
    table, sockets = Table(), [FakeSocket(facts_of(name, **others)) for name in IDS[:count]]
    for socket in sockets:
        table.add(socket)
    return table, sockets


def test_a_connection_is_found_until_it_is_removed() -> None:
    table, (socket,) = table_of(1, user="alice")
    assert table.find(IDS[0]) is socket
    assert table.find(IDS[0], Stage("chat", "prod")) is socket
    for within in (Stage("chat", "dev"), Stage("game", "prod")):
        with pytest.raises(Forbidden):
            table.find(IDS[0], within)
        with pytest.raises(Gone):
            table.find(IDS[1], within)
    assert table.remove(IDS[0]) is socket
    assert table.remove(IDS[0]) is None
    with pytest.raises(Gone):
        table.find(IDS[0])
    assert len(table) == 0
    assert list(table.chosen(Criteria(user="alice"))) == []


def test_a_post_is_known_by_its_invocation_once_it_was_written() -> None:
    table, (socket,) = table_of(1)
    socket.paused = True
    with pytest.raises(BufferFull):
        table.post(IDS[0], b"x", invocation="i")
    socket.paused = False
    table.post(IDS[0], b"x", invocation="i")
    table.post(IDS[0], b"x", invocation="i")
    table.post(IDS[0], b"y", invocation=None)
    table.post(IDS[0], b"y", invocation=None)
    assert socket.sent == [b"x", b"y", b"y"]


def test_a_message_to_many_is_framed_once_and_says_who_did_not_get_it() -> None:
    table, sockets = table_of(5)
    framing = PlainFraming()
    for socket in sockets:
        socket.framing = framing
    sockets[2].paused = True
    outcome = table.post_many([*IDS[:5], IDS[9]], b"x")
    assert framing.made == 1
    assert outcome.written == 4
    assert outcome.failed == {IDS[2]: FULL, IDS[9]: GONE}
    assert [socket.sent for socket in sockets] == [[b"x"], [b"x"], [], [b"x"], [b"x"]]


def test_a_repeated_message_to_many_goes_to_those_who_missed_it() -> None:
    table, sockets = table_of(3)
    sockets[1].paused = True
    assert table.post_many(IDS[:3], b"x", invocation="i").written == 2
    sockets[1].paused = False
    assert table.post_many(IDS[:3], b"x", invocation="i").written == 3
    assert [socket.sent for socket in sockets] == [[b"x"]] * 3


def test_the_chosen_are_those_who_fit() -> None:
    table = Table(in_group=lambda group: [bob] if group == "default/g" else [])
    alice = FakeSocket(facts_of(IDS[0], user="alice", tags={"room": "7"}))
    other = FakeSocket(facts_of(IDS[1], user="alice", api="game"))
    bob = FakeSocket(facts_of(IDS[2], user="bob", tags={"room": "7"}))
    for socket in (alice, other, bob):
        table.add(socket)
    assert list(table.chosen(Criteria())) == [alice, other, bob]
    assert list(table.chosen(Criteria(user="alice"))) == [alice, other]
    assert list(table.chosen(Criteria(user="alice", api="chat"))) == [alice]
    assert list(table.chosen(Criteria(tags={"room": "7"}))) == [alice, bob]
    assert list(table.chosen(Criteria(group="default/g"))) == [bob]  # type: ignore[arg-type]
    assert list(table.chosen(Criteria(group="default/g", user="alice"))) == []  # type: ignore[arg-type]
    table.remove(IDS[0])
    assert list(table.chosen(Criteria(user="alice"))) == [other]


@given(st.integers(1, 60), st.integers(0, 50))
def test_pages_together_are_everybody_once(limit: int, count: int) -> None:
    table, _ = table_of(count)
    seen: list[str] = []
    after = b""
    while page := table.page(Criteria(), after=after, limit=limit):
        assert len(page) <= limit
        seen += [standing.facts.id for standing in page]
        after = place_of(seen[-1])
    assert seen == sorted(IDS[:count], key=place_of)


def test_a_page_shows_the_last_activity() -> None:
    table, (socket,) = table_of(1)
    socket.last_active_at_ms = 17
    (standing,) = table.page(Criteria(), after=b"", limit=5)
    assert (standing.facts, standing.last_active_at_ms) == (socket.facts, 17)
    assert attached.NOW_MS != 17
