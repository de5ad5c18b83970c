"""The functions, row by row of contracts/channel 1."""

import time

import pytest
from channel_scene import Clock

import headrace.channel
from headrace.channel import apiproxy_errors, calls, channel
from headrace.channel.channel import (
    AppIdAliasRequired,
    InvalidChannelClientIdError,
    InvalidChannelTokenDurationError,
    InvalidMessageError,
)
from headrace.channel.channel_service_stub import ChannelServiceStub


@pytest.fixture(autouse=True)
def in_memory(stub: ChannelServiceStub) -> None:
    calls.configure(stub=stub)


def created(client_id: object, *duration: object) -> object:
    """Return the token, or the error."""
    try:
        return channel.create_channel(client_id, *duration)  # type: ignore[arg-type]
    except Exception as error:
        return error


def sent(client_id: object, message: object) -> object:
    try:
        return channel.send_message(client_id, message)  # type: ignore[func-returns-value, arg-type]
    except Exception as error:
        return error


def same(found: object, expected: Exception) -> bool:
    return type(found) is type(expected) and getattr(found, "args", None) == expected.args


BAD_IDS = [
    (5, '"5" is not a string.'),
    (None, '"None" is not a string.'),
    (1.5, '"1.5" is not a string.'),
    (["a"], "\"['a']\" is not a string."),
    ("x" * 65, "Client id length 65 is greater than max length 64"),
    ("é" * 33, "Client id length 66 is greater than max length 64"),
    (b"x" * 65, "Client id length 65 is greater than max length 64"),
    ("\ud800", "Client id is not valid Unicode."),
]


@pytest.mark.parametrize(("client_id", "text"), BAD_IDS)
def test_client_ids_that_are_refused(client_id: object, text: str) -> None:
    assert same(created(client_id), InvalidChannelClientIdError(text))
    assert same(sent(client_id, "m"), InvalidChannelClientIdError(text))


def test_the_empty_client_id_is_refused_by_the_service_at_creation_alone() -> None:
    assert same(created(""), InvalidChannelClientIdError(""))
    assert same(created(b""), InvalidChannelClientIdError(""))
    assert sent("", "m") is None


@pytest.mark.parametrize(
    "client_id",
    ["a", "x" * 64, "é" * 32, "a b", "line\nbreak", "a-b", "a=b&c", b"bytes", b"\xff\xfe", "a%20b", "~", "\x00"],
)
def test_any_other_client_id_is_good_for_a_round_trip(stub: ChannelServiceStub, client_id: str | bytes) -> None:
    token = channel.create_channel(client_id)
    stub.connect_channel(token)

    assert sent(client_id, "by id") is None
    assert stub.pop_first_message(token) == "by id"
    assert isinstance(token, str)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (1.5, "Argument duration_minutes must be integral"),
        ("5", "Argument duration_minutes must be integral"),
        (b"5", "Argument duration_minutes must be integral"),
        (0, "Argument duration_minutes must not be less than 1"),
        (-1, "Argument duration_minutes must not be less than 1"),
        (False, "Argument duration_minutes must not be less than 1"),
        (1441, "Argument duration_minutes must be less than 1441"),
        (2**80, "Argument duration_minutes must be less than 1441"),
    ],
)
def test_durations_that_are_refused(minutes: object, text: str) -> None:
    assert same(created("a", minutes), InvalidChannelTokenDurationError(text))


@pytest.mark.parametrize(("minutes", "lasts"), [(None, 120), (1, 1), (True, 1), (5, 5), (1440, 1440)])
def test_durations_that_are_good(minutes: int | None, lasts: int) -> None:
    expiry = str(created("a", minutes)).split("-")[3]

    # The clock stands at 1000.5.
    assert int(expiry) == 1000 + lasts * 60 + 1


def test_the_client_id_is_checked_before_the_rest() -> None:
    assert isinstance(created(5, "5"), InvalidChannelClientIdError)
    assert isinstance(sent(5, 5), InvalidChannelClientIdError)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (5, "Message must be a string"),
        (None, "Message must be a string"),
        ("x" * 32768, "Message must be no longer than 32767 chars"),
        ("é" * 16384, "Message must be no longer than 32767 chars"),
        (b"x" * 32768, "Message must be no longer than 32767 chars"),
        ("\ud800", "Message is not valid Unicode"),
        ("", ""),
        (b"", ""),
    ],
    ids=["5", "None", "32768 x", "16384 é", "32768 bytes", "surrogate", "empty", "empty bytes"],
)
def test_messages_that_are_refused(message: object, text: str) -> None:
    assert same(sent("a", message), InvalidMessageError(text))


@pytest.mark.parametrize("message", ["m", "x" * 32767, "é" * 16383, b"bytes", "a\nb", '{"json": 1}'])
def test_messages_that_are_good(stub: ChannelServiceStub, message: str | bytes) -> None:
    token = channel.create_channel("a")
    stub.connect_channel(token)

    assert sent("a", message) is None
    assert stub.pop_first_message(token) == (message if isinstance(message, str) else message.decode())


def test_bytes_that_are_no_text_are_not_lost(stub: ChannelServiceStub) -> None:
    token = channel.create_channel("a")
    stub.connect_channel(token)
    channel.send_message("a", b"\xff\x00")

    found = stub.pop_first_message(token)
    assert found is not None
    assert found.encode(errors="surrogateescape") == b"\xff\x00"


def test_sending_to_nobody_is_no_error(stub: ChannelServiceStub) -> None:
    token = channel.create_channel("a")

    assert sent("unknown", "m") is None
    assert sent("a", "before") is None
    stub.connect_channel(token)
    assert stub.pop_first_message(token) is None


def test_a_token_stands_for_its_client_id(stub: ChannelServiceStub) -> None:
    token, other = channel.create_channel("a" * 40), channel.create_channel("a" * 40)
    stub.connect_channel(token)
    # 103 bytes: longer than a client id may be.
    channel.send_message(other, "m")

    assert stub.pop_first_message(token) == "m"


def test_only_a_valid_token_may_be_longer_than_a_client_id(stub: ChannelServiceStub, clock: Clock) -> None:
    token = channel.create_channel("a" * 40, 1)
    forged = ("0" if token[0] != "0" else "1") + token[1:]
    length = len(token)

    refusal = InvalidChannelClientIdError(f"Client id length {length} is greater than max length 64")
    assert same(sent(forged, "m"), refusal)
    clock.now = 1061.0
    assert same(sent(token, "m"), refusal)


def test_an_expired_token_that_is_short_enough_is_an_id_that_nobody_has(stub: ChannelServiceStub, clock: Clock) -> None:
    channel.set_maximum_client_id_length(256)
    token = channel.create_channel("a", 1)
    stub.connect_channel(token)
    clock.now = 1061.0

    assert sent(token, "m") is None
    assert stub.pop_first_message(channel.create_channel("a")) is None


def test_the_limit_is_a_setting() -> None:
    assert headrace.channel.MAXIMUM_CLIENT_ID_LENGTH == channel.MAXIMUM_CLIENT_ID_LENGTH == 64

    channel.set_maximum_client_id_length(256)

    assert headrace.channel.MAXIMUM_CLIENT_ID_LENGTH == channel.MAXIMUM_CLIENT_ID_LENGTH == 256
    assert isinstance(created("x" * 256), str)
    assert same(created("é" * 129), InvalidChannelClientIdError("Client id length 258 is greater than max length 256"))
    for length in (0, 257):
        with pytest.raises(ValueError, match="256"):
            channel.set_maximum_client_id_length(length)


def test_the_constants_and_the_tree_of_exceptions() -> None:
    assert channel.MAXIMUM_TOKEN_DURATION_MINUTES == 1440
    assert channel.MAXIMUM_MESSAGE_LENGTH == 32767
    assert channel.Error.__bases__ == (Exception,)
    for error in (
        InvalidChannelClientIdError,
        InvalidChannelTokenDurationError,
        InvalidMessageError,
        AppIdAliasRequired,
    ):
        assert error.__bases__ == (channel.Error,)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(2, InvalidChannelClientIdError("why")), (3, InvalidMessageError("why")), (5, AppIdAliasRequired("why"))],
)
def test_codes_of_the_service_that_have_an_exception(stub: ChannelServiceStub, code: int, expected: Exception) -> None:
    stub.SetError(apiproxy_errors.ApplicationError(code, "why"))

    assert same(created("a"), expected)
    assert same(sent("a", "m"), expected)


@pytest.mark.parametrize("code", [0, 1, 4, 6, 99])
def test_other_codes_come_out_as_they_are(stub: ChannelServiceStub, code: int) -> None:
    error = apiproxy_errors.ApplicationError(code, "why")
    stub.SetError(error)

    for found in (created("a"), sent("a", "m")):
        assert isinstance(found, apiproxy_errors.ApplicationError)
        assert (found.application_error, found.error_detail) == (code, "why")


def test_failures_of_the_way_come_out_as_they_are(stub: ChannelServiceStub) -> None:
    stub.SetError(apiproxy_errors.RPCFailedError("away"), method="CreateChannel")

    assert isinstance(created("a"), apiproxy_errors.RPCFailedError)
    assert sent("a", "m") is None


def test_the_clock_of_a_token_that_only_looks_like_one() -> None:
    token = f"{'0' * 32}-channel-1-{int(time.time()) + 60}-{'a' * 40}"

    assert isinstance(sent(token, "m"), InvalidChannelClientIdError)
