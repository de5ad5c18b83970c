"""Our messages, held against real Protocol Buffers."""

from typing import Any

import appengine_pb as pb
import pytest
from google.protobuf.message import DecodeError, EncodeError
from hypothesis import given
from hypothesis import strategies as st

from headrace.channel import messages
from headrace.channel.messages import (
    CreateChannelRequest,
    CreateChannelResponse,
    Refusal,
    Request,
    Response,
    SendMessageRequest,
    VoidProto,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
INT32 = st.integers(-(2**31), 2**31 - 1)


@given(client_id=TEXT, minutes=st.none() | INT32, topics=st.lists(TEXT, max_size=4))
def test_a_request_has_protobufs_bytes(client_id: str, minutes: int | None, topics: list[str]) -> None:
    ours, reference = CreateChannelRequest(application_key=client_id), pb.CreateChannelRequest()
    reference.application_key = client_id  # type: ignore[attr-defined]
    reference.topics.extend(topics)  # type: ignore[attr-defined]
    ours.topics = tuple(topics)
    if minutes is not None:
        ours.duration_minutes = reference.duration_minutes = minutes  # type: ignore[attr-defined]

    assert ours.SerializeToString() == reference.SerializeToString()
    assert ours.ByteSize() == reference.ByteSize()


@given(client_id=TEXT, message=TEXT, minutes=INT32)
def test_protobufs_bytes_are_read(client_id: str, message: str, minutes: int) -> None:
    sending = pb.SendMessageRequest(application_key=client_id, message=message)
    created = pb.CreateChannelResponse(token=client_id, duration_minutes=minutes)

    read = SendMessageRequest.FromString(sending.SerializeToString())
    assert (read.application_key, read.message) == (client_id, message)
    response = CreateChannelResponse.FromString(created.SerializeToString())
    assert (response.token, response.duration_minutes) == (client_id, minutes)


@given(service=TEXT, request=st.binary(max_size=100), code=INT32, detail=TEXT)
def test_calls_and_answers_have_protobufs_bytes(service: str, request: bytes, code: int, detail: str) -> None:
    ours = Request(service_name=service, method="m", request=request, request_id="r")
    reference = pb.Request(service_name=service, method="m", request=request, request_id="r")
    assert ours.SerializeToString() == reference.SerializeToString()

    answer: Any = pb.Response()
    answer.rpc_error.code, answer.rpc_error.detail = code, detail
    read = Response.FromString(answer.SerializeToString())
    assert read.HasField("rpc_error")
    assert not read.HasField("application_error")
    refusal = Refusal.FromString(read.rpc_error)
    assert (refusal.code, refusal.detail) == (code, detail)


def test_the_bytes_of_the_contract() -> None:
    assert CreateChannelRequest(application_key="a", duration_minutes=5).SerializeToString().hex() == "0a01611005"
    assert CreateChannelResponse(token="T", duration_minutes=5).SerializeToString().hex() == "1201541805"
    assert VoidProto().SerializeToString() == b""


def test_fields_that_are_not_set() -> None:
    message = CreateChannelRequest()

    assert (message.application_key, message.duration_minutes, message.topics) == ("", 0, ())
    assert not message.HasField("application_key")
    missing: list[str] = []
    assert not message.IsInitialized(missing)
    assert missing == message.FindInitializationErrors() == ["application_key"]
    with pytest.raises(EncodeError, match="application_key"):
        message.SerializeToString()
    with pytest.raises(EncodeError, match="application_key"):
        message.ByteSize()
    assert message.SerializePartialToString() == b""


def test_fields_that_are_set_to_their_default_are_set() -> None:
    message = CreateChannelRequest(application_key="", duration_minutes=0)

    assert message.IsInitialized()
    assert message.HasField("duration_minutes")
    assert (
        message.SerializeToString()
        == pb.CreateChannelRequest(application_key="", duration_minutes=0).SerializeToString()
    )


def test_what_protobuf_offers_besides() -> None:
    message = CreateChannelRequest(application_key="a", duration_minutes=5, topics=("p/t",))
    copy = CreateChannelRequest()
    copy.CopyFrom(message)
    assert copy == message
    copy.ClearField("duration_minutes")
    assert copy != message
    assert not copy.HasField("duration_minutes")
    copy.MergeFrom(CreateChannelRequest(application_key="b", topics=("p/u",)))
    assert (copy.application_key, copy.topics) == ("b", ("p/t", "p/u"))
    copy.Clear()
    assert copy == CreateChannelRequest()
    assert copy != SendMessageRequest()


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("application_key", 5, TypeError),
        ("application_key", None, TypeError),
        ("duration_minutes", "5", TypeError),
        ("duration_minutes", 2**31, ValueError),
        ("duration_minutes", -(2**31) - 1, ValueError),
        ("topics", [5], TypeError),
    ],
)
def test_values_of_a_wrong_type(name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        setattr(CreateChannelRequest(), name, value)
    with pytest.raises(ValueError, match="no field"):
        CreateChannelRequest(other="a")
    with pytest.raises(TypeError):
        Request(request="text")


@given(data=st.binary(max_size=60))
def test_hostile_bytes_are_read_as_protobuf_reads_them_or_refused(data: bytes) -> None:
    reference: Any = pb.CreateChannelRequest()
    try:
        reference.ParseFromString(data)
    except DecodeError:
        reference = None
    try:
        read = CreateChannelRequest.FromString(data)
    except messages.DecodeError:
        return
    if reference is not None:
        assert (read.application_key, read.duration_minutes) == (
            reference.application_key,
            reference.duration_minutes,
        )


def test_bytes_that_are_no_text_stay_themselves() -> None:
    message = SendMessageRequest.FromString(b"\x0a\x01\xff\x12\x01\xfe")

    assert message.application_key.encode(errors="surrogateescape") == b"\xff"
    assert message.SerializeToString() == b"\x0a\x01\xff\x12\x01\xfe"
    assert SendMessageRequest(application_key=b"\xff", message=message.message) == message


def test_errors_are_protobufs_where_it_is_installed() -> None:
    assert messages.EncodeError is EncodeError
    assert messages.DecodeError is DecodeError


def test_a_repr_shows_names_alone() -> None:
    assert repr(CreateChannelResponse(token="secret")) == "CreateChannelResponse(token)"


def test_the_codes_of_the_service() -> None:
    assert {code.name: code.value for code in messages.ChannelServiceError} == {
        "OK": 0,
        "INTERNAL_ERROR": 1,
        "INVALID_CHANNEL_KEY": 2,
        "BAD_MESSAGE": 3,
        "INVALID_CHANNEL_TOKEN_DURATION": 4,
        "APPID_ALIAS_REQUIRED": 5,
    }
