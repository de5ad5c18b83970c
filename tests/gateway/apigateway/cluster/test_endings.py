"""Ends are told: once in the ordinary case, by a survivor when the node died, by nobody else's leave."""

from collections.abc import AsyncIterator

import attached
import pytest
import servers
from attached import LEASE_SECONDS, Office, RecordingBackend, eventually, facts_of

from broker.errors import Unavailable
from cluster.clearing import Ended
from gateway.apigateway.cluster import endings as module
from gateway.apigateway.cluster.endings import ABNORMAL, MAX_TRIES, Unknown
from gateway.apigateway.cluster.records import packed
from gateway.apigateway.ports import Facts


@pytest.fixture
async def a(valkey: servers.Server) -> AsyncIterator[Office]:
    valkey.flush()
    async with attached.office(valkey, "a") as made:
        yield made


async def promised(office: Office) -> Facts:
    facts = facts_of(office.attachments.new_id(), user="alice", authorizer={"principalId": "p"})
    await office.attachments.promise(facts)
    return facts


async def test_an_end_is_told_once_and_then_struck(a: Office) -> None:
    facts = await promised(a)
    assert await a.directory.find(a.node.id, facts.id) is not None
    a.attachments.ended(facts, code=1001, reason="Going away")
    await eventually(lambda: not len(a.endings) and not len(a.directory))
    assert a.backend.told == [(facts.id, 1001, "Going away", f"{a.node.id}/{facts.id}")]
    assert a.backend.facts == [facts]
    assert await a.directory.find(a.node.id, facts.id) is None


async def test_a_failure_is_tried_again_while_the_promise_stands(a: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_AGAIN_SECONDS", 0.02)
    facts = await promised(a)
    a.backend.failures = [Unavailable(), RuntimeError("broken")]
    a.attachments.ended(facts, code=1000, reason="")
    await eventually(lambda: len(a.backend.failures) == 1)
    assert await a.directory.find(a.node.id, facts.id) is not None
    await eventually(lambda: not len(a.directory))
    assert [told[0] for told in a.backend.told] == [facts.id]
    assert a.endings.given_up == 0


async def test_what_fails_for_ever_is_given_up(a: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_AGAIN_SECONDS", 0.01)
    facts = await promised(a)
    a.backend.failures = [Unavailable() for _ in range(MAX_TRIES)]
    a.attachments.ended(facts, code=1000, reason="")
    await eventually(lambda: a.endings.given_up == 1 and not len(a.directory))
    assert a.backend.failures == []
    assert a.backend.told == []


async def test_a_promise_that_cannot_be_given_is_an_end_already(a: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(a.directory, "enter", away)
    facts = facts_of(a.attachments.new_id())
    with pytest.raises(Unavailable):
        await a.attachments.promise(facts)
    await eventually(lambda: [told[:2] for told in a.backend.told] == [(facts.id, ABNORMAL)])


async def test_many_ends_are_told_and_waited_for(a: Office) -> None:
    ended = [await promised(a) for _ in range(200)]
    for facts in ended:
        a.attachments.ended(facts, code=1012, reason="")
    await a.endings.drain()
    assert sorted(told[0] for told in a.backend.told) == sorted(facts.id for facts in ended)
    assert len(a.endings) == 0


async def test_nothing_is_told_while_the_lease_may_be_taken(a: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_SECONDS", 0.2)
    facts = await promised(a)
    with monkeypatch.context() as uncertain:
        uncertain.setattr(type(a.node), "is_certain", property(lambda _: False))
        a.attachments.ended(facts, code=1000, reason="")
        await a.endings.drain()
        assert a.backend.told == []
    await eventually(lambda: len(a.backend.told) == 1)


async def test_a_survivor_tells_what_a_dead_node_owed(valkey: servers.Server) -> None:
    valkey.flush()
    backend = RecordingBackend()
    async with (
        attached.office(valkey, "a", backend=backend) as a,
        attached.office(valkey, "b", backend=backend) as b,
        attached.office(valkey, "c", backend=backend),
    ):
        await eventually(lambda: len(b.node.members) == 3)
        owed = [await promised(a) for _ in range(30)]
        kept = await promised(b)
        dead = a.node.id
        a.die()
        await eventually(lambda: len(backend.told) >= 30, seconds=4 * LEASE_SECONDS + 10)
        await eventually(lambda: dead not in b.node.gone)
        assert sorted(backend.told) == sorted((f.id, ABNORMAL, "", f"{dead}/{f.id}") for f in owed)
        assert sorted(backend.facts, key=lambda f: f.id) == sorted(owed, key=lambda f: f.id)
        assert await b.directory.find(b.node.id, kept.id) is not None


async def test_a_survivor_tells_later_what_it_could_not_tell(valkey: servers.Server) -> None:
    valkey.flush()
    backend = RecordingBackend(failures=[Unavailable(), RuntimeError("broken")])
    async with (
        attached.office(valkey, "a", backend=backend) as a,
        attached.office(valkey, "b", backend=backend) as b,
    ):
        await eventually(lambda: len(b.node.members) == 2)
        facts = await promised(a)
        a.die()
        await eventually(lambda: len(backend.told) == 1, seconds=4 * LEASE_SECONDS + 15)
        assert backend.told[0][0] == facts.id


async def test_an_evicted_node_tells_nothing_itself(a: Office, valkey: servers.Server) -> None:
    facts = await promised(a)
    was = a.node.id
    a.node.on_evicted.append(lambda: a.attachments.ended(facts, code=1012, reason=""))

    def has_lost_its_lease() -> bool:
        if a.node.id == was:
            # Again, where a renewal that was under way has undone it.
            valkey.client.hdel(attached.KEYS.nodes()[0], was)
            a.node._certain_until = 0.0
        return a.node.id != was and a.node.is_certain

    await eventually(has_lost_its_lease)
    await eventually(lambda: not len(a.endings))
    assert a.backend.told == []


async def test_an_end_of_a_stage_that_is_not_configured_stays_for_others(a: Office) -> None:
    strange = packed(facts_of(a.attachments.new_id(), stage="dev"))
    with pytest.raises(Unknown):
        await a.endings.tell(Ended("z.0", "c", strange))
