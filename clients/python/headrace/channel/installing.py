"""`install()`: `from google.appengine.api import channel` works again, with the SDK for Python 3 or without it."""

import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

import headrace.channel
from headrace.channel import calls, channel, channel_service_stub
from headrace.channel.channel_service_stub import SERVICES, ChannelServiceStub

PARENT = "google.appengine.api"

API_HOST_VARIABLE = "API_HOST"
"""Where the SDK sends its calls (contracts/channel 2)."""


def install(stub: ChannelServiceStub | None = None) -> ChannelServiceStub | None:
    """Put the module back where applications import it from, and return the stub that serves its calls.

    That is `stub`; else one for the configured servers, or for those of the environment; else one in memory. Where the
    SDK is installed it is registered for both names of the service, in place of any other. None: `API_HOST` leads the
    SDK's own calls somewhere, to a Headrace node for example, and nothing else was said.
    """
    _restore()
    chosen = stub or calls.configured_stub() or calls.environment_stub()
    stubs = calls.stub_map()
    if chosen is None and stubs is not None and os.environ.get(API_HOST_VARIABLE):
        return None
    chosen = chosen or ChannelServiceStub()
    if stubs is None:
        calls.configure(stub=chosen)
        return chosen
    # From now on the SDK's map says where calls go, so that its hooks see them.
    calls.configure()
    for service in SERVICES:
        stubs.ReplaceStub(service, chosen)
    return chosen


def _restore() -> None:
    parent = _package(PARENT)
    setattr(parent, "channel", headrace.channel)  # noqa: B010 (a module has no such attribute)
    sys.modules[f"{PARENT}.channel"] = headrace.channel
    sys.modules[f"{PARENT}.channel.channel"] = channel
    sys.modules[f"{PARENT}.channel.channel_service_stub"] = channel_service_stub


def _package(name: str) -> ModuleType:
    """Import a package, or make it and those above it where there is none."""
    made: ModuleType | None = None
    for path in _prefixes(name):
        try:
            found = importlib.import_module(path)
        except ModuleNotFoundError:
            found = ModuleType(path)
            # What a package has: a list of places to look for its modules, empty.
            found.__path__ = []
            sys.modules[path] = found
            if made is not None:
                setattr(made, path.rpartition(".")[2], found)
        made = found
    assert made is not None
    return made


def _prefixes(name: str) -> Iterator[str]:
    """`a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])
