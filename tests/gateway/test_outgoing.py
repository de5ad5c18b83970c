"""Outgoing requests: where they may go, held to tables; and what really goes over the wire, to real servers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from http_node import eventually
from hypothesis import given
from hypothesis import strategies as st
from receiver import Received, Receiver, answering, hanging, hanging_up, make_authority, receiving

from gateway.outgoing import (
    MAX_ADDRESSES,
    MAX_URL_CHARS,
    Failed,
    NotAllowed,
    Outgoing,
    OutgoingError,
    OutgoingRules,
    Reply,
    TimedOut,
    is_public,
    read_networks,
    read_url,
)

LOOPBACK = read_networks(["127.0.0.0/8"])
OPEN = OutgoingRules(plain_http=True, networks=LOOPBACK)

PUBLIC = [
    "1.1.1.1",
    "9.9.9.9",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.3.1",
    "2606:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
]

INSIDE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_reached(text: str) -> None:
    assert is_public(ip_address(text))
    assert OutgoingRules().allows(ip_address(text))


@pytest.mark.parametrize("text", INSIDE)
def test_addresses_that_are_not_public_may_not(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not OutgoingRules().allows(ip_address(text))


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_counts_as_public(address: object) -> None:
    found = ip_address(str(address))
    if is_public(found):
        inner = getattr(found, "ipv4_mapped", None) or found
        assert not (inner.is_private or inner.is_loopback or inner.is_link_local or inner.is_multicast)


def test_an_allowed_network_opens_itself_alone_in_both_notations() -> None:
    rules = OutgoingRules(networks=read_networks(["10.1.0.0/16", "fd00:1::/32"]))
    assert rules.allows(ip_address("10.1.2.3"))
    assert rules.allows(ip_address("::ffff:10.1.2.3"))
    assert rules.allows(ip_address("fd00:1::5"))
    assert not rules.allows(ip_address("10.2.0.1"))
    assert not rules.allows(ip_address("fd00:2::5"))
    assert not rules.allows(ip_address("169.254.169.254"))


GOOD_URLS = {
    "https://example.org": ("https", "example.org", 443, "/"),
    "https://Example.ORG:8443/a/b?c=d#e": ("https", "example.org", 8443, "/a/b?c=d"),
    "https://bücher.example/": ("https", "xn--bcher-kva.example", 443, "/"),
    "https://[2606:4700::1111]:444/x": ("https", "2606:4700::1111", 444, "/x"),
    "https://1.1.1.1/%20": ("https", "1.1.1.1", 443, "/%20"),
}


@pytest.mark.parametrize(("url", "parts"), GOOD_URLS.items())
def test_a_url_is_taken_apart(url: str, parts: tuple[str, str, int, str]) -> None:
    found = read_url(url, OutgoingRules())
    assert (found.scheme, found.host, found.port, found.target) == parts


BAD_URLS = [
    "",
    "example.org",
    "//example.org/",
    "http://example.org/",
    "file:///etc/passwd",
    "gopher://example.org/",
    "https://",
    "https:///path",
    "https://:443/",
    "https://user@example.org/",
    "https://user:pass@example.org/",
    "https://example.org@127.0.0.1/",
    "https://example.org:99999/",
    "https://example.org:x/",
    "https://example.org:0/",
    "https://exa mple.org/",
    "https://example.org/a b",
    "https://example.org/\r\nHost: x",
    "https://example.org\\@evil/",
    "https://example.org/\u2028",
    "https://example.org/ü",
    "https://[::1",
    "https://[zz::1]/",
    "https://exa%6dple.org/",
    "https://example..org/",
    "https://" + "a" * 64 + ".org/",
    "https://example.org/" + "a" * MAX_URL_CHARS,
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(NotAllowed):
        read_url(url, OutgoingRules())


def test_plain_http_and_ports_are_the_operators_choice() -> None:
    assert read_url("http://example.org/", OutgoingRules(plain_http=True)).port == 80
    with pytest.raises(NotAllowed):
        read_url("ftp://example.org/", OutgoingRules(plain_http=True))
    rules = OutgoingRules(ports=frozenset({443, 8443}))
    assert read_url("https://example.org:8443/", rules).port == 8443
    with pytest.raises(NotAllowed, match="Port 22 may not be used"):
        read_url("https://example.org:22/", rules)


class Names:
    """A resolver that gives its answers one after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def opened(outgoing: Outgoing) -> AsyncIterator[Outgoing]:
    try:
        yield outgoing
    finally:
        await outgoing.close()


async def post(
    outgoing: Outgoing, url: str, *, seconds: float = 5, max_bytes: int = 1000, whole: bool = False
) -> Reply:
    headers = {"X-A": "b"}
    return await outgoing.send(
        "POST", url, headers=headers, body=b"hi", seconds=seconds, max_bytes=max_bytes, whole=whole
    )


async def test_a_request_goes_out_as_it_was_asked_for() -> None:
    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = answering(201, b"done")
        assert await post(outgoing, f"http://127.0.0.1:{receiver.port}/p?q=1") == Reply(201, b"done")
        [got] = receiver.received
        assert (got.method, got.target, got.body) == ("POST", "/p?q=1", b"hi")
        assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert got.headers["x-a"] == "b"
        assert got.headers["content-length"] == "2"


async def test_a_get_has_no_body() -> None:
    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        url = f"http://127.0.0.1:{receiver.port}/"
        assert (await outgoing.send("GET", url, headers={}, seconds=5, max_bytes=10)).status == 200
        assert "content-length" not in receiver.received[0].headers


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "localhost", "[::ffff:127.0.0.1]"])
async def test_loopback_in_any_spelling_is_not_reached(host: str) -> None:
    async with receiving() as receiver, opened(Outgoing(OutgoingRules(plain_http=True))) as outgoing:
        with pytest.raises(NotAllowed) as refusal:
            await post(outgoing, f"http://{host}:{receiver.port}/")
        assert "127" not in refusal.value.reason
        assert receiver.connections == 0


async def test_one_address_inside_refuses_the_name() -> None:
    names = Names(["1.1.1.1", "10.0.0.1"])
    async with opened(Outgoing(OutgoingRules(), resolve=names)) as outgoing:
        with pytest.raises(NotAllowed, match="may not be reached"):
            await post(outgoing, "https://mixed.test/")


@pytest.mark.parametrize("answer", [[], [f"1.1.1.{n}" for n in range(MAX_ADDRESSES + 1)]])
async def test_a_name_without_addresses_or_with_too_many_fails(answer: list[str]) -> None:
    async with opened(Outgoing(OutgoingRules(), resolve=Names(answer))) as outgoing:
        with pytest.raises(Failed):
            await post(outgoing, "https://odd.test/")


async def test_a_name_that_does_not_resolve_fails() -> None:
    async with opened(Outgoing(OutgoingRules())) as outgoing:
        with pytest.raises(Failed, match="could not be resolved"):
            await post(outgoing, "https://does-not-exist.invalid/")


async def test_the_connection_goes_to_the_checked_address_under_the_given_name(tmp_path: Path) -> None:
    server, client = make_authority(tmp_path, "receiver.test")
    names = Names(["127.0.0.1"])
    async with receiving(server) as receiver:
        rules = OutgoingRules(networks=LOOPBACK)
        async with opened(Outgoing(rules, tls=client, resolve=names)) as outgoing:
            reply = await post(outgoing, f"https://receiver.test:{receiver.port}/")
            assert reply.status == 200
            assert receiver.server_name == "receiver.test"
            assert receiver.received[0].headers["host"] == f"receiver.test:{receiver.port}"
            assert names.asked == [("receiver.test", receiver.port)]


async def test_a_certificate_for_another_name_is_refused(tmp_path: Path) -> None:
    server, client = make_authority(tmp_path, "receiver.test")
    async with receiving(server) as receiver:
        rules = OutgoingRules(networks=LOOPBACK)
        async with opened(Outgoing(rules, tls=client, resolve=Names(["127.0.0.1"]))) as outgoing:
            with pytest.raises(Failed):
                await post(outgoing, f"https://other.test:{receiver.port}/")
            assert receiver.received == []


async def test_a_name_that_is_rebound_is_caught_at_the_next_send() -> None:
    names = Names(["127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1"])
    rules = OutgoingRules(plain_http=True, networks=read_networks(["127.0.0.2/32"]))
    server = await asyncio.start_server((inside := Receiver()).serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    allowed = await asyncio.start_server((outside := Receiver()).serve, "127.0.0.2", port)
    async with server, allowed, opened(Outgoing(rules, resolve=names)) as outgoing:
        url = f"http://rebinding.test:{port}/"
        assert (await post(outgoing, url)).status == 200
        for _ in range(2):
            # Also over the connection that is still open: what the name means now is what counts.
            with pytest.raises(NotAllowed):
                await post(outgoing, url)
        assert (len(outside.received), inside.connections) == (1, 0)
        outside.hang_up()


async def test_each_name_is_resolved_once_a_send_and_connections_are_kept() -> None:
    names = Names(["127.0.0.1"])
    async with receiving() as receiver, opened(Outgoing(OPEN, resolve=names)) as outgoing:
        for _ in range(3):
            await post(outgoing, f"http://kept.test:{receiver.port}/")
        assert len(names.asked) == 3
        assert receiver.connections == 1


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    async with receiving() as receiver, opened(Outgoing(OPEN, resolve=Names(["127.0.0.9", "127.0.0.1"]))) as outgoing:
        assert (await post(outgoing, f"http://two.test:{receiver.port}/")).status == 200


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with receiving() as receiver, receiving() as other, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = answering(status, b"", f"location: http://127.0.0.1:{other.port}/")
        assert (await post(outgoing, f"http://127.0.0.1:{receiver.port}/")).status == status
        assert other.connections == 0


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, receiving() as proxy, opened(Outgoing(OPEN)) as outgoing:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await post(outgoing, f"http://127.0.0.1:{receiver.port}/")).status == 200
        assert proxy.connections == 0


async def test_who_does_not_answer_is_given_up() -> None:
    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = hanging
        with pytest.raises(Failed, match="no answer within"):
            await post(outgoing, f"http://127.0.0.1:{receiver.port}/", seconds=0.2)
        receiver.answer = answering(200)
        assert (await post(outgoing, f"http://127.0.0.1:{receiver.port}/")).status == 200


async def test_nobody_is_asked_about_a_written_address() -> None:
    async def asked(host: str, port: int) -> Sequence[str]:
        raise AssertionError(host)

    async with receiving() as receiver, opened(Outgoing(OPEN, resolve=asked)) as outgoing:
        assert (await post(outgoing, f"http://127.0.0.1:{receiver.port}/")).status == 200
    async with opened(Outgoing(OutgoingRules(plain_http=True), resolve=asked)) as outgoing:
        for host in ("127.0.0.1", "[::1]", "[::ffff:10.0.0.1]"):
            with pytest.raises(NotAllowed):
                await post(outgoing, f"http://{host}/")


async def test_a_resolver_that_hangs_is_given_up() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with opened(Outgoing(OPEN, resolve=never)) as outgoing:
        with pytest.raises(OutgoingError):
            await post(outgoing, "http://slow.test/", seconds=0.1)


async def test_a_long_answer_is_cut() -> None:
    async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = endless
        reply = await post(outgoing, f"http://127.0.0.1:{receiver.port}/", max_bytes=100)
        assert reply == Reply(200, b"x" * 100)


async def test_a_body_that_drips_costs_no_more_than_its_time_and_the_status_stands() -> None:
    async def dripping(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 OK\r\n\r\n" if request.target == "/none" else b"HTTP/1.1 200 OK\r\n\r\nx")
        await writer.drain()
        await asyncio.Event().wait()

    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = dripping
        assert await post(outgoing, f"http://127.0.0.1:{receiver.port}/", seconds=0.3) == Reply(200, b"x")
        assert await post(outgoing, f"http://127.0.0.1:{receiver.port}/none") == Reply(204, b"")


async def test_a_body_that_is_wanted_whole_is_a_failure_when_it_is_too_long_or_too_slow() -> None:
    async def dripping(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx")
        await writer.drain()
        await asyncio.Event().wait()

    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        url = f"http://127.0.0.1:{receiver.port}/"
        receiver.answer = answering(200, b"x" * 100)
        assert (await post(outgoing, url, max_bytes=100, whole=True)).body == b"x" * 100
        with pytest.raises(Failed, match="more than 99 bytes"):
            await post(outgoing, url, max_bytes=99, whole=True)
        receiver.answer = dripping
        with pytest.raises(TimedOut):
            await post(outgoing, url, seconds=0.2, whole=True)


async def test_an_answer_has_its_headers_and_a_request_may_repeat_one() -> None:
    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = answering(200, b"", "X-One: 1", "x-one: 2")
        url = f"http://127.0.0.1:{receiver.port}/"
        reply = await outgoing.send("GET", url, headers=[("a", "1"), ("b", "2")], seconds=5, max_bytes=9)
        assert [pair for pair in reply.headers if pair[0] == "x-one"] == [("x-one", "1"), ("x-one", "2")]
        assert (receiver.received[0].headers["a"], receiver.received[0].headers["b"]) == ("1", "2")


async def garbage(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x\r\n\r\n")
    await writer.drain()


async def long_head(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1_000_000)
    await writer.drain()


@pytest.mark.parametrize("failure", [hanging_up, garbage, long_head])
async def test_an_answer_that_is_none_is_a_failure(failure: object) -> None:
    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = failure  # type: ignore[assignment]
        with pytest.raises(Failed):
            await post(outgoing, f"http://127.0.0.1:{receiver.port}/")


async def test_nobody_there_is_a_failure() -> None:
    async with receiving() as receiver:
        port = receiver.port
    async with opened(Outgoing(OPEN)) as outgoing:
        with pytest.raises(Failed, match="connection failed"):
            await post(outgoing, f"http://127.0.0.1:{port}/")


async def test_a_cancelled_send_leaves_no_connection_behind() -> None:
    async with receiving() as receiver, opened(Outgoing(OPEN)) as outgoing:
        receiver.answer = hanging
        sending = asyncio.create_task(post(outgoing, f"http://127.0.0.1:{receiver.port}/"))
        await eventually(lambda: receiver.received)
        sending.cancel()
        await asyncio.wait([sending])
        assert sending.cancelled()
        receiver.answer = answering(200)
        assert (await post(outgoing, f"http://127.0.0.1:{receiver.port}/")).status == 200
        assert receiver.connections == 2
