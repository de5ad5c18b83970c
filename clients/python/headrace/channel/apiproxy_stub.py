"""What a stub inherits: `APIProxyStub` of the SDK where it is installed, else one that offers the same (contract 4).

`CreateRPC`, `MakeSyncCall` and `SetError` work alike in both; without the SDK a call made through `CreateRPC` runs when
it is waited for.
"""

# ruff: noqa: N802 (the names are those of the SDK)

import random
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from headrace.channel import apiproxy_errors, sdk

MAX_REQUEST_SIZE = 1 << 20
"""Bytes of one request."""


class Dispatcher(Protocol):
    """Where a stub's requests to the application and its timers go. `eta` is in Unix seconds."""

    def add_async_request(
        self, method: str, relative_url: str, headers: list[tuple[str, str]], body: str, source_ip: str
    ) -> object: ...

    def add_event(
        self, runnable: Callable[[], object], eta: float, service: str | None = None, event_id: str | None = None
    ) -> object: ...

    def update_event(self, eta: float, service: str, event_id: str) -> object: ...


class RequestData(Protocol):
    def get_dispatcher(self) -> Dispatcher: ...


class ProtocolMessage(Protocol):
    """What a stub needs of a message, whoever made it."""

    def ByteSize(self) -> int: ...
    def IsInitialized(self, errors: list[str] | None = None, /) -> bool: ...
    def SerializeToString(self) -> bytes: ...
    def ParseFromString(self, data: bytes, /) -> object: ...


class _NoDispatcher:
    """Runs nothing: there is no application beside a stub that works alone."""

    def add_async_request(
        self, method: str, relative_url: str, headers: list[tuple[str, str]], body: str, source_ip: str
    ) -> None:
        pass

    def add_event(
        self, runnable: Callable[[], object], eta: float, service: str | None = None, event_id: str | None = None
    ) -> None:
        pass

    def update_event(self, eta: float, service: str, event_id: str) -> None:
        pass


class _Alone:
    def get_dispatcher(self) -> Dispatcher:
        return _NoDispatcher()


class LocalProxyStub:
    """The base without the SDK. A service's methods are `_Dynamic_<method>(request, response)`."""

    THREADSAFE = False

    def __init__(
        self, service_name: str, max_request_size: int = MAX_REQUEST_SIZE, request_data: RequestData | None = None
    ) -> None:
        self._service = service_name
        self._max_request_size = max_request_size
        self.request_data: RequestData = request_data or _Alone()
        self._mutex = threading.RLock()
        self._error: tuple[Exception, float] | None = None
        self._errors: dict[str, tuple[Exception, float]] = {}

    def CreateRPC(self) -> "LocalRPC":
        return LocalRPC(self)

    def CheckRequest(self, service: str, call: str, request: ProtocolMessage) -> None:
        """Raise `AssertionError` for another name, `EncodeError` for a missing field, `RequestTooLargeError`."""
        assert service == self._service, f'Expected "{self._service}" service name, was "{service}"'
        if request.ByteSize() > self._max_request_size:
            raise apiproxy_errors.RequestTooLargeError(f"The request to API call {service}.{call}() was too large.")
        missing: list[str] = []
        assert request.IsInitialized(missing), missing

    def MakeSyncCall(
        self,
        service: str,
        call: str,
        request: ProtocolMessage,
        response: ProtocolMessage,
        request_id: str | None = None,
    ) -> None:
        """Have the method fill `response`. Raises what the method raises, and `AttributeError` for an unknown one."""
        self.CheckRequest(service, call, request)
        for error in (self._errors.get(call), self._error):
            if error is not None and random.random() <= error[1]:
                raise error[0]
        method: Callable[[ProtocolMessage, ProtocolMessage], object] = getattr(self, f"_Dynamic_{call}")
        method(request, response)

    def SetError(self, error: Exception | None, method: str | None = None, error_rate: float = 1) -> None:
        """Let every call, or those of one method, raise `error` at a rate of 0 to 1. None ends that."""
        assert error is None or isinstance(error, apiproxy_errors.Error)
        if method and error is not None:
            self._errors[method] = error, error_rate
        else:
            self._error = (error, error_rate) if error is not None else None


class LocalRPC:
    """One call: made, waited for, and then its success checked."""

    def __init__(self, stub: LocalProxyStub) -> None:
        self._stub = stub
        self._call: Callable[[], None] | None = None
        self.exception: Exception | None = None

    def MakeCall(
        self,
        package: str,
        call: str,
        request: ProtocolMessage,
        response: ProtocolMessage,
        callback: Callable[[], object] | None = None,
    ) -> None:
        assert self._call is None, "an RPC is used once"

        def run() -> None:
            try:
                self._stub.MakeSyncCall(package, call, request, response)
            except Exception as error:
                self.exception = error
            if callback is not None:
                callback()

        self._call = run

    def Wait(self) -> None:
        """Return when the call has ended, well or not."""
        call, self._call = self._call, _done
        assert call is not None, "there is no call to wait for"
        call()

    def CheckSuccess(self) -> None:
        """Raise what the call has raised."""
        if self.exception is not None:
            raise self.exception


def _done() -> None:
    pass


if TYPE_CHECKING:
    APIProxyStub = LocalProxyStub
else:
    APIProxyStub = sdk.member("api.apiproxy_stub", "APIProxyStub") or LocalProxyStub
