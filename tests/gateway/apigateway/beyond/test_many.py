"""Calls about many connections of several nodes: one question a node, an outcome for each connection."""

from collections.abc import AsyncIterator
from typing import cast

import attached
import pytest
import servers
from attached import FakeHub, FakeSocket, Office, eventually

from broker.errors import InvalidRequest, Unavailable, UnknownTopic
from broker.hub import Hub
from broker.names import parse_topic
from cluster.letters import Request
from gateway.apigateway.beyond import many as module
from gateway.apigateway.beyond.criteria import Criteria
from gateway.apigateway.beyond.deeds import CLOSE, JOIN, LEAVE, POST, Deed, Target
from gateway.apigateway.cluster.identifiers import SERIAL_BYTES, connection_id, place_of, tag_of

ROOM = parse_topic("default/room")
HELLO = Deed(kind=POST, data=b"hello")

Two = tuple[Office, Office]


@pytest.fixture
async def two(valkey: servers.Server) -> AsyncIterator[Two]:
    valkey.flush()
    async with (
        attached.office(valkey, "a", hub=cast(Hub, FakeHub())) as a,
        attached.office(valkey, "b", hub=cast(Hub, FakeHub())) as b,
    ):
        await eventually(lambda: len(a.node.members) == len(b.node.members) == 2)
        yield a, b


def sockets_on(two: Two, count: int) -> list[FakeSocket]:
    return [two[number % 2].attach(user=f"u{number % 3}", tags={"n": str(number)}) for number in range(count)]


async def test_a_message_to_many_ids_has_an_outcome_for_each(two: Two) -> None:
    a, b = two
    sockets = sockets_on(two, 6)
    sockets[2].paused = sockets[3].paused = True
    never = b.attachments.new_id()
    elsewhere = connection_id(tag_of("z.0"), bytes(SERIAL_BYTES))
    ids = [*(socket.facts.id for socket in sockets), never, elsewhere, "strange"]
    tally = await a.many.do(Target(ids=ids), HELLO)
    assert (tally.done, tally.not_done) == (4, 5)
    assert tally.failed == {
        sockets[2].facts.id: "buffer_full",
        sockets[3].facts.id: "buffer_full",
        never: "gone",
        elsewhere: "gone",
        "strange": "malformed_connection",
    }
    assert [socket.sent for socket in sockets] == [[b"hello"], [b"hello"], [], [], [b"hello"], [b"hello"]]


async def test_a_message_to_who_fits_reaches_them_on_every_node(two: Two) -> None:
    sockets = sockets_on(two, 9)
    for through in two:
        tally = await through.many.do(Target(criteria=Criteria(user="u1")), HELLO)
        assert (tally.done, tally.not_done, tally.unreached) == (3, 0, [])
    for number, socket in enumerate(sockets):
        assert socket.sent == [b"hello"] * (2 if number % 3 == 1 else 0)


async def test_a_repeated_message_is_written_once(two: Two) -> None:
    sockets = sockets_on(two, 4)
    target = Target(ids=[socket.facts.id for socket in sockets])
    for through in two:
        assert (await through.many.do(target, Deed(kind=POST, data=b"x", invocation="i"))).done == 4
    assert [socket.sent for socket in sockets] == [[b"x"]] * 4


async def test_many_are_closed_with_code_and_reason(two: Two) -> None:
    sockets = sockets_on(two, 4)
    tally = await two[0].many.do(
        Target(ids=[*(one.facts.id for one in sockets), two[0].attachments.new_id()]),
        Deed(kind=CLOSE, code=4001, reason="moved"),
    )
    assert (tally.done, list(tally.failed.values())) == (4, ["gone"])
    assert [socket.closed for socket in sockets] == [(4001, "moved")] * 4


async def test_connections_join_and_leave_on_their_nodes(two: Two) -> None:
    a, b = two
    sockets = sockets_on(two, 4)
    tally = await a.many.do(Target(criteria=Criteria(user="u0")), Deed(kind=JOIN, group=ROOM))
    assert tally.done == 2
    assert list(a.groups.members_of(ROOM)) == [sockets[0]]
    assert list(b.groups.members_of(ROOM)) == [sockets[3]]
    await b.many.do(Target(criteria=Criteria(group=ROOM)), HELLO)
    assert [bool(socket.sent) for socket in sockets] == [True, False, False, True]
    tally = await a.many.do(Target(ids=[sockets[0].facts.id, sockets[3].facts.id]), Deed(kind=LEAVE, group=ROOM))
    assert tally.done == 2
    assert [*a.groups.members_of(ROOM), *b.groups.members_of(ROOM)] == []


async def test_who_cannot_join_is_named_with_the_reason(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    sockets = sockets_on(two, 4)

    async def refuse(*_: object) -> None:
        raise UnknownTopic

    for office in two:
        monkeypatch.setattr(office.groups, "join", refuse)
    ids = [socket.facts.id for socket in sockets]
    tally = await two[0].many.do(Target(ids=ids), Deed(kind=JOIN, group=ROOM))
    assert tally.failed == dict.fromkeys(ids, "unknown_topic")


async def test_a_node_that_does_not_answer_is_named(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.3)
    a, b = two
    sockets = sockets_on(two, 4)
    lost = b.node.id
    b.die()
    tally = await a.many.do(Target(criteria=Criteria(api="chat")), HELLO)
    assert (tally.done, tally.unreached) == (2, [lost])
    ids = [socket.facts.id for socket in sockets]
    tally = await a.many.do(Target(ids=ids), HELLO)
    assert (tally.done, tally.not_done) == (2, 2)
    assert tally.failed == {ids[1]: "unavailable", ids[3]: "unavailable"}
    with pytest.raises(Unavailable):
        await a.many.count(Criteria())
    await eventually(lambda: len(a.node.members) == 1)
    tally = await a.many.do(Target(ids=ids), HELLO)
    assert tally.failed == {ids[1]: "gone", ids[3]: "gone"}
    assert await a.many.count(Criteria()) == 2
    # Where the membership was read before it went, asking it shows the same.
    before = {**a.owners.members(), tag_of(lost): lost}
    monkeypatch.setattr(a.owners, "members", lambda: before)
    tally = await a.many.do(Target(ids=ids), HELLO)
    assert tally.failed == {ids[1]: "gone", ids[3]: "gone"}


async def test_pages_over_all_nodes_are_everybody_once(two: Two) -> None:
    sockets = sockets_on(two, 25)
    expected = sorted((socket.facts.id for socket in sockets), key=place_of)
    for through in two:
        for limit in (1, 7, 25, 100):
            seen: list[str] = []
            is_last = False
            while not is_last:
                page, is_last = await through.many.page(Criteria(), after=seen[-1] if seen else "", limit=limit)
                assert len(page) <= limit
                seen += [standing.facts.id for standing in page]
            assert seen == expected
        page, is_last = await through.many.page(Criteria(user="u1"), after="", limit=100)
        assert {standing.facts.user for standing in page} == {"u1"}
        assert len(page) == await through.many.count(Criteria(user="u1")) == 8
        assert await through.many.count(Criteria()) == 25


async def test_a_page_that_is_too_large_for_a_letter_is_cut_and_goes_on(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1200)
    sockets = sockets_on(two, 10)
    seen: list[str] = []
    is_last = False
    while not is_last:
        page, is_last = await two[0].many.page(Criteria(), after=seen[-1] if seen else "", limit=100)
        seen += [standing.facts.id for standing in page]
    assert seen == sorted((socket.facts.id for socket in sockets), key=place_of)


async def test_a_stopped_node_does_nothing(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = two
    socket = a.attach()
    monkeypatch.setattr(type(a.node), "has_stood_still", property(lambda _: True))
    with pytest.raises(Unavailable):
        await a.many.do(Target(ids=[socket.facts.id]), HELLO)
    assert socket.sent == []


@pytest.mark.parametrize("name", [module.MANY, module.PAGE, module.COUNT])
async def test_a_question_that_no_node_of_ours_asks_is_refused(two: Two, name: str) -> None:
    a, b = two
    for strange in (b"", b"\xc1", b"\x90"):
        request = Request(b"i", a.node.id, name, strange)
        with pytest.raises(InvalidRequest):
            await b.inbox._handlers[name](request)
