"""The room put together, and two nodes of it (contracts/channel 9, cases 8 and 10)."""

import asyncio

from channel_site import Site, Sites, data, frame, page
from http_node import eventually

from gateway.channel.room import rules_of
from gateway.channel.settings import Channel, Profile, Second

STEADY = Channel(hold_seconds=10, gone_seconds=0.5, lease_seconds=3)


def test_the_rules_are_the_settings() -> None:
    rules = rules_of(Channel(profile=Profile.STRICT, second=Second.MIRRORS, buffer_seconds=2, buffer_messages=3))
    assert (rules.strict, rules.mirrors, rules.keep_ms, rules.keep_messages) == (True, True, 2000, 3)
    assert not rules_of(Channel()).strict


async def test_the_room_takes_its_paths(site: Site) -> None:
    room = site.room
    assert all(
        room.takes({"path": path}) for path in ("/_ah/channel/dev", "/_ah/other", "/rpc_http", "/_ah/remote_api")
    )
    assert not any(room.takes({"path": path}) for path in ("/", "/v1/projects", "/_ahx"))


async def test_held_polls_are_counted(sites: Sites) -> None:
    async with sites(STEADY) as site:
        connection = await site.connect()
        polling = asyncio.create_task(site.poll(connection))

        def told() -> list[str]:
            return site.node.context.metrics.text().decode().splitlines()

        await eventually(lambda: "headrace_channel_polls 1.0" in told())
        await site.send("there")
        await polling
        await eventually(lambda: "headrace_channel_polls 0.0" in told())
        assert "headrace_channel_presence_waiting 0.0" in told()
        assert "headrace_channel_presence_delayed 0.0" in told()


async def test_connected_on_one_node_and_sent_on_another(sites: Sites) -> None:
    async with sites(STEADY, name="n1") as one, sites(STEADY, name="n2", client=one.client) as two, page(one) as socket:
        await frame(socket)
        await two.send("one")
        assert await data(socket, 1) == ["one"]
        await one.send("two")
        await two.send("three")
        assert await data(socket, 2) == ["two", "three"]


async def test_what_no_letter_told_is_found_by_itself(sites: Sites) -> None:
    settings = Channel(gone_seconds=1, lease_seconds=1)
    async with sites(settings, name="n1") as one, sites(settings, name="n2", client=one.client) as two:
        two.letters.lost = True
        async with page(one) as first:
            await frame(first)
            await two.send("no letter came")
            assert await data(first, 1) == ["no letter came"]
            async with page(two) as second:
                await frame(second)
                assert (await frame(first))["error"]["code"] == 409


async def test_the_newest_connection_wins_across_nodes(sites: Sites) -> None:
    async with sites(STEADY, name="n1") as one, sites(STEADY, name="n2", client=one.client) as two:
        async with page(one) as first, page(two) as second:
            await frame(first)
            await frame(second)
            assert (await frame(first))["error"]["code"] == 409
            await one.send("for the second")
            assert await data(second, 1) == ["for the second"]
        await eventually(lambda: one.kinds + two.kinds == ["connected", "disconnected"])


async def test_a_poll_held_on_one_node_ends_by_a_disconnect_on_another(sites: Sites) -> None:
    async with sites(STEADY, name="n1") as one, sites(STEADY, name="n2", client=one.client) as two:
        connection = await one.connect()
        polling = asyncio.create_task(one.poll(connection))
        await asyncio.sleep(0.1)
        await two.dev("disconnect", two.token(), connection)
        assert await asyncio.wait_for(polling, 5) == b""


async def test_polls_may_go_to_any_node(sites: Sites) -> None:
    async with sites(STEADY, name="n1") as one, sites(STEADY, name="n2", client=one.client) as two:
        connection = await one.connect()
        await one.send("one", "two", "three")
        assert [await site.poll(connection) for site in (two, one, two)] == [b"one", b"two", b"three"]
        assert one.kinds + two.kinds == ["connected"]


async def test_a_node_that_dies_leaves_its_clients_to_the_others(sites: Sites) -> None:
    settings = Channel(gone_seconds=0.5, lease_seconds=1)
    async with sites(settings, name="n2") as two:
        async with sites(settings, name="n1", client=two.client) as one:
            opened = await one.store.open(two.client, "a", number=None, node="n1", alive_ms=1000, cursor=None)
            assert opened is not None
            await one.store.watch(two.client, within_ms=1000)
            await one.store.told(two.client, opened.events)
        await eventually(lambda: two.kinds == ["disconnected"])


async def test_a_node_that_was_cut_off_ends_its_streams(site: Site) -> None:
    async with page(site) as socket:
        await frame(socket)
        site.room.evict()
        assert (await frame(socket))["error"]["code"] == 503
