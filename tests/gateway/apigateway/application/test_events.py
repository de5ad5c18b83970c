"""The events, member by member, against what AWS sends.

`MESSAGE` and `DISCONNECT` are held against names and types of the recordings in aws/aws-lambda-go,
`events/testdata/apigw-websocket-request-send-message.json` and `...-request-disconnect.json` (commit cf69909);
`CONNECT` and the authorizer's input against AWS's developer guide and recorded events (contracts/apigateway 10).
"""

import base64
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.apigateway.application import events
from gateway.apigateway.application.mapping import CONTEXT
from gateway.apigateway.ports import ConnectRequest, Facts

ID = re.compile(r"[A-Za-z0-9_-]{15}=")

FACTS = Facts(
    id="L0SM9cOFvHcCIhw=",
    api="abcdef1234",
    stage="prod",
    connected_at_ms=1_705_751_697_419,
    source_ip="203.0.113.7",
    user_agent="Mozilla/5.0",
    domain_name="chat.example.com:8443",
)

REQUEST = ConnectRequest(
    facts=FACTS,
    request_id="R1koeHsUtjMFbRw=",
    requested_at_ms=1_705_751_697_420,
    path="/prod",
    query="",
    headers=(
        ("Host", "chat.example.com:8443"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        ("User-Agent", "Mozilla/5.0"),
        ("Cookie", "a=1"),
        ("cookie", "b=2"),
    ),
    port=8443,
    secure=True,
)

RECORDED_CONTEXT = {
    "routeKey": str,
    "eventType": str,
    "extendedRequestId": str,
    "requestTime": str,
    "messageDirection": str,
    "stage": str,
    "connectedAt": int,
    "requestTimeEpoch": int,
    "identity": {"userAgent": str, "sourceIp": str},
    "requestId": str,
    "domainName": str,
    "connectionId": str,
    "apiId": str,
}

RECORDED_MESSAGE = {
    "requestContext": {**RECORDED_CONTEXT, "messageId": str},
    "body": str,
    "isBase64Encoded": bool,
}

RECORDED_DISCONNECT = {
    "headers": {"Host": str, "x-api-key": str, "X-Forwarded-For": str, "x-restapi": str},
    "multiValueHeaders": {"Host": [str], "x-api-key": [str], "X-Forwarded-For": [str], "x-restapi": [str]},
    "requestContext": {**RECORDED_CONTEXT, "disconnectStatusCode": int, "disconnectReason": str},
    "isBase64Encoded": bool,
}


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(member) for member in value] if isinstance(value, list) else type(value)


def a_message(**changes: Any) -> Any:
    given_ = {"route_key": "$default", "request_id": "R1", "message_id": "M1", "now_ms": 1_705_751_700_453, **changes}
    return events.message(given_.pop("facts", FACTS), given_.pop("body", '{\r\n\t"a": 1\r\n}'), **given_)


def an_end(**changes: Any) -> Any:
    given_ = {"code": 1001, "reason": "", "event_id": "n1/c1", "now_ms": 1_705_751_708_326, **changes}
    return events.disconnect(given_.pop("facts", FACTS), **given_)


def test_a_message_has_the_members_that_aws_sends() -> None:
    event = a_message()
    assert shape(event) == RECORDED_MESSAGE
    assert event["body"] == '{\r\n\t"a": 1\r\n}'
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert context["routeKey"] == "$default"
    assert context["eventType"] == "MESSAGE"
    assert context["requestTime"] == "20/Jan/2024:11:55:00 +0000"
    assert context["requestTimeEpoch"] == 1_705_751_700_453
    assert context["connectedAt"] == 1_705_751_697_419
    assert context["messageDirection"] == "IN"
    assert (context["stage"], context["apiId"]) == ("prod", "abcdef1234")
    assert (context["connectionId"], context["messageId"]) == ("L0SM9cOFvHcCIhw=", "M1")
    assert context["requestId"] == context["extendedRequestId"] == "R1"
    assert context["domainName"] == "chat.example.com:8443"
    assert context["identity"] == {"sourceIp": "203.0.113.7", "userAgent": "Mozilla/5.0"}


def test_an_end_has_the_members_that_aws_sends() -> None:
    event = an_end(code=1005, reason="Client-side close frame status not set")
    assert shape(event) == RECORDED_DISCONNECT
    assert event["headers"] == {
        "Host": "chat.example.com:8443",
        "x-api-key": "",
        "X-Forwarded-For": "",
        "x-restapi": "",
    }
    assert event["multiValueHeaders"]["Host"] == ["chat.example.com:8443"]
    context = event["requestContext"]
    assert (context["routeKey"], context["eventType"]) == ("$disconnect", "DISCONNECT")
    assert context["disconnectStatusCode"] == 1005
    assert context["disconnectReason"] == "Client-side close frame status not set"
    assert context["requestTime"] == "20/Jan/2024:11:55:08 +0000"


def test_an_end_that_is_told_again_has_the_same_request_id() -> None:
    first, again, other = (an_end(event_id=known)["requestContext"]["requestId"] for known in ("a/b", "a/b", "a/c"))
    assert first == again != other
    assert ID.fullmatch(first)


def test_a_connect_has_the_members_that_aws_sends() -> None:
    event: Any = events.connect(REQUEST)
    assert shape(event["requestContext"]) == RECORDED_CONTEXT
    assert set(event) == {"headers", "multiValueHeaders", "requestContext", "isBase64Encoded"}
    assert event["headers"] == {
        "Host": "chat.example.com:8443",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "User-Agent": "Mozilla/5.0",
        "Cookie": "b=2",
        "X-Amzn-Trace-Id": event["headers"]["X-Amzn-Trace-Id"],
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Port": "8443",
        "X-Forwarded-Proto": "https",
    }
    assert re.fullmatch(r"Root=1-65abb491-[0-9a-f]{24}", event["headers"]["X-Amzn-Trace-Id"])
    assert event["multiValueHeaders"]["Cookie"] == ["a=1", "b=2"]
    assert list(event["multiValueHeaders"]) == list(event["headers"])
    context = event["requestContext"]
    assert (context["routeKey"], context["eventType"]) == ("$connect", "CONNECT")
    assert context["requestId"] == context["extendedRequestId"] == "R1koeHsUtjMFbRw="
    assert context["requestTimeEpoch"] == 1_705_751_697_420
    assert "authorizer" not in context


def test_what_proxies_before_have_told_is_kept() -> None:
    told = (("x-forwarded-for", "198.51.100.1"), ("X-AMZN-TRACE-ID", "Root=1-a-b"), ("X-Forwarded-Proto", "gopher"))
    event: Any = events.connect(replace(REQUEST, headers=told, secure=False))
    assert event["headers"] == {
        "X-Amzn-Trace-Id": "Root=1-a-b",
        "X-Forwarded-For": "198.51.100.1, 203.0.113.7",
        "X-Forwarded-Port": "8443",
        "X-Forwarded-Proto": "http",
    }


def test_a_query_shows_in_both_forms_and_only_where_there_is_one() -> None:
    event: Any = events.connect(replace(REQUEST, query="token=a%20b&n=1&n=2&empty=&%C3%A4=%2B"))
    assert event["queryStringParameters"] == {"token": "a b", "n": "2", "empty": "", "ä": "+"}
    assert event["multiValueQueryStringParameters"] == {"token": ["a b"], "n": ["1", "2"], "empty": [""], "ä": ["+"]}
    assert "queryStringParameters" not in events.connect(REQUEST)


def test_what_the_authorizer_found_shows_on_every_later_event() -> None:
    known = replace(FACTS, principal_id="ann", authorizer={"tier": "gold", "level": 3, "beta": True})
    opened: Any = events.connect(replace(REQUEST, facts=known))
    for event in (opened, a_message(facts=known), an_end(facts=known)):
        authorizer = event["requestContext"]["authorizer"]
        assert authorizer == {"principalId": "ann", "tier": "gold", "level": 3, "beta": True}


def test_a_client_without_a_name_has_none_in_the_event() -> None:
    assert a_message(facts=replace(FACTS, user_agent=None))["requestContext"]["identity"] == {"sourceIp": "203.0.113.7"}


def test_stage_variables_show_only_where_there_are_some() -> None:
    variables = {"region": "eu"}
    for event in (
        events.connect(REQUEST, stage_variables=variables),
        a_message(stage_variables=variables),
        an_end(stage_variables=variables),
    ):
        assert event["stageVariables"] == variables
    for event in (events.connect(REQUEST, stage_variables={}), a_message(), an_end(stage_variables={})):
        assert "stageVariables" not in event


def test_a_binary_message_becomes_base64() -> None:
    event = a_message(body=b"\x00\xff")
    assert (event["body"], event["isBase64Encoded"]) == (base64.b64encode(b"\x00\xff").decode(), True)


ARN = "arn:aws:execute-api:us-east-1:000000000000:abcdef1234/prod/$connect"


def test_an_authorizer_sees_the_whole_request() -> None:
    event: Any = events.authorize(replace(REQUEST, query="a=1"), method_arn=ARN)
    assert set(event) == {
        "type",
        "methodArn",
        "headers",
        "multiValueHeaders",
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "stageVariables",
        "requestContext",
    }
    assert (event["type"], event["methodArn"]) == ("REQUEST", ARN)
    assert event["headers"]["Connection"] == "Upgrade"
    assert event["headers"]["Upgrade"] == "websocket"
    assert event["headers"]["content-length"] == "0"
    assert event["multiValueHeaders"]["content-length"] == ["0"]
    assert event["queryStringParameters"] == {"a": "1"}
    assert event["stageVariables"] == {}
    assert shape(event["requestContext"]) == RECORDED_CONTEXT
    assert event["requestContext"]["routeKey"] == "$connect"


def test_an_authorizer_may_look_into_a_query_that_is_not_there() -> None:
    event: Any = events.authorize(REQUEST, method_arn=ARN, stage_variables={"a": "b"})
    assert event["queryStringParameters"] == event["multiValueQueryStringParameters"] == {}
    assert event["stageVariables"] == {"a": "b"}


def test_a_length_that_was_sent_is_not_added_again() -> None:
    event: Any = events.authorize(replace(REQUEST, headers=(("Content-Length", "0"),)), method_arn=ARN)
    assert event["multiValueHeaders"]["Content-Length"] == ["0"]
    assert "content-length" not in event["multiValueHeaders"]
    assert "Content-Length" not in events.connect(replace(REQUEST, headers=(("Content-Length", "0"),)))["headers"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (0, "01/Jan/1970:00:00:00 +0000"),
        (1_708_326_702_999, "19/Feb/2024:07:11:42 +0000"),
        (1_798_761_599_000, "31/Dec/2026:23:59:59 +0000"),
    ],
)
def test_times_are_in_the_common_log_format(at_ms: int, text: str) -> None:
    assert events.request_time(at_ms) == text


@given(st.text(alphabet="abc%20+&=;?é", max_size=60), st.lists(st.tuples(st.sampled_from(["A", "a", "B"]), st.text())))
def test_every_event_is_json(query: str, headers: list[tuple[str, str]]) -> None:
    request = replace(REQUEST, query=query, headers=tuple(headers))
    for event in (events.connect(request), events.authorize(request, method_arn=ARN)):
        again: Any = json.loads(json.dumps(event))
        assert again == event
        for name, values in again["multiValueHeaders"].items():
            assert again["headers"][name] == values[-1]


def test_what_mapped_parameters_may_name_is_what_events_have() -> None:
    ended = events.disconnect(replace(FACTS, authorizer={}), code=1000, reason="", event_id="e", now_ms=0)
    message = events.message(FACTS, "", route_key="$default", request_id="r", message_id="m", now_ms=0)
    members: set[str] = set()
    for event in (ended, message):
        context = event["requestContext"]
        assert isinstance(context, dict)
        members |= set(context)
    assert members == set(CONTEXT)
