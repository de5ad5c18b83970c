import json

import pytest

from broker.errors import (
    CallerError,
    Forbidden,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    OutOfMemory,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownOutcome,
    UnknownTopic,
)
from gateway.apigateway import errors
from gateway.apigateway.errors import BufferFull, Gone, Malformed, body_of_error, error_of, headers_of_error

TABLE: list[tuple[HeadraceError, int, str]] = [
    (Gone(), 410, "GoneException"),
    (Malformed(), 400, "BadRequestException"),
    (InvalidRequest(), 400, "BadRequestException"),
    (UnknownTopic(), 400, "BadRequestException"),
    (CallerError(), 400, "BadRequestException"),
    (Forbidden(), 403, "ForbiddenException"),
    (Unauthorized(), 403, "ForbiddenException"),
    (errors.MissingToken(), 403, "MissingAuthenticationTokenException"),
    (errors.InvalidSignature(), 403, "InvalidSignatureException"),
    (errors.IncompleteSignature(), 403, "IncompleteSignatureException"),
    (errors.UnknownKey(), 403, "UnrecognizedClientException"),
    (errors.ExpiredToken(), 403, "ExpiredTokenException"),
    (errors.MethodNotAllowed(), 405, "MethodNotAllowedException"),
    (TooLarge(), 413, "PayloadTooLargeException"),
    (LimitExceeded(), 429, "LimitExceededException"),
    (BufferFull(), 429, "LimitExceededException"),
    (UnknownOutcome(), 504, "ServiceUnavailableException"),
    (Unavailable(), 503, "ServiceUnavailableException"),
    (OutOfMemory(), 503, "ServiceUnavailableException"),
    (HeadraceError(), 503, "ServiceUnavailableException"),
]


@pytest.mark.parametrize(("refusal", "status", "name"), TABLE, ids=lambda value: type(value).__name__)
def test_each_refusal_has_its_status_and_its_type(refusal: HeadraceError, status: int, name: str) -> None:
    error = error_of(refusal)
    assert (error.status, error.type) == (status, name)
    assert error.message == refusal.reason


def test_an_answer_names_its_type_and_its_request_and_says_why() -> None:
    error = error_of(Gone("It has left."))
    assert dict(headers_of_error(error, "abc")) == {
        b"content-type": b"application/json",
        b"x-amzn-ErrorType": b"GoneException",
        b"x-amzn-RequestId": b"abc",
    }
    assert json.loads(body_of_error(error)) == {"message": "It has left."}


def test_a_time_to_come_back_is_told_in_whole_seconds() -> None:
    headers = dict(headers_of_error(error_of(LimitExceeded()), "abc", retry_ms=1001))
    assert headers[b"retry-after"] == b"2"


def test_a_success_names_its_request() -> None:
    assert dict(errors.headers_of_success("abc"))[b"x-amzn-RequestId"] == b"abc"
