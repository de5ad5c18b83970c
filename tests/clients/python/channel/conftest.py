"""The module as it is before anybody configured it, a stub with a clock in hand, and a scripted node."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest
from channel_scene import Clock, Dispatcher, ScriptedNode, serve

from headrace.channel import calls, channel
from headrace.channel.channel_service_stub import ChannelServiceStub


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test configures, sets or installs is gone after it."""
    for name in (calls.SERVERS_VARIABLE, calls.SERVER_VARIABLE, calls.TOKEN_VARIABLE, "SERVER_SOFTWARE", "API_HOST"):
        monkeypatch.delenv(name, raising=False)
    modules = dict(sys.modules)
    yield
    calls.configure()
    channel.set_maximum_client_id_length(64)
    for name in [name for name in sys.modules if name.startswith("google.appengine")]:
        if name not in modules:
            del sys.modules[name]
    assert os.environ.get(calls.SERVERS_VARIABLE) is None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher()


@pytest.fixture
def stub(clock: Clock, dispatcher: Dispatcher) -> ChannelServiceStub:
    return ChannelServiceStub(log=lambda *_: None, time_func=clock, request_data=dispatcher)


@pytest.fixture
def nodes() -> Iterator[Callable[[], ScriptedNode]]:
    """Makes nodes, all of which end with the test."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def make() -> ScriptedNode:
        node = ScriptedNode()
        server = serve(node)
        server.daemon_threads = True
        node.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((server, thread))
        return node

    yield make
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()
