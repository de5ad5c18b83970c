"""Refusals before a stream begins."""

import orjson
import pytest

from broker.errors import (
    Forbidden,
    HeadraceError,
    InvalidName,
    InvalidRequest,
    KeyConflict,
    LimitExceeded,
    Unauthorized,
    Unavailable,
    UnknownTopic,
)
from gateway.sse.errors import NotFound, WrongMethod, answer_to, internal_error


@pytest.mark.parametrize(
    ("refusal", "status", "code", "headers"),
    [
        (InvalidName("Bad."), 400, "invalid_name", []),
        (InvalidRequest("Bad."), 400, "invalid_request", []),
        (Unauthorized("Bad."), 401, "unauthorized", []),
        (Forbidden("Bad."), 403, "forbidden", []),
        (UnknownTopic("Bad."), 404, "unknown_topic", []),
        (NotFound("Bad."), 404, "not_found", []),
        (WrongMethod("Bad."), 405, "method_not_allowed", [(b"allow", b"GET")]),
        (LimitExceeded("Bad.", retry_ms=3000), 429, "limit_exceeded", [(b"retry-after", b"3")]),
        (Unavailable("Bad."), 503, "unavailable", [(b"retry-after", b"1")]),
        (Unavailable("Bad.", retry_ms=2500), 503, "unavailable", [(b"retry-after", b"3")]),
        (KeyConflict("Bad."), 400, "key_conflict", []),
    ],
)
def test_a_refusal_keeps_its_word_and_gets_its_status(
    refusal: HeadraceError, status: int, code: str, headers: list[tuple[bytes, bytes]]
) -> None:
    answer = answer_to(refusal)
    assert (answer.status, list(answer.headers)) == (status, headers)
    assert orjson.loads(answer.body) == {"error": {"code": code, "message": "Bad."}}


def test_a_fault_of_ours_says_nothing_of_itself() -> None:
    assert internal_error().status == 500
