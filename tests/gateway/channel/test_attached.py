"""Which connections are on a node, and letters between nodes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgpack
import pytest

from broker.errors import InvalidRequest, Unavailable
from cluster.letters import Request
from gateway.channel.attached import Attached

CLIENT = b"player"


@dataclass
class Inbox:
    handler: Callable[[Request], Awaitable[bytes]] | None = None
    asked: list[tuple[str, object]] = field(default_factory=list)
    fails: bool = False

    def handle(self, name: str, handler: Callable[[Request], Awaitable[bytes]]) -> None:
        self.handler = handler

    async def request(self, node: str, name: str, body: bytes, *, timeout: float) -> bytes:
        self.asked.append((node, msgpack.unpackb(body)))
        if self.fails:
            raise Unavailable
        return b""

    async def receive(self, letter: object) -> None:
        assert self.handler is not None
        await self.handler(Request(b"id", "other", "channel", msgpack.packb(letter)))


@dataclass(eq=False)
class Connection:
    name: str
    heard: list[object] = field(default_factory=list)

    def wake(self) -> None:
        self.heard.append("wake")

    def end(self, *, replaced: bool) -> None:
        self.heard.append(replaced)


def attached() -> tuple[Attached, Inbox, Connection, Connection]:
    inbox = Inbox()
    here = Attached(inbox, lambda: "n1")
    first, second = Connection("a"), Connection("b")
    here.add(CLIENT, first)
    here.add(CLIENT, second)
    return here, inbox, first, second


async def test_a_node_wakes_its_own_and_writes_to_the_others() -> None:
    here, inbox, first, second = attached()
    here.wake(CLIENT, ["n1", "n2"])
    here.wake(b"somebody else", ["n1"])
    await asyncio.sleep(0.01)
    assert first.heard == second.heard == ["wake"]
    assert inbox.asked == [("n2", ["wake", CLIENT, ""])]


async def test_one_letter_on_its_way_is_enough() -> None:
    here, inbox, *_ = attached()
    for _ in range(5):
        here.wake(CLIENT, ["n2"])
    await asyncio.sleep(0.01)
    assert len(inbox.asked) == 1
    here.wake(CLIENT, ["n2"])
    await asyncio.sleep(0.01)
    assert len(inbox.asked) == 2


async def test_letters_about_ends_name_the_connection() -> None:
    here, inbox, first, second = attached()
    here.replaced(CLIENT, [("a", "n1"), ("c", "n2")])
    here.closed(CLIENT, "b", "n1")
    here.closed(CLIENT, "d", "n2")
    here.closed(CLIENT, "e", "")
    await asyncio.sleep(0.01)
    assert (first.heard, second.heard) == ([True], [False])
    assert inbox.asked == [("n2", ["replaced", CLIENT, "c"]), ("n2", ["closed", CLIENT, "d"])]


async def test_letters_of_others() -> None:
    _, inbox, first, second = attached()
    await inbox.receive(["wake", CLIENT, ""])
    await inbox.receive(["replaced", CLIENT, "a"])
    await inbox.receive(["closed", CLIENT, "b"])
    assert (first.heard, second.heard) == (["wake", True], ["wake", False])
    with pytest.raises(InvalidRequest):
        await inbox.receive("nonsense")


async def test_a_letter_that_does_not_arrive_is_no_harm() -> None:
    here, inbox, *_ = attached()
    inbox.fails = True
    here.wake(CLIENT, ["n2"])
    await asyncio.sleep(0.01)
    assert len(inbox.asked) == 1


async def test_who_has_left_hears_nothing() -> None:
    here, _, first, second = attached()
    here.discard(CLIENT, first)
    here.discard(CLIENT, first)
    here.wake(CLIENT, ["n1"])
    assert (first.heard, second.heard) == ([], ["wake"])
    here.discard(CLIENT, second)
    assert list(here.of(CLIENT)) == []
