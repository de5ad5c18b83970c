"""One realtime socket: what it asks, what it is answered, and what ends it."""

import asyncio
import os
from typing import Any

import orjson
import pytest
import websockets
from sockets import CLOSE, PING, PONG, TEXT, Closed, frame, packed, text, upgrade

from broker.errors import Unavailable, UnknownTopic
from broker.messages import Kind, Message
from broker.names import TopicName
from broker.ports import FromTime, Last
from broker.positions import Position
from broker.publish import Durability, PublishRequest
from broker.rights import Principal
from broker.store.base import IdempotencyKey, PublisherSequence

EPOCH = 3682271640000001
TOPIC = "default/lines"
NOBODY = Principal("@anonymous")
READER = Principal("reader", subscribe=("default/*",))


def subscribe(topic: str = TOPIC, **more: Any) -> dict[str, Any]:
    return {"op": "subscribe", "id": 1, "topic": topic, **more}


def publish(**more: Any) -> dict[str, Any]:
    return {"op": "publish", "id": 5, "topic": TOPIC, "text": "x", **more}


async def test_welcome_says_what_a_client_needs(node: Any) -> None:
    async with node.raw() as client:
        assert (await client.shake()).status == 101
        welcome = await client.receive()
    assert len(welcome.pop("connection")) >= 12
    assert welcome == {
        "op": "welcome",
        "node": "mill-1",
        "servers": [{"url": "http://127.0.0.1:8080", "weight": 1}],
        "ping_ms": 25_000,
        "spread_ms": 2000,
        "limits": {"message_bytes": 1_500_000, "frame_bytes": 2_200_000, "subscriptions": 1000, "in_flight": 1024}
        | {"retention_ms": 7 * 24 * 3_600_000},
    }


async def test_a_real_client_follows_and_publishes(node: Any) -> None:
    url = f"ws://127.0.0.1:{node.port}/v1/realtime"
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol("headrace.v1+json")]) as client:
        assert client.subprotocol == "headrace.v1+json"
        assert orjson.loads(await client.recv())["op"] == "welcome"
        await client.send(orjson.dumps(subscribe()).decode())
        assert orjson.loads(await client.recv()) == {
            "op": "subscribed",
            "id": 1,
            "topic": TOPIC,
            "epoch": EPOCH,
            "offset": 41,
            "after": {"epoch": EPOCH, "offset": -1},
            "recovery": "none",
            "missing": [],
        }
        node.hub.deliver(TOPIC, 42, b"y" * 70_000)
        message = orjson.loads(await client.recv())
        assert (message["op"], message["offset"], len(message["text"])) == ("message", 42, 70_000)
        await client.send(orjson.dumps(publish()).decode())
        answer = orjson.loads(await client.recv())
        assert answer == {"op": "published", "id": 5, "epoch": EPOCH, "offset": 0, "time": 1755850000123}


async def test_the_dialects_may_mix_on_one_topic(node: Any) -> None:
    async with node.client() as in_json, node.raw() as in_msgpack:
        await in_msgpack.shake(upgrade(sec_websocket_protocol="headrace.v1+msgpack"))
        assert (await in_msgpack.receive())["op"] == "welcome"
        await in_json.ask(subscribe())
        in_msgpack.send(packed(subscribe()))
        await in_msgpack.receive()
        node.hub.deliver(TOPIC, 42, b"both")
        assert (await in_json.receive())["text"] == "both"
        assert (await in_msgpack.receive())["data"] == b"both"


@pytest.mark.parametrize(
    ("since", "meant"),
    [
        ({}, "now"),
        ({"since": "earliest"}, "earliest"),
        ({"since": {"last": 3}}, Last(3)),
        ({"since": {"time": 4}}, FromTime(4)),
        ({"since": {"epoch": EPOCH, "offset": -1}}, Position(EPOCH, -1)),
    ],
)
async def test_since_reaches_the_hub(node: Any, since: dict[str, Any], meant: object) -> None:
    async with node.client() as client:
        assert (await client.ask(subscribe(**since)))["op"] == "subscribed"
    assert node.hub.since == [meant]


async def test_a_topic_is_followed_once(node: Any) -> None:
    async with node.client() as client:
        await client.ask(subscribe())
        assert (await client.ask(subscribe(id=2)))["code"] == "already_subscribed"


async def test_after_unsubscribe_nothing_comes(node: Any) -> None:
    async with node.client() as client:
        await client.ask(subscribe())
        assert await client.ask({"op": "unsubscribe", "id": 2, "topic": TOPIC}) == {"op": "ok", "id": 2}
        node.hub.deliver(TOPIC, 42)
        assert (await client.ask({"op": "unsubscribe", "topic": TOPIC}))["code"] == "not_subscribed"
        assert (await client.ask(subscribe(id=3)))["op"] == "subscribed"


async def test_a_failed_subscribe_leaves_nothing_behind(node: Any) -> None:
    async with node.client() as client:
        node.hub.failure = Unavailable()
        answer = await client.ask(subscribe())
        assert (answer["op"], answer["code"], answer["retry_ms"], answer["id"]) == ("error", "unavailable", 1000, 1)
        assert "topic" not in answer
        node.hub.failure = None
        assert (await client.ask(subscribe()))["op"] == "subscribed"


async def test_a_deleted_topic_ends_its_subscription(node: Any) -> None:
    async with node.client() as client:
        await client.ask(subscribe())
        for follower in node.hub.followers.pop(TOPIC):
            follower.topic_ended(TopicName(TOPIC))
        ended = await client.receive()
        assert (ended["op"], ended["code"], ended["topic"]) == ("error", "unknown_topic", TOPIC)
        assert "id" not in ended
        assert (await client.ask(subscribe()))["op"] == "subscribed"


async def test_requests_of_a_topic_wait_for_its_subscribe_and_others_do_not(node: Any) -> None:
    async with node.client() as client:
        node.hub.gate.clear()
        client.send(text(subscribe()) + text(publish()) + text({"op": "unsubscribe", "id": 6, "topic": TOPIC}))
        client.send(text(subscribe(id=7)) + text(publish(id=8)))
        assert (await client.ask(publish(id=9, topic="default/other")))["id"] == 9
        assert len(node.publisher.requests) == 1
        node.hub.gate.set()
        assert [(await client.receive())["id"] for _ in range(5)] == [1, 5, 6, 7, 8]


async def test_subscriptions_of_a_connection_are_bounded(endpoint: Any) -> None:
    async with endpoint(subscriptions_per_connection=2) as node, node.client() as client:
        await client.ask(subscribe("a/1"))
        await client.ask(subscribe("a/2"))
        assert (await client.ask(subscribe("a/3")))["code"] == "limit_exceeded"
        await client.ask({"op": "unsubscribe", "topic": "a/1"})
        assert (await client.ask(subscribe("a/3")))["op"] == "subscribed"


async def test_a_publish_reaches_the_publisher_as_it_was_meant(node: Any) -> None:
    async with node.client() as client:
        await client.ask(publish(attributes={"k": "v"}, publisher="p", seq=7, durability="memory"))
        await client.ask(publish(key="k"))
    message = Message(Kind.TEXT, b"x", {"k": "v"})
    first = PublisherSequence("@anonymous", "p", 7)
    assert node.publisher.requests == [
        PublishRequest(TopicName(TOPIC), (message,), first, Durability.MEMORY),
        PublishRequest(TopicName(TOPIC), (Message(Kind.TEXT, b"x"),), IdempotencyKey("@anonymous", "k"), None),
    ]


async def test_publishes_are_answered_in_the_order_of_completion(node: Any) -> None:
    async with node.client() as client:
        node.publisher.holds = True
        client.send(text(publish(id=1)) + text(publish(id=2)) + text({"op": "ping", "id": 3}))
        assert (await client.receive())["id"] == 3
        first, second = node.publisher.waiting
        second(node.publisher.outcome())
        first(Unavailable(retry_ms=70))
        assert (await client.receive())["id"] == 2
        refused = await client.receive()
        assert (refused["id"], refused["code"], refused["retry_ms"]) == (1, "unavailable", 70)


async def test_the_answer_to_a_client_that_is_gone_is_dropped(node: Any, eventually: Any) -> None:
    async with node.client() as client:
        node.publisher.holds = True
        client.send(text(publish()))
        await eventually(lambda: node.publisher.waiting)
    await eventually(lambda: not node.front.node.sockets)
    node.publisher.waiting[0](Unavailable())
    assert node.metrics.refusals.counts == {}


async def test_a_gone_client_leaves_the_hub_once(node: Any, eventually: Any) -> None:
    async with node.client() as client:
        await client.ask(subscribe())
    await eventually(lambda: not node.front.node.sockets)
    assert len(node.hub.left) == 1
    assert node.hub.followers == {TOPIC: []}


async def test_a_client_gone_during_its_subscribe_is_forgotten(node: Any, eventually: Any) -> None:
    async with node.client() as client:
        node.hub.gate.clear()
        client.send(text(subscribe()))
        await eventually(lambda: node.hub.since)
    await eventually(lambda: node.hub.left)
    node.hub.gate.set()
    await asyncio.sleep(0)
    assert node.hub.followers == {}


async def test_the_publish_rate_is_bounded(endpoint: Any) -> None:
    async with endpoint(publish_per_second=3) as node, node.client() as client:
        answers = [await client.ask(publish(id=number)) for number in range(5)]
        refused = [answer for answer in answers if answer["op"] == "error"]
        assert refused
        assert {(answer["code"]) for answer in refused} == {"limit_exceeded"}
        assert all(0 < answer["retry_ms"] <= 334 for answer in refused)


async def test_frames_that_cannot_be_read_are_answered_and_change_nothing(node: Any) -> None:
    async with node.client() as client:
        client.send(frame(0x80 | TEXT, b"{"))
        assert (await client.receive())["code"] == "invalid_request"
        assert (await client.ask({"op": "dance", "id": 4}))["id"] == 4
        assert (await client.ask(publish(topic="nowhere")))["code"] == "invalid_name"
        assert await client.ask({"op": "ping"}) == {"op": "pong"}


# Rights and credentials.


async def test_rights_are_checked(endpoint: Any, auth: Any) -> None:
    credentials = auth(anonymous=Principal("@anonymous", publish=("open/in",), subscribe=("open/*",)))
    async with endpoint(credentials) as node, node.client() as client:
        assert (await client.ask(publish(topic="open/in")))["op"] == "published"
        assert (await client.ask(publish(topic="open/inn")))["code"] == "forbidden"
        assert (await client.ask(subscribe("open/x")))["op"] == "subscribed"
        assert (await client.ask(subscribe("other/x")))["code"] == "forbidden"


async def test_without_any_right_a_credential_is_asked_for(endpoint: Any, auth: Any) -> None:
    async with endpoint(auth({"good": READER}, NOBODY)) as node, node.client() as client:
        assert (await client.ask(subscribe()))["code"] == "unauthorized"
        assert (await client.ask(publish()))["code"] == "unauthorized"
        assert await client.ask({"op": "hello", "id": 2, "token": "good"}) == {"op": "ok", "id": 2}
        assert (await client.ask(subscribe()))["op"] == "subscribed"
        assert (await client.ask(publish()))["code"] == "forbidden"


async def test_a_newer_token_ends_what_it_does_not_grant(endpoint: Any, auth: Any) -> None:
    tokens = {"narrow": Principal("n", subscribe=("default/other",))}
    async with endpoint(auth(tokens)) as node, node.client() as client:
        await client.ask(subscribe())
        await client.ask(subscribe("default/other"))
        assert (await client.ask({"op": "hello", "id": 9, "token": "narrow"}))["op"] == "ok"
        ended = await client.receive()
        assert (ended["code"], ended["topic"]) == ("forbidden", TOPIC)
        node.hub.deliver(TOPIC, 42)
        node.hub.deliver("default/other", 43)
        assert (await client.receive())["offset"] == 43


async def test_a_newer_token_ends_a_subscribe_under_way(endpoint: Any, auth: Any) -> None:
    tokens = {"narrow": Principal("n", subscribe=("default/other",))}
    async with endpoint(auth(tokens)) as node, node.client() as client:
        node.hub.gate.clear()
        client.send(text(subscribe()))
        assert (await client.ask({"op": "hello", "id": 9, "token": "narrow"}))["op"] == "ok"
        node.hub.gate.set()
        assert (await client.receive())["op"] == "subscribed"
        assert (await client.receive())["code"] == "forbidden"
        assert node.hub.followers[TOPIC] == []


async def test_without_a_credential_the_connection_ends(endpoint: Any, auth: Any) -> None:
    async with endpoint(auth({}, NOBODY), unauthenticated_seconds=0.05) as node, node.client() as client:
        assert await client.ask({"op": "hello"}) == {"op": "ok"}
        assert await client.closed() == 4502


async def test_with_a_credential_it_does_not_end(endpoint: Any, auth: Any, eventually: Any) -> None:
    async with endpoint(auth({"t": READER}, NOBODY), unauthenticated_seconds=0.05) as node, node.client() as client:
        assert (await client.ask({"op": "hello", "token": "t"}))["op"] == "ok"
        start = node.front.node.wheel.now
        await eventually(lambda: node.front.node.wheel.now > start + 20)
        assert (await client.ask({"op": "ping"}))["op"] == "pong"


async def test_before_its_credential_a_connection_may_send_little(endpoint: Any, auth: Any) -> None:
    async with endpoint(auth({}, NOBODY), unauthenticated_bytes=1000) as node, node.client() as client:
        assert (await client.ask({"op": "ping", "x": "y" * 800}))["op"] == "pong"
        client.send(frame(0x80 | TEXT, b" " * 200))
        assert await client.closed() == 4503


async def test_a_token_that_expires_ends_the_connection(endpoint: Any, auth: Any) -> None:
    tokens = {"short": Principal("s", subscribe=("*",), expires_ms=1_755_850_000_050)}
    async with endpoint(auth(tokens)) as node, node.client(x_api_key="short") as client:
        await client.ask(subscribe())
        node.clock[0] = 1_755_850_000_050
        assert await client.closed() == 4501
        assert node.hub.followers[TOPIC] == []


async def test_a_fresh_token_keeps_the_connection(endpoint: Any, auth: Any, eventually: Any) -> None:
    tokens = {"short": Principal("s", subscribe=("*",), expires_ms=1_755_850_000_050), "long": READER}
    async with endpoint(auth(tokens)) as node, node.client(authorization="Bearer short") as client:
        await client.ask({"op": "hello", "token": "long"})
        node.clock[0] = 1_755_850_000_050
        start = node.front.node.wheel.now
        await eventually(lambda: node.front.node.wheel.now > start + 20)
        assert (await client.ask(subscribe()))["op"] == "subscribed"


# Keep-alive and flow.


async def test_a_silent_peer_is_pinged_and_closed(endpoint: Any) -> None:
    async with endpoint(ping_seconds=0.05, pong_seconds=0.05) as node, node.client() as client:
        assert await client.frame() == (0x80 | PING, b"")
        with pytest.raises(Closed) as closed:
            await client.frame()
        assert closed.value.code == 4001


async def test_a_peer_that_answers_stays(endpoint: Any) -> None:
    async with endpoint(ping_seconds=0.05, pong_seconds=0.05) as node, node.client() as client:
        for _ in range(4):
            assert await client.frame() == (0x80 | PING, b"")
            client.send(frame(0x80 | PONG))
        assert (await client.ask({"op": "ping", "id": 1})) == {"op": "pong", "id": 1}


async def test_a_peer_that_never_answers_our_close_is_cut(endpoint: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.websocket.CLOSE_SECONDS", 0.05)
    async with endpoint(ping_seconds=0.02, pong_seconds=0.02) as node, node.client() as client:
        assert await client.closed() == 4001
        assert await client.at_end()
        assert not node.front.node.sockets


async def test_a_paused_socket_is_not_read_and_resumes_with_the_hub(endpoint: Any, eventually: Any) -> None:
    async with endpoint(high_water_bytes=1024) as node, node.client() as client:
        await client.ask(subscribe())
        (socket,) = node.front.node.sockets
        offset = 42
        while not socket.paused:
            node.hub.deliver(TOPIC, offset, b"z" * 60_000)
            offset += 1
            await asyncio.sleep(0)
        client.send(text(publish(id=77)))
        assert node.publisher.requests == []
        answers = [await client.receive() for _ in range(offset - 42 + 1)]
        assert [answer["offset"] for answer in answers[:-1]] == list(range(42, offset))
        assert answers[-1]["id"] == 77
        assert node.hub.resumed == [socket]


async def test_many_unanswered_publishes_stop_the_reading(endpoint: Any, eventually: Any) -> None:
    async with endpoint(in_flight_publishes=10) as node, node.client() as client:
        node.publisher.holds = True
        client.send(b"".join(text(publish(id=number)) for number in range(25)))
        await eventually(lambda: len(node.publisher.waiting) == 10)
        client.send(text({"op": "ping", "id": "last"}))
        await asyncio.sleep(0.02)
        assert len(node.publisher.waiting) == 10
        for answered in range(25):
            await eventually(lambda done=answered: len(node.publisher.waiting) > done)
            node.publisher.waiting[answered](node.publisher.outcome())
        assert [(await client.receive())["id"] for _ in range(26)] == [*range(25), "last"]


async def test_a_socket_that_sends_and_never_reads_costs_a_bounded_amount(node: Any, eventually: Any) -> None:
    """Its answers fill its buffers, then it is not read from: what it goes on sending stays on its side."""
    async with node.client() as client:
        client.writer.transport.pause_reading()
        (socket,) = node.front.node.sockets
        # Small frames with large answers.
        flood = frame(0x80 | TEXT, b"{}") * 50_000
        await eventually(lambda: _flooded(client, flood, socket))
        before = socket.transport.get_write_buffer_size()
        for _ in range(20):
            client.send(flood)
            await asyncio.sleep(0.005)
        assert client.writer.transport.get_write_buffer_size() > 0
        assert socket.transport.get_write_buffer_size() == before
        assert before < 2 * node.front.node.limits.high_water_bytes


def _flooded(client: Any, flood: bytes, socket: Any) -> bool:
    if not socket.paused:
        client.send(flood)
    return bool(socket.paused)


async def test_a_handler_that_fails_closes_its_own_socket_only(node: Any, monkeypatch: Any) -> None:
    async with node.client() as client, node.client() as other:
        monkeypatch.setattr(node.publisher, "submit", None)
        client.send(text(publish()))
        assert await client.closed() == 1011
        assert (await other.ask({"op": "ping"}))["op"] == "pong"


async def test_metrics_know_sockets_and_refusals(node: Any, eventually: Any) -> None:
    async with node.client() as client:
        await client.ask({"op": "dance"})
        assert node.metrics.connections.counts[("realtime",)] == 1
        client.send(frame(0x80 | CLOSE, b"\x03\xe8"))
        await client.closed()
    await eventually(lambda: node.metrics.connections.counts[("realtime",)] == 0)
    assert node.metrics.closed.counts[("realtime", "1000")] == 1
    assert node.metrics.refusals.counts[("unknown_op",)] == 1


async def test_random_bytes_never_harm_the_node(node: Any) -> None:
    for _ in range(50):
        async with node.client() as client:
            client.send(os.urandom(400))
            client.writer.write_eof()
            await client.at_end()
    async with node.client() as client:
        assert (await client.ask({"op": "ping"}))["op"] == "pong"


async def test_an_unknown_topic_is_an_answer(node: Any) -> None:
    async with node.client() as client:
        node.publisher.failure = UnknownTopic()
        assert (await client.ask(publish()))["code"] == "unknown_topic"
