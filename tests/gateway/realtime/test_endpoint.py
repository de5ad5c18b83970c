"""The room as a node runs it: uvicorn, the real hub, publisher and credentials over the memory store."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sockets
from sockets import opened, text, uvicorn_serving

from broker.accounts import Accounts
from broker.catalog import Catalog
from broker.consumers import Consumers
from broker.deadletters import DeadLetters
from broker.hub import Hub
from broker.listening import Listening
from broker.names import TopicName
from broker.observe import Silent
from broker.publish import Publisher
from broker.schema_catalog import SchemaCatalog
from broker.store.memory import MemoryStore
from broker.store.records_memory import MemoryRecords
from broker.subscriptions import Subscriptions
from broker.waiting import Waiting
from gateway.auth import Authenticator
from gateway.config import Auth, Config, Limits, Secret
from gateway.context import Context
from gateway.metrics import Metrics
from gateway.outgoing import Outgoing
from gateway.pushes import Pushes
from gateway.realtime.endpoint import advertised, front, protocol_class
from gateway.vault import Vault

TOPIC = "default/lines"


class Bus:
    """Brings each announcement on the next turn of the loop, as a read of Redis would."""

    def __init__(self) -> None:
        self.listening: Listening | None = None

    async def follow(self, topic: TopicName) -> None: ...

    def unfollow(self, topic: TopicName) -> None: ...

    def announce(self, topic: TopicName, payload: bytes) -> None:
        if self.listening is not None:
            asyncio.get_running_loop().call_soon(self.listening.on_announcements, [(topic, payload)])


def now_ms() -> int:
    return int(time.time() * 1000)


def context(config: Config, bus: Bus, store: MemoryStore) -> Context:
    catalog, records = Catalog(store, monotonic=time.monotonic), MemoryRecords(now_ms=now_ms)
    listening = bus.listening = Listening(bus)
    hub = Hub(store, listening, observer=Silent(), now_ms=now_ms, monotonic=time.monotonic)
    listening.deliver_to(hub)
    waiting = Waiting(listening)
    subscriptions = Subscriptions(store, DeadLetters(store, catalog), waiting, monotonic=time.monotonic)
    return Context(
        config=config,
        hub=hub,
        publisher=Publisher(store, catalog, observer=Silent(), monotonic=time.monotonic),
        catalog=catalog,
        subscriptions=subscriptions,
        consumers=Consumers(subscriptions, waiting, monotonic=time.monotonic),
        accounts=Accounts(records, Vault(Secret("secret")), require_project=catalog.project),
        pushes=Pushes(records, Vault(Secret("secret")), new_id=lambda: "id"),
        outgoing=Outgoing(config.push.outgoing),
        schemas=SchemaCatalog(records, monotonic=time.monotonic, new_id=lambda: "id"),
        auth=Authenticator(config, now_ms=now_ms, monotonic=time.monotonic),
        metrics=Metrics(),
        now_ms=now_ms,
    )


@contextlib.asynccontextmanager
async def node(**limits: Any) -> AsyncIterator[tuple[int, Any]]:
    config = Config(
        limits=Limits(**limits), service_token=Secret("service-token"), auth=Auth(), name="mill-1", port=8080
    )
    bus = Bus()
    store = MemoryStore(now_ms=now_ms, announce=bus.announce)
    parts = context(config, bus, store)
    door = front(parts, grain_seconds=0.02)
    running = asyncio.create_task(parts.hub.run())
    await asyncio.sleep(0)
    try:
        async with uvicorn_serving(door, config) as port:
            yield port, door
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def publish(number: int) -> bytes:
    return text({"op": "publish", "id": number, "topic": TOPIC, "json": number, "publisher": "p", "seq": number})


async def test_messages_are_delivered_resumed_and_not_repeated() -> None:
    async with node() as (port, _), opened(port, x_api_key="service-token") as writer:
        for number in range(20):
            writer.send(publish(number))
        positions = [await writer.receive() for _ in range(20)]
        assert [answer["offset"] for answer in positions] == list(range(20))
        writer.send(publish(3))
        assert await writer.receive() == {**positions[3], "duplicate": True}
        async with opened(port, x_api_key="service-token") as reader:
            ask = {"op": "subscribe", "topic": TOPIC, "since": {"last": 3}}
            subscribed = await reader.ask(ask)
            assert subscribed["after"]["offset"] == 16
            assert [(await reader.receive())["json"] for _ in range(3)] == [17, 18, 19]
            writer.send(publish(20))
            message = await reader.receive()
            assert message["json"] == 20
        place = {"epoch": message["epoch"], "offset": message["offset"]}
        writer.send(publish(21) + publish(22))
        for _ in range(3):
            await writer.receive()
        async with opened(port, authorization="Bearer service-token") as reader:
            subscribed = await reader.ask({"op": "subscribe", "topic": TOPIC, "since": place})
            assert (subscribed["recovery"], subscribed["after"]) == ("complete", place)
            assert [(await reader.receive())["json"] for _ in range(2)] == [21, 22]


async def test_a_slow_reader_catches_up_without_loss_or_repeat() -> None:
    token = "service-token"
    async with (
        node(high_water_bytes=16_384) as (port, door),
        opened(port, x_api_key=token) as writer,
        opened(port, x_api_key=token) as reader,
    ):
        writer.send(text({"op": "publish", "topic": TOPIC, "text": "first"}))
        await writer.receive()
        await reader.ask({"op": "subscribe", "topic": TOPIC})
        reader.writer.transport.pause_reading()
        for number in range(400):
            writer.send(text({"op": "publish", "id": number, "topic": TOPIC, "text": f"{number}-" + "z" * 30_000}))
            await writer.receive()
        assert any(socket.paused for socket in door.node.sockets)
        held = sum(socket.transport.get_write_buffer_size() for socket in door.node.sockets)
        assert held < 200_000
        reader.writer.transport.resume_reading()
        texts = [(await reader.receive())["text"] for _ in range(400)]
        assert [body.partition("-")[0] for body in texts] == [str(number) for number in range(400)]


async def test_uvicorn_ends_sockets_with_a_restart() -> None:
    async with contextlib.AsyncExitStack() as server:
        port, _ = await server.enter_async_context(node())
        async with opened(port, x_api_key="service-token") as client:
            ended = asyncio.create_task(_closed(client))
            await server.aclose()
            assert await ended == 1012


async def _closed(client: sockets.Raw) -> int | None:
    code = await client.closed()
    client.send(sockets.frame(0x80 | sockets.CLOSE, (code or 1000).to_bytes(2)))
    return code


async def test_a_wrong_token_is_refused_and_none_has_no_rights() -> None:
    async with node() as (port, _):
        async with sockets.raw(port) as client:
            assert (await client.shake(sockets.upgrade(x_api_key="wrong"))).status == 401
        async with opened(port) as client:
            assert (await client.ask({"op": "subscribe", "topic": TOPIC}))["code"] == "unauthorized"


@pytest.mark.parametrize(
    ("url", "host", "said"),
    [
        ("https://mill.example", "0.0.0.0", "https://mill.example"),
        ("", "127.0.0.1", "http://127.0.0.1:8080"),
        ("", "::1", "http://[::1]:8080"),
        ("", "0.0.0.0", ""),
        ("", "::", ""),
        ("", "", ""),
    ],
)
def test_a_node_advertises_what_clients_can_reach(url: str, host: str, said: str) -> None:
    assert advertised(url, host, 8080) == said
    assert advertised(url, host, 8080, scheme="https") == (url or said.replace("http", "https"))


async def test_the_protocol_class_is_what_uvicorn_takes() -> None:
    bus = Bus()
    store = MemoryStore(now_ms=now_ms)
    made = protocol_class(context(Config(service_token=Secret("t")), bus, store))
    assert issubclass(made, asyncio.Protocol)
    await made.front.drain()
    assert made.front.draining
