"""Polls as the room holds them; what they answer over HTTP is in `test_routes`."""

import asyncio

import pytest
from channel_site import Site, Sites
from http_node import eventually

from gateway.channel.errors import Replaced
from gateway.channel.polls import Polls
from gateway.channel.settings import Channel
from gateway.channel.tokens import Grant
from gateway.channel.wire import Label


def polls_of(site: Site) -> Polls:
    dev = site.room.paths["/_ah/channel/dev"]._handler  # type: ignore[attr-defined]
    found = dev._polls
    assert isinstance(found, Polls)
    return found


def grant_of(site: Site, *, seconds: int = 3600) -> Grant:
    return Grant(site.client, int(site.node.now_ms() / 1000) + seconds)


async def test_a_poll_says_under_what_name_to_go_on(site: Site) -> None:
    polls = polls_of(site)
    poll = await polls.poll(grant_of(site), None, last_id=None, most=1)
    assert poll.label.number == 1
    assert not poll.messages
    with pytest.raises(Replaced):
        await polls.poll(grant_of(site), Label("x", 0), last_id=None, most=1)


async def test_an_answer_that_was_put_back_comes_again(site: Site) -> None:
    polls = polls_of(site)
    label, _ = await polls.connect(site.client)
    await site.send("one", "two")
    first = await polls.poll(grant_of(site), label, last_id=None, most=1)
    await polls.note(first)
    await polls.put_back(first)
    again = await polls.poll(grant_of(site), label, last_id=None, most=1)
    assert [message.data for message in (*first.messages, *again.messages)] == [b"one", b"one"]
    await polls.note(again)
    last = await polls.poll(grant_of(site), label, last_id=None, most=5)
    assert [message.data for message in last.messages] == [b"two"]


async def test_a_poll_whose_peer_leaves_is_alive_no_longer(sites: Sites) -> None:
    async with sites(Channel(hold_seconds=200, gone_seconds=0.4, lease_seconds=3)) as site:
        polls = polls_of(site)
        label, _ = await polls.connect(site.client)
        polling = asyncio.create_task(polls.poll(grant_of(site), label, last_id=None, most=1))
        await asyncio.sleep(0.05)
        polling.cancel()
        await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_a_closed_poll_is_not_opened_again_by_its_answer(site: Site) -> None:
    polls = polls_of(site)
    label, _ = await polls.connect(site.client)
    poll = await polls.poll(grant_of(site), label, last_id=None, most=1)
    poll.end(replaced=False)
    await polls.close(site.client, label)
    await polls.note(poll)
    await eventually(lambda: site.kinds == ["connected", "disconnected"])
    await asyncio.sleep(0.05)
    assert site.kinds == ["connected", "disconnected"]


async def test_a_poll_that_its_page_gave_up_to_close_does_not_open_again(sites: Sites) -> None:
    async with sites(Channel(hold_seconds=200, gone_seconds=0.2, lease_seconds=3)) as site:
        polls = polls_of(site)
        label, _ = await polls.connect(site.client)
        poll = await polls.poll(grant_of(site, seconds=0), label, last_id=None, most=1)
        await polls.close(site.client, label)
        await polls.put_back(poll)
        await eventually(lambda: site.kinds == ["connected", "disconnected"])
        await polls.poll(grant_of(site, seconds=0), label, last_id=None, most=1)
        await eventually(lambda: site.kinds == ["connected", "disconnected", "connected"])


async def test_a_poll_is_held_no_longer_than_its_token(sites: Sites) -> None:
    async with sites(Channel(hold_seconds=200, gone_seconds=1, lease_seconds=3)) as site:
        poll = await asyncio.wait_for(polls_of(site).poll(grant_of(site, seconds=1), None, last_id=None, most=1), 5)
        assert not poll.messages


async def test_a_node_that_ends_holds_no_polls(sites: Sites) -> None:
    async with sites(Channel(hold_seconds=200, gone_seconds=10, lease_seconds=3)) as site:
        polls = polls_of(site)
        label, _ = await polls.connect(site.client)
        held = asyncio.create_task(polls.poll(grant_of(site), label, last_id=None, most=1))
        await asyncio.sleep(0.05)
        site.room.drain()
        assert not (await asyncio.wait_for(held, 5)).messages
        assert not (await asyncio.wait_for(polls.poll(grant_of(site), label, last_id=None, most=1), 5)).messages
        await site.send("last words")
        last = await polls.poll(grant_of(site), label, last_id=None, most=1)
        assert [message.data for message in last.messages] == [b"last words"]
