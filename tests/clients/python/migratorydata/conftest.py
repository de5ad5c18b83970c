"""Two real nodes on one Redis, and a listener that a test can wait for."""

import time
from collections.abc import Callable, Iterator

import nodes
import pytest
import servers
from nodes import Node

from headrace.migratorydata import MigratoryDataMessage
from headrace.migratorydata.constants import MessageType

WAIT_S = 30.0


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[MigratoryDataMessage] = []
        self.statuses: list[tuple[str, str]] = []

    def on_message(self, message: MigratoryDataMessage) -> None:
        self.messages.append(message)

    def on_status(self, status: str, info: str) -> None:
        self.statuses.append((status, info))

    @property
    def contents(self) -> list[str | bytes]:
        return [message.get_content() for message in self.messages]

    @property
    def kinds(self) -> list[MessageType]:
        return [message.get_message_type() for message in self.messages]

    def wait(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < deadline, (self.statuses, self.contents)
            time.sleep(0.01)

    def wait_for(self, status: str, info: str | None = None) -> None:
        self.wait(lambda: any(told == status and info in (None, about) for told, about in self.statuses))


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Node, Node]]:
    env = {
        "HEADRACE_MIGRATORYDATA_ENTITLEMENT": "basic",
        "HEADRACE_MIGRATORYDATA_ENTITLEMENT_ALLOW_TOKEN": "some-token",
        "HEADRACE_AUTO_CREATE": "all",
    }
    with servers.valkey() as server, nodes.on(server, count=2, env=env) as running:
        first, second = running
        yield first, second


@pytest.fixture
def addresses(pair: tuple[Node, Node]) -> list[str]:
    return [f"127.0.0.1:{node.port}" for node in pair]
