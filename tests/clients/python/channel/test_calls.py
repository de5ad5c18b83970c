"""Where a call goes."""

import types
from collections.abc import Callable

import pytest
from channel_scene import ScriptedNode, response

from headrace.channel import apiproxy_errors, calls, channel, sdk
from headrace.channel.channel_service_stub import ChannelServiceStub
from headrace.channel.messages import CreateChannelResponse

Nodes = Callable[[], ScriptedNode]

MADE = response(CreateChannelResponse(token="made").SerializeToString())


class StubMap:
    """What the SDK's `apiproxy_stub_map.apiproxy` does."""

    def __init__(self, stub: object = None) -> None:
        self.stub = stub
        self.calls: list[tuple[str, str]] = []

    def GetStub(self, service: str) -> object:
        return self.stub

    def ReplaceStub(self, service: str, stub: object) -> None:
        self.stub = stub

    def MakeSyncCall(self, service: str, call: str, request: object, response: CreateChannelResponse) -> None:
        self.calls.append((service, call))
        response.token = "through the map"


@pytest.fixture
def stub_map(monkeypatch: pytest.MonkeyPatch) -> StubMap:
    """As if the SDK were installed."""
    stubs = StubMap()
    module = types.SimpleNamespace(apiproxy=stubs)
    monkeypatch.setattr(sdk, "module", lambda name: module if name == "api.apiproxy_stub_map" else None)
    return stubs


def test_with_nothing_said_there_is_nobody_to_call() -> None:
    with pytest.raises(apiproxy_errors.RPCFailedError, match="HEADRACE_SERVERS"):
        channel.create_channel("a")


def test_servers_that_are_configured(nodes: Nodes) -> None:
    node = nodes()
    node.answer = lambda _: MADE
    calls.configure([node.url], "token")

    assert channel.create_channel("a") == "made"
    assert node.seen[0][1]["Authorization"] == "Bearer token"


def test_servers_of_the_environment(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = nodes(), nodes()
    first.answer = second.answer = lambda _: MADE
    monkeypatch.setenv("HEADRACE_SERVERS", f" http://127.0.0.1:1, {first.url},")
    monkeypatch.setenv("HEADRACE_TOKEN", "token")
    assert channel.create_channel("a") == "made"
    channel.send_message("a", "m")
    assert first.methods == ["CreateChannel", "SendChannelMessage"]
    assert first.seen[0][1]["Authorization"] == "Bearer token"
    assert calls.environment_stub() is calls.environment_stub()

    monkeypatch.setenv("HEADRACE_SERVERS", second.url)
    channel.create_channel("a")
    assert second.methods == ["CreateChannel"]
    monkeypatch.delenv("HEADRACE_SERVERS")


def test_the_variable_of_the_command_line_counts_too(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = nodes(), nodes()
    first.answer = second.answer = lambda _: MADE
    monkeypatch.setenv("HEADRACE_SERVER", f"http://127.0.0.1:1 {first.url}")
    channel.create_channel("a")
    monkeypatch.setenv("HEADRACE_SERVERS", second.url)
    channel.create_channel("a")
    monkeypatch.delenv("HEADRACE_SERVERS")

    assert (len(first.seen), len(second.seen)) == (1, 1)


def test_what_is_configured_goes_before_the_environment(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, stub: ChannelServiceStub
) -> None:
    monkeypatch.setenv("HEADRACE_SERVERS", "http://127.0.0.1:1")
    calls.configure(stub=stub)

    assert stub.client_id_from_token(channel.create_channel("a")) == "a"
    assert calls.configured_stub() is stub
    calls.configure()
    assert calls.configured_stub() is None
    monkeypatch.delenv("HEADRACE_SERVERS")


def test_servers_or_a_stub_but_not_both(stub: ChannelServiceStub) -> None:
    with pytest.raises(ValueError, match="both"):
        calls.configure("http://127.0.0.1:1", stub=stub)


def test_our_stub_in_the_sdks_map_goes_before_the_environment(
    stub_map: StubMap, stub: ChannelServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_SERVERS", "http://127.0.0.1:1")
    stub_map.stub = stub

    assert channel.create_channel("a") == "through the map"
    monkeypatch.delenv("HEADRACE_SERVERS")


def test_the_sdks_own_way_out_comes_last(stub_map: StubMap, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    node = nodes()
    node.answer = lambda _: MADE
    stub_map.stub = object()
    assert channel.create_channel("a") == "through the map"

    monkeypatch.setenv("HEADRACE_SERVERS", node.url)
    assert channel.create_channel("a") == "made"
    monkeypatch.delenv("HEADRACE_SERVERS")
    stub_map.stub = None
    with pytest.raises(apiproxy_errors.RPCFailedError):
        channel.create_channel("a")


@pytest.mark.parametrize(
    ("software", "service"),
    [
        (None, "xmpp"),
        ("", "xmpp"),
        ("Google App Engine/1.9", "xmpp"),
        ("Development/2.0", "channel"),
        ("testutil", "channel"),
        ("devel", "xmpp"),
    ],
)
def test_the_services_name(
    stub_map: StubMap, monkeypatch: pytest.MonkeyPatch, software: str | None, service: str
) -> None:
    if software is not None:
        monkeypatch.setenv("SERVER_SOFTWARE", software)
    stub_map.stub = object()
    channel.create_channel("a")

    assert stub_map.calls == [(service, "CreateChannel")]


def test_a_token_of_a_cluster_is_judged_by_its_looks(nodes: Nodes) -> None:
    node = nodes()
    calls.configure(node.url)
    looks_good = f"{'0' * 32}-channel-1-{10**11}-{'a' * 60}"

    channel.send_message(looks_good, "m")
    assert node.seen[0][0].request[2:].startswith(looks_good.encode())
    with pytest.raises(channel.InvalidChannelClientIdError):
        channel.send_message(looks_good.replace(str(10**11), "1000"), "m")
    assert len(node.seen) == 1


def test_topics_travel_with_a_creation(nodes: Nodes) -> None:
    node = nodes()
    node.answer = lambda _: MADE
    calls.configure(node.url)
    channel.create_channel("a", 5, topics=["p/t"])

    assert node.seen[0][0].request == b"\x0a\x01a\x10\x05\xc2\x3e\x03p/t"
