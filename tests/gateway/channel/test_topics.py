"""Channels bound to topics: what is published over any face reaches the page (DESIGN 8, kinds across faces)."""

import asyncio
import re

from channel_site import Site, Sites
from http_node import Node

from broker.catalog import AutoCreate
from broker.messages import Kind, Message
from broker.names import TopicName, parse_topic
from broker.publish import PublishRequest
from broker.store.base import Retention
from gateway.channel.settings import Channel

NEWS = parse_topic("default/news")
SETTINGS = Channel(hold_seconds=5, gone_seconds=1, lease_seconds=3)


def node() -> Node:
    return Node(auto_create=AutoCreate.ALL)


async def bound(site: Site, *topics: TopicName) -> str:
    await site.room.channels.create(site.client, topics=topics or [NEWS])
    return await site.connect()


async def publish(site: Site, *messages: Message) -> None:
    await site.node.publisher.publish(PublishRequest(NEWS, messages))


async def test_what_is_published_reaches_the_page(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        await site.node.say("default/news", "before")
        connection = await bound(site)
        await site.node.say("default/news", "one", "two")
        assert [await site.poll(connection) for _ in range(2)] == [b"one", b"two"]


async def test_it_comes_in_between_what_is_sent(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        connection = await bound(site)
        await site.send("sent")
        assert await site.poll(connection) == b"sent"
        await site.node.say("default/news", "published")
        assert await site.poll(connection) == b"published"


async def test_pages_get_text_of_their_size_alone(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        connection = await bound(site)
        await publish(
            site,
            Message(Kind.BINARY, b"\x00"),
            Message(Kind.TEXT, b"x" * 32_768),
            Message(Kind.TEXT, b""),
            Message(Kind.JSON, b'{"a":1}'),
            Message(Kind.TEXT, b"y" * 32_767),
        )
        assert await site.poll(connection) == b'{"a":1}'
        assert await site.poll(connection) == b"y" * 32_767
        assert re.search(rb'"not_for_pages".* 3', site.node.metrics.text())


async def test_what_comes_while_nobody_is_there_waits_in_the_topic(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        connection = await bound(site)
        await site.node.say("default/news", "one")
        assert await site.poll(connection) == b"one"
        await site.dev("disconnect", site.token(), connection)
        await asyncio.sleep(1.2)
        await site.node.say("default/news", "two", "three")
        connection = await site.connect()
        assert [await site.poll(connection) for _ in range(2)] == [b"two", b"three"]


async def test_a_topic_that_is_not_there_yet(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        connection = await bound(site, parse_topic("default/news"), parse_topic("default/more"))
        await site.node.say("default/more", "first of all")
        assert await site.poll(connection) == b"first of all"


async def test_many_messages_in_their_order(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        connection = await bound(site)
        texts = [f"{number}" for number in range(40)]
        for text in texts:
            await site.node.say("default/news", text)
        assert [(await site.poll(connection)).decode() for _ in texts] == texts


async def test_what_the_topic_has_dropped_meanwhile_is_no_obstacle(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        await site.node.say("default/news", "before")
        await site.room.channels.create(site.client, topics=[NEWS])
        await site.node.say("default/news", "one", "two", "three")
        await site.node.store.trim(NEWS, Retention(max_messages=1, max_bytes=10**9, max_age_ms=10**9))
        connection = await site.connect()
        await site.node.say("default/news", "four")
        assert [await site.poll(connection) for _ in range(2)] == [b"three", b"four"]


async def test_a_topic_that_is_deleted_and_made_again(sites: Sites) -> None:
    async with sites(SETTINGS, node=node()) as site:
        connection = await bound(site)
        await site.node.say("default/news", "one")
        assert await site.poll(connection) == b"one"
        await site.node.store.delete_topic(NEWS)
        await site.node.say("default/news", "of the new topic")
        assert await site.poll(connection) == b"of the new topic"
