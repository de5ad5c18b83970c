"""A shared subscription consumed over sockets and HTTP at once, on real nodes, with one of them killed."""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator

import httpx
import nodes
import pytest
import servers
from nodes import Node
from receiver import Received, Receiver, answering, receiving

import headrace
from headrace import Client, blocking

WORK = "default/jobs"
TOPIC = "default/lines"
PATH = "/v1/projects/default"
PATIENCE_S = 60.0

ENV = {"HEADRACE_PUSH_PLAIN_HTTP": "true", "HEADRACE_PUSH_ALLOWED_NETWORKS": "127.0.0.0/8"}
"""The test's own push receiver is plain HTTP on this machine."""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Node, Node]]:
    with servers.valkey() as server, nodes.on(server, count=2, env=ENV) as running:
        first, second = running
        yield first, second


@pytest.fixture
def subscription(pair: tuple[Node, Node]) -> Iterator[httpx.Client]:
    """Make the subscription anew; HTTP to the second node."""
    with httpx.Client(base_url=pair[1].url, headers=pair[1].headers, timeout=30) as http:
        http.put(f"{PATH}/topics/lines")
        http.delete(f"{PATH}/subscriptions/jobs")
        body = {"topic": "projects/default/topics/lines", "kind": "shared", "ackDeadlineSeconds": 3}
        assert http.put(f"{PATH}/subscriptions/jobs", json=body).status_code == 200
        yield http


def pull(http: httpx.Client, count: int) -> list[dict[str, object]]:
    answer = http.post(f"{PATH}/subscriptions/jobs:pull", json={"maxMessages": str(count), "returnImmediately": "true"})
    found: list[dict[str, object]] = answer.raise_for_status().json()["receivedMessages"]
    return found


def acknowledge(http: httpx.Client, received: list[dict[str, object]]) -> httpx.Response:
    acks = [message["ackId"] for message in received]
    return http.post(f"{PATH}/subscriptions/jobs:acknowledge", json={"ackIds": acks})


async def publish(client: Client, count: int) -> set[str]:
    texts = [str(number) for number in range(count)]
    await asyncio.gather(*(client.publish(TOPIC, text=text) for text in texts))
    return set(texts)


async def test_what_one_face_holds_no_other_gets(pair: tuple[Node, Node], subscription: httpx.Client) -> None:
    first, second = pair
    async with Client(first.url, token=first.token) as client, client.consume(WORK, window=3) as consumer:
        await publish(client, 5)
        held = []
        async for delivery in consumer:
            held.append(delivery)
            if len(held) == 3:
                break
        pulled = await asyncio.to_thread(pull, subscription, 10)
        assert len(pulled) == 2
        # What the socket was given is acked over HTTP, and what was pulled on a socket of the other node.
        acks = [{"ackId": f"projects/{WORK.replace('/', '/subscriptions/')}:{each._ack}"} for each in held]
        assert acknowledge(subscription, acks).status_code == 200
        with pytest.raises(headrace.LeaseLost):
            await held[0].ack()
        async with Client(second.url, token=second.token) as other:
            tokens = [str(message["ackId"]).partition(":")[2] for message in pulled]
            await asyncio.gather(*(other._consumers.settle("ack", WORK, token, None) for token in tokens))
        assert await asyncio.to_thread(pull, subscription, 10) == []


async def test_a_lease_that_is_extended_or_given_back(pair: tuple[Node, Node], subscription: httpx.Client) -> None:
    first, _ = pair
    async with Client(first.url, token=first.token) as client, client.consume(WORK, window=1) as consumer:
        await publish(client, 1)
        await consumer.wait()
        delivery = consumer.take()
        await delivery.extend(30)
        await delivery.nack(0)
        await consumer.wait()
        again = consumer.take()
        assert (delivery.attempt, again.attempt) == (1, 2)
        with pytest.raises(headrace.LeaseLost):
            await delivery.ack()
        await again.ack()


async def test_an_ack_of_an_earlier_connection_counts(pair: tuple[Node, Node], subscription: httpx.Client) -> None:
    first, second = pair
    async with Client([first.url, second.url], token=first.token) as client, client.consume(WORK) as consumer:
        await publish(client, 1)
        await consumer.wait()
        delivery = consumer.take()
        client._connector._link.abort()
        await delivery.ack()
        await asyncio.sleep(0)
        assert await asyncio.to_thread(pull, subscription, 1) == []


def test_the_blocking_client_consumes(pair: tuple[Node, Node], subscription: httpx.Client) -> None:
    first, _ = pair
    with blocking.Client(first.url, token=first.token) as client, client.consume(WORK, window=2) as consumer:
        for number in range(5):
            client.publish(TOPIC, text=str(number))
        seen = []
        for delivery in consumer:
            delivery.extend(10)
            delivery.ack()
            seen.append((delivery.message.text, delivery.attempt))
            if len(seen) == 5:
                break
    assert seen == [(str(number), 1) for number in range(5)]
    assert pull(subscription, 10) == []


def access(http: httpx.Client, *users: str) -> None:
    answer = http.post(f"{PATH}/subscriptions/jobs:modifyAcl", json={"authorized_users": list(users)})
    assert answer.status_code == 200, answer.text


async def test_a_user_consumes_as_long_as_it_is_in_the_access_list(
    pair: tuple[Node, Node], subscription: httpx.Client
) -> None:
    first, _ = pair
    body = {"projects": [{"project": "default", "roles": ["consumer"]}], "email": "w@example.org"}
    token = subscription.post("/v1/users/worker", json=body).raise_for_status().json()["token"]
    async with Client(first.url, token=token) as client:
        with pytest.raises(headrace.Forbidden):
            async with client.consume(WORK):
                pass
        access(subscription, "worker")
        async with asyncio.timeout(PATIENCE_S):
            while True:  # the node may believe for a moment what it has read
                try:
                    consumer = client.consume(WORK)
                    await consumer.attached()
                    break
                except headrace.Forbidden:
                    await asyncio.sleep(0.1)
            access(subscription)
            with pytest.raises(headrace.Forbidden):
                await consumer.wait()
        assert client.state.connected


async def test_sockets_pulls_and_push_share_a_subscription(pair: tuple[Node, Node], subscription: httpx.Client) -> None:
    first, _ = pair
    seen: dict[str, list[str]] = {"socket": [], "pull": [], "push": []}

    async def receive(request: Received, writer: asyncio.StreamWriter) -> None:
        seen["push"].append(text_of(request.json))
        await answering(200)(request, writer)

    async def consume(client: Client) -> None:
        async with client.consume(WORK, window=1) as consumer:
            async for delivery in consumer:
                seen["socket"].append(delivery.message.text)
                await delivery.ack()

    async def consume_over_http() -> None:
        while True:
            received = await asyncio.to_thread(pull, subscription, 1)
            if received:
                assert (await asyncio.to_thread(acknowledge, subscription, received)).status_code == 200
                seen["pull"] += map(text_of, received)

    async with receiving() as receiver, Client(first.url, token=first.token) as client:
        await asyncio.to_thread(have_pushed, subscription, receiver)
        receiver.answer = receive
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(consume(client)), group.create_task(consume_over_http())]
            count = 0
            async with asyncio.timeout(PATIENCE_S):
                while not all(seen.values()) or count < 300:
                    await asyncio.gather(*(client.publish(TOPIC, text=str(n)) for n in range(count, count + 10)))
                    count += 10
                while sum(map(len, seen.values())) < count:
                    await asyncio.sleep(0.02)
            for worker in workers:
                worker.cancel()
    # Nobody failed, so no lease ended: each message was in one hand, once.
    assert sorted(text for texts in seen.values() for text in texts) == sorted(map(str, range(count)))


def have_pushed(http: httpx.Client, receiver: Receiver) -> None:
    """Make the subscription one that is pushed to `receiver`, too."""
    http.delete(f"{PATH}/subscriptions/jobs")
    push = {"pushEndpoint": f"http://127.0.0.1:{receiver.port}/in", "retryPolicy": {"type": "linear", "period": 1}}
    body = {
        "topic": "projects/default/topics/lines",
        "kind": "shared",
        "ackDeadlineSeconds": 60,
        "pushConfig": push,
    }
    made = http.put(f"{PATH}/subscriptions/jobs", json=body)
    assert made.status_code == 200, made.text
    receiver.answer = answering(200, made.json()["pushConfig"]["verificationHash"].encode())
    verified = http.post(f"{PATH}/subscriptions/jobs:verifyPushEndpoint")
    assert verified.status_code == 200, verified.text


async def test_every_message_is_done_although_a_node_dies(pair: tuple[Node, Node], subscription: httpx.Client) -> None:
    first, second = pair
    done: Counter[str] = Counter()

    async def consume(client: Client, *, careless: int = 0) -> None:
        """Ack what comes; every so often one is forgotten, as by a worker that crashed."""
        async with client.consume(WORK, window=20) as consumer:
            async for delivery in consumer:
                if careless and delivery.attempt == 1 and int(delivery.message.text) % careless == 0:
                    continue
                try:
                    await delivery.ack()
                    done[delivery.message.text] += 1
                except headrace.LeaseLost:
                    pass

    async def consume_over_http() -> None:
        while True:
            received = await asyncio.to_thread(pull, subscription, 10)
            if received and (await asyncio.to_thread(acknowledge, subscription, received)).status_code == 200:
                done.update(text_of(message) for message in received)
            await asyncio.sleep(0.05)

    async with (
        Client([first.url, second.url], token=first.token) as one,
        Client([second.url], token=second.token) as two,
    ):
        wanted = await publish(two, 500)
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(consume(one, careless=7)),
                group.create_task(consume(two)),
                group.create_task(consume_over_http()),
            ]
            async with asyncio.timeout(PATIENCE_S):
                while len(done) < 100:
                    await asyncio.sleep(0.01)
                first.kill()
                while done.keys() != wanted:
                    await asyncio.sleep(0.05)
            for worker in workers:
                worker.cancel()
    info = subscription.get(f"{PATH}/subscriptions/jobs:offsets").json()
    assert info["current"] == info["max"]
    await asyncio.to_thread(first.restart)


def text_of(message: dict[str, object]) -> str:
    inner = message["message"]
    assert isinstance(inner, dict)
    return base64.b64decode(str(inner["data"])).decode()
