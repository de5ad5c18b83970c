"""`install()` without the SDK; with it: tests/clients/python/channel/test_with_sdk.py."""

import importlib
import sys
from collections.abc import Callable

import pytest
from channel_scene import ScriptedNode, response

import headrace.channel
from headrace.channel import calls, channel, channel_service_stub
from headrace.channel.channel_service_stub import ChannelServiceStub
from headrace.channel.messages import CreateChannelResponse


def test_the_module_is_where_it_was() -> None:
    headrace.channel.install()

    package = importlib.import_module("google.appengine.api.channel")
    assert package is headrace.channel
    assert importlib.import_module("google.appengine.api.channel.channel") is channel
    assert importlib.import_module("google.appengine.api.channel.channel_service_stub") is channel_service_stub
    assert sys.modules["google.appengine.api"].channel is headrace.channel  # type: ignore[attr-defined]
    assert sys.modules["google"].appengine.api.channel is headrace.channel  # type: ignore[attr-defined]


def test_an_application_imports_it_as_ever() -> None:
    headrace.channel.install()
    names: dict[str, object] = {}
    exec(
        "from google.appengine.api import channel\n"
        "from google.appengine.api.channel import create_channel, InvalidMessageError\n"
        "from google.appengine.api.channel.channel_service_stub import ChannelServiceStub\n"
        "import google.appengine.api.channel.channel as inner\n",
        names,
    )

    assert names["channel"] is headrace.channel
    assert names["create_channel"] is channel.create_channel
    assert names["inner"] is channel


def test_other_packages_of_google_stay_importable() -> None:
    headrace.channel.install()

    assert importlib.import_module("google.protobuf.message").Message


def test_without_servers_it_works_alone() -> None:
    stub = headrace.channel.install()
    token = channel.create_channel("a")
    stub.connect_channel(token)
    channel.send_message("a", "m")

    assert stub.pop_first_message(token) == "m"


def test_with_a_stub_of_the_applications(stub: ChannelServiceStub) -> None:
    assert headrace.channel.install(stub) is stub
    assert stub.client_id_from_token(channel.create_channel("a")) == "a"


def test_twice_changes_nothing() -> None:
    assert headrace.channel.install() is headrace.channel.install()


@pytest.mark.parametrize("configured", [True, False])
def test_with_servers_it_works_on_the_cluster(
    nodes: Callable[[], ScriptedNode], monkeypatch: pytest.MonkeyPatch, configured: bool
) -> None:
    node = nodes()
    node.answer = lambda _: response(CreateChannelResponse(token="made").SerializeToString())
    if configured:
        calls.configure(node.url, "t")
    else:
        monkeypatch.setenv("HEADRACE_SERVERS", node.url)
    headrace.channel.install()

    assert channel.create_channel("a") == "made"
    monkeypatch.delenv("HEADRACE_SERVERS", raising=False)
