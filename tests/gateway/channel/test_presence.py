"""When the application is told, and how often."""

import asyncio
import secrets

import pytest
from channel_site import Told
from http_node import eventually

from broker.errors import Unavailable
from broker.store.channels import LOOKED_AT_ONCE, SHARES, ChannelRules, ChannelStore
from cluster.topology import Topology
from gateway.channel.attached import Attached
from gateway.channel.ports import Presence, Take, always
from gateway.channel.presence import Presences

RULES = ChannelRules(strict=False, mirrors=False, keep_ms=60_000, keep_messages=5, keep_bytes=1000)
CLIENT = b"player"


class Failing(Told):
    async def notify(self, event: Presence, take: Take = always) -> None:
        await super().notify(event, take)
        raise Unavailable


class Nowhere:
    def handle(self, name: str, handler: object) -> None: ...

    async def request(self, node: str, name: str, body: bytes, *, timeout: float) -> bytes:
        return b""


@pytest.fixture
def store(commands: Topology) -> ChannelStore:
    return ChannelStore(commands, RULES, prefix=f"t{secrets.token_hex(4)}")


@pytest.fixture
def attached() -> Attached:
    return Attached(Nowhere(), lambda: "n1")


async def opened(store: ChannelStore, presences: Presences, *, alive_ms: int = 60_000) -> None:
    await store.watch(CLIENT, within_ms=alive_ms)
    found = await store.open(CLIENT, "a", number=None, node="n1", alive_ms=alive_ms, cursor=None)
    assert found is not None
    presences.tell(CLIENT, found.events)


async def pending(store: ChannelStore) -> int:
    """How many events are noted as not told."""
    key = store._keys.channel(CLIENT)[1]
    fields = await store._commands.execute(key, "HKEYS", key, retry=True)
    assert isinstance(fields, list)
    return sum(field[:1] == b"e" and field != b"epoch" for field in fields)


def presences(store: ChannelStore, told: Told | None, *, retries: bool = False) -> Presences:
    return Presences(store, told, retries=retries, gone_seconds=0.2)


async def looked(found: Presences) -> None:
    await asyncio.gather(*(found.look(share) for share in range(SHARES)))


async def test_an_event_is_told_once_and_struck_off(store: ChannelStore, attached: Attached) -> None:
    told = Told()
    found = presences(store, told)
    await opened(store, found)
    await found.close(CLIENT, "a", cursor=None, grace_ms=0, attached=attached)
    await eventually(lambda: [str(event.kind) for event in told.events] == ["connected", "disconnected"])
    first, second = told.events
    assert (first.sequence, second.sequence) == (1, 2)
    assert first.event_id != second.event_id
    assert await pending(store) == 0


@pytest.mark.parametrize(("retries", "noted"), [(False, 0), (True, 1)])
async def test_what_could_not_be_told_is_noted_where_it_is_to_be_repeated(
    store: ChannelStore, retries: bool, noted: int
) -> None:
    told = Failing()
    await opened(store, presences(store, told, retries=retries))
    await eventually(lambda: told.events)
    await asyncio.sleep(0.02)
    assert await pending(store) == noted


async def test_with_retries_it_is_struck_off_when_it_was_told(store: ChannelStore) -> None:
    told = Told()
    await opened(store, presences(store, told, retries=True))
    await eventually(lambda: told.events)
    async with asyncio.timeout(5):
        while await pending(store):
            await asyncio.sleep(0.01)


async def test_what_is_not_told_comes_again_under_the_same_id(
    store: ChannelStore, commands: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, told = Failing(), Told()
    await opened(store, presences(store, failing, retries=True), alive_ms=0)
    await eventually(lambda: failing.events)
    key = store._keys.channel(CLIENT)[1]
    event = failing.events[0]
    nonce = event.event_id.partition("-")[0]
    # Its claim is over.
    await commands.execute(key, "HSET", key, "e1", f"connected {nonce} 0", retry=True)
    await asyncio.sleep(0.005)
    other = presences(store, told, retries=True)
    await looked(other)
    await eventually(lambda: len(told.events) >= 2)
    assert event in told.events
    assert {str(found.kind) for found in told.events} == {"connected", "disconnected"}


class Slow(Told):
    """Keeps what it is given until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Presence, Take]] = []

    async def notify(self, event: Presence, take: Take = always) -> None:
        self.waiting.append((event, take))

    async def let_go(self) -> None:
        for event, take in self.waiting:
            await super().notify(event, take)


async def test_a_late_disconnect_does_not_overtake_a_reconnect(store: ChannelStore, attached: Attached) -> None:
    slow, told = Slow(), Told()
    one, other = presences(store, slow), presences(store, told)
    await opened(store, other)
    await eventually(lambda: told.events)
    await one.close(CLIENT, "a", cursor=None, grace_ms=0, attached=attached)
    await eventually(lambda: slow.waiting)
    await opened(store, other)
    await eventually(lambda: len(told.events) == 2)
    await slow.let_go()
    assert slow.events == []
    assert [str(event.kind) for event in told.events] == ["connected", "connected"]
    assert await pending(store) == 0


async def test_what_two_nodes_were_to_tell_is_told_once(store: ChannelStore) -> None:
    slow = Slow()
    await opened(store, presences(store, slow))
    await eventually(lambda: slow.waiting)
    assert await pending(store) == 1, "it is told by another, should this node die now"
    slow.waiting *= 2
    await slow.let_go()
    assert len(slow.events) == 1


async def test_nobody_needs_to_be_told(store: ChannelStore) -> None:
    await opened(store, presences(store, None))
    async with asyncio.timeout(5):
        while await pending(store):
            await asyncio.sleep(0.01)


async def test_a_client_that_is_gone_is_noticed_once_by_all_nodes(store: ChannelStore) -> None:
    told = Told()
    nodes = [presences(store, told) for _ in range(3)]
    await opened(store, nodes[0], alive_ms=1)
    await asyncio.sleep(0.01)
    await asyncio.gather(*(looked(node) for node in nodes))
    await eventually(lambda: len(told.events) == 2)
    await asyncio.gather(*(looked(node) for node in nodes))
    assert [str(event.kind) for event in told.events] == ["connected", "disconnected"]


async def test_a_client_is_looked_at_when_it_is_due(store: ChannelStore, attached: Attached) -> None:
    told = Told()
    found = presences(store, told)
    await opened(store, found, alive_ms=60_000)
    await found.close(CLIENT, "a", cursor=None, grace_ms=100, attached=attached)
    task = asyncio.create_task(found.run())
    await eventually(lambda: len(told.events) == 2)
    task.cancel()
    assert await store.settle(CLIENT) == (0, [])


async def test_redis_that_is_away_ends_nothing(attached: Attached) -> None:
    class Away:
        async def run(self, *_: object, **__: object) -> object:
            raise Unavailable

    found = Presences(ChannelStore(Away(), RULES), Told(), retries=False, gone_seconds=0.01)  # type: ignore[arg-type]
    await found.close(CLIENT, "a", cursor=None, grace_ms=0, attached=attached)
    task = asyncio.create_task(found.run())
    await asyncio.sleep(0.03)
    assert not task.done()
    task.cancel()


async def test_any_number_of_clients_is_looked_after_in_one_go(store: ChannelStore) -> None:
    told = Told()
    found = presences(store, told)
    clients = [b"player %d" % number for number in range(SHARES * LOOKED_AT_ONCE + 300)]

    async def come(client: bytes) -> None:
        await store.watch(client, within_ms=0)
        opened = await store.open(client, "a", number=None, node="n1", alive_ms=0, cursor=None)
        assert opened is not None
        await store.told(client, opened.events)

    await asyncio.gather(*map(come, clients))
    await asyncio.sleep(0.01)
    await looked(found)
    await eventually(lambda: len(told.events) == len(clients))
    assert {event.client_id for event in told.events} == set(clients)
