"""Answers of integrations: what is understood, and what is the integration's failure."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.application.outcomes import (
    Broken,
    IntegrationError,
    Outcome,
    Slots,
    Throttled,
    TimedOut,
    Unreached,
    denied,
    read_answer,
    read_output,
)
from gateway.apigateway.ports import Denied


@pytest.mark.parametrize(
    ("output", "outcome"),
    [
        ({"statusCode": 200}, Outcome()),
        ({"statusCode": "201"}, Outcome(status=201)),
        ({"statusCode": 401, "body": "no"}, Outcome(status=401, body=b"no")),
        ({"statusCode": 200, "body": ""}, Outcome(body=b"")),
        ({"statusCode": 200, "body": None, "headers": None}, Outcome()),
        ({"statusCode": 200, "body": "aMO2", "isBase64Encoded": True}, Outcome(body="hö".encode())),
        ({"statusCode": 200, "body": "aMO2", "isBase64Encoded": None}, Outcome(body=b"aMO2")),
        (
            {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "chat", "X": 1, "Y": True}},
            Outcome(headers={"sec-websocket-protocol": "chat", "x": "1", "y": "true"}),
        ),
        (
            {"statusCode": 200, "headers": {"X": "1"}, "multiValueHeaders": {"x": ["2", "3"], "z": []}},
            Outcome(headers={"x": "3"}),
        ),
        ({"statusCode": 200, "user": "ada", "tags": {"room": "blue"}}, Outcome(user="ada", tags={"room": "blue"})),
        ({"statusCode": 200, "unknown": 1}, Outcome()),
        ({"statusCode": 200, "body": "\ud800"}, Outcome(body=b"?")),
    ],
)
def test_answers(output: object, outcome: Outcome) -> None:
    assert read_output(output) == outcome


@pytest.mark.parametrize(
    "output",
    [
        None,
        "ok",
        [],
        {},
        {"statusCode": None},
        {"statusCode": True},
        {"statusCode": "abc"},
        {"statusCode": "²00"},
        {"statusCode": "٢٠٠"},
        {"statusCode": "0200"},
        {"statusCode": 200.5},
        {"statusCode": 101},
        {"statusCode": 199},
        {"statusCode": 600},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": b"bytes"},
        {"statusCode": 200, "isBase64Encoded": "yes", "body": ""},
        {"statusCode": 200, "isBase64Encoded": True, "body": "no base64"},
        {"statusCode": 200, "headers": []},
        {"statusCode": 200, "headers": {1: "a"}},
        {"statusCode": 200, "headers": {"a": None}},
        {"statusCode": 200, "headers": {"a": ["b"]}},
        {"statusCode": 200, "multiValueHeaders": {"a": "b"}},
        {"statusCode": 200, "multiValueHeaders": {"a": [{}]}},
        {"statusCode": 200, "user": 7},
        {"statusCode": 200, "user": ""},
        {"statusCode": 200, "user": "x" * 1025},
        {"statusCode": 200, "tags": ["a"]},
        {"statusCode": 200, "tags": {"a": 1}},
        {"statusCode": 200, "tags": {"": "a"}},
        {"statusCode": 200, "tags": {"a" * 129: "a"}},
        {"statusCode": 200, "tags": {"a": "b" * 1025}},
        {"statusCode": 200, "tags": {str(number): "" for number in range(51)}},
    ],
)
def test_answers_that_are_malformed(output: object) -> None:
    with pytest.raises(Broken):
        read_output(output)


@given(st.binary())
def test_any_bytes_come_back_as_base64(data: bytes) -> None:
    output = {"statusCode": 200, "body": base64.b64encode(data).decode(), "isBase64Encoded": True}
    assert read_output(output).body == data


def test_a_back_end_that_is_no_function_speaks_in_headers() -> None:
    headers = {"headrace-user": "ada", "headrace-tags": '{"room": "blue"}', "sec-websocket-protocol": "chat"}
    outcome = read_answer(204, headers, b"")
    assert (outcome.status, outcome.user, outcome.tags, outcome.body) == (204, "ada", {"room": "blue"}, b"")
    assert outcome.headers["sec-websocket-protocol"] == "chat"
    assert read_answer(400, {}, b"no") == Outcome(status=400, body=b"no")


@pytest.mark.parametrize("tags", ["{", "[]", '{"a": 1}', "7"])
def test_tags_in_a_header_are_a_json_object(tags: str) -> None:
    with pytest.raises(Broken):
        read_answer(200, {"headrace-tags": tags}, b"")


@pytest.mark.parametrize(("status", "good"), [(200, True), (204, True), (299, True), (300, False), (400, False)])
def test_what_is_good(status: int, good: bool) -> None:
    assert Outcome(status=status).is_good is good


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (Broken(), 502, "Internal server error"),
        (Unreached(), 502, "Internal server error"),
        (TimedOut(), 504, "Endpoint request timed out"),
        (Throttled(), 429, "Too Many Requests"),
    ],
)
def test_failures_have_awss_status_and_words(error: IntegrationError, status: int, told: str) -> None:
    assert (error.status, error.told) == (status, told)
    assert denied(error.status) == Denied(status=status, message=told)


def test_slots_are_given_back() -> None:
    slots = Slots(2)
    for _ in range(3):
        with slots, slots, pytest.raises(Throttled), slots:
            pass
        with pytest.raises(ValueError, match="inside"), slots:
            raise ValueError("inside")


@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "Bad Request"), (401, "Unauthorized"), (403, "Forbidden"), (418, "I'm a Teapot"), (599, "Refused")],
)
def test_refusals(status: int, message: str) -> None:
    assert denied(status) == Denied(status=status, message=message)
