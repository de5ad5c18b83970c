"""One subscriber connection: all its channels, again and again."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager

import pytest
import servers

from cluster import ear as module
from cluster.address import Access, Endpoint
from cluster.ear import Ear
from cluster.subscriptions import Reading

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Running = Callable[[Coroutine[object, object, None]], AbstractAsyncContextManager[None]]


class Notes:
    """Writes down what the ear tells."""

    def __init__(self) -> None:
        self.confirmed: list[bytes] = []
        self.messages: list[tuple[bytes, bytes]] = []
        self.refused: list[str] = []
        self.lost: list[str] = []

    def on_reading(self, ear: Ear, reading: Reading) -> None:
        self.confirmed += reading.confirmed
        self.messages += reading.messages
        self.refused += [error.code for _, error in reading.refused]
        for names, _ in reading.refused:
            ear.want_later(names)

    def on_lost(self, ear: Ear, reason: str) -> None:
        self.lost.append(reason)


def ear_of(server: servers.Server, notes: Notes) -> Ear:
    return Ear(Endpoint(server.host, server.port), Access(), name="test", listener=notes)


async def test_it_hears_what_it_wants(valkey: servers.Server, running: Running, eventually: Eventually) -> None:
    notes = Notes()
    ear = ear_of(valkey, notes)
    ear.want(b"ear:before")
    async with running(ear.serve()):
        await eventually(lambda: notes.confirmed == [b"ear:before"])
        ear.want(b"ear:after")
        await eventually(lambda: len(notes.confirmed) == 2)
        ear.forget(b"ear:before")
        await eventually(lambda: valkey.command("PUBSUB", "SHARDNUMSUB", "ear:before") == [b"ear:before", 0])
        valkey.command("SPUBLISH", "ear:before", "no")
        valkey.command("SPUBLISH", "ear:after", "yes")
        await eventually(lambda: notes.messages == [(b"ear:after", b"yes")])


async def test_many_channels_in_few_reads(valkey: servers.Server, running: Running, eventually: Eventually) -> None:
    notes = Notes()
    ear = ear_of(valkey, notes)
    names = [b"ear:%d" % number for number in range(5000)]
    async with running(ear.serve()):
        for name in names:
            ear.want(name)
        await eventually(lambda: len(notes.confirmed) == len(names))
    assert sorted(notes.confirmed) == sorted(names)


async def test_what_was_forgotten_before_it_was_asked_for_is_never_asked_for(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    notes = Notes()
    ear = ear_of(valkey, notes)
    async with running(ear.serve()):
        await eventually(lambda: not ear.outage.is_away)
        ear.want(b"ear:gone")
        ear.forget(b"ear:gone")
        ear.forget(b"ear:never")
        ear.want(b"ear:here")
        await eventually(lambda: notes.confirmed == [b"ear:here"])


async def test_a_restart_brings_everything_back(running: Running, eventually: Eventually) -> None:
    with servers.redis7() as server:
        notes = Notes()
        ear = ear_of(server, notes)
        ear.want(b"a")
        ear.want(b"b")
        async with running(ear.serve()):
            await eventually(lambda: len(notes.confirmed) == 2)
            server.restart()
            await eventually(lambda: len(notes.confirmed) == 4)
            assert len(notes.lost) == 1


async def test_a_stopped_server_is_found_silent(
    running: Running, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PING_SECONDS", 0.1)
    with servers.valkey() as server:
        notes = Notes()
        ear = ear_of(server, notes)
        ear.want(b"a")
        async with running(ear.serve()):
            await eventually(lambda: notes.confirmed == [b"a"])
            server.pause()
            await eventually(lambda: notes.lost == [module.SILENT])
            server.resume()
            await eventually(lambda: notes.confirmed == [b"a", b"a"])


async def test_a_refused_channel_is_asked_for_again(running: Running, eventually: Eventually) -> None:
    with servers.redis7() as server:
        server.command("ACL", "SETUSER", "default", "resetchannels", "&open")
        notes = Notes()
        ear = ear_of(server, notes)
        ear.want(b"closed")
        async with running(ear.serve()):
            await eventually(lambda: notes.refused.count("NOPERM") >= 2)
            ear.want(b"open")
            await eventually(lambda: notes.confirmed == [b"open"])
            server.command("ACL", "SETUSER", "default", "allchannels")
            await eventually(lambda: b"closed" in notes.confirmed)


async def test_an_answer_that_does_not_fit_ends_the_connection(
    valkey: servers.Server, running: Running, eventually: Eventually
) -> None:
    notes = Notes()
    ear = ear_of(valkey, notes)
    ear.want(b"ear:x")
    async with running(ear.serve()):
        await eventually(lambda: notes.confirmed == [b"ear:x"])
        assert ear._connection is not None
        ear._connection.post("SUBSCRIBE", "ear:y")
        await eventually(lambda: notes.lost == ["out of step"])
        await eventually(lambda: len(notes.confirmed) == 2)
