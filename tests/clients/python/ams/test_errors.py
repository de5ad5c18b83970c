"""The exceptions: what they hold, and that none of them trips over an answer."""

import pytest

from headrace.ams import errors
from headrace.ams.errors import AmsConnectionException, AmsMessageException, AmsServiceException, refusal


def test_an_envelope_becomes_code_status_and_a_sentence() -> None:
    error = AmsServiceException({"error": {"code": 404, "message": "Topic doesn't exist", "status": "NOT_FOUND"}}, "r")
    assert (error.code, error.status, error.msg) == (404, "NOT_FOUND", "While trying the [r]: Topic doesn't exist")
    assert error.args == ({"error": error.msg, "status_code": 404, "status": "NOT_FOUND"},)
    assert "Topic doesn't exist" in str(error)


@pytest.mark.parametrize("json", [{}, {"error": "text"}, {"error": {}}, {"error": None}, {"message": "gone"}])
def test_an_answer_without_an_envelope_is_quoted(json: dict[str, object]) -> None:
    error = AmsServiceException(json, "r")
    assert (error.code, error.status) == (None, None)
    assert str(json) in error.msg
    assert error.args == ({"error": error.msg},)


def test_what_is_quoted_is_bounded() -> None:
    assert len(AmsServiceException({"x": "y" * 10_000}, "r").msg) < errors.MAX_QUOTED + 100


def test_a_code_or_status_of_another_type_counts_as_none() -> None:
    error = AmsServiceException({"error": {"code": "404", "message": "m", "status": 1}}, "r")
    assert (error.code, error.status) == (None, None)


def test_a_connection_exception_names_its_cause() -> None:
    error = AmsConnectionException(OSError("broken"), "sub_pull")
    assert error.msg == str(error) == "While trying the [sub_pull]: OSError('broken')"
    assert error.args == (error.msg,)


def test_a_message_exception_says_what_it_was_given() -> None:
    assert (AmsMessageException("why").msg, str(AmsMessageException("why"))) == ("why", "why")


def test_what_is_worth_a_retry_is_an_answer_of_the_service_too() -> None:
    assert issubclass(errors.AmsBalancerException, AmsServiceException)
    assert issubclass(errors.AmsTimeoutException, AmsServiceException)
    assert not issubclass(AmsConnectionException, AmsServiceException)
    assert all(issubclass(kind, errors.AmsException) for kind in (AmsServiceException, AmsConnectionException))


def test_our_own_refusals_look_like_the_services() -> None:
    error = refusal(400, "INVALID_ARGUMENT", "no", "r")
    assert (error.code, error.status, error.msg) == (400, "INVALID_ARGUMENT", "While trying the [r]: no")


@pytest.mark.parametrize(
    ("listed", "refused"),
    [
        ([{"domain": "P/s:1.x", "reason": "stale", "message": "m"}], {"P/s:1.x": "stale"}),
        ([{"reason": "stale"}, "text", {"domain": 5}], {"5": ""}),
        ("text", {}),
        (None, {}),
    ],
)
def test_ack_ids_that_were_refused_are_named(listed: object, refused: dict[str, str]) -> None:
    error = AmsServiceException({"error": {"code": 408, "message": "ack timeout", "errors": listed}}, "sub_ack")
    assert error.refused == refused
