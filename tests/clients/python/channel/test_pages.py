"""A stub's pages, on a scripted node. On real ones they are shown in `tests/end_to_end/test_channel_stub.py`."""

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from channel_scene import Clock, Dispatcher

from headrace.ams.transport import HttpAnswer
from headrace.channel import pages
from headrace.channel.apiproxy_errors import RPCFailedError
from headrace.channel.channel_service_stub import ChannelServiceStub
from headrace.channel.pages import Pages
from headrace.channel.tokens import InvalidTokenError, TokenTimedOutError

TOKEN = f"{'a' * 32}-channel-1-999999-a~2Db"
OTHER = f"{'b' * 32}-channel-2-999999-a~2Db"


class Node:
    """One client's channel: what it is asked, and what waits."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.log: list[str] = []
        self.number = 0
        self.refusal: HttpAnswer | None = None

    def get(self, target: str) -> HttpAnswer:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.asked.append({"path": parts.path, **query})
        if self.refusal is not None:
            return self.refusal
        if "check" in query or parts.path != pages.PATH:
            return HttpAnswer(200, b"[]")
        if "client" not in query:
            self.number += 1
            return self.frames([], f"{self.number}.x", "1-0")
        if query["client"] != f"{self.number}.x":
            return HttpAnswer(409, b"[]")
        last = int(query["last_id"].partition("-")[2])
        found = [{"id": f"1-{last + at + 1}", "data": data} for at, data in enumerate(self.log[last : last + 2])]
        return self.frames(found, query["client"], query["last_id"])

    def frames(self, messages: list[dict[str, str]], client: str, last_id: str) -> HttpAnswer:
        opened = {"open": {"client": client, "last_id": last_id, "expires": 1}}
        return HttpAnswer(200, json.dumps([opened, *messages]).encode())

    def refuse(self, description: str) -> None:
        body = json.dumps([{"error": {"code": 401, "description": description}}]).encode()
        self.refusal = HttpAnswer(401, body)


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def found(node: Node, clock: Clock) -> Pages:
    return Pages(node, clock)


def test_a_node_says_whether_a_token_is_good(node: Node, found: Pages) -> None:
    assert found.check(TOKEN) == "a-b"
    assert node.asked == [{"path": "/_ah/channel/poll", "channel": TOKEN, "check": "1"}]
    node.refuse("Invalid+token.")
    with pytest.raises(InvalidTokenError):
        found.check(TOKEN)
    node.refuse("Token+timed+out.")
    with pytest.raises(TokenTimedOutError):
        found.check(TOKEN)


def test_what_has_not_the_shape_of_a_token_is_asked_of_nobody(node: Node, found: Pages) -> None:
    for ask in (found.check, found.connect):
        with pytest.raises(InvalidTokenError):
            ask("bad")
    assert found.pending("bad") is None
    assert not found.clear("bad")
    assert node.asked == []


def test_messages_come_in_order_and_once(node: Node, found: Pages) -> None:
    node.log = ["one", "two", "three"]
    assert found.pending(TOKEN) is None
    found.connect(TOKEN)
    pending = found.pending(TOKEN)
    assert pending == ["one", "two", "three"]
    assert pending.pop(0) == "one"
    node.log.append("four")
    assert found.pending(OTHER) is pending
    assert pending == ["two", "three", "four"]
    assert {asked.get("wait") for asked in node.asked[1:]} == {"0"}


def test_who_is_not_connected_again_is_gone(node: Node, found: Pages, clock: Clock) -> None:
    found.connect(TOKEN)
    clock.now += pages.ALIVE_S - 0.001
    found.connect(OTHER)
    clock.now += pages.ALIVE_S - 0.001
    assert found.pending(TOKEN) == []
    clock.now += 0.001
    assert found.pending(TOKEN) is None
    assert not found.leave("a-b")
    found.connect(TOKEN)
    assert node.number == 2


def test_clearing_keeps_the_connection(node: Node, found: Pages) -> None:
    node.log = ["one"]
    found.connect(TOKEN)
    assert found.clear(TOKEN)
    assert found.pending(TOKEN) == []
    node.log.append("two")
    assert found.pending(TOKEN) == ["two"]


def test_leaving_tells_the_node(node: Node, found: Pages) -> None:
    found.connect(OTHER)
    # The first may time out before the client leaves.
    found.connect(TOKEN)
    assert found.leave("a-b")
    assert node.asked[-1] == {
        "path": "/_ah/channel/dev",
        "command": "disconnect",
        "channel": TOKEN,
        "client": "1.x",
    }
    assert found.pending(TOKEN) is None


def test_a_newer_page_takes_over(node: Node, found: Pages) -> None:
    found.connect(TOKEN)
    node.number += 1
    assert found.pending(TOKEN) is None
    found.connect(TOKEN)
    node.number += 1
    found.connect(TOKEN)
    assert found.pending(TOKEN) == []
    assert node.number == 5


def test_an_expired_token_gets_nothing_while_its_client_is_connected(node: Node, found: Pages) -> None:
    node.log = ["one"]
    found.connect(TOKEN)
    node.refuse("Token+timed+out.")
    assert found.pending(TOKEN) is None
    with pytest.raises(TokenTimedOutError):
        found.connect(TOKEN)
    node.refusal = None
    assert found.pending(OTHER) == ["one"]


@pytest.mark.parametrize(
    "answer", [HttpAnswer(500, b""), HttpAnswer(200, b"hello"), HttpAnswer(200, b"{}"), HttpAnswer(401, b"[1]")]
)
def test_a_node_that_makes_no_sense(node: Node, found: Pages, answer: HttpAnswer) -> None:
    node.log = ["one"]
    found.connect(TOKEN)
    found.connect(TOKEN)
    node.refusal = answer
    with pytest.raises(RPCFailedError):
        found.connect(TOKEN)
    assert found.pending(TOKEN) == ["one"], "what came before"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pages, "MAX_CONNECTED", 1)
    monkeypatch.setattr(pages, "MAX_PENDING", 3)
    yield


@pytest.mark.usefixtures("few")
def test_bounds(node: Node, found: Pages, clock: Clock) -> None:
    node.log = [str(number) for number in range(9)]
    found.connect(TOKEN)
    pending = found.pending(TOKEN)
    assert pending is not None
    assert len(pending) <= 4
    another = TOKEN.replace("a~2Db", "c")
    with pytest.raises(RPCFailedError, match="Too many"):
        found.connect(another)
    clock.now += pages.ALIVE_S
    found.connect(another)


class Cluster(Node):
    def call(self, service: str, method: str, request: bytes) -> bytes:
        return b""


def test_the_stub_goes_there(clock: Clock, dispatcher: Dispatcher) -> None:
    cluster = Cluster()
    stub = ChannelServiceStub(time_func=clock, request_data=dispatcher, cluster=cluster)
    cluster.log = ["one", "two", "three"]
    assert stub.get_channel_messages(TOKEN) is None
    assert stub.client_id_from_token(TOKEN) == "a-b"
    assert stub.connect_and_pop_first_message(TOKEN) == "one"
    assert stub.has_channel_messages(TOKEN)
    assert stub.pop_first_message(TOKEN) == "two"
    stub.clear_channel_messages(TOKEN)
    assert not stub.has_channel_messages(TOKEN)
    stub.connect_channel(TOKEN)
    stub.disconnect_channel_event("a-b")
    assert dispatcher.requests == [], "its nodes tell of presence"
    stub.disconnect_channel_event("never")
    assert dispatcher.told == [("disconnected", "from=never")]
