"""Push over two real nodes: made and verified on one, delivered by either, and the owner killed in the middle."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import nodes
import pytest
import servers
from nodes import Node
from receiver import Received, Receiver, answering, receiving

LEASE_SECONDS = 2
PATIENCE_SECONDS = 30.0
SUB = "/projects/default/subscriptions/s"
DUTY = "push/default/s"

ENV = {
    "HEADRACE_LEASE_SECONDS": str(LEASE_SECONDS),
    "HEADRACE_AUTO_CREATE": "all",
    "HEADRACE_PUSH_PLAIN_HTTP": "true",
    "HEADRACE_PUSH_ALLOWED_NETWORKS": "127.0.0.0/8",
}


@pytest.fixture
def two() -> Iterator[tuple[Node, Node]]:
    with servers.valkey() as server, nodes.on(server, count=2, env=ENV) as (a, b):
        yield a, b


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def client(node: Node) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"{node.url}/v1", headers={"x-api-key": node.token}, timeout=20)


async def eventually(condition: object, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not condition():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come"
        await asyncio.sleep(0.02)


async def publish(argo: httpx.AsyncClient, first: int, count: int) -> None:
    messages = [{"data": "aGk=", "attributes": {"n": str(number)}} for number in range(first, first + count)]
    answer = await argo.post("/projects/default/topics/t:publish", content=json.dumps({"messages": messages}))
    assert answer.status_code == 200, answer.text


def numbers(receiver: Receiver) -> list[int]:
    posts = [received for received in receiver.received if received.method == "POST"]
    return [int(received.json["message"]["attributes"]["n"]) for received in posts]


def owner(a: Node, b: Node) -> tuple[Node, Node]:
    return (a, b) if DUTY in a.log else (b, a)


async def test_the_owner_is_killed_and_no_message_is_lost(two: tuple[Node, Node], receiver: Receiver) -> None:
    a, b = two
    stuck = asyncio.Event()

    async with client(a) as first, client(b) as second:
        assert (await first.put("/projects/default/topics/t")).status_code == 200
        push = {
            "pushEndpoint": f"http://127.0.0.1:{receiver.port}/in",
            "retryPolicy": {"type": "linear", "period": 1},
        }
        made = await first.put(SUB, json={"topic": "projects/default/topics/t", "pushConfig": push})
        assert made.status_code == 200, made.text
        receiver.answer = answering(200, made.json()["pushConfig"]["verificationHash"].encode())
        assert (await second.post(f"{SUB}:verifyPushEndpoint")).status_code == 200

        async def hang_on_seven(request: Received, writer: asyncio.StreamWriter) -> None:
            if request.json["message"]["attributes"]["n"] == "7":
                stuck.set()
                await asyncio.Event().wait()
            await answering(200)(request, writer)

        receiver.answer = hang_on_seven
        await publish(second, 0, 20)
        await asyncio.wait_for(stuck.wait(), PATIENCE_SECONDS)
        dying, other = owner(a, b)
        receiver.answer = answering(200)
        dying.kill()
        await eventually(lambda: len(set(numbers(receiver))) == 20, "every message")
        assert sorted(numbers(receiver)) == sorted([*range(20), 7])
        survivor = second if other is b else first
        await publish(survivor, 20, 5)
        await eventually(lambda: len(set(numbers(receiver))) == 25, "later messages")
        shown = (await survivor.get(SUB)).json()
        assert shown["pushStatus"] == f"Subscription {SUB} is currently active"
        answer = await survivor.delete(SUB)
        assert answer.json() == {"message": f"Subscription {SUB} deactivated"}
        count = len(numbers(receiver))
        await publish(survivor, 25, 1)
        await asyncio.sleep(0.2)
        assert len(numbers(receiver)) == count
    secret = made.json()["pushConfig"]["authorizationHeader"]["value"]
    assert {received.headers.get("authorization") for received in receiver.received if received.method == "POST"} == {
        secret
    }
    assert secret not in a.log + b.log
