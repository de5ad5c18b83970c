"""Groups: who is in, what members see, and that a connection's end is the end of its memberships."""

from typing import cast

import pytest
from attached import FRAMING, FakeHub, FakeSocket, facts_of

from broker.errors import AlreadySubscribed, LimitExceeded, UnknownTopic
from broker.hub import Hub
from broker.messages import Entry, Kind, Message
from broker.names import parse_topic
from broker.positions import Position, Recovery
from gateway.apigateway.beyond import groups as module
from gateway.apigateway.beyond.groups import GroupDialect, Groups

ROOM, HALL = parse_topic("default/room"), parse_topic("default/hall")


def made() -> tuple[FakeHub, Groups]:
    hub = FakeHub()
    return hub, Groups(cast(Hub, hub))


def socket(name: str) -> FakeSocket:
    return FakeSocket(facts_of(name))


async def test_members_follow_the_topic_until_they_leave() -> None:
    hub, groups = made()
    alice, bob = socket("alice"), socket("bob")
    await groups.join(alice, ROOM)
    await groups.join(alice, ROOM)
    await groups.join(alice, HALL)
    await groups.join(bob, ROOM)
    assert list(groups.members_of(ROOM)) == [alice, bob]
    assert groups.groups_of("alice") == [HALL, ROOM]
    groups.leave("alice", ROOM)
    groups.leave("alice", ROOM)
    groups.leave("nobody", ROOM)
    assert list(groups.members_of(ROOM)) == [bob]
    assert groups.groups_of("alice") == [HALL]
    assert hub.following == {("alice", HALL), ("bob", ROOM)}


async def test_the_end_of_a_connection_ends_its_memberships() -> None:
    hub, groups = made()
    alice = socket("alice")
    await groups.join(alice, ROOM)
    await groups.join(alice, HALL)
    groups.forget("alice")
    groups.forget("alice")
    assert hub.following == set()
    assert list(groups.members_of(ROOM)) == list(groups.members_of(HALL)) == []
    assert groups.groups_of("alice") == []


async def test_the_end_of_a_topic_ends_its_group() -> None:
    hub, groups = made()
    await groups.join(socket("alice"), ROOM)
    hub.members["alice"].topic_ended(ROOM)
    assert list(groups.members_of(ROOM)) == []
    assert groups.groups_of("alice") == []


async def test_a_refusal_leaves_nobody_in() -> None:
    hub, groups = made()
    hub.refusal = UnknownTopic()
    with pytest.raises(UnknownTopic):
        await groups.join(socket("alice"), ROOM)
    hub.refusal = AlreadySubscribed()
    await groups.join(socket("alice"), ROOM)
    assert groups.groups_of("alice") == []


async def test_a_connection_is_in_so_many_groups_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GROUPS", 1)
    _, groups = made()
    alice = socket("alice")
    await groups.join(alice, ROOM)
    await groups.join(alice, ROOM)
    with pytest.raises(LimitExceeded):
        await groups.join(alice, HALL)


async def test_a_member_is_as_full_as_its_socket_and_resumes_with_it() -> None:
    hub, groups = made()
    alice = socket("alice")
    await groups.join(alice, ROOM)
    member = hub.members["alice"]
    alice.paused = True
    assert member.paused
    alice.paused = False
    assert not member.paused
    groups.resume("alice")
    groups.resume("nobody")
    assert hub.resumed == ["alice"]
    member.write(b"|x")
    member.write(b"")
    assert alice.sent == [b"x"]


async def test_members_with_the_same_frames_share_a_dialect() -> None:
    hub, groups = made()
    await groups.join(socket("alice"), ROOM)
    await groups.join(socket("bob"), HALL)
    assert hub.members["alice"].dialect is hub.members["bob"].dialect


def test_members_see_the_payload_and_no_gap() -> None:
    dialect = GroupDialect(FRAMING)
    entry = Entry(Position(1, 0), 0, Message(Kind.TEXT, b"hello"))
    assert dialect.message(ROOM, entry) == b"|hello"
    assert dialect.gap(ROOM, Recovery.LOST, ()) == b""
