"""The development server's protocol, byte by byte (contracts/channel 5), and the SDK's own cases of it."""

import asyncio
import contextlib

import orjson
import pytest
from channel_site import QUICK, Site, Sites, read_answer
from http_node import Node, eventually

from broker.errors import Unavailable
from broker.store.channels import ChannelStore
from gateway.channel.routes import hold
from gateway.channel.settings import Channel, Profile, Second

LONG = Channel(hold_seconds=10, gone_seconds=1, lease_seconds=3)
STRICT = Channel(hold_seconds=0.05, gone_seconds=1, lease_seconds=3, profile=Profile.STRICT)


async def raw(site: Site, request: str) -> bytes:
    """Return the answer's bytes, without the date."""
    peer = await site.served.connect()
    await peer.send(f"{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    answer = await peer.read_to_end()
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"date: "))


def dev(query: str) -> str:
    return f"GET /_ah/channel/dev?{query}"


def error(line: bytes) -> bytes:
    return b"HTTP/1.1 " + line + b"\r\ncache-control: no-cache\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


async def test_a_connect_byte_by_byte(site: Site) -> None:
    answer = await raw(site, dev(f"command=connect&channel={site.token()}"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head == (
        b"HTTP/1.1 200 OK\r\ncache-control: no-cache\r\ncontent-type: text/plain\r\n"
        b"content-length: %d\r\nconnection: close" % len(body)
    )
    assert body.startswith(b"1.")


async def test_a_poll_without_a_message_byte_by_byte(site: Site) -> None:
    assert await raw(site, dev(f"command=poll&channel={site.token()}&client=1")) == error(b"200 OK")


async def test_a_poll_with_a_message_byte_by_byte(site: Site) -> None:
    await site.connect()
    await site.room.channels.send(site.client, b"\xff{}")
    assert await raw(site, dev(f"command=poll&channel={site.token()}&client=1")) == (
        b"HTTP/1.1 200 OK\r\ncache-control: no-cache\r\ncontent-type: application/json\r\n"
        b"content-length: 3\r\nconnection: close\r\n\r\n\xff{}"
    )


@pytest.mark.parametrize("command", ["connect", "poll", "disconnect"])
async def test_what_is_wrong_with_a_token_is_the_reason_phrase(site: Site, command: str) -> None:
    bad, late = f"{site.token()}x", site.token(minutes=1, ago_s=100)
    assert await raw(site, dev(f"command={command}&channel={bad}")) == error(b"401 Invalid+token.")
    assert await raw(site, dev(f"command={command}&channel={late}")) == error(b"401 Token+timed+out.")
    assert await raw(site, dev(f"command={command}&channel=")) == error(b"401 Invalid+token.")


@pytest.mark.parametrize(
    "query", ["", "command=connect", "channel=TOKEN", "command=open&channel=TOKEN", "command=open"]
)
async def test_what_is_missing_comes_before_the_token(site: Site, query: str) -> None:
    assert await raw(site, dev(query.replace("TOKEN", site.token()))) == error(b"400 Bad Request")
    assert await raw(site, dev(query.replace("TOKEN", "bad"))) == error(b"400 Bad Request")


async def test_a_disconnect_is_answered(site: Site) -> None:
    connection = await site.connect()
    assert await raw(site, dev(f"command=disconnect&channel={site.token()}&client={connection}")) == error(b"200 OK")


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
async def test_only_get_is_allowed(site: Site, method: str) -> None:
    status, headers, body = await site.get("/_ah/channel/dev", method=method)
    assert status == "405 Method Not Allowed"
    assert (headers["cache-control"], body) == ("no-cache", b"")
    assert "content-type" not in headers


async def test_what_is_not_there(site: Site) -> None:
    assert (await site.get("/_ah/channel/receive"))[0] == "404 Not Found"
    assert (await site.get("/_ah/else"))[0] == "404 Not Found"


async def test_a_page_of_another_origin(sites: Sites) -> None:
    async with sites(QUICK, node=Node(origins=("https://app.example",))) as site:
        path = f"/_ah/channel/dev?command=connect&channel={site.token()}"
        status, headers, _ = await site.get(path, headers="Origin: https://app.example\r\n")
        assert status == "200 OK"
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert (await site.get(path, headers="Origin: https://evil.example\r\n"))[0].startswith("403")


# The cases of the SDK's own test of its handler.


async def test_sdk_no_messages(site: Site) -> None:
    assert await site.poll(await site.connect()) == b""


async def test_sdk_other_channels_messages(site: Site) -> None:
    connection = await site.connect()
    await site.connect(site.token(b"other" + site.client))
    await site.send("for the other", to=b"other" + site.client)
    assert await site.poll(connection) == b""


async def test_sdk_a_message(site: Site) -> None:
    connection = await site.connect()
    await site.send("hello")
    assert await site.poll(connection) == b"hello"
    assert await site.poll(connection) == b""


async def test_sdk_several_messages(site: Site) -> None:
    connection = await site.connect()
    await site.send("one", "two", "three")
    assert [await site.poll(connection) for _ in range(4)] == [b"one", b"two", b"three", b""]


async def test_sdk_clears_the_right_queue(sites: Sites) -> None:
    async with sites(STRICT) as site:
        connection = await site.connect()
        other = site.token(b"other" + site.client)
        elsewhere = await site.connect(other)
        await site.send("mine")
        await site.send("theirs", to=b"other" + site.client)
        await site.dev("disconnect", site.token(), connection)
        assert await site.poll(await site.connect()) == b"", "what was pending is lost with its client"
        assert await site.poll(elsewhere, other) == b"theirs"


async def test_sdk_connects(site: Site) -> None:
    await site.connect()
    await eventually(lambda: site.kinds == ["connected"])


# What is ours.


@pytest.mark.parametrize("path", ["dev?command=poll&", "poll?"])
async def test_refusals_are_counted(site: Site, path: str) -> None:
    await site.get(f"/_ah/channel/{path}channel=bad")
    assert 'headrace_refusals_total{code="unauthorized"} 1.0' in site.node.context.metrics.text().decode()


async def test_a_poll_without_a_connect_connects(site: Site) -> None:
    await site.dev("poll", site.token(), "1")
    await eventually(lambda: site.kinds == ["connected"])
    await site.send("x")
    assert await site.poll("1") == b"x"


async def test_a_poll_that_names_no_client(site: Site) -> None:
    await site.dev("poll", site.token())
    await site.send("x")
    assert await site.poll("") == b"x"


async def test_a_poll_is_held_until_there_is_a_message(sites: Sites) -> None:
    async with sites(LONG) as site:
        connection = await site.connect()
        polling = asyncio.create_task(site.poll(connection))
        await eventually(lambda: len(site.told_of) == 1)
        await asyncio.sleep(0.05)
        assert not polling.done()
        await site.send("at last")
        assert await asyncio.wait_for(polling, 5) == b"at last"


async def test_a_held_poll_counts_as_alive(sites: Sites) -> None:
    async with sites(Channel(hold_seconds=2.2, gone_seconds=1, lease_seconds=3)) as site:
        connection = await site.connect()
        assert await site.poll(connection) == b""
        assert site.kinds == ["connected"]
        await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_a_disconnect_ends_the_held_poll_with_nothing(sites: Sites) -> None:
    async with sites(LONG) as site:
        connection = await site.connect()
        polling = asyncio.create_task(site.poll(connection))
        await asyncio.sleep(0.05)
        await site.dev("disconnect", site.token(), connection)
        assert await asyncio.wait_for(polling, 5) == b""
        await eventually(lambda: site.kinds == ["connected", "disconnected"])


async def test_an_answer_that_cannot_be_written_is_given_to_the_next_poll(sites: Sites) -> None:
    async with sites(LONG) as site:
        connection = await site.connect()
        peer = await site.served.connect()
        await peer.send(
            f"GET /_ah/channel/dev?command=poll&channel={site.token()}&client={connection} HTTP/1.1\r\n"
            "Host: a\r\n\r\n".encode()
        )
        await asyncio.sleep(0.05)
        peer.reset()
        await asyncio.sleep(0.02)
        await site.send("kept")
        assert await site.poll(connection) == b"kept"


async def test_an_old_page_outlives_a_redis_that_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable

    connection = await site.connect()
    with monkeypatch.context() as patched:
        patched.setattr(ChannelStore, "open", away)
        assert await raw(site, dev(f"command=poll&channel={site.token()}&client={connection}")) == error(b"200 OK")
        patched.setattr(ChannelStore, "watch", away)
        assert await raw(site, dev(f"command=connect&channel={site.token()}")) == error(b"503 Service+unavailable.")
    await site.send("afterwards")
    assert await site.poll(connection) == b"afterwards"


async def test_a_second_poll_of_a_connection_takes_the_place_of_the_first(sites: Sites) -> None:
    async with sites(LONG) as site:
        connection = await site.connect()
        first = asyncio.create_task(site.poll(connection))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(site.poll(connection))
        assert await asyncio.wait_for(first, 5) == b""
        await site.send("for the second")
        assert await asyncio.wait_for(second, 5) == b"for the second"


async def test_the_newest_tab_wins(sites: Sites) -> None:
    async with sites(LONG) as site:
        first = await site.connect()
        held = asyncio.create_task(site.dev("poll", site.token(), first))
        await asyncio.sleep(0.05)
        second = await site.connect()
        status, headers, _ = await asyncio.wait_for(held, 5)
        assert status == "409 Another+connection+has+taken+over."
        assert "content-type" not in headers
        assert (await site.dev("poll", site.token(), first))[0].startswith("409")
        await site.send("for the second")
        assert await site.poll(second) == b"for the second"


async def test_tabs_may_mirror_each_other(sites: Sites) -> None:
    settings = Channel(hold_seconds=0.05, gone_seconds=5, lease_seconds=5, second=Second.MIRRORS)
    async with sites(settings) as site:
        first, second = await site.connect(), await site.connect()
        await site.send("for both", "and this")
        assert [await site.poll(first) for _ in range(2)] == [b"for both", b"and this"]
        assert [await site.poll(second) for _ in range(3)] == [b"for both", b"and this", b""]


async def test_what_is_sent_in_a_gap_is_kept(site: Site) -> None:
    connection = await site.connect()
    await site.dev("disconnect", site.token(), connection)
    await site.send("in the gap")
    assert await site.poll(await site.connect()) == b"in the gap"


async def test_what_is_sent_in_a_gap_is_dropped_in_the_strict_profile(sites: Sites) -> None:
    async with sites(STRICT) as site:
        connection = await site.connect()
        await site.dev("disconnect", site.token(), connection)
        await site.send("in the gap")
        assert await site.poll(await site.connect()) == b""


# Our own script's long poll.


async def long_poll(site: Site, client: str = "", last_id: str = "", token: str = "") -> list[dict[str, object]]:
    query = f"channel={token or site.token()}&client={client}&last_id={last_id}"
    status, headers, body = await site.get(f"/_ah/channel/poll?{query}")
    assert (status, headers["content-type"]) == ("200 OK", "application/json")
    frames: list[dict[str, object]] = orjson.loads(body)
    return frames


async def test_a_long_poll_brings_all_there_is(site: Site) -> None:
    (opened,) = await long_poll(site)
    label, last_id = opened["open"]["client"], opened["open"]["last_id"]  # type: ignore[index, call-overload]
    await site.send("one", "two")
    _, one, two = await long_poll(site, label, last_id)
    assert [one["data"], two["data"]] == ["one", "two"]
    _, again = await long_poll(site, label, str(one["id"]))
    assert again == two, "whoever did not get it asks again"


async def test_a_long_poll_says_what_is_gone(sites: Sites) -> None:
    async with sites(Channel(hold_seconds=0.05, gone_seconds=5, lease_seconds=5, buffer_messages=2)) as site:
        (opened,) = await long_poll(site)
        label, last_id = opened["open"]["client"], opened["open"]["last_id"]  # type: ignore[index, call-overload]
        await site.send("one", "two", "three")
        frames = await long_poll(site, label, last_id)
        assert frames[1] == {"gap": 1}
        assert [frame["data"] for frame in frames[2:]] == ["two", "three"]


async def test_a_long_polls_refusal_is_a_frame_too(site: Site) -> None:
    status, _, body = await site.get("/_ah/channel/poll?channel=bad")
    assert status == "401 Invalid+token."
    assert orjson.loads(body) == [{"error": {"code": 401, "description": "Invalid+token."}}]
    assert (await site.get(f"/_ah/channel/poll?channel={site.token()}&last_id=x"))[0] == "400 Bad Request"


async def test_requests_behind_each_other_are_answered_in_their_order(site: Site) -> None:
    peer = await site.served.connect()
    path = f"/_ah/channel/dev?command=poll&channel={site.token()}&client=1"
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    await peer.send(request * 2)
    with contextlib.closing(peer):
        for _ in range(2):
            assert (await read_answer(peer))[0] == "200 OK"


async def test_a_message_for_a_peer_that_has_just_left_is_put_back() -> None:
    calls: list[str] = []

    class Polls:
        async def note(self, poll: object) -> None:
            # The peer leaves now.
            left.set()
            await asyncio.sleep(0.01)
            calls.append("noted")

        async def put_back(self, poll: object) -> None:
            calls.append("put back")

    class Peer:
        async def gone(self) -> None:
            await left.wait()

    async def poll() -> str:
        return "a poll"

    async def write(poll: object) -> bool:
        calls.append("written")
        return True

    left = asyncio.Event()
    await hold(Polls(), Peer(), poll(), write)  # type: ignore[arg-type]
    assert calls == ["noted", "put back"]


async def test_a_long_poll_that_does_not_wait(sites: Sites) -> None:
    async with sites(LONG) as site:
        (opened,) = await long_poll(site)
        label = opened["open"]["client"]  # type: ignore[index, call-overload]
        async with asyncio.timeout(5):
            assert len(await long_poll(site, f"{label}&wait=0")) == 1
            await site.send("here")
            assert [frame.get("data") for frame in await long_poll(site, f"{label}&wait=0")] == [None, "here"]


async def test_a_token_is_checked_without_a_connection(site: Site) -> None:
    status, headers, body = await site.get(f"/_ah/channel/poll?channel={site.token()}&check=1")
    assert (status, headers["content-type"], body) == ("200 OK", "application/json", b"[]")
    late = site.token(minutes=1, ago_s=100)
    assert (await site.get(f"/_ah/channel/poll?channel={late}&check=1"))[0] == "401 Token+timed+out."
    assert (await site.get(f"/_ah/channel/poll?channel={late}x&check=1"))[0] == "401 Invalid+token."
    await asyncio.sleep(0.05)
    assert site.kinds == []
