"""The refusals of this room, and AWS's answers to refusals (contracts/apigateway 3). Pure.

The SDKs take an error's class from the header `x-amzn-ErrorType`, never from the status alone, and its text from
`message` in a JSON body: so every answer here carries both, and the id of its request.
"""

from dataclasses import dataclass

import orjson

from broker.errors import (
    CallerError,
    Forbidden,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    TooLarge,
    Unauthorized,
    UnknownOperation,
    UnknownOutcome,
)
from gateway.asgi import HeaderList, retry_after

ERROR_TYPE = b"x-amzn-ErrorType"
REQUEST_ID = b"x-amzn-RequestId"
CONTENT_TYPE = (b"content-type", b"application/json")


class Gone(CallerError):
    """There is no such connection any more, or not yet. Only the directory's word counts (DESIGN 5)."""

    code = "gone"
    sentence = "The connection is gone."


class Malformed(CallerError):
    """An id that this cluster can never have issued."""

    code = "malformed_connection"
    sentence = "Invalid connectionId"


class BufferFull(LimitExceeded):
    """The receiving socket takes no more at the moment; nothing was written."""

    code = "buffer_full"
    sentence = "The connection's send buffer is full."


class MissingToken(Unauthorized):
    code = "missing_signature"
    sentence = "Missing Authentication Token"


class InvalidSignature(Unauthorized):
    code = "invalid_signature"
    sentence = (
        "The request signature we calculated does not match the signature you provided. "
        "Check your AWS Secret Access Key and signing method."
    )


class IncompleteSignature(Unauthorized):
    """Something that wants to be a signature and lacks a part."""

    code = "incomplete_signature"
    sentence = "The request's signature is incomplete."


class UnknownKey(Unauthorized):
    """The access key is not configured, or its session token is another one."""

    code = "unknown_access_key"
    sentence = "The security token included in the request is invalid."


class ExpiredToken(Unauthorized):
    code = "expired_token"
    sentence = "The security token included in the request is expired."


class MethodNotAllowed(UnknownOperation):
    code = "method_not_allowed"
    sentence = "A connection knows POST, GET and DELETE."


@dataclass(frozen=True, slots=True)
class AwsError:
    """What a client is told: the status for its retries, the type for its exception."""

    status: int
    type: str
    message: str


_TYPES: dict[type[HeadraceError], tuple[int, str]] = {
    Gone: (410, "GoneException"),
    Malformed: (400, "BadRequestException"),
    InvalidRequest: (400, "BadRequestException"),
    Forbidden: (403, "ForbiddenException"),
    Unauthorized: (403, "ForbiddenException"),
    MissingToken: (403, "MissingAuthenticationTokenException"),
    InvalidSignature: (403, "InvalidSignatureException"),
    IncompleteSignature: (403, "IncompleteSignatureException"),
    UnknownKey: (403, "UnrecognizedClientException"),
    ExpiredToken: (403, "ExpiredTokenException"),
    MethodNotAllowed: (405, "MethodNotAllowedException"),
    TooLarge: (413, "PayloadTooLargeException"),
    LimitExceeded: (429, "LimitExceededException"),
    UnknownOutcome: (504, "ServiceUnavailableException"),
}
"""By class; a subclass that does not stand here is answered as its nearest parent that does."""

FAULT = AwsError(500, "InternalServerErrorException", "Internal server error")
"""A fault of our own."""


def error_of(refusal: HeadraceError) -> AwsError:
    """Return what a client is told. Where nothing was wrong with the call it is a 5xx, which the SDKs repeat."""
    for kind in type(refusal).__mro__:
        if kind in _TYPES:
            status, name = _TYPES[kind]
            return AwsError(status, name, refusal.reason)
    if isinstance(refusal, CallerError):
        return AwsError(400, "BadRequestException", refusal.reason)
    return AwsError(503, "ServiceUnavailableException", refusal.reason)


def headers_of_error(error: AwsError, request_id: str, *, retry_ms: int | None = None) -> HeaderList:
    """Return the answer's headers but its length."""
    named = [CONTENT_TYPE, (ERROR_TYPE, error.type.encode()), (REQUEST_ID, request_id.encode())]
    return [*named, *retry_after(retry_ms)]


def body_of_error(error: AwsError) -> bytes:
    """Return `{"message": ...}`: in lower case, so that every SDK finds it."""
    return orjson.dumps({"message": error.message})


def headers_of_success(request_id: str) -> HeaderList:
    """Return the headers of an answer with a body, or with an empty one."""
    return [CONTENT_TYPE, (REQUEST_ID, request_id.encode())]
