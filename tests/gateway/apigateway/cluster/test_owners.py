"""The owner is found from the id; only what is not known is asked of Redis, and once for many."""

import asyncio

import attached
import pytest
import servers
from attached import eventually

from broker.errors import Unavailable
from cluster.node import Node
from gateway.apigateway.cluster.identifiers import SERIAL_BYTES, connection_id, tag_of
from gateway.apigateway.cluster.owners import Owners
from gateway.apigateway.errors import Gone, Malformed


def id_on(node: str) -> str:
    return connection_id(tag_of(node), bytes(SERIAL_BYTES))


class Counted:
    """Counts a node's looks, and may fail them."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = 0
        self.failure: Exception | None = None
        self._present = node.present
        monkeypatch.setattr(node, "present", self.present)

    async def present(self) -> frozenset[str]:
        self.looks += 1
        if self.failure:
            raise self.failure
        return await self._present()


async def test_known_members_cost_no_look(valkey: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    valkey.flush()
    async with attached.office(valkey, "a") as a, attached.office(valkey, "b") as b:
        await eventually(lambda: len(a.node.members) == 2)
        counted = Counted(a.node, monkeypatch)
        owners = Owners(a.node, monotonic=lambda: 0.0)
        assert await owners.owner_of(id_on(b.node.id)) == b.node.id
        assert await owners.owner_of(id_on(a.node.id)) == a.node.id
        assert counted.looks == 0
        with pytest.raises(Malformed):
            await owners.owner_of("x")
        assert counted.looks == 0


async def test_unknown_tags_share_looks(valkey: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    valkey.flush()
    async with attached.office(valkey, "a") as a:
        counted = Counted(a.node, monkeypatch)
        owners = Owners(a.node, monotonic=lambda: 0.0)
        asked = [owners.owner_of(id_on(f"z.{number}")) for number in range(50)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Gone}
        assert counted.looks == 1
        # One that is asked while a look is under way waits for the next: a node may have joined in between.
        first = asyncio.ensure_future(owners.look())
        while counted.looks < 2:
            await asyncio.sleep(0)
        await asyncio.gather(first, owners.look(), owners.look())
        assert counted.looks == 3


async def test_without_a_sound_look_nobody_is_gone(valkey: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    valkey.flush()
    async with attached.office(valkey, "a") as a:
        counted = Counted(a.node, monkeypatch)
        owners = Owners(a.node, monotonic=lambda: 0.0)
        counted.failure = Unavailable()
        with pytest.raises(Unavailable):
            await owners.owner_of(id_on("z.0"))
        counted.failure = None
        assert await owners.is_gone("z.0")
        assert not await owners.is_gone(a.node.id)
        a.die()
        valkey.flush()
        with pytest.raises(Unavailable):
            await owners.owner_of(id_on("z.0"))
        with pytest.raises(Unavailable):
            await owners.is_gone("z.0")


async def test_the_members_are_read_again_after_a_while(valkey: servers.Server) -> None:
    valkey.flush()
    now = 0.0
    async with attached.office(valkey, "a") as a:
        await eventually(lambda: len(a.node.members) == 1)
        owners = Owners(a.node, monotonic=lambda: now)
        assert list(owners.members().values()) == [a.node.id]
        async with attached.office(valkey, "b") as b:
            await eventually(lambda: len(a.node.members) == 2)
            assert b.node.id not in owners.members().values()
            now = 1.0
            assert b.node.id in owners.members().values()
