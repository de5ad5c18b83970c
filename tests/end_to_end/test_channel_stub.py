"""The stub on a cluster of two real nodes: it connects clients and gets what any node is sent (contracts/channel 4)."""

import asyncio
from collections.abc import AsyncIterator

import nodes
import pytest
import servers
from nodes import Node
from receiver import Receiver, receiving

from headrace import channel
from headrace.channel.channel_service_stub import ChannelServiceStub, InvalidTokenError
from headrace.channel.cluster import Cluster


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def two(receiver: Receiver) -> AsyncIterator[tuple[Node, Node]]:
    env = {
        "HEADRACE_PUSH_PLAIN_HTTP": "true",
        "HEADRACE_PUSH_ALLOWED_NETWORKS": "127.0.0.0/8",
        "HEADRACE_CHANNEL_PRESENCE_URL": f"http://127.0.0.1:{receiver.port}",
    }
    with servers.valkey() as server, nodes.on(server, count=2, env=env) as (a, b):
        yield a, b


def told(receiver: Receiver) -> list[str]:
    return [post.target.split("/")[-2] for post in receiver.received]


async def test_every_method_works_on_a_cluster(two: tuple[Node, Node], receiver: Receiver) -> None:
    first, second = two
    stub = ChannelServiceStub(cluster=Cluster([first.url, second.url], first.token))
    channel.configure(stub=stub)

    def use() -> None:
        token, again = channel.create_channel("a-b & c"), channel.create_channel("a-b & c")
        assert stub.validate_token_and_extract_client_id(token) == "a-b & c"
        with pytest.raises(InvalidTokenError):
            stub.connect_channel(f"{token}x")
        assert stub.client_id_from_token(f"{token}x") is None
        assert stub.get_channel_messages(token) is None
        stub.connect_channel(token)
        channel.configure(second.url, second.token)
        for message in ("one", "two", "trois é", "four"):
            channel.send_message("a-b & c", message)
        assert stub.has_channel_messages(token)
        assert stub.pop_first_message(token) == "one"
        first.kill()
        assert stub.connect_and_pop_first_message(again) == "two"
        assert stub.get_channel_messages(token) == ["trois é", "four"]
        stub.clear_channel_messages(token)
        assert stub.get_channel_messages(token) == []
        assert not stub.has_channel_messages(token)
        stub.disconnect_channel_event("a-b & c")
        assert stub.get_channel_messages(token) is None

    await asyncio.to_thread(use)
    async with asyncio.timeout(30):
        while told(receiver) != ["connected", "disconnected"]:
            await asyncio.sleep(0.02)
    channel.configure()
