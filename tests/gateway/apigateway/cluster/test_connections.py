"""Posts, looks and closes from any node: the owner's word, the membership's, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator

import attached
import pytest
import servers
from attached import LEASE_SECONDS, Office, eventually

from broker.errors import Forbidden, Unavailable
from gateway.apigateway.cluster import connections as module
from gateway.apigateway.cluster.identifiers import SERIAL_BYTES, connection_id, tag_of
from gateway.apigateway.errors import BufferFull, Gone, Malformed
from gateway.apigateway.ports import Stage

Two = tuple[Office, Office]
CHAT = Stage("chat", "prod")


@pytest.fixture
async def two(valkey: servers.Server) -> AsyncIterator[Two]:
    valkey.flush()
    async with attached.office(valkey, "a") as a, attached.office(valkey, "b") as b:
        await eventually(lambda: len(a.node.members) == len(b.node.members) == 2)
        yield a, b


async def test_a_post_through_any_node_reaches_the_socket_in_order(two: Two) -> None:
    a, b = two
    socket = a.attach()
    for number in range(10):
        await (a, b)[number % 2].connections.post(socket.facts.id, b"%d" % number)
    assert socket.sent == [b"%d" % number for number in range(10)]


async def test_a_repeated_post_is_written_once_through_whichever_nodes_it_comes(two: Two) -> None:
    a, b = two
    one, other = a.attach(), a.attach()
    for through in (a, b, b, a):
        await through.connections.post(one.facts.id, b"x", invocation="i")
    await b.connections.post(one.facts.id, b"y", invocation="j")
    await b.connections.post(other.facts.id, b"z", invocation="i")
    assert one.sent == [b"x", b"y"]
    assert other.sent == [b"z"]


async def test_posts_without_an_invocation_are_all_written(two: Two) -> None:
    a, b = two
    socket = a.attach()
    await asyncio.gather(*(b.connections.post(socket.facts.id, b"same") for _ in range(20)))
    assert socket.sent == [b"same"] * 20


async def test_a_full_socket_refuses_and_takes_the_repetition(two: Two) -> None:
    for through in two:
        socket = two[0].attach()
        socket.paused = True
        with pytest.raises(BufferFull):
            await through.connections.post(socket.facts.id, b"x", invocation="i")
        socket.paused = False
        await through.connections.post(socket.facts.id, b"x", invocation="i")
        assert socket.sent == [b"x"]


async def test_what_is_not_there_is_gone_and_what_cannot_be_is_malformed(two: Two) -> None:
    a, _b = two
    closed = a.attach().facts.id
    a.table.remove(closed)
    never, elsewhere = a.attachments.new_id(), connection_id(tag_of("z.0"), bytes(SERIAL_BYTES))
    for through in two:
        for connection in (closed, never, elsewhere):
            with pytest.raises(Gone):
                await through.connections.post(connection, b"x")
            with pytest.raises(Gone):
                await through.connections.describe(connection)
            with pytest.raises(Gone):
                await through.connections.delete(connection)
        for strange in ("", "..", "x" * 16):
            with pytest.raises(Malformed):
                await through.connections.post(strange, b"x")


async def test_one_letter_may_hold_good_posts_and_bad_ones(two: Two) -> None:
    a, b = two
    sockets = [a.attach() for _ in range(3)]
    sockets[1].paused = True
    connections = [*(socket.facts.id for socket in sockets), a.attachments.new_id()]
    outcomes = await asyncio.gather(*(b.connections.post(c, b"x") for c in connections), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), BufferFull, type(None), Gone]
    assert [socket.sent for socket in sockets] == [[b"x"], [], [b"x"]]


async def test_a_look_tells_what_the_owner_knows(two: Two) -> None:
    a, _b = two
    socket = a.attach(user="alice", tags={"room": "7"}, authorizer={"principalId": "p", "level": 3})
    socket.last_active_at_ms = 17
    for through in two:
        standing = await through.connections.describe(socket.facts.id, within=CHAT)
        assert standing.facts == socket.facts
        assert standing.last_active_at_ms == 17


async def test_a_delete_closes_as_aws_does_or_as_it_is_told(two: Two) -> None:
    a, _b = two
    for through in two:
        plain, special = a.attach(), a.attach()
        await through.connections.delete(plain.facts.id)
        await through.connections.delete(special.facts.id, code=4001, reason="moved")
        assert plain.closed == (1000, "Connection Closed Normally")
        assert special.closed == (4001, "moved")


async def test_a_connection_of_another_stage_is_forbidden_to_who_may_reach_only_his(two: Two) -> None:
    a, _b = two
    socket = a.attach()
    for through in two:
        await through.connections.post(socket.facts.id, b"x", within=CHAT)
        for within in (Stage("game", "prod"), Stage("chat", "dev")):
            with pytest.raises(Forbidden):
                await through.connections.post(socket.facts.id, b"y", within=within)
            with pytest.raises(Forbidden):
                await through.connections.describe(socket.facts.id, within=within)
            with pytest.raises(Forbidden):
                await through.connections.delete(socket.facts.id, within=within)
    assert socket.sent == [b"x", b"x"]
    assert socket.closed is None


async def test_a_node_that_has_just_joined_is_found(valkey: servers.Server) -> None:
    valkey.flush()
    async with attached.office(valkey, "a") as a, attached.office(valkey, "b") as b:
        socket = b.attach()
        await a.connections.post(socket.facts.id, b"x")
        assert socket.sent == [b"x"]


async def test_a_dead_owner_is_unavailable_until_the_membership_knows_it(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.3)
    a, b = two
    socket = a.attach()
    a.die()
    with pytest.raises(Unavailable):
        await b.connections.post(socket.facts.id, b"x")
    assert a.node.id in b.owners.members().values(), "its lease has not run out"
    await eventually(lambda: len(b.node.members) == 1, seconds=LEASE_SECONDS * 3)
    with pytest.raises(Gone):
        await b.connections.post(socket.facts.id, b"x")
    with pytest.raises(Gone):
        await b.connections.describe(socket.facts.id)


async def test_a_call_that_was_under_way_when_the_owner_went_ends_with_gone(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.3)
    a, b = two
    socket, owner = a.attach(), a.node.id
    a.die()
    await eventually(lambda: len(b.node.members) == 1, seconds=LEASE_SECONDS * 3)

    async def as_it_was(_: str) -> str:
        return owner

    monkeypatch.setattr(b.owners, "owner_of", as_it_was)
    for call in (b.connections.delete, b.connections.describe):
        with pytest.raises(Gone):
            await call(socket.facts.id)
    with pytest.raises(Gone):
        await b.connections.post(socket.facts.id, b"x")


async def test_a_stopped_node_writes_nothing_of_its_own(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = two
    socket = a.attach()
    monkeypatch.setattr(type(a.node), "has_stood_still", property(lambda _: True))
    with pytest.raises(Unavailable):
        await a.connections.post(socket.facts.id, b"x")
    assert socket.sent == []


async def test_an_evicted_node_has_other_ids_and_its_old_ones_are_gone(
    two: Two, valkey: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = two
    old = a.attach()
    was = a.node.id
    valkey.client.hdel(attached.KEYS.nodes()[0], was)
    a.node._certain_until = 0.0
    await eventually(lambda: a.node.id != was and a.node.is_certain)
    a.table.remove(old.facts.id)
    await eventually(lambda: len(b.node.members) == 2)
    new = a.attach()
    await b.connections.post(new.facts.id, b"x")
    assert new.sent == [b"x"]
    for through in two:
        with pytest.raises(Gone):
            await through.connections.post(old.facts.id, b"x")

    async def ask_nobody(_: str) -> str:
        raise AssertionError("the node's own connection needs no owner")

    monkeypatch.setattr(a.owners, "owner_of", ask_nobody)
    await a.connections.post(new.facts.id, b"y")
    assert new.sent == [b"x", b"y"]
