"""What a stub inherits."""

import pytest

from headrace.channel import apiproxy_errors
from headrace.channel.apiproxy_stub import MAX_REQUEST_SIZE, LocalProxyStub
from headrace.channel.messages import EncodeError, SendMessageRequest, VoidProto


class Echo(LocalProxyStub):
    def __init__(self, **given: int) -> None:
        super().__init__("echo", **given)
        self.heard: list[str] = []

    def _Dynamic_Say(self, request: SendMessageRequest, response: VoidProto) -> None:
        self.heard.append(request.message)


def say(stub: Echo, message: str = "m", *, service: str = "echo", call: str = "Say") -> None:
    stub.MakeSyncCall(service, call, SendMessageRequest(application_key="a", message=message), VoidProto())


def test_a_call_reaches_its_method() -> None:
    stub = Echo()
    say(stub, "one")

    assert stub.heard == ["one"]


def test_an_unknown_method_another_service_and_a_missing_field() -> None:
    stub = Echo()
    with pytest.raises(AttributeError):
        say(stub, call="Shout")
    with pytest.raises(AssertionError, match='Expected "echo" service name, was "other"'):
        say(stub, service="other")
    with pytest.raises(EncodeError, match="message"):
        stub.MakeSyncCall("echo", "Say", SendMessageRequest(application_key="a"), VoidProto())


def test_a_request_has_at_most_a_mebibyte() -> None:
    stub = Echo()
    around = SendMessageRequest(application_key="a", message="x" * MAX_REQUEST_SIZE).ByteSize() - MAX_REQUEST_SIZE
    say(stub, "x" * (MAX_REQUEST_SIZE - around))
    with pytest.raises(apiproxy_errors.RequestTooLargeError, match=r"echo.Say\(\)"):
        say(stub, "x" * (MAX_REQUEST_SIZE - around + 1))
    with pytest.raises(apiproxy_errors.RequestTooLargeError):
        say(Echo(max_request_size=5))


def test_an_error_for_every_call_or_for_a_method() -> None:
    stub, error = Echo(), apiproxy_errors.OverQuotaError("enough")
    stub.SetError(error)
    with pytest.raises(apiproxy_errors.OverQuotaError):
        say(stub)
    stub.SetError(None)
    say(stub)
    stub.SetError(error, method="Shout")
    say(stub)
    stub.SetError(error, method="Say")
    with pytest.raises(apiproxy_errors.OverQuotaError):
        say(stub)
    stub.SetError(error, method="Say", error_rate=-1)
    say(stub)
    with pytest.raises(AssertionError):
        stub.SetError(ValueError())


def test_a_call_through_an_rpc() -> None:
    stub = Echo()
    heard: list[str] = []
    rpc = stub.CreateRPC()
    request = SendMessageRequest(application_key="a", message="one")
    rpc.MakeCall("echo", "Say", request, VoidProto(), callback=lambda: heard.append("back"))
    rpc.Wait()
    rpc.Wait()
    rpc.CheckSuccess()

    assert (stub.heard, heard, rpc.exception) == (["one"], ["back"], None)


def test_a_failure_through_an_rpc() -> None:
    stub = Echo()
    stub.SetError(apiproxy_errors.OverQuotaError("enough"))
    rpc = stub.CreateRPC()
    rpc.MakeCall("echo", "Say", SendMessageRequest(application_key="a", message="m"), VoidProto())
    rpc.Wait()

    with pytest.raises(apiproxy_errors.OverQuotaError):
        rpc.CheckSuccess()
    with pytest.raises(AssertionError):
        stub.CreateRPC().Wait()


def test_alone_nobody_is_told_and_no_timer_runs() -> None:
    dispatcher = Echo().request_data.get_dispatcher()

    dispatcher.add_async_request("POST", "/", [], "", "0.1.0.10")
    dispatcher.add_event(lambda: pytest.fail("a timer ran"), 0, "s", "id")
    dispatcher.update_event(0, "s", "id")
