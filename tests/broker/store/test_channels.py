"""App Engine channels in Redis: the queue, newest wins, presence, and what a topic brings, on each kind of Redis."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest
import servers

from broker.errors import LimitExceeded
from broker.names import TopicName
from broker.positions import Position, Recovery, place
from broker.store.base import Commands
from broker.store.channels import MAX_MIRRORS, MAX_TOPICS, ChannelEvent, ChannelRules, ChannelStore, FromTopic, Opened

BUFFER = ChannelRules(strict=False, mirrors=False, keep_ms=60_000, keep_messages=5, keep_bytes=1000)
TOPIC = TopicName("default/news")
AWAY_MS = 60_000


class Channel:
    """One client's channel, as the tests tell of it."""

    def __init__(self, commands: Commands, rules: ChannelRules) -> None:
        self.store = ChannelStore(commands, rules)
        self.client = b"player \xff " + secrets.token_bytes(4)

    async def exists(self) -> "Channel":
        await self.store.bind(self.client, {}, live_ms=60_000)
        return self

    async def open(
        self, name: str, *, number: int | None = None, cursor: Position | None = None, alive_ms: int = AWAY_MS
    ) -> Opened | None:
        return await self.store.open(
            self.client, name, number=number, node=f"n-{name}", alive_ms=alive_ms, cursor=cursor
        )

    async def opened(self, name: str, **options: int) -> Opened:
        opened = await self.open(name, **options)  # type: ignore[arg-type]
        assert opened is not None
        return opened

    async def send(self, *messages: bytes) -> None:
        for message in messages:
            await self.store.send(self.client, [message])

    async def get(self, name: str, after: Position, *, cursor: Position | None = None) -> list[bytes]:
        page = await self.store.read(self.client, name, after, cursor=cursor)
        assert page is not None
        return [message.data for message in page.messages]


@pytest.fixture
async def commands(
    substrate: servers.Server | servers.Cluster,
    connect: Callable[[servers.Server | servers.Cluster], AbstractAsyncContextManager[Commands]],
) -> AsyncIterator[Commands]:
    async with connect(substrate) as commands:
        yield commands


@pytest.fixture
async def channel(commands: Commands) -> Channel:
    return await Channel(commands, BUFFER).exists()


def strict(commands: Commands) -> Channel:
    return Channel(commands, ChannelRules(strict=True, mirrors=False, keep_ms=60_000, keep_messages=5, keep_bytes=1000))


def kinds(opened: Opened) -> list[str]:
    return [event.kind for event in opened.events]


async def test_messages_come_in_their_order_and_after_a_place(channel: Channel) -> None:
    opened = await channel.opened("a")
    await channel.send(b"one", b"two", b"\xff\x00")
    assert await channel.get("a", opened.cursor) == [b"one", b"two", b"\xff\x00"]
    assert await channel.get("a", Position(opened.cursor.epoch, 0)) == [b"two", b"\xff\x00"]


async def test_nothing_goes_to_a_client_that_nobody_made(commands: Commands) -> None:
    channel = Channel(commands, BUFFER)
    assert await channel.store.send(channel.client, [b"x"]) is None
    assert (await channel.opened("a")).log.next_offset == 0


async def test_what_is_kept_waits_for_the_client(channel: Channel) -> None:
    await channel.send(b"early")
    opened = await channel.opened("a")
    assert await channel.get("a", opened.cursor) == [b"early"]


async def test_what_was_delivered_is_not_again(channel: Channel) -> None:
    opened = await channel.opened("a")
    await channel.send(b"one", b"two")
    one = Position(opened.cursor.epoch, 0)
    assert await channel.get("a", one, cursor=one) == [b"two"]
    await channel.store.close(channel.client, "a", cursor=None, grace_ms=AWAY_MS)
    assert (await channel.opened("b")).cursor == one
    await channel.store.close(channel.client, "b", cursor=Position(one.epoch, 1), grace_ms=AWAY_MS)
    assert (await channel.opened("c")).cursor.offset == 1


async def test_the_queue_is_bounded_in_messages_and_bytes(channel: Channel) -> None:
    opened = await channel.opened("a")
    await channel.send(*(b"%d" % number for number in range(50)))
    assert await channel.get("a", Position(opened.cursor.epoch, 44)) == [b"45", b"46", b"47", b"48", b"49"]
    page = await channel.store.read(channel.client, "a", opened.cursor, cursor=None)
    assert page is not None
    assert page.log.first == Position(opened.cursor.epoch, 45)
    await channel.send(b"x" * 600, b"y" * 600)
    page = await channel.store.read(channel.client, "a", opened.cursor, cursor=None)
    assert page is not None
    assert [message.data[:1] for message in page.messages] == [b"y"]


async def test_the_newest_connection_replaces_the_older(channel: Channel) -> None:
    first = await channel.opened("a")
    second = await channel.opened("b")
    assert second.replaced == [("a", "n-a")]
    assert await channel.store.read(channel.client, "a", first.cursor, cursor=None) is None
    assert await channel.open("a", number=first.number) is None, "what was replaced does not come back"
    assert (await channel.opened("b", number=second.number)).replaced == []


async def going_on(channel: Channel, name: str, number: int, earlier: str) -> Opened | None:
    return await channel.store.open(
        channel.client, name, number=number, node="n", alive_ms=AWAY_MS, cursor=None, earlier=earlier
    )


async def test_a_connection_goes_on_from_an_earlier_one(channel: Channel) -> None:
    first = await channel.opened("a")
    again = await going_on(channel, "b", first.number, "a")
    assert again is not None
    assert (again.number, again.replaced) == (first.number + 1, [("a", "n-a")])
    assert await channel.open("a", number=first.number) is None


async def test_a_page_comes_back_by_an_old_number_unless_another_came_between(channel: Channel) -> None:
    await channel.opened("other")
    first = await channel.opened("a")
    assert await going_on(channel, "b", first.number, "a") is not None
    third = await going_on(channel, "c", first.number, "a")
    assert third is not None
    assert third.replaced == [("b", "n")]
    assert await going_on(channel, "x", first.number - 1, "other") is None
    await channel.opened("d")
    assert await going_on(channel, "e", third.number, "c") is None


async def test_mirrors_have_a_cursor_each(commands: Commands) -> None:
    rules = ChannelRules(strict=False, mirrors=True, keep_ms=60_000, keep_messages=5, keep_bytes=1000)
    channel = await Channel(commands, rules).exists()
    first = await channel.opened("a")
    await channel.send(b"one")
    assert (await channel.opened("b")).replaced == []
    await channel.get("b", first.cursor, cursor=Position(first.cursor.epoch, 0))
    assert (await channel.opened("a", number=1)).cursor == first.cursor


async def test_connected_and_disconnected_come_once(channel: Channel) -> None:
    assert kinds(await channel.opened("a")) == ["connected"]
    assert kinds(await channel.opened("a", number=1)) == []
    assert kinds(await channel.opened("b")) == []
    closed = await channel.store.close(channel.client, "b", cursor=None, grace_ms=0)
    assert [event.kind for event in closed.events] == ["disconnected"]
    again = await channel.store.close(channel.client, "b", cursor=None, grace_ms=0)
    assert again.events == []
    assert again.due_ms == 0
    assert kinds(await channel.opened("c")) == ["connected"]


async def test_a_late_disconnect_does_not_overtake_a_reconnect(channel: Channel) -> None:
    await channel.opened("a")
    await channel.opened("b")
    closed = await channel.store.close(channel.client, "a", cursor=None, grace_ms=0)
    assert (closed.events, closed.due_ms) == ([], 0)


async def test_a_client_that_comes_back_in_time_was_never_gone(channel: Channel) -> None:
    await channel.opened("a")
    closed = await channel.store.close(channel.client, "a", cursor=None, grace_ms=AWAY_MS)
    assert closed.due_ms > 0
    assert closed.node == "n-a"
    again, _ = await channel.store.settle(channel.client)
    assert again <= closed.due_ms
    assert kinds(await channel.opened("b")) == []


async def test_a_connection_that_is_not_renewed_ends(channel: Channel) -> None:
    opened = await channel.opened("a", alive_ms=1)
    await asyncio.sleep(0.005)
    again, events = await channel.store.settle(channel.client)
    assert [event.kind for event in events] == ["disconnected"]
    assert events[0].id.startswith(opened.events[0].id.partition("-")[0])
    assert events[0].number == 2
    assert again > 0, "until both events are told"
    await channel.store.told(channel.client, [*opened.events, *events])
    assert await channel.store.settle(channel.client) == (0, [])


async def test_strict_keeps_nothing_for_who_is_away(commands: Commands) -> None:
    channel = await strict(commands).exists()
    await channel.send(b"early")
    opened = await channel.opened("a")
    assert await channel.get("a", opened.cursor) == []
    await channel.send(b"pending")
    await channel.store.close(channel.client, "a", cursor=None, grace_ms=AWAY_MS)
    await channel.send(b"in the gap")
    opened = await channel.opened("b")
    assert await channel.get("b", opened.cursor) == [b"pending"]
    await channel.send(b"lost with the client")
    await channel.store.close(channel.client, "b", cursor=None, grace_ms=0)
    opened = await channel.opened("c")
    assert await channel.get("c", opened.cursor) == []


async def test_what_a_topic_brings_is_appended_once(channel: Channel) -> None:
    at = [Position(7, offset) for offset in range(-1, 4)]
    await channel.store.bind(channel.client, {TOPIC: at[0]}, live_ms=1000)
    opened = await channel.opened("a")
    assert opened.topics == {TOPIC: at[0]}
    first = FromTopic(TOPIC, at[0], at[2], (at[1], at[2]))
    for _ in range(2):
        sent = await channel.store.send(channel.client, [b"0", b"1"], first)
        assert sent is not None
        assert (sent.position, sent.nodes) == (at[2], ("n-a",))
    overlapping = FromTopic(TOPIC, at[1], at[3], (at[2], at[3]))
    await channel.store.send(channel.client, [b"1", b"2"], overlapping)
    assert await channel.get("a", opened.cursor) == [b"0", b"1", b"2"]


async def test_a_hole_in_what_a_topic_brings_is_refused(channel: Channel) -> None:
    await channel.store.bind(channel.client, {TOPIC: Position(7, 0)}, live_ms=1000)
    opened = await channel.opened("a")
    beyond = FromTopic(TOPIC, Position(7, 1), Position(7, 2), (Position(7, 2),))
    sent = await channel.store.send(channel.client, [b"2"], beyond)
    assert sent is not None
    assert sent.position == Position(7, 0)
    assert await channel.get("a", opened.cursor) == []
    skipped = FromTopic(TOPIC, Position(7, 0), Position(7, 1), ())
    await channel.store.send(channel.client, [], skipped)
    sent = await channel.store.send(channel.client, [b"2"], beyond)
    assert await channel.get("a", opened.cursor) == [b"2"]


async def test_a_channel_is_bound_to_a_bounded_number_of_topics(channel: Channel) -> None:
    many = {TopicName(f"default/{number}"): None for number in range(MAX_TOPICS)}
    await channel.store.bind(channel.client, many, live_ms=1000)
    await channel.store.bind(channel.client, many, live_ms=1000)
    with pytest.raises(LimitExceeded):
        await channel.store.bind(channel.client, {TOPIC: None}, live_ms=1000)
    assert TOPIC not in (await channel.opened("a")).topics


async def test_one_looker_at_a_time_looks_at_a_client(channel: Channel) -> None:
    await channel.store.watch(channel.client, within_ms=0)
    await asyncio.sleep(0.002)
    found = {share: await channel.store.due(share) for share in range(8)}
    ((score, clients),) = [answer for answer in found.values() if answer[1]]
    assert clients == [channel.client]
    assert not any([(await channel.store.due(share))[1] for share in range(8)])
    await channel.store.watch(channel.client, within_ms=0)
    await channel.store.looked(channel.client, score=score, again_ms=0)
    await asyncio.sleep(0.002)
    assert any([(await channel.store.due(share))[1] for share in range(8)]), "what was wanted meanwhile stays"


async def test_a_client_that_needs_no_look_is_forgotten(channel: Channel) -> None:
    await channel.store.watch(channel.client, within_ms=0)
    await asyncio.sleep(0.002)
    for share in range(8):
        score, clients = await channel.store.due(share)
        for client in clients:
            await channel.store.looked(client, score=score, again_ms=0)
    await channel.store.watch(channel.client, within_ms=60_000)
    assert not any([(await channel.store.due(share))[1] for share in range(8)])


async def test_mirrors_are_bounded(commands: Commands) -> None:
    rules = ChannelRules(strict=False, mirrors=True, keep_ms=60_000, keep_messages=5, keep_bytes=1000)
    channel = await Channel(commands, rules).exists()
    for number in range(MAX_MIRRORS):
        assert (await channel.opened(f"c{number}")).replaced == []
    assert (await channel.opened("one more")).replaced == [("c0", "n-c0")]
    assert await channel.open("c0", number=1) is None
    assert await channel.open("c1", number=2) is not None


async def test_events_that_nobody_hears_are_bounded(channel: Channel) -> None:
    for _ in range(60):
        await channel.opened("a")
        await channel.store.close(channel.client, "a", cursor=None, grace_ms=0)
    key = channel.store._keys.channel(channel.client)[1]
    fields = await channel.store._commands.execute(key, "HKEYS", key, retry=True)
    assert isinstance(fields, list)
    assert sum(field[:1] == b"e" and field[1:].isdigit() for field in fields) == 50


async def test_an_event_that_nobody_hears_is_told_no_longer_than_the_channel_is_remembered(channel: Channel) -> None:
    await channel.opened("a")
    state = channel.store._keys.channel(channel.client)[1]
    execute = channel.store._commands.execute
    await execute(state, "HSET", state, "e1", "connected nonce 0", retry=True)
    await execute(state, "PEXPIRE", state, 30_000, retry=True)
    assert len((await channel.store.settle(channel.client))[1]) == 1
    left = await execute(state, "PTTL", state, retry=True)
    assert isinstance(left, int)
    assert 0 < left <= 30_000


async def test_nothing_is_left_of_a_channel_for_ever(channel: Channel) -> None:
    await channel.opened("a")
    await channel.send(b"x")
    for key in channel.store._keys.channel(channel.client):
        left = await channel.store._commands.execute(key, "PTTL", key, retry=True)
        assert isinstance(left, int)
        assert 0 < left <= 25 * 3_600_000


async def test_a_restarted_redis_begins_an_epoch_and_loses_no_place(
    starting: Callable[..., servers.Server],
    connect: Callable[[servers.Server], AbstractAsyncContextManager[Commands]],
) -> None:
    server = starting("--appendonly", "yes", "--appendfsync", "always")
    async with connect(server) as commands:
        channel = await Channel(commands, BUFFER).exists()
        opened = await channel.opened("a")
        await channel.send(b"before")
        await asyncio.to_thread(server.restart)
        await channel.send(b"after")
        page = await channel.store.read(channel.client, "a", opened.cursor, cursor=None)
        assert page is not None
        assert [message.data for message in page.messages] == [b"before", b"after"]
        assert page.messages[0].position.epoch < page.messages[1].position.epoch
        before = place(page.messages[0].position, page.log)
        assert before.recovery is Recovery.COMPLETE
        assert await channel.get("a", before.after) == [b"after"]


MIRRORS = ChannelRules(strict=False, mirrors=True, keep_ms=60_000, keep_messages=5, keep_bytes=1000)


async def test_what_an_older_mirror_was_given_is_not_the_clients_place(commands: Commands) -> None:
    channel = await Channel(commands, MIRRORS).exists()
    first = await channel.opened("a")
    await channel.opened("b")
    await channel.send(b"one")
    await channel.get("a", first.cursor, cursor=Position(first.cursor.epoch, 0))
    assert (await channel.opened("c")).cursor == first.cursor


async def test_a_connection_goes_on_where_its_earlier_one_was(commands: Commands) -> None:
    channel = await Channel(commands, MIRRORS).exists()
    first = await channel.opened("a")
    await channel.opened("b")
    await channel.send(b"one")
    one = Position(first.cursor.epoch, 0)
    await channel.get("a", first.cursor, cursor=one)
    again = await channel.store.open(
        channel.client, "c", number=first.number, node="n", alive_ms=AWAY_MS, cursor=None, earlier="a"
    )
    assert again is not None
    assert again.cursor == one


async def test_old_messages_go(commands: Commands) -> None:
    rules = ChannelRules(strict=False, mirrors=False, keep_ms=300, keep_messages=5, keep_bytes=1000)
    channel = await Channel(commands, rules).exists()
    opened = await channel.opened("a")
    for message in (b"old", b"new", b"newest"):
        await channel.send(message)
        await asyncio.sleep(0.16)
    page = await channel.store.read(channel.client, "a", opened.cursor, cursor=None)
    assert page is not None
    assert [message.data for message in page.messages] == [b"new", b"newest"]
    await asyncio.sleep(0.4)
    assert await channel.get("a", opened.cursor) == [], "what is too old goes although nothing new comes"


async def test_who_came_back_is_not_waited_for(channel: Channel) -> None:
    await channel.opened("a")
    closed = await channel.store.close(channel.client, "a", cursor=None, grace_ms=5_000)
    opened = await channel.opened("b")
    await channel.store.told(channel.client, [ChannelEvent("connected", "", 1), *opened.events])
    again, _ = await channel.store.settle(channel.client)
    assert again > closed.due_ms


async def test_the_earlier_look_counts(channel: Channel) -> None:
    await channel.store.watch(channel.client, within_ms=0)
    await channel.store.watch(channel.client, within_ms=60_000)
    await asyncio.sleep(0.002)
    assert any([(await channel.store.due(share))[1] for share in range(8)])
