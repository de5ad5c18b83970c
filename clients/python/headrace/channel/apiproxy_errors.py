"""What a call to the service may raise: the SDK's own classes where it is installed, else these of the same names.

So `except apiproxy_errors.ApplicationError` of an application catches what this library raises.
"""

from typing import TYPE_CHECKING

from headrace.channel import sdk


class Error(Exception):
    """The base of all."""


class RPCFailedError(Error):
    """No server answered, or one answered with an error of HTTP."""


class CallNotFoundError(Error):
    """The server does not know this service or method."""


class ArgumentError(Error):
    """The server could not read the request."""


class DeadlineExceededError(Error):
    """No answer came in time: it is not known whether the call was carried out."""


class OverQuotaError(Error):
    """A limit of the server's is reached."""


class RequestTooLargeError(Error):
    """The request has more bytes than a call may have."""


class ApplicationError(Error):
    """The service refused: `application_error` is its code, `error_detail` its sentence, perhaps empty."""

    def __init__(self, application_error: int, error_detail: str = "") -> None:
        super().__init__(application_error)
        self.application_error = application_error
        self.error_detail = error_detail

    def __str__(self) -> str:
        return f"ApplicationError: {self.application_error} {self.error_detail}"


if not TYPE_CHECKING and (_theirs := sdk.module("runtime.apiproxy_errors")) is not None:
    Error = _theirs.Error
    RPCFailedError = _theirs.RPCFailedError
    CallNotFoundError = _theirs.CallNotFoundError
    ArgumentError = _theirs.ArgumentError
    DeadlineExceededError = _theirs.DeadlineExceededError
    OverQuotaError = _theirs.OverQuotaError
    RequestTooLargeError = _theirs.RequestTooLargeError
    ApplicationError = _theirs.ApplicationError
