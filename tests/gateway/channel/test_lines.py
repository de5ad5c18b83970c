"""Lines: delivery over connections that stay."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from channel_site import Site, Sites
from http_node import eventually

from broker.errors import HeadraceError, Unavailable
from broker.positions import Position
from broker.store.channels import ChannelMessage, ChannelPage, ChannelStore
from gateway.channel.errors import Replaced
from gateway.channel.lines import Line, Lines
from gateway.channel.settings import Channel


@dataclass(eq=False)
class Outlet:
    paused: bool = False
    got: list[bytes] = field(default_factory=list)
    skipped: int = 0
    ends: list[HeadraceError | None] = field(default_factory=list)
    takes: int = 1_000_000

    def deliver(self, messages: Sequence[ChannelMessage]) -> bool:
        if len(self.got) >= self.takes:
            return False
        self.got += [message.data for message in messages]
        return True

    def skip(self, count: int) -> None:
        self.skipped += count

    def finish(self, error: HeadraceError | None) -> None:
        self.ends.append(error)


def lines_of(site: Site) -> Lines:
    """The room's own, which its loop renews."""
    found = site.room.evict.__self__  # type: ignore[attr-defined]
    assert isinstance(found, Lines)
    return found


async def attach(site: Site, outlet: Outlet, *, last_id: Position | None = None) -> Line:
    lines = lines_of(site)
    name, opened = await lines.open(site.client, earlier=None, last_id=last_id)
    return lines.attach(site.client, name, outlet, opened)


async def test_messages_arrive_and_are_noted_as_given(site: Site) -> None:
    outlet = Outlet()
    line = await attach(site, outlet)
    await site.send("one", "two")
    await eventually(lambda: outlet.got == [b"one", b"two"])
    lines_of(site).detach(line, grace_ms=1000)
    again = Outlet()
    await asyncio.sleep(0.05)
    await attach(site, again)
    await site.send("three")
    await eventually(lambda: again.got == [b"three"])


async def test_a_full_outlet_is_not_read_for(site: Site) -> None:
    outlet = Outlet(paused=True)
    line = await attach(site, outlet)
    await site.send("one")
    await asyncio.sleep(0.05)
    assert outlet.got == []
    outlet.paused = False
    lines_of(site).resume(line)
    await eventually(lambda: outlet.got == [b"one"])


async def test_what_is_gone_is_counted(sites: Sites) -> None:
    async with sites(Channel(buffer_messages=2)) as site:
        await site.room.channels.create(site.client)
        await site.send("one", "two", "three", "four")
        outlet = Outlet()
        await attach(site, outlet)
        await eventually(lambda: outlet.got == [b"three", b"four"])
        assert outlet.skipped == 2


async def test_what_an_outlet_did_not_take_is_given_to_the_next(site: Site) -> None:
    outlet = Outlet(takes=0)
    line = await attach(site, outlet)
    await site.send("one")
    await asyncio.sleep(0.05)
    lines_of(site).detach(line, grace_ms=1000)
    await asyncio.sleep(0.05)
    again = Outlet()
    await attach(site, again)
    await eventually(lambda: again.got == [b"one"])


async def test_many_pages_of_messages(sites: Sites) -> None:
    async with sites(Channel()) as site:
        await site.room.channels.create(site.client)
        texts = [f"{number}" for number in range(350)]
        await site.send(*texts)
        outlet = Outlet()
        await attach(site, outlet)
        await eventually(lambda: len(outlet.got) == 350)
        assert [text.decode() for text in outlet.got] == texts


async def test_a_line_that_is_replaced_ends_once(site: Site) -> None:
    first, second = Outlet(), Outlet()
    await attach(site, first)
    await attach(site, second)
    await eventually(lambda: first.ends)
    assert [type(end) for end in first.ends] == [Replaced]
    await site.send("x")
    await eventually(lambda: second.got == [b"x"])
    assert first.got == []
    assert len(lines_of(site)) == 1


async def test_a_line_lives_longer_than_its_lease(sites: Sites) -> None:
    async with sites(Channel(lease_seconds=1, gone_seconds=0.2)) as site:
        outlet = Outlet()
        await attach(site, outlet)
        await asyncio.sleep(1.5)
        await site.send("still there")
        await eventually(lambda: outlet.got == [b"still there"])
        assert site.kinds == ["connected"]


async def test_a_line_that_redis_has_forgotten_is_opened_again(site: Site) -> None:
    outlet = Outlet()
    line = await attach(site, outlet)
    key = site.store._keys.channel(site.client)[1]
    await site.store._commands.execute(key, "HDEL", key, f"l{line.name}", retry=True)
    await lines_of(site).renew()
    await site.send("x")
    await eventually(lambda: outlet.got == [b"x"])


async def test_a_read_that_fails_is_made_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    outlet, failures = Outlet(), [Unavailable(), ValueError("a bug")]
    line = await attach(site, outlet)
    store = lines_of(site)._services.store
    read = store.read

    async def failing(*args: Any, **options: Any) -> ChannelPage | None:
        if failures:
            raise failures.pop(0)
        return await read(*args, **options)

    monkeypatch.setattr(ChannelStore, "read", lambda self, *args, **options: failing(*args, **options))
    await site.send("one")
    await eventually(lambda: not failures)
    line.wake()
    await eventually(lambda: outlet.got == [b"one"])
