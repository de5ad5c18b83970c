"""What each HTTP answer means."""

import pytest

from headrace.ams.answers import field, read_answer
from headrace.ams.errors import MAX_QUOTED, AmsBalancerException, AmsServiceException, AmsTimeoutException

ENVELOPE = b'{"error": {"code": %d, "message": "m", "status": "S"}}'


@pytest.mark.parametrize(("body", "document"), [(b"", {}), (b" \n", {}), (b"{}", {}), (b'{"a": [1]}', {"a": [1]})])
def test_a_success_is_an_object_or_nothing(body: bytes, document: object) -> None:
    assert read_answer(200, body, "topic_get") == document


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'"text"', b"\xff", b"null"])
def test_a_success_that_is_no_object_is_an_exception(body: bytes) -> None:
    with pytest.raises(AmsServiceException, match="no JSON object") as caught:
        read_answer(200, body, "topic_list")
    assert (caught.value.code, caught.value.status) == (200, "INVALID_ANSWER")


@pytest.mark.parametrize("route", ["topic_publish", "sub_pull", "sub_ack"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, AmsBalancerException),
        (502, AmsBalancerException),
        (503, AmsBalancerException),
        (504, AmsTimeoutException),
        (408, AmsTimeoutException),
        (404, AmsServiceException),
        (302, AmsServiceException),
        (201, AmsServiceException),
        (204, AmsServiceException),
    ],
)
def test_a_status_of_a_balanced_call(route: str, status: int, kind: type[Exception]) -> None:
    with pytest.raises(AmsServiceException) as caught:
        read_answer(status, ENVELOPE % status, route)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.status) == (status, "S")
    assert caught.value.msg == f"While trying the [{route}]: m"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("route", ["topic_get", "sub_offsets", "sub_list", "user_create"])
def test_other_calls_have_one_exception(route: str, status: int) -> None:
    with pytest.raises(AmsServiceException) as caught:
        read_answer(status, ENVELOPE % status, route)
    assert type(caught.value) is AmsServiceException


def test_a_late_answer_is_a_timeout_on_every_call() -> None:
    with pytest.raises(AmsTimeoutException):
        read_answer(408, ENVELOPE % 408, "topic_get")


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b"", "HTTP status 502 without a word"),
        (b"<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
        (b'{"error": "no object"}', "no object"),
        (b"[]", "[]"),
        (b"x" * 10_000, "x" * MAX_QUOTED),
    ],
)
def test_a_proxy_without_the_envelope_is_quoted_under_its_status(body: bytes, quoted: str) -> None:
    with pytest.raises(AmsBalancerException) as caught:
        read_answer(502, body, "sub_pull")
    assert caught.value.code == 502
    assert quoted in caught.value.msg
    assert len(caught.value.msg) < MAX_QUOTED + 100


def test_an_envelope_without_a_code_has_the_status_of_the_answer() -> None:
    with pytest.raises(AmsServiceException) as caught:
        read_answer(404, b'{"error": {"message": "m"}}', "topic_get")
    assert caught.value.code == 404


def test_a_missing_field_is_no_key_error() -> None:
    assert field({"a": 0}, "a", "r") == 0
    with pytest.raises(AmsServiceException, match="has no 'topics'"):
        field({}, "topics", "topic_list")
