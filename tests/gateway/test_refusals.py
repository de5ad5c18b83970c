"""Answers that no room has made: in whose words, and when to come back."""

import orjson
import pytest

from gateway.refusals import (
    BODY_TOO_LARGE,
    CROWDED,
    HEADERS_TOO_LARGE,
    TOO_SLOW,
    declared_length,
    head,
    hurried,
    is_event_stream,
)

ACCEPTS = (b"accept", b"text/html, text/event-stream;q=0.9")


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (b"/v1/projects/p/topics/t:publish", {"code": 431, "status": "INVALID_ARGUMENT"}),
        (b"/v1/projects/p/topics/t:stream?since=now", {"code": "too_large"}),
        (b"/v1/realtime", {"code": "too_large"}),
        (b"/prod/connections/x", {"code": "too_large"}),
        (b"", {"code": "too_large"}),
    ],
)
def test_a_refusal_speaks_the_dialect_of_the_path(url: bytes, error: dict[str, object]) -> None:
    head, _, body = HEADERS_TOO_LARGE.response(url).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"
    assert orjson.loads(body) == {"error": error | {"message": HEADERS_TOO_LARGE.message}}


@pytest.mark.parametrize("url", [b"/prod/@connections/L0SM9cOFvHcCIhw=", b"/%40connections/x?a=b", b"/@connections"])
def test_the_management_api_of_api_gateway_hears_the_class_of_a_refusal(url: bytes) -> None:
    for refusal, name in (
        (BODY_TOO_LARGE, b"PayloadTooLargeException"),
        (HEADERS_TOO_LARGE, b"BadRequestException"),
        (TOO_SLOW, b"RequestTimeoutException"),
        (CROWDED, b"ServiceUnavailableException"),
    ):
        head, _, body = refusal.response(url).partition(b"\r\n\r\n")
        assert b"\r\nx-amzn-ErrorType: " + name in head and b"\r\nx-amzn-RequestId: " in head
        assert orjson.loads(body) == {"message": refusal.message}


def test_a_refusal_may_say_when_to_come_back() -> None:
    assert b"\r\nretry-after: 5\r\n" in CROWDED.response(b"")
    assert b"retry-after" not in HEADERS_TOO_LARGE.response(b"")
    answer = hurried([(b"upgrade", b"websocket")], 1234).response(b"/v1/realtime")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 2" in head, "never sooner than the exact time"
    error = orjson.loads(body)["error"]
    assert (error["code"], error["retry_ms"]) == ("limit_exceeded", 1234)


def test_argo_hears_nothing_of_milliseconds() -> None:
    body = orjson.loads(CROWDED.response(b"/v1/projects").partition(b"\r\n\r\n")[2])
    assert "retry_ms" not in body["error"]


def test_an_event_source_is_told_in_its_own_way() -> None:
    head, _, body = hurried([ACCEPTS], 1234).response(b"/v1/projects/p/topics/t:stream").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in head
    assert body == b"retry: 1234\n\n"


def test_an_event_source_of_another_origin_is_hung_up_on() -> None:
    assert hurried([ACCEPTS, (b"origin", b"http://a.example")], 1234).response(b"/") == b""


def test_who_wants_an_event_stream() -> None:
    assert is_event_stream([(b"host", b"a"), ACCEPTS])
    assert not is_event_stream([(b"accept", b"*/*"), (b"x", b"text/event-stream")])


def test_the_length_of_a_body_is_declared_or_nothing() -> None:
    assert declared_length([(b"host", b"a"), (b"content-length", b"17")]) == 17
    assert declared_length([(b"host", b"a")]) == 0


def test_a_head_has_the_standards_phrase_or_one_of_its_own() -> None:
    assert head(401, []) == b"HTTP/1.1 401 Unauthorized\r\n\r\n"
    assert head(401, [(b"a", b"b")], reason=b"Invalid+token.") == b"HTTP/1.1 401 Invalid+token.\r\na: b\r\n\r\n"
