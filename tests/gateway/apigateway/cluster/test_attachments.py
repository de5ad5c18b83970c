"""From the promise to the end: who hears of a socket."""

import attached
import servers
from attached import FakeSocket, eventually, facts_of

from gateway.apigateway.cluster.identifiers import owner_tag, tag_of


async def test_a_socket_is_reached_from_its_attachment_to_its_end(valkey: servers.Server) -> None:
    valkey.flush()
    async with attached.office(valkey, "a") as a:
        facts = facts_of(a.attachments.new_id())
        await a.attachments.promise(facts)
        assert len(a.table) == 0
        socket = FakeSocket(facts)
        a.attachments.attach(socket)
        assert a.table.find(facts.id) is socket
        a.attachments.on_writable(socket)
        a.attachments.ended(facts, code=1000, reason="")
        assert len(a.table) == 0
        await eventually(lambda: [told[0] for told in a.backend.told] == [facts.id])


async def test_a_socket_of_an_earlier_life_is_closed_and_its_end_is_left_to_survivors(valkey: servers.Server) -> None:
    valkey.flush()
    async with attached.office(valkey, "a") as a:
        socket = FakeSocket(facts_of(a.attachments.new_id()))
        await a.attachments.promise(socket.facts)
        was = a.node.id
        valkey.client.hdel(attached.KEYS.nodes()[0], was)
        a.node._certain_until = 0.0
        await eventually(lambda: a.node.id != was and a.node.is_certain)
        a.attachments.attach(socket)
        assert socket.closed == (1012, "The node was cut off.")
        a.attachments.ended(socket.facts, code=1012, reason="")
        assert len(a.table) == len(a.endings) == 0
        assert a.backend.told == []


async def test_ids_are_the_node_s_own_and_never_come_twice(valkey: servers.Server) -> None:
    valkey.flush()
    async with attached.office(valkey, "a") as a:
        ids = [a.attachments.new_id() for _ in range(5000)]
        assert len(set(ids)) == 5000
        assert {owner_tag(one) for one in ids} == {tag_of(a.node.id)}
