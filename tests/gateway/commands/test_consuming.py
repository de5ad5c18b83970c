"""`headrace subscriptions consume` against a real node: what is written is acked, and nothing else."""

import json
from collections.abc import Iterator

import httpx
import nodes
import pytest
from nodes import Node

from gateway.commands.consuming import Request, consume, run
from gateway.commands.target import Target
from gateway.commands.terminal import FAILED
from headrace import Client

JOBS = "default/jobs"
PATH = "/v1/projects/default/subscriptions/jobs"


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes.node() as running:
        yield running


@pytest.fixture
def http(node: Node) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node.url, headers=node.headers) as made:
        made.put("/v1/projects/default/topics/lines")
        made.put(PATH, json={"topic": "projects/default/topics/lines", "kind": "shared", "ackDeadlineSeconds": 60})
        yield made
        made.delete(PATH)


def left(http: httpx.Client) -> int:
    """How many messages are in no hand."""
    answer = http.post(f"{PATH}:pull", json={"maxMessages": "1000", "returnImmediately": "true"})
    return len(answer.json()["receivedMessages"])


async def publish(client: Client, count: int) -> None:
    for number in range(count):
        await client.publish("default/lines", text=str(number), attributes={"n": str(number)})


async def test_so_many_are_written_and_acked(node: Node, http: httpx.Client) -> None:
    written: list[bytes] = []
    async with Client(node.url, token=node.token) as client:
        await publish(client, 5)
        await consume(client, Request(JOBS, window=2, count=3), written.append)
        assert b"".join(written) == b"0\n1\n2\n"
        await consume(client, Request(JOBS, window=10, count=2, as_json=True), written.append)
    rest = b"".join(written).removeprefix(b"0\n1\n2\n").splitlines()
    # What was in hand and not wanted any more was given back, and may come later.
    assert sorted(json.loads(line)["attributes"]["n"] for line in rest) == ["3", "4"]
    assert left(http) == 0


async def test_what_cannot_be_written_is_not_acked(node: Node, http: httpx.Client) -> None:
    def full(data: bytes) -> None:
        raise OSError("no space left")

    async with Client(node.url, token=node.token) as client:
        await publish(client, 2)
        with pytest.raises(OSError, match="no space"):
            await consume(client, Request(JOBS, window=1), full)
    http.post(f"{PATH}:modifyOffset", json={"offset": 0})
    assert left(http) > 0


async def test_none_are_consumed_where_none_are_wanted(node: Node, http: httpx.Client) -> None:
    async with Client(node.url, token=node.token) as client:
        await publish(client, 1)
        await consume(client, Request(JOBS, window=1, count=0), lambda data: pytest.fail("it was written"))


async def test_an_unknown_subscription_is_said(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(Target((node.url,), node.token), Request("default/none", window=1)) == FAILED
    assert "does not exist" in capsys.readouterr().err
