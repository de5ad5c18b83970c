"""`install()`: `from google.appengine.api import channel` works again, with the SDK for Python 3 or without it."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import headrace.channel
from headrace.channel import calls, channel, channel_service_stub
from headrace.channel.channel_service_stub import SERVICES, ChannelServiceStub

PARENT = "google.appengine.api"


def install(stub: ChannelServiceStub | None = None) -> ChannelServiceStub:
    """Put the module back where applications import it from, and return the stub that serves its calls.

    That is `stub`; else one for the configured servers or those of the environment; else one in memory. Where the SDK
    is installed it is registered for both names of the service, in place of any other.
    """
    parent = _package(PARENT)
    setattr(parent, "channel", headrace.channel)  # noqa: B010 (a module has no such attribute)
    sys.modules[f"{PARENT}.channel"] = headrace.channel
    sys.modules[f"{PARENT}.channel.channel"] = channel
    sys.modules[f"{PARENT}.channel.channel_service_stub"] = channel_service_stub
    chosen = stub or calls.configured_stub() or calls.environment_stub() or ChannelServiceStub()
    stubs = calls.stub_map()
    if stubs is None:
        calls.configure(stub=chosen)
    else:
        # From now on the SDK's map says where calls go, so that its hooks see them.
        calls.configure()
        for service in SERVICES:
            stubs.ReplaceStub(service, chosen)
    return chosen


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
