"""Consuming durable subscriptions on a socket: who may, what is answered, and what ends it."""

import asyncio
from typing import Any

import pytest
from sockets import packed, text, upgrade

from broker.errors import Unavailable, UnknownSubscription, WrongKind
from broker.rights import Principal
from broker.store.subscriptions import Settled

WORK = "default/work"
NOBODY = Principal("@anonymous")
WORKER = Principal("worker", subscribe=("default/work",))


def attach(subscription: str = WORK, **more: Any) -> dict[str, Any]:
    return {"op": "attach", "id": 1, "subscription": subscription, **more}


def settle(op: str, *acks: str, **more: Any) -> dict[str, Any]:
    return {"op": op, "id": 2, "subscription": WORK, "acks": list(acks), **more}


async def test_deliveries_come_after_attached(node: Any) -> None:
    async with node.client() as client:
        assert await client.ask(attach(window=7)) == {
            "op": "attached",
            "id": 1,
            "subscription": WORK,
            "topic": "default/lines",
            "window": 7,
            "ack_deadline_s": 30,
        }
        assert list(node.consumers.attached.values()) == [7]
        node.consumers.deliver(WORK, 4, 5)
        delivery = await client.receive()
        assert (delivery["op"], delivery["subscription"], delivery["topic"]) == ("delivery", WORK, "default/lines")
        assert [(d["ack"], d["attempt"], d["offset"], d["text"]) for d in delivery["deliveries"]] == [
            ("4.1-t", 1, 4, "x"),
            ("5.1-t", 1, 5, "x"),
        ]


async def test_deliveries_in_messagepack(node: Any) -> None:
    async with node.raw() as client:
        await client.shake(upgrade(sec_websocket_protocol="headrace.v1+msgpack"))
        await client.receive()
        client.send(packed(attach()))
        assert (await client.receive())["window"] == 100
        node.consumers.deliver(WORK, 4)
        assert (await client.receive())["deliveries"][0]["data"] == b"x"


@pytest.mark.parametrize(
    ("frame", "seen"),
    [
        (settle("ack", "1.1-t", "2.1-t"), ("ack", WORK, "1.1-t", "2.1-t")),
        (settle("nack", "1.1-t"), ("nack", WORK, "1.1-t", None)),
        (settle("nack", "1.1-t", delay_ms=50), ("nack", WORK, "1.1-t", 50)),
        (settle("release", "1.1-t"), ("release", WORK, "1.1-t")),
        (settle("extend", "1.1-t", deadline_s=60), ("extend", WORK, "1.1-t", 60)),
    ],
)
async def test_what_is_settled_reaches_the_broker(node: Any, frame: dict[str, Any], seen: tuple[object, ...]) -> None:
    async with node.client() as client:
        # Also without being attached: a delivery of an earlier connection is settled like any other.
        assert await client.ask(frame) == {"op": "settled", "id": 2, "subscription": WORK, "refused": []}
    assert node.consumers.settled == [seen]


async def test_the_answer_names_what_was_settled_in_vain(node: Any) -> None:
    node.consumers.outcomes = {"1.1-t": Settled.STALE, "3.1-t": Settled.UNKNOWN}
    async with node.client() as client:
        answer = await client.ask(settle("ack", "1.1-t", "2.1-t", "3.1-t"))
    assert answer["refused"] == [{"ack": "1.1-t", "code": "stale"}, {"ack": "3.1-t", "code": "unknown"}]


async def test_attached_once_and_detached_once(node: Any) -> None:
    detach = {"op": "detach", "id": 3, "subscription": WORK}
    async with node.client() as client:
        assert (await client.ask(detach))["code"] == "not_subscribed"
        await client.ask(attach())
        assert (await client.ask(attach(id=2)))["code"] == "already_subscribed"
        assert await client.ask(detach) == {"op": "ok", "id": 3}
        assert node.consumers.attached == {}
        assert (await client.ask(attach(id=4)))["op"] == "attached"


@pytest.mark.parametrize("failure", [WrongKind(), Unavailable()])
async def test_a_refused_attach_leaves_nothing_behind(node: Any, failure: Any) -> None:
    async with node.client() as client:
        node.consumers.failure = failure
        answer = await client.ask(attach())
        assert (answer["id"], answer["code"]) == (1, failure.code)
        assert ("retry_ms" in answer) is isinstance(failure, Unavailable)
        node.consumers.failure = None
        assert (await client.ask(attach()))["op"] == "attached"


async def test_an_unknown_subscription_is_refused(node: Any) -> None:
    async with node.client() as client:
        assert (await client.ask(attach("other/work")))["code"] == "unknown_subscription"


async def test_rights_are_asked_for_every_verb(endpoint: Any, auth: Any) -> None:
    reader = Principal("r", subscribe=("default/lines",))
    async with endpoint(auth({"t": reader}, NOBODY)) as node, node.client(x_api_key="t") as client:
        frames = [attach(), settle("ack", "1.1-t"), settle("nack", "1.1-t"), settle("extend", "1.1-t", deadline_s=1)]
        assert [(await client.ask(frame))["code"] for frame in frames] == ["forbidden"] * 4
        assert node.consumers.attached == {} and node.consumers.settled == []


async def test_without_a_credential_one_is_asked_for(endpoint: Any, auth: Any) -> None:
    async with endpoint(auth({}, NOBODY)) as node, node.client() as client:
        assert (await client.ask(attach()))["code"] == "unauthorized"


async def test_requests_of_one_subscription_keep_their_order(node: Any, eventually: Any) -> None:
    node.subscriptions.gate.clear()
    async with node.client() as client:
        detach = {"op": "detach", "id": 3, "subscription": WORK}
        client.send(text(attach()) + text(settle("ack", "1.1-t")) + text(detach) + text({"op": "ping", "id": 4}))
        assert (await client.receive())["id"] == 4
        node.subscriptions.gate.set()
        assert [(await client.receive())["op"] for _ in range(3)] == ["attached", "settled", "ok"]


async def test_open_requests_are_bounded(endpoint: Any, eventually: Any) -> None:
    async with endpoint(in_flight_publishes=3) as node, node.client() as client:
        node.subscriptions.gate.clear()
        client.send(text(attach()) + b"".join(text(settle("ack", f"{n}.1-t", id=n)) for n in range(2, 20)))
        socket = next(iter(node.front.node.sockets))
        await eventually(lambda: socket._busy)
        assert socket._consumption.open == 3
        node.subscriptions.gate.set()
        assert [(await client.receive())["id"] for _ in range(19)] == list(range(1, 20))
        assert socket._consumption.open == 0


async def test_topics_and_subscriptions_are_counted_together(endpoint: Any) -> None:
    async with endpoint(subscriptions_per_connection=2) as node, node.client() as client:
        await client.ask({"op": "subscribe", "topic": "default/lines"})
        assert (await client.ask(attach()))["op"] == "attached"
        assert (await client.ask(attach("default/more")))["code"] == "limit_exceeded"
        assert (await client.ask({"op": "subscribe", "topic": "default/other"}))["code"] == "limit_exceeded"


async def test_a_lost_socket_leaves_its_subscriptions(node: Any, eventually: Any) -> None:
    async with node.client() as client:
        await client.ask(attach())
    await eventually(lambda: len(node.consumers.left) == 1)
    assert node.consumers.attached == {}


async def test_a_socket_that_is_lost_while_it_attaches_is_not_left_attached(node: Any, eventually: Any) -> None:
    node.subscriptions.gate.clear()
    async with node.client() as client:
        client.send(text(attach()))
        await eventually(lambda: any(socket._consumption for socket in node.front.node.sockets))
    await eventually(lambda: not node.front.node.sockets)
    node.subscriptions.gate.set()
    await eventually(lambda: len(node.consumers.left) == 1)
    assert node.consumers.attached == {}


async def test_a_subscription_that_is_deleted_says_so(node: Any) -> None:
    async with node.client() as client:
        await client.ask(attach())
        node.consumers.end(WORK, UnknownSubscription())
        ended = await client.receive()
        assert (ended["op"], ended["code"], ended["subscription"]) == ("error", "unknown_subscription", WORK)
        assert "id" not in ended
        assert (await client.ask(attach(id=2)))["op"] == "attached"


async def test_a_new_token_ends_what_it_does_not_grant(endpoint: Any, auth: Any) -> None:
    tokens = {"all": Principal("a", subscribe=("default/*",)), "some": WORKER}
    async with endpoint(auth(tokens, NOBODY)) as node, node.client(x_api_key="all") as client:
        await client.ask(attach())
        await client.ask(attach("default/more", id=2))
        assert await client.ask({"op": "hello", "id": 3, "token": "some"}) == {"op": "ok", "id": 3}
        ended = await client.receive()
        assert (ended["code"], ended["subscription"]) == ("forbidden", "default/more")
        assert [name for name, _ in node.consumers.attached] == [WORK]


async def test_a_token_that_comes_while_attaching_is_asked_too(endpoint: Any, auth: Any) -> None:
    tokens = {"all": Principal("a", subscribe=("default/*",)), "some": WORKER}
    async with endpoint(auth(tokens, NOBODY)) as node, node.client(x_api_key="all") as client:
        node.subscriptions.gate.clear()
        client.send(text(attach("default/more")))
        assert (await client.ask({"op": "ping"}))["op"] == "pong"
        assert (await client.ask({"op": "hello", "id": 3, "token": "some"}))["op"] == "ok"
        node.subscriptions.gate.set()
        assert [(await client.receive())["op"] for _ in range(2)] == ["attached", "error"]
        assert node.consumers.attached == {}


async def test_a_full_socket_is_told_when_it_has_room(node: Any, eventually: Any) -> None:
    async with node.client() as client:
        await client.ask(attach())
        socket = next(iter(node.front.node.sockets))
        consumer = next(iter(node.consumers.attached))[1]
        socket.pause_writing()
        assert consumer.paused
        socket.resume_writing()
        assert not consumer.paused
        assert node.consumers.resumed == [consumer]


async def test_a_request_that_fails_is_answered(node: Any, caplog: Any) -> None:
    async with node.client() as client:
        node.consumers.failure = RuntimeError("broken")
        assert (await client.ask(settle("ack", "1.1-t")))["code"] == "unavailable"
        await asyncio.sleep(0)
    assert "a request of a consumer failed" in caplog.text
