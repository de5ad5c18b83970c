"""Presence posted to a real receiver."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import pytest
from http_node import SECRET, eventually
from receiver import Received, Receiver, answering, receiving

from broker.errors import LimitExceeded, Unavailable
from gateway.channel import webhooks
from gateway.channel.ports import Presence, PresenceKind
from gateway.channel.webhooks import Webhooks
from gateway.options import Secret
from gateway.outgoing import Outgoing, OutgoingError, OutgoingRules, read_networks
from headrace.channel import InvalidPresence, verify_presence

NOW_S = 1_700_000_000
KEY = "the secret of the application"
LOOPBACK = OutgoingRules(plain_http=True, networks=read_networks(["127.0.0.0/8"]))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@contextlib.asynccontextmanager
async def telling(
    receiver: Receiver, *, retry: bool = False, rules: OutgoingRules = LOOPBACK, path: str = ""
) -> AsyncIterator[Webhooks]:
    outgoing = Outgoing(rules)
    hooks = Webhooks(
        outgoing,
        url=f"http://127.0.0.1:{receiver.port}{path}",
        secrets=[KEY.encode()],
        retry=retry,
        now_ms=lambda: NOW_S * 1000,
    )
    running = asyncio.create_task(hooks.run())
    try:
        yield hooks
    finally:
        running.cancel()
        await asyncio.wait([running])
        await outgoing.close()


def event(client_id: bytes = b"a", *, kind: PresenceKind = PresenceKind.CONNECTED, sequence: int = 1) -> Presence:
    return Presence(kind=kind, client_id=client_id, event_id=f"event-{sequence}", sequence=sequence)


@pytest.mark.parametrize("kind", PresenceKind)
async def test_presence_is_posted_as_the_original_posts_it(receiver: Receiver, kind: PresenceKind) -> None:
    async with telling(receiver) as hooks:
        await hooks.notify(event(b"player-1", kind=kind))
        await eventually(lambda: receiver.received)

    [request] = receiver.received
    assert (request.method, request.target) == ("POST", f"/_ah/channel/{kind}/")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.body == b"from=player-1"


async def test_a_path_before_the_applications_is_kept(receiver: Receiver) -> None:
    async with telling(receiver, path="/app/") as hooks:
        await hooks.notify(event())
        await eventually(lambda: receiver.received)

    assert receiver.received[0].target == "/app/_ah/channel/connected/"


@pytest.mark.parametrize("client_id", [b"a=1&b=2", b"", "é ü".encode(), b"\xff\x00", b"a+b"])
async def test_any_client_id_arrives_whole(receiver: Receiver, client_id: bytes) -> None:
    async with telling(receiver) as hooks:
        await hooks.notify(event(client_id))
        await eventually(lambda: receiver.received)

    fields = parse_qs(receiver.received[0].body.decode(), keep_blank_values=True, encoding="latin-1")
    assert fields == {"from": [client_id.decode("latin-1")]}


async def test_an_application_verifies_a_request(receiver: Receiver) -> None:
    async with telling(receiver, retry=True) as hooks:
        await hooks.notify(event(b"a b", kind=PresenceKind.DISCONNECTED, sequence=7))

    [request] = receiver.received
    found = verify_presence(request.target, request.headers, request.body, secret=KEY, now=NOW_S + 100)
    assert (found.client_id, found.connected, found.sequence) == ("a b", False, 7)
    assert found.event_id == "disconnected_event-7"
    with pytest.raises(InvalidPresence):
        verify_presence(request.target, request.headers, b"from=b", secret=KEY, now=NOW_S)


async def test_without_retry_nobody_waits_and_the_answer_is_ignored(receiver: Receiver) -> None:
    receiver.answer = answering(500)
    async with telling(receiver) as hooks:
        for sequence in (1, 2, 3):
            await hooks.notify(event(sequence=sequence))
        assert receiver.received == []
        await eventually(lambda: len(receiver.received) == 3)

    # In order, each once.
    ids = [request.headers["webhook-id"] for request in receiver.received]
    assert ids == ["connected_event-1", "connected_event-2", "connected_event-3"]


async def test_without_retry_a_failure_stops_nothing(receiver: Receiver) -> None:
    async def hang_up(request: object, writer: asyncio.StreamWriter) -> None:
        writer.close()

    receiver.answer = hang_up
    async with telling(receiver) as hooks:
        await hooks.notify(event(sequence=1))
        await eventually(lambda: receiver.received)
        receiver.answer = answering(200)
        await hooks.notify(event(sequence=2))
        await eventually(lambda: len(receiver.received) == 2)


async def test_a_client_whose_event_takes_long_holds_up_no_other(receiver: Receiver) -> None:
    answered = asyncio.Event()

    async def answer_late(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.body == b"from=slow":
            await answered.wait()
        await answering(200)(request, writer)

    receiver.answer = answer_late
    async with telling(receiver) as hooks:
        for client_id in (b"slow", b"slow", b"other"):
            await hooks.notify(event(client_id))
        await eventually(lambda: len(receiver.received) == 2)
        assert {request.body for request in receiver.received} == {b"from=slow", b"from=other"}
        answered.set()
        await eventually(lambda: len(receiver.received) == 3)


async def test_a_node_that_ends_tells_what_waits(receiver: Receiver) -> None:
    async with telling(receiver) as hooks:
        await hooks.settle()
        for number in range(20):
            await hooks.notify(event(b"%d" % (number % 3), sequence=number))
        await hooks.settle()

    assert len(receiver.received) == 20


async def test_and_waits_no_longer_than_it_may(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "SETTLE_SECONDS", 0.01)

    async def never(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    receiver.answer = never
    async with telling(receiver) as hooks:
        await hooks.notify(event())
        await hooks.settle()


async def test_what_waits_is_bounded(receiver: Receiver) -> None:
    outgoing = Outgoing(LOOPBACK)
    hooks = Webhooks(outgoing, url="http://127.0.0.1:1", secrets=[b"k"], retry=False, now_ms=lambda: 0)
    try:
        for _ in range(webhooks.MAX_WAITING + 5):
            await hooks.notify(event())
    finally:
        await outgoing.close()

    assert (hooks.dropped, hooks.waiting) == (5, webhooks.MAX_WAITING)


@pytest.mark.parametrize("status", [199 + 105, 400, 404, 500, 503])
async def test_with_retry_a_no_is_raised_and_a_yes_is_not(receiver: Receiver, status: int) -> None:
    receiver.answer = answering(status)
    async with telling(receiver, retry=True) as hooks:
        with pytest.raises(OutgoingError):
            await hooks.notify(event(sequence=4))
        receiver.answer = answering(204)
        await hooks.notify(event(sequence=4))

    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body == b"from=a&seq=4"


async def test_with_retry_what_is_told_at_once_is_bounded(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_IN_FLIGHT", 1)
    answered = asyncio.Event()

    async def answer_late(request: object, writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    receiver.answer = answer_late
    async with telling(receiver, retry=True) as hooks:
        first = asyncio.create_task(hooks.notify(event()))
        await eventually(lambda: receiver.received)
        with pytest.raises(LimitExceeded):
            await hooks.notify(event())
        answered.set()
        await first
        await hooks.notify(event())


async def test_the_rules_of_outgoing_requests_hold(receiver: Receiver) -> None:
    async with telling(receiver, retry=True, rules=OutgoingRules()) as hooks:
        with pytest.raises(OutgoingError):
            await hooks.notify(event())

    assert receiver.connections == 0


async def test_without_a_url_nobody_is_told() -> None:
    outgoing = Outgoing(LOOPBACK)
    try:
        for retry in (False, True):
            hooks = Webhooks(outgoing, url="", secrets=[b"k"], retry=retry, now_ms=lambda: 0)
            await hooks.notify(event())
    finally:
        await outgoing.close()


def test_while_a_secret_is_changed_requests_are_signed_under_both() -> None:
    old = Secret("an older secret key of the node, as long as it should be")
    both = webhooks.secrets_of(given=None, key=SECRET, old=old)
    headers = webhooks.headers_of(event(), b"from=a", secrets=both, now_s=NOW_S)

    for secret in (SECRET, old):
        found = verify_presence(
            "/_ah/channel/connected/", headers, b"from=a", secret=webhooks.derived(secret), now=NOW_S
        )
        assert found.client_id == "a"


def test_a_secret_that_is_given_is_the_only_one() -> None:
    given = webhooks.secrets_of(given=Secret(KEY), key=SECRET, old=SECRET)

    assert given == [KEY.encode()]
    assert webhooks.secrets_of(given=None, key=SECRET, old=None) == [webhooks.derived(SECRET).encode()]
    assert SECRET.value not in webhooks.derived(SECRET)


async def test_what_is_not_to_be_told_any_more_is_not_posted(receiver: Receiver) -> None:
    async def overtaken() -> bool:
        return False

    async def unknown() -> bool:
        raise Unavailable

    async with telling(receiver) as hooks:
        await hooks.notify(event(sequence=1), overtaken)
        await hooks.notify(event(sequence=2), unknown)
        await hooks.notify(event(sequence=3))
        await eventually(lambda: receiver.received)

    assert [request.headers["webhook-id"] for request in receiver.received] == ["connected_event-3"]
