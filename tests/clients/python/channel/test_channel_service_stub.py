"""The stub, row by row of contracts/channel 4, with a clock in hand and a dispatcher that notes what it is asked."""

import inspect
import logging
import threading
import time

import appengine_pb as pb
import pytest
from channel_scene import Clock, Dispatcher
from google.protobuf.message import EncodeError

from headrace.ams.transport import HttpAnswer
from headrace.channel import apiproxy_errors, channel_service_stub
from headrace.channel.channel_service_stub import (
    ChannelServiceStub,
    Error,
    InvalidTokenError,
    TokenTimedOutError,
)
from headrace.channel.messages import (
    CreateChannelRequest,
    CreateChannelResponse,
    SendMessageRequest,
    VoidProto,
)


def create(stub: ChannelServiceStub, client_id: str = "a", *, minutes: int = 1) -> str:
    response = CreateChannelResponse()
    request = CreateChannelRequest(application_key=client_id, duration_minutes=minutes)
    stub.MakeSyncCall("channel", "CreateChannel", request, response)
    return response.token


def send(stub: ChannelServiceStub, key: str, message: str) -> None:
    request = SendMessageRequest(application_key=key, message=message)
    stub.MakeSyncCall("channel", "SendChannelMessage", request, VoidProto())


def test_the_constructor_and_the_class_are_those_of_the_sdk() -> None:
    given = inspect.signature(ChannelServiceStub).parameters
    positional = [one for one in given.values() if one.kind is one.POSITIONAL_OR_KEYWORD]

    assert [(one.name, one.default) for one in positional] == [
        ("log", logging.debug),
        ("service_name", "channel"),
        ("time_func", time.time),
        ("request_data", None),
    ]
    assert ChannelServiceStub.THREADSAFE is True
    assert ChannelServiceStub.CHANNEL_TIMEOUT_SECONDS == 2
    assert ChannelServiceStub.XMPP_PUBLIC_IP == "0.1.0.10"
    assert ChannelServiceStub.CHANNEL_TOKEN_DEFAULT_DURATION == 120
    assert ChannelServiceStub.CHANNEL_TOKEN_IDENTIFIER == "channel"
    assert InvalidTokenError.__bases__ == TokenTimedOutError.__bases__ == (Error,)


def test_client_id_from_token(stub: ChannelServiceStub, clock: Clock) -> None:
    token = create(stub, "a-b c")

    assert stub.client_id_from_token(token) == "a-b c"
    assert stub.client_id_from_token("bad") is None
    assert stub.client_id_from_token("") is None
    clock.now = 1061.0
    assert stub.client_id_from_token(token) is None


def test_validate_token_and_extract_client_id(stub: ChannelServiceStub, clock: Clock) -> None:
    token = create(stub)

    assert stub.validate_token_and_extract_client_id(token) == "a"
    with pytest.raises(InvalidTokenError):
        stub.validate_token_and_extract_client_id("bad")
    clock.now = 1060.999
    assert stub.validate_token_and_extract_client_id(token) == "a"
    clock.now = 1061.0
    with pytest.raises(TokenTimedOutError):
        stub.validate_token_and_extract_client_id(token)


def test_get_channel_messages_is_the_list_itself(stub: ChannelServiceStub, clock: Clock) -> None:
    token = create(stub)
    assert stub.get_channel_messages(token) is None
    assert stub.get_channel_messages("bad") is None

    stub.connect_channel(token)
    pending = stub.get_channel_messages(token)
    assert pending == []
    send(stub, "a", "one")
    assert pending == ["one"]
    assert stub.get_channel_messages(token) is pending
    clock.now = 1061.0
    assert stub.get_channel_messages(token) is None


def test_has_channel_messages(stub: ChannelServiceStub) -> None:
    token = create(stub)
    send(stub, "a", "dropped")
    assert stub.has_channel_messages(token) is False
    assert stub.has_channel_messages("bad") is False

    stub.connect_channel(token)
    assert stub.has_channel_messages(token) is False
    send(stub, "a", "one")
    assert stub.has_channel_messages(token) is True


def test_pop_first_message_takes_the_oldest_and_never_raises(stub: ChannelServiceStub) -> None:
    token = create(stub)
    assert stub.pop_first_message(token) is None
    assert stub.pop_first_message("bad") is None

    stub.connect_channel(token)
    for message in ("one", "two", "three"):
        send(stub, "a", message)
    assert [stub.pop_first_message(token) for _ in range(4)] == ["one", "two", "three", None]


def test_clear_channel_messages_keeps_the_connection(stub: ChannelServiceStub) -> None:
    token, other = create(stub, "a"), create(stub, "b")
    stub.clear_channel_messages(token)
    stub.clear_channel_messages("bad")
    assert stub.get_channel_messages(token) is None

    for one in (token, other):
        stub.connect_channel(one)
    send(stub, "a", "one")
    send(stub, "b", "two")
    stub.clear_channel_messages(token)
    stub.clear_channel_messages("bad")
    assert stub.get_channel_messages(token) == []
    assert stub.get_channel_messages(other) == ["two"]


def test_add_connect_event(stub: ChannelServiceStub, dispatcher: Dispatcher) -> None:
    stub.add_connect_event("a")

    form = [("Content-Type", "application/x-www-form-urlencoded")]
    assert dispatcher.requests == [("POST", "/_ah/channel/connected/", form, "from=a", "0.1.0.10")]


def test_disconnect_channel_event_tells_even_of_who_was_never_there(
    stub: ChannelServiceStub, dispatcher: Dispatcher
) -> None:
    token = create(stub)
    stub.connect_channel(token)
    send(stub, "a", "lost")
    stub.disconnect_channel_event("a")
    stub.disconnect_channel_event("stranger")

    assert stub.get_channel_messages(token) is None
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    assert dispatcher.requests[1:] == [
        ("POST", "/_ah/channel/disconnected/", form, "from=a", "0.1.0.10"),
        ("POST", "/_ah/channel/disconnected/", form, "from=stranger", "0.1.0.10"),
    ]


def test_an_id_that_needs_encoding_is_told_whole(stub: ChannelServiceStub, dispatcher: Dispatcher) -> None:
    stub.add_connect_event("a=1&b=2 é")

    assert dispatcher.told == [("connected", "from=a%3D1%26b%3D2+%C3%A9")]


def test_add_disconnect_event(stub: ChannelServiceStub, dispatcher: Dispatcher) -> None:
    stub.add_disconnect_event("a")

    [(runnable, eta, service, event_id)] = dispatcher.events
    assert (eta, service, event_id) == (1002.5, "channel-disconnect", "a")
    runnable()
    assert dispatcher.told == [("disconnected", "from=a")]


def test_connect_channel(stub: ChannelServiceStub, clock: Clock, dispatcher: Dispatcher) -> None:
    token = create(stub)
    stub.connect_channel(token)
    assert dispatcher.told == [("connected", "from=a")]
    assert [event[1:] for event in dispatcher.events] == [(1002.5, "channel-disconnect", "a")]

    send(stub, "a", "one")
    clock.now = 1001.5
    stub.connect_channel(token)
    assert dispatcher.told == [("connected", "from=a")]
    assert dispatcher.updates == [(1003.5, "channel-disconnect", "a")]
    assert len(dispatcher.events) == 1
    assert stub.get_channel_messages(token) == ["one"]


def test_connect_channel_raises_as_validation_does(stub: ChannelServiceStub, clock: Clock) -> None:
    token = create(stub)
    for connect in (stub.connect_channel, stub.connect_and_pop_first_message):
        with pytest.raises(InvalidTokenError):
            connect("bad")
    stub.connect_channel(token)
    clock.now = 1061.0
    for connect in (stub.connect_channel, stub.connect_and_pop_first_message):
        with pytest.raises(TokenTimedOutError):
            connect(token)


def test_connect_and_pop_first_message_connects_where_needed(stub: ChannelServiceStub, dispatcher: Dispatcher) -> None:
    token = create(stub)

    assert stub.connect_and_pop_first_message(token) is None
    assert dispatcher.told == [("connected", "from=a")]
    send(stub, "a", "one")
    send(stub, "a", "two")
    assert stub.connect_and_pop_first_message(token) == "one"
    assert stub.connect_and_pop_first_message(token) == "two"
    assert stub.connect_and_pop_first_message(token) is None
    assert len(dispatcher.updates) == 3


def test_a_client_that_comes_back_is_connected_anew(stub: ChannelServiceStub, dispatcher: Dispatcher) -> None:
    token = create(stub)
    stub.connect_channel(token)
    stub.disconnect_channel_event("a")
    send(stub, "a", "lost")
    stub.connect_channel(token)

    assert stub.get_channel_messages(token) == []
    assert [kind for kind, _ in dispatcher.told] == [
        "connected", "disconnected", "connected",
    ]  # fmt: skip


def test_tokens_of_one_client_share_a_queue(stub: ChannelServiceStub) -> None:
    first, second = create(stub), create(stub)
    assert first != second
    stub.connect_channel(first)
    stub.connect_channel(second)
    send(stub, "a", "one")
    send(stub, second, "two")

    assert stub.connect_and_pop_first_message(first) == "one"
    assert stub.connect_and_pop_first_message(second) == "two"


@pytest.mark.parametrize("service", ["channel", "xmpp"])
def test_both_names_of_the_service_are_served(stub: ChannelServiceStub, service: str) -> None:
    response = CreateChannelResponse()
    stub.MakeSyncCall(service, "CreateChannel", CreateChannelRequest(application_key="a"), response)

    # Two hours, where none was asked for.
    assert response.token.split("-")[3] == str(1000 + 7200 + 1)


def test_another_name_is_refused(stub: ChannelServiceStub) -> None:
    with pytest.raises(AssertionError, match="memcache"):
        stub.MakeSyncCall("memcache", "CreateChannel", CreateChannelRequest(application_key="a"), VoidProto())


def test_the_services_own_errors(stub: ChannelServiceStub) -> None:
    with pytest.raises(apiproxy_errors.ApplicationError) as empty_key:
        create(stub, "")
    with pytest.raises(apiproxy_errors.ApplicationError) as empty_message:
        send(stub, "a", "")

    assert (empty_key.value.application_error, empty_key.value.error_detail) == (2, "")
    assert (empty_message.value.application_error, empty_message.value.error_detail) == (3, "")


def test_real_protobuf_messages_serve(stub: ChannelServiceStub) -> None:
    response = pb.CreateChannelResponse()
    stub.MakeSyncCall(
        "channel",
        "CreateChannel",
        pb.CreateChannelRequest(application_key="é", duration_minutes=5),  # type: ignore[arg-type]
        response,  # type: ignore[arg-type]
    )
    token = response.token
    assert token.split("-")[3] == "1301"
    stub.connect_channel(token)
    request = pb.SendMessageRequest(application_key="é", message="hé")
    stub.MakeSyncCall("xmpp", "SendChannelMessage", request, pb.VoidProto())  # type: ignore[arg-type]

    assert stub.pop_first_message(token) == "hé"
    with pytest.raises(EncodeError, match="application_key"):
        stub.MakeSyncCall("channel", "CreateChannel", pb.CreateChannelRequest(), response)  # type: ignore[arg-type]


def test_a_queue_that_nobody_reads_is_bounded(stub: ChannelServiceStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_service_stub, "MAX_PENDING", 2)
    token = create(stub)
    stub.connect_channel(token)
    for message in ("one", "two", "three"):
        send(stub, "a", message)

    assert stub.get_channel_messages(token) == ["one", "two"]


def test_it_works_alone_with_nothing_given() -> None:
    stub = ChannelServiceStub()
    token = create(stub)
    stub.connect_channel(token)
    send(stub, "a", "one")

    assert stub.connect_and_pop_first_message(token) == "one"


class Calls:
    """A cluster that notes what it is asked."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, bytes]] = []

    def call(self, service: str, method: str, request: bytes) -> bytes:
        self.made.append((service, method, request))
        return CreateChannelResponse(token="made").SerializeToString() if method == "CreateChannel" else b""

    def get(self, target: str) -> HttpAnswer:
        raise AssertionError(f"a stub that makes channels and sends asks for no {target}")


def test_on_a_cluster_it_makes_channels_and_sends_there(dispatcher: Dispatcher) -> None:
    calls = Calls()
    stub = ChannelServiceStub(request_data=dispatcher, cluster=calls)
    assert create(stub, "a", minutes=5) == "made"
    send(stub, "a", "one")
    # Whatever is wrong with a request is for the cluster to say.
    create(stub, "")
    send(stub, "a", "")

    assert calls.made == [
        ("channel", "CreateChannel", b"\x0a\x01a\x10\x05"),
        ("channel", "SendChannelMessage", b"\x0a\x01a\x12\x03one"),
        ("channel", "CreateChannel", b"\x0a\x00\x10\x01"),
        ("channel", "SendChannelMessage", b"\x0a\x01a\x12\x00"),
    ]
    response = pb.CreateChannelResponse()
    request = pb.CreateChannelRequest(application_key="a")
    stub.MakeSyncCall("xmpp", "CreateChannel", request, response)  # type: ignore[arg-type]
    assert response.token == "made"  # type: ignore[attr-defined]


def test_no_token_and_no_message_is_logged() -> None:
    logged: list[str] = []
    stub = ChannelServiceStub(log=lambda *words: logged.append(str(words)))
    token = create(stub)
    stub.connect_channel(token)
    send(stub, "a", "secret")
    send(stub, "b", "secret")
    stub.clear_channel_messages("bad")

    assert logged
    assert not [line for line in logged if token in line or "secret" in line]


def test_threads_may_share_it(stub: ChannelServiceStub) -> None:
    token = create(stub)
    stub.connect_channel(token)
    threads = [threading.Thread(target=lambda: [send(stub, "a", "m") for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    pending = stub.get_channel_messages(token)
    assert pending is not None
    assert len(pending) == 400
