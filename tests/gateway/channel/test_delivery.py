"""What the application's back end asks for: contracts/channel 1 and 9, cases 5, 9."""

import pytest
from channel_site import Site, Sites

from broker.errors import LimitExceeded
from broker.names import parse_topic
from broker.store.keys import Keys
from cluster.topology import Topology
from gateway.channel.errors import BadMessage, InvalidClientId, InvalidDuration
from gateway.channel.settings import Channel


async def received(site: Site, connection: str) -> list[bytes]:
    found = []
    while body := await site.poll(connection):
        found.append(body)
    return found


async def test_a_token_opens_the_clients_channel(site: Site) -> None:
    token = await site.room.channels.create(site.client, minutes=1)
    connection = await site.connect(token)
    await site.send("hello")
    assert await site.poll(connection, token) == b"hello"


async def test_a_token_lives_as_long_as_asked(site: Site) -> None:
    token = await site.room.channels.create(site.client, minutes=1)
    site.node.later(seconds=59)
    assert (await site.dev("connect", token))[0] == "200 OK"
    site.node.later(seconds=3)
    assert (await site.dev("connect", token))[0] == "401 Token+timed+out."
    default = await site.room.channels.create(site.client)
    site.node.later(seconds=119 * 60)
    assert (await site.dev("connect", default))[0] == "200 OK"


@pytest.mark.parametrize("minutes", [0, -1, 1441])
async def test_a_life_that_no_token_has(site: Site, minutes: int) -> None:
    with pytest.raises(InvalidDuration):
        await site.room.channels.create(site.client, minutes=minutes)
    await site.room.channels.create(site.client, minutes=1440)


async def test_client_ids(site: Site, sites: Sites) -> None:
    channels = site.room.channels
    with pytest.raises(InvalidClientId) as refusal:
        await channels.create(b"")
    assert refusal.value.reason == ""
    await channels.create(b"x" * 64)
    with pytest.raises(InvalidClientId, match="length 65 is greater than max length 64"):
        await channels.create(b"x" * 65)
    await channels.create((await channels.create(site.client)).encode())
    async with sites(Channel(client_id_bytes=256), name="n2") as other:
        await other.room.channels.create(b"x" * 256)
        with pytest.raises(InvalidClientId):
            await other.room.channels.create(b"x" * 257)


async def test_messages_reach_the_client_by_its_id_and_by_its_token(site: Site) -> None:
    connection = await site.connect()
    await site.send("by id")
    await site.send("by token", to=site.token().encode())
    assert await received(site, connection) == [b"by id", b"by token"]


async def test_what_reaches_nobody_is_dropped_without_a_word(site: Site) -> None:
    connection = await site.connect()
    await site.send("nobody", to=b"nobody at all")
    await site.send("to an old token", to=site.token(minutes=1, ago_s=100).encode())
    await site.send("to nothing", to=b"")
    await site.send("to too much", to=b"x" * 5000)
    await site.send("to bytes", to=b"\xff\xfe")
    assert await received(site, connection) == []


async def test_no_token_is_made_that_could_not_be_read(sites: Sites) -> None:
    async with sites(Channel(client_id_bytes=256)) as site:
        token = await site.room.channels.create(b"\xff" * 256)
        assert (await site.dev("connect", token))[0] == "200 OK"
        again = await site.room.channels.create((await site.room.channels.create(b"-" * 128)).encode())
        assert (await site.dev("connect", again))[0] == "200 OK"
        with pytest.raises(InvalidClientId):
            await site.room.channels.create(token.encode())


async def test_what_nobody_can_be_called_leaves_nothing_behind(site: Site, commands: Topology) -> None:
    late, forged = site.token(minutes=1, ago_s=100), f"{site.token()}x"
    for key in (late, forged, "x" * 900, "unknown"):
        await site.send("kept for nobody", to=key.encode())
        for name in Keys(site.node.config.prefix).channel(key.encode()):
            assert await commands.execute(name, "EXISTS", name, retry=True) == 0


async def test_message_sizes_and_bytes(site: Site) -> None:
    connection, channels = await site.connect(), site.room.channels
    await channels.send(site.client, b"x" * 32_767)
    with pytest.raises(BadMessage, match="no longer than 32767"):
        await channels.send(site.client, b"x" * 32_768)
    with pytest.raises(BadMessage) as refusal:
        await channels.send(site.client, b"")
    assert refusal.value.reason == ""
    await channels.send(site.client, b"\xff\x00")
    assert await received(site, connection) == [b"x" * 32_767, b"\xff\x00"]


async def test_a_client_called_anything(sites: Sites) -> None:
    async with sites(client=b"a=1&b {x}/\xff-y") as site:
        connection = await site.connect()
        await site.room.channels.send(site.client, b"hello")
        assert await site.poll(connection) == b"hello"


async def test_too_many_topics(site: Site) -> None:
    topics = [parse_topic(f"default/{number}") for number in range(33)]
    with pytest.raises(LimitExceeded):
        await site.room.channels.create(site.client, topics=topics)


async def test_what_was_sent_before_the_page_came_waits_for_it(site: Site) -> None:
    token = await site.room.channels.create(site.client)
    await site.send("early")
    assert await site.poll(await site.connect(token), token) == b"early"
