"""The module `google.appengine.api.channel.channel`: its functions, exceptions and constants (contracts/channel 1)."""

import time
from collections.abc import Sequence

from headrace.channel import apiproxy_errors, calls
from headrace.channel.messages import (
    ChannelServiceError,
    CreateChannelRequest,
    CreateChannelResponse,
    SendMessageRequest,
    VoidProto,
)

__all__ = [
    "MAXIMUM_CLIENT_ID_LENGTH",
    "MAXIMUM_MESSAGE_LENGTH",
    "MAXIMUM_TOKEN_DURATION_MINUTES",
    "AppIdAliasRequired",
    "Error",
    "InvalidChannelClientIdError",
    "InvalidChannelTokenDurationError",
    "InvalidMessageError",
    "create_channel",
    "send_message",
    "set_maximum_client_id_length",
]

MAXIMUM_CLIENT_ID_LENGTH = 64
"""Bytes. The last SDKs allowed 256: `set_maximum_client_id_length(256)`, and `channel.client_id_bytes` of the nodes."""

LONGEST_CLIENT_ID = 256

MAXIMUM_TOKEN_DURATION_MINUTES = 24 * 60

MAXIMUM_MESSAGE_LENGTH = 32767
"""Bytes."""


class Error(Exception):
    """The base of this module's exceptions."""


class InvalidChannelClientIdError(Error):
    """The client id is no string, too long, or empty."""


class InvalidChannelTokenDurationError(Error):
    """The duration is no whole number of minutes from 1 to `MAXIMUM_TOKEN_DURATION_MINUTES`."""


class InvalidMessageError(Error):
    """The message is no string, too long, or empty."""


class AppIdAliasRequired(Error):
    """The application needs an alias; a Headrace cluster never says so."""


_ERRORS: dict[int, type[Error]] = {
    ChannelServiceError.INVALID_CHANNEL_KEY: InvalidChannelClientIdError,
    ChannelServiceError.BAD_MESSAGE: InvalidMessageError,
    ChannelServiceError.APPID_ALIAS_REQUIRED: AppIdAliasRequired,
}
"""Other codes come out as the `ApplicationError` that they are."""


def set_maximum_client_id_length(length: int) -> None:
    """Allow client ids of up to `length` bytes, 1 to `LONGEST_CLIENT_ID`. The nodes have a limit of their own."""
    global MAXIMUM_CLIENT_ID_LENGTH  # noqa: PLW0603 (the original's name of the limit)
    if not 1 <= length <= LONGEST_CLIENT_ID:
        raise ValueError(f"a client id has from 1 to {LONGEST_CLIENT_ID} bytes")
    MAXIMUM_CLIENT_ID_LENGTH = length


def create_channel(client_id: str | bytes, duration_minutes: int | None = None, *, topics: Sequence[str] = ()) -> str:
    """Return a token with which a page opens the channel of `client_id`.

    The token serves for `duration_minutes`, 120 by default. What is published to `topics` (full names) reaches the page
    as well, which the original did not offer. Raises `InvalidChannelClientIdError`,
    `InvalidChannelTokenDurationError`, and `apiproxy_errors.Error` where the service cannot be reached.
    """
    request = CreateChannelRequest(application_key=_checked_client_id(client_id))
    if duration_minutes is not None:
        request.duration_minutes = _checked_duration(duration_minutes)
    if topics:
        request.topics = tuple(topics)
    response = CreateChannelResponse()
    try:
        calls.call("CreateChannel", request, response)
    except apiproxy_errors.ApplicationError as error:
        raise _translated(error) from None
    return response.token


def send_message(client_id: str | bytes, message: str | bytes) -> None:
    """Send `message` to the page that has opened the channel of `client_id`, which may be one of its tokens instead.

    That nobody is connected is no error. Raises `InvalidChannelClientIdError`, `InvalidMessageError`, and
    `apiproxy_errors.Error` where the service cannot be reached.
    """
    request = SendMessageRequest(application_key=_checked_client_id(client_id), message=_checked_message(message))
    try:
        calls.call("SendChannelMessage", request, VoidProto())
    except apiproxy_errors.ApplicationError as error:
        raise _translated(error) from None


def _translated(error: apiproxy_errors.ApplicationError) -> Exception:
    kind = _ERRORS.get(error.application_error)
    return kind(error.error_detail) if kind is not None else error


def _checked_client_id(client_id: object) -> bytes:
    """Return the id's bytes, which count; a token that is valid may be longer than an id."""
    if not isinstance(client_id, str | bytes):
        raise InvalidChannelClientIdError(f'"{client_id}" is not a string.')
    try:
        data = client_id.encode() if isinstance(client_id, str) else client_id
    except UnicodeEncodeError:
        raise InvalidChannelClientIdError("Client id is not valid Unicode.") from None
    if len(data) > MAXIMUM_CLIENT_ID_LENGTH and not calls.is_token(data.decode(errors="replace"), now=time.time()):
        length, most = len(data), MAXIMUM_CLIENT_ID_LENGTH
        raise InvalidChannelClientIdError(f"Client id length {length} is greater than max length {most}")
    return data


def _checked_duration(minutes: object) -> int:
    if not isinstance(minutes, int):
        raise InvalidChannelTokenDurationError("Argument duration_minutes must be integral")
    if minutes < 1:
        raise InvalidChannelTokenDurationError("Argument duration_minutes must not be less than 1")
    if minutes > MAXIMUM_TOKEN_DURATION_MINUTES:
        too_many = MAXIMUM_TOKEN_DURATION_MINUTES + 1
        raise InvalidChannelTokenDurationError(f"Argument duration_minutes must be less than {too_many}")
    return int(minutes)


def _checked_message(message: object) -> bytes:
    if not isinstance(message, str | bytes):
        raise InvalidMessageError("Message must be a string")
    try:
        data = message.encode() if isinstance(message, str) else message
    except UnicodeEncodeError:
        raise InvalidMessageError("Message is not valid Unicode") from None
    if len(data) > MAXIMUM_MESSAGE_LENGTH:
        raise InvalidMessageError(f"Message must be no longer than {MAXIMUM_MESSAGE_LENGTH} chars")
    return data
