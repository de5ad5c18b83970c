"""Where a call of the module goes: what was configured, a stub that the SDK knows, or the environment's servers."""

# ruff: noqa: N802 (the names are those of the SDK)

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from headrace.channel import apiproxy_errors, sdk, tokens
from headrace.channel.apiproxy_stub import ProtocolMessage
from headrace.channel.channel_service_stub import ChannelServiceStub
from headrace.channel.cluster import TIMEOUT_S, Cluster

SERVERS_VARIABLE = "HEADRACE_SERVERS"
"""Base URLs, separated by commas or spaces."""

SERVER_VARIABLE = "HEADRACE_SERVER"
"""What the command line reads: counts where the other is not set."""

TOKEN_VARIABLE = "HEADRACE_TOKEN"


class Stub(Protocol):
    """What serves a call: our stub, or whatever the SDK has for the service."""

    def MakeSyncCall(
        self, service: str, call: str, request: ProtocolMessage, response: ProtocolMessage, /
    ) -> object: ...


class StubMap(Protocol):
    """The SDK's `apiproxy_stub_map.apiproxy`."""

    def GetStub(self, service: str) -> object | None: ...
    def ReplaceStub(self, service: str, stub: object) -> None: ...
    def MakeSyncCall(self, service: str, call: str, request: ProtocolMessage, response: ProtocolMessage) -> object: ...


@dataclass(slots=True)
class _Chosen:
    stub: Stub | None = None
    environment: tuple[tuple[str, str], ChannelServiceStub] | None = None


_chosen = _Chosen()
_lock = threading.Lock()


def configure(
    servers: str | Sequence[str] | None = None,
    token: str = "",
    *,
    stub: Stub | None = None,
    timeout: float = TIMEOUT_S,
    verify: bool | str | None = None,
) -> None:
    """Send the module's calls to these servers, or to `stub`; to neither: as if nothing had been configured.

    See `Cluster` for the arguments. Raises `ValueError` for what is no server or no token.
    """
    if servers is not None and stub is not None:
        raise ValueError("give servers or a stub, not both")
    if servers is not None:
        stub = ChannelServiceStub(cluster=Cluster(servers, token, timeout=timeout, verify=verify))
    _chosen.stub = stub


def service_name() -> str:
    """Return the service's name: `channel` on a development server, else `xmpp` (contracts/channel 2)."""
    return "channel" if os.environ.get("SERVER_SOFTWARE", "").startswith(("Devel", "test")) else "xmpp"


def call(method: str, request: ProtocolMessage, response: ProtocolMessage) -> None:
    """Make a call. Raises `apiproxy_errors.Error`."""
    service = service_name()
    _way(service).MakeSyncCall(service, method, request, response)


def is_token(text: str, *, now: float) -> bool:
    """Tell whether `text` is a valid token; one of a cluster's is judged by its looks here, and by the cluster then."""
    stub = _chosen.stub or registered(service_name()) or environment_stub()
    if isinstance(stub, ChannelServiceStub) and stub.knows_tokens:
        return stub.client_id_from_token(text) is not None
    return tokens.looks_valid(text, now=now)


def stub_map() -> StubMap | None:
    """Return the SDK's map of stubs, None where it is not installed."""
    return cast("StubMap | None", sdk.member("api.apiproxy_stub_map", "apiproxy"))


def configured_stub() -> ChannelServiceStub | None:
    """Return the stub that `configure` made or was given, None where that is none of ours."""
    return _chosen.stub if isinstance(_chosen.stub, ChannelServiceStub) else None


def registered(service: str) -> object | None:
    """Return what the SDK has for the service: a stub that was registered, or its own way out."""
    stubs = stub_map()
    return stubs.GetStub(service) if stubs is not None else None


def _way(service: str) -> Stub:
    """Our own stub in the SDK's map goes before the environment, and that before the SDK's way out."""
    if _chosen.stub is not None:
        return _chosen.stub
    found, stubs = registered(service), stub_map()
    if stubs is not None and isinstance(found, ChannelServiceStub):
        return stubs
    if (stub := environment_stub()) is not None:
        return stub
    if stubs is not None and found is not None:
        return stubs
    raise apiproxy_errors.RPCFailedError(
        f"There is nobody to call: give servers to headrace.channel.configure(), or set {SERVERS_VARIABLE}"
    )


def environment_stub() -> ChannelServiceStub | None:
    """Return a stub for the servers that the environment names, None where it names none."""
    named = os.environ.get(SERVERS_VARIABLE) or os.environ.get(SERVER_VARIABLE, "")
    given = named, os.environ.get(TOKEN_VARIABLE, "")
    servers = named.replace(",", " ").split()
    if not servers:
        return None
    with _lock:
        if _chosen.environment is None or _chosen.environment[0] != given:
            _chosen.environment = given, ChannelServiceStub(cluster=Cluster(servers, given[1]))
        return _chosen.environment[1]
