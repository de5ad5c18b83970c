"""Event streams against a real server, read as bytes and as a browser reads them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import orjson
import pytest
from http_node import OPERATOR, Node, Peer, Served, eventually, now_ms, serving, token

from broker.acls import Resource
from broker.errors import Unavailable
from broker.names import ProjectName, parse_topic, topic_of
from broker.rights import Principal
from broker.users import UserChange
from gateway.sse.endpoint import MAX_RETRY_MS, MIN_RETRY_MS, StreamApp, build
from gateway.sse.pulse import Pulse

READER = token(subscribe=("default/*",))
STREAM = "/v1/projects/default/topics/lines:stream"


@dataclass
class EventSource:
    """Reads a chunked stream by the rules of a browser: keeps the last id, joins data lines."""

    peer: Peer
    head: bytes = b""
    buffer: bytes = b""
    events: list[tuple[str, Any]] = field(default_factory=list)
    last_id: str = ""
    retry_ms: int = 0
    comments: int = 0
    over: bool = False

    @classmethod
    async def open(
        cls, served: Served, path: str = STREAM, *, last_id: str = "", origin: str = "", key: str = READER
    ) -> "EventSource":
        peer = await served.connect()
        lines = [f"GET {path} HTTP/1.1", "Host: a", "Accept: text/event-stream", f"Authorization: Bearer {key}"]
        lines += [f"Last-Event-ID: {last_id}"] * bool(last_id) + [f"Origin: {origin}"] * bool(origin)
        await peer.send("\r\n".join([*lines, "", ""]).encode())
        source = cls(peer, last_id=last_id)
        source.head = await peer.read_until(b"\r\n\r\n")
        return source

    async def read_chunk(self) -> None:
        size = int(await self.peer.read_until(b"\r\n"), 16)
        data = await asyncio.wait_for(self.peer.reader.readexactly(size + 2), 10)
        if size == 0:
            self.over = True
            return
        self.buffer += data[:-2]
        *events, self.buffer = self.buffer.split(b"\n\n")
        for raw in events:
            self._dispatch(raw.decode())

    def _dispatch(self, raw: str) -> None:
        name, data = "message", []
        for line in raw.split("\n"):
            key, _, value = line.partition(": ")
            if key == ":":
                self.comments += 1
            elif key == "event":
                name = value
            elif key == "data":
                data.append(value)
            elif key == "id":
                self.last_id = value
            elif key == "retry":
                self.retry_ms = int(value)
        if data:
            self.events.append((name, orjson.loads("\n".join(data))))

    async def read(self, *, messages: int) -> list[str]:
        """Read until so many messages are there; returns their texts."""
        while len(self.texts) < messages:
            assert not self.over, self.events
            await self.read_chunk()
        return self.texts

    async def read_to_end(self) -> None:
        while not self.over:
            await self.read_chunk()

    @property
    def texts(self) -> list[str]:
        return [frame["text"] for name, frame in self.events if name == "message"]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with Node(origins=("https://app.example",)) as node:
        await node.catalog.create_topic(parse_topic("default/lines"))
        yield node


@pytest.fixture
async def served(node: Node) -> AsyncIterator[Served]:
    async with serving(build(node.context), metrics=node.metrics) as served:
        yield served


async def test_a_stream_begins_with_its_place_and_goes_on_with_messages(node: Node, served: Served) -> None:
    source = await EventSource.open(served)
    assert source.head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\ncontent-type: text/event-stream; charset=utf-8\r\n" in source.head
    assert b"\r\ncache-control: no-store\r\n" in source.head
    await source.read_chunk()
    [(name, frame)] = source.events
    assert (name, frame["recovery"], frame["offset"]) == ("recovery", "none", -1)
    assert MIN_RETRY_MS <= source.retry_ms <= MAX_RETRY_MS
    assert source.last_id == f"{frame['epoch']}--1"
    await node.say("default/lines", "one", "two")
    assert await source.read(messages=2) == ["one", "two"]
    assert source.last_id == f"{frame['epoch']}-1"


async def test_a_reader_resumes_where_it_was(node: Node, served: Served) -> None:
    source = await EventSource.open(served)
    await node.say("default/lines", "one", "two")
    await source.read(messages=2)
    source.peer.reset()
    await node.say("default/lines", "three", "four")
    again = await EventSource.open(served, last_id=source.last_id)
    await node.say("default/lines", "five")
    assert await again.read(messages=3) == ["three", "four", "five"]
    assert again.events[0][1]["recovery"] == "complete"


@pytest.mark.parametrize("since", ["now", "earliest", "last:1"])
async def test_a_connection_that_breaks_before_the_first_message_loses_nothing(
    node: Node, served: Served, since: str
) -> None:
    source = await EventSource.open(served, f"{STREAM}?since={since}")
    await source.read_chunk()
    assert source.texts == []
    source.peer.close()
    await node.say("default/lines", "one", "two")
    again = await EventSource.open(served, f"{STREAM}?since={since}", last_id=source.last_id)
    assert await again.read(messages=2) == ["one", "two"]


async def test_the_header_weighs_more_than_since(node: Node, served: Served) -> None:
    await node.say("default/lines", "one", "two", "three")
    source = await EventSource.open(served, f"{STREAM}?since=earliest")
    await source.read(messages=1)
    epoch = source.events[0][1]["epoch"]
    again = await EventSource.open(served, f"{STREAM}?since=earliest", last_id=f"{epoch}-1")
    assert await again.read(messages=1) == ["three"]


@pytest.mark.parametrize(
    ("since", "texts"), [("earliest", ["one", "two", "three"]), ("last:2", ["two", "three"]), ("time:0", ["one"])]
)
async def test_since_takes_the_words_of_subscribe(node: Node, served: Served, since: str, texts: list[str]) -> None:
    await node.say("default/lines", "one", "two", "three")
    source = await EventSource.open(served, f"{STREAM}?since={since}")
    assert (await source.read(messages=len(texts)))[: len(texts)] == texts


async def test_a_lost_place_is_told_and_reading_goes_on_from_the_oldest(node: Node, served: Served) -> None:
    await node.say("default/lines", "one")
    source = await EventSource.open(served, last_id="12345-99")
    assert await source.read(messages=1) == ["one"]
    assert source.events[0][1]["recovery"] == "lost"


async def test_a_topic_of_many_segments_is_named_with_encoded_slashes(node: Node, served: Served) -> None:
    await node.catalog.create_topic(topic_of(ProjectName("default"), "a/b:c/é"))
    source = await EventSource.open(served, "/v1/projects/default/topics/a%2Fb%3Ac%2f%C3%A9:stream")
    await node.say("default/a/b:c/é", "there")
    assert await source.read(messages=1) == ["there"]
    assert source.events[-1][1]["topic"] == "default/a/b:c/é"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (STREAM, {}, 401, "unauthorized"),
        (STREAM, {"x-api-key": "nonsense"}, 401, "unauthorized"),
        (STREAM, {"x-api-key": token(subscribe=("other/*",))}, 403, "forbidden"),
        (STREAM, {"x-api-key": token(publish=("default/*",))}, 403, "forbidden"),
        ("/v1/projects/default/topics/absent:stream", {"x-api-key": OPERATOR}, 404, "unknown_topic"),
        ("/v1/projects/absent/topics/t:stream", {"x-api-key": OPERATOR}, 404, "unknown_topic"),
        ("/v1/projects/default/topics/:stream", {"x-api-key": OPERATOR}, 404, "not_found"),
        ("/v1/projects/default/topics/a/b:stream", {"x-api-key": OPERATOR}, 404, "not_found"),
        ("/v1/projects/default/topics/a%7D:stream", {"x-api-key": OPERATOR}, 400, "invalid_name"),
        ("/v1/projects/default/topics/a%FF:stream", {"x-api-key": OPERATOR}, 400, "invalid_name"),
        (f"{STREAM}?since=yesterday", {"x-api-key": OPERATOR}, 400, "invalid_request"),
        (STREAM, {"x-api-key": OPERATOR, "last-event-id": "yesterday"}, 400, "invalid_request"),
        (STREAM, {"x-api-key": OPERATOR, "origin": "https://evil.example"}, 403, "forbidden"),
    ],
)
async def test_a_refusal_comes_before_the_stream(
    served: Served, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(served.url + path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["content-type"].startswith("application/json")


async def test_only_get_reads_a_stream(served: Served) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.post(served.url + STREAM, headers={"x-api-key": OPERATOR})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_the_token_may_stand_in_the_query(node: Node, served: Served) -> None:
    peer = await served.connect()
    await peer.send(f"GET {STREAM}?token={READER} HTTP/1.1\r\n\r\n".encode())
    assert (await peer.read_until(b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_anonymous_rights_are_enough() -> None:
    async with Node(anonymous=Principal("@anonymous", subscribe=("default/open",))) as node:
        await node.catalog.create_topic(parse_topic("default/open"))
        async with serving(build(node.context)) as served:
            peer = await served.connect()
            await peer.send(b"GET /v1/projects/default/topics/open:stream HTTP/1.1\r\n\r\n")
            assert (await peer.read_until(b"\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_page_of_an_allowed_origin_may_read(served: Served) -> None:
    source = await EventSource.open(served, origin="https://app.example")
    assert b"\r\naccess-control-allow-origin: https://app.example\r\n" in source.head
    assert b"\r\nvary: origin\r\n" in source.head


async def test_while_the_log_is_away_an_event_source_is_told_to_come_back(
    node: Node, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise Unavailable("The log is away.", retry_ms=500)

    monkeypatch.setattr(node.hub, "subscribe", away)
    async with httpx.AsyncClient(headers={"x-api-key": READER}) as client:
        browser = await client.get(served.url + STREAM, headers={"accept": "text/event-stream"})
        program = await client.get(served.url + STREAM)
    assert browser.status_code == 200
    assert browser.headers["content-type"].startswith("text/event-stream")
    retry, name, data, *_ = browser.text.split("\n")
    assert int(retry.removeprefix("retry: ")) >= 500 + MIN_RETRY_MS
    assert name == "event: unavailable"
    assert orjson.loads(data.removeprefix("data: "))["reason"] == "The log is away."
    assert (program.status_code, program.headers["retry-after"]) == (503, "1")


async def test_a_deleted_topic_ends_its_stream_and_then_does_not_exist(node: Node, served: Served) -> None:
    source = await EventSource.open(served)
    await source.read_chunk()
    await node.say("default/lines", "last words")
    await node.catalog.delete_topic(parse_topic("default/lines"))
    await source.read_to_end()
    assert source.texts == ["last words"]
    assert source.events[-1][0] == "ended"
    assert source.events[-1][1]["code"] == "unknown_topic"
    again = await EventSource.open(served, last_id=source.last_id)
    assert again.head.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("left_ms", [300, 0])
async def test_a_token_that_expires_ends_its_stream(node: Node, left_ms: int) -> None:
    # The room's clock is so far ahead of the authenticator's that little or nothing is left.
    granted = token(subscribe=("default/*",), seconds=600)
    context = replace(node.context, now_ms=lambda: now_ms() + 600_000 - left_ms)
    async with serving(build(context), metrics=node.metrics) as served:
        source = await EventSource.open(served, f"{STREAM}?since=now", key=granted)
        await source.read_to_end()
        assert [name for name, _ in source.events] == ["recovery", "ended"]
        assert source.events[-1][1]["code"] == "unauthorized"
    assert node.metrics.closed.counts[("sse", "expired")] == 1


async def test_a_quiet_stream_gets_comments(node: Node) -> None:
    async with serving(StreamApp(node.context, pulse=Pulse(seconds=0.02, shares=2))) as served:
        source = await EventSource.open(served)
        while source.comments < 3:
            await source.read_chunk()


async def test_a_node_that_goes_away_ends_its_streams_so_that_they_come_back(node: Node) -> None:
    async with serving(build(node.context), metrics=node.metrics) as served:
        source = await EventSource.open(served)
        await source.read_chunk()
        await served.stop()
        await source.read_to_end()
        assert [name for name, _ in source.events] == ["recovery"]
    assert node.metrics.closed.counts[("sse", "drain")] == 1
    assert node.metrics.connections.counts[("sse",)] == 0


async def test_a_slow_reader_leaves_the_feed_and_misses_nothing(node: Node, served: Served) -> None:
    source = await EventSource.open(served)
    await source.read_chunk()
    source.peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    while node.metrics.left_feeds == 0:
        await node.say("default/lines", *[f"{n} {'x' * 20_000}" for n in range(sent, sent + 20)])
        sent += 20
        assert sent < 5000
    await node.say("default/lines", *[f"{n} " for n in range(sent, sent + 20)])
    source.peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
    texts = await source.read(messages=sent + 20)
    assert [int(text.split(" ")[0]) for text in texts] == list(range(sent + 20))


async def test_who_leaves_is_forgotten(node: Node, served: Served) -> None:
    source = await EventSource.open(served)
    await source.read_chunk()
    assert node.metrics.connections.counts[("sse",)] == 1
    source.peer.reset()
    await eventually(lambda: node.metrics.connections.counts[("sse",)] == 0)
    assert served.census.total == 0


async def test_a_fault_is_an_answer_too(
    node: Node, served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(node.hub, "subscribe", broken)
    async with httpx.AsyncClient() as client:
        answer = await client.get(served.url + STREAM, headers={"x-api-key": READER})
    assert answer.status_code == 500
    assert "ZeroDivisionError" in caplog.text
    assert READER not in caplog.text


# Users, whose rights may change while they follow.


@pytest.fixture
async def user(node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The token of a consumer in the access list of `default/lines`; the watch over users runs fast."""
    monkeypatch.setattr("gateway.bearers.WATCH_SECONDS", 0.01)
    ann = await node.accounts.create("ann", UserChange(projects=[("default", ["consumer"])]))
    await node.accounts.set_acl(ProjectName("default"), Resource.TOPIC, "lines", ["ann"])
    watch = asyncio.create_task(node.auth.run())
    yield node.accounts.token_of(ann)
    watch.cancel()
    await asyncio.wait([watch])


async def test_a_consumer_in_the_access_list_follows_live(node: Node, served: Served, user: str) -> None:
    source = await EventSource.open(served, key=user)
    await node.say("default/lines", "one")
    assert await source.read(messages=1) == ["one"]
    source.peer.close()


async def test_a_consumer_that_is_not_listed_may_not(node: Node, served: Served, user: str) -> None:
    await node.catalog.create_topic(parse_topic("default/other"))
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {user}"}) as client:
        answer = await client.get(f"{served.url}/v1/projects/default/topics/other:stream")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(("change", "code"), [("refresh", "unauthorized"), ("delist", "forbidden")])
async def test_what_is_granted_no_more_ends_the_stream(
    node: Node, served: Served, user: str, change: str, code: str
) -> None:
    source = await EventSource.open(served, key=user)
    await source.read_chunk()
    if change == "refresh":
        await node.accounts.refresh_token("ann")
    else:
        await node.accounts.set_acl(ProjectName("default"), Resource.TOPIC, "lines", [])
    await source.read_to_end()
    assert [(name, event["code"]) for name, event in source.events if name == "ended"] == [("ended", code)]
