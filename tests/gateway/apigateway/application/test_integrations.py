"""Integrations by their type: what a back end is sent, and what its answer becomes."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from application import FACTS, MESSAGE, NOW_MS, REQUEST, Functions
from receiver import Receiver, answering, hanging, hanging_up

from gateway.apigateway.application import events
from gateway.apigateway.application.callables import Callables
from gateway.apigateway.application.callbacks import callbacks
from gateway.apigateway.application.integrations import Call, Invoker, Services
from gateway.apigateway.application.mapping import read_parameters, read_template
from gateway.apigateway.application.outcomes import Broken, Outcome, Throttled, TimedOut, Unreached
from gateway.apigateway.configuration.definitions import ApiLimits, Integration, IntegrationType, Stage
from gateway.options import Secret


def invoker(services: Services, *, variables: Mapping[str, str] | None = None, **members: Any) -> Invoker:
    stage = Stage(name="prod", path="/prod", variables=variables or {})
    return Invoker(Integration(**members), stage, ApiLimits(), services)


def message(body: str | bytes = '{"action": "send", "room": "blue"}') -> Call:
    event = events.message(FACTS, body, route_key="send", request_id=REQUEST, message_id=MESSAGE, now_ms=NOW_MS)
    return Call(event=event, event_id=REQUEST, body=body)


def opening(**members: Any) -> Call:
    return Call(event=message("").event, event_id=REQUEST, opens=True, **members)


def proxy(services: Services, receiver: Receiver, **members: Any) -> Invoker:
    uri = f"http://127.0.0.1:{receiver.port}/in"
    return invoker(services, **{"type": IntegrationType.AWS_PROXY, "uri": uri, **members})


# aws_proxy


async def test_an_event_is_posted_as_json(services: Services, receiver: Receiver) -> None:
    receiver.answer = answering(200, b'{"statusCode": 200, "body": "hi"}')
    call = message()
    assert await proxy(services, receiver).invoke(call, reads=True) == Outcome(body=b"hi")
    (request,) = receiver.received
    assert (request.method, request.target, request.json) == ("POST", "/in", call.event)
    assert (request.headers["content-type"], request.headers["webhook-id"]) == ("application/json", REQUEST)


async def test_a_secret_signs_it(services: Services, receiver: Receiver) -> None:
    receiver.answer = answering(200, b'{"statusCode": 200}')
    await proxy(services, receiver, secret=Secret("hush")).invoke(message(), reads=True)
    assert receiver.received[0].headers["webhook-signature"].startswith("v1,")


async def test_stage_variables_stand_in_the_uri(services: Services, receiver: Receiver) -> None:
    uri = "http://${stageVariables.host}/${stageVariables.version}"
    variables = {"host": f"127.0.0.1:{receiver.port}", "version": "v2"}
    one = invoker(services, type=IntegrationType.AWS_PROXY, uri=uri, variables=variables)
    await one.invoke(message(), reads=False)
    assert receiver.received[0].target == "/v2"


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (200, b"", Broken),
        (200, b"null", Broken),
        (200, b"hello", Broken),
        (200, b'{"body": "no status"}', Broken),
        (301, b'{"statusCode": 200}', Broken),
        (400, b'{"statusCode": 200}', Broken),
        (500, b'{"statusCode": 200}', Broken),
        (429, b"", Throttled),
        (502, b"", Unreached),
        (503, b"", Unreached),
        (504, b"", Unreached),
    ],
)
async def test_answers_that_fail(
    services: Services, receiver: Receiver, status: int, body: bytes, failure: type[Exception]
) -> None:
    receiver.answer = answering(status, body)
    with pytest.raises(failure):
        await proxy(services, receiver).invoke(message(), reads=True)


async def test_what_nobody_reads_may_be_anything(services: Services, receiver: Receiver) -> None:
    one = proxy(services, receiver)
    for body in (b"", b"null", b'{"body": 7}'):
        receiver.answer = answering(204 if not body else 200, body)
        assert await one.invoke(message(), reads=False) == Outcome()
    receiver.answer = answering(500)
    with pytest.raises(Broken):
        await one.invoke(message(), reads=False)


async def test_nobody_there_and_nobody_in_time(services: Services, receiver: Receiver) -> None:
    receiver.answer = hanging
    with pytest.raises(TimedOut):
        await proxy(services, receiver, timeout_ms=50).invoke(message(), reads=True)
    receiver.answer = hanging_up
    with pytest.raises(Unreached):
        await proxy(services, receiver).invoke(message(), reads=True)
    assert len(receiver.received) == 2


async def test_a_binary_message_is_base64_in_its_event(services: Services, receiver: Receiver) -> None:
    await proxy(services, receiver).invoke(message(b"\xff"), reads=False)
    assert (receiver.received[0].json["body"], receiver.received[0].json["isBase64Encoded"]) == ("/w==", True)


# http_proxy


async def test_a_message_is_passed_on_as_it_is(services: Services, receiver: Receiver) -> None:
    receiver.answer = answering(200, b"hello", "Sec-WebSocket-Protocol: chat")
    parameters = {
        "integration.request.header.connectionId": "context.connectionId",
        "integration.request.querystring.room": "route.request.body.room",
        "integration.request.header.token": "route.request.querystring.token",
    }
    one = proxy(
        services,
        receiver,
        type=IntegrationType.HTTP_PROXY,
        method="PUT",
        request_parameters=read_parameters(parameters),
    )
    outcome = await one.invoke(message(), reads=True)
    assert (outcome.status, outcome.body, outcome.headers["sec-websocket-protocol"]) == (200, b"hello", "chat")
    (request,) = receiver.received
    assert (request.method, request.target) == ("PUT", "/in?room=blue")
    assert request.body == b'{"action": "send", "room": "blue"}'
    assert request.headers["connectionid"] == FACTS.id
    assert "token" not in request.headers


async def test_a_handshakes_own_headers_and_query_can_be_mapped(services: Services, receiver: Receiver) -> None:
    parameters = {
        "integration.request.header.token": "route.request.querystring.token",
        "integration.request.header.cookie": "route.request.header.Cookie",
    }
    one = proxy(services, receiver, type=IntegrationType.HTTP_PROXY, request_parameters=read_parameters(parameters))
    await one.invoke(opening(query="token=a%20b", headers=[("Cookie", "c=d")]), reads=True)
    headers = receiver.received[0].headers
    assert (headers["token"], headers["cookie"], headers["content-length"]) == ("a b", "c=d", "0")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"a": 1}', "application/json"),
        ("hello", "text/plain; charset=utf-8"),
        (b"\xff", "application/octet-stream"),
    ],
)
async def test_a_message_has_its_type(services: Services, receiver: Receiver, body: str | bytes, kind: str) -> None:
    await proxy(services, receiver, type=IntegrationType.HTTP_PROXY).invoke(message(body), reads=False)
    assert receiver.received[0].headers["content-type"] == kind
    assert receiver.received[0].body == (body if isinstance(body, bytes) else body.encode())


async def test_a_mapped_type_is_the_type(services: Services, receiver: Receiver) -> None:
    parameters = read_parameters({"integration.request.header.Content-Type": "'text/csv'"})
    one = proxy(services, receiver, type=IntegrationType.HTTP_PROXY, request_parameters=parameters)
    await one.invoke(message(), reads=False)
    assert receiver.received[0].headers["content-type"] == "text/csv"


@pytest.mark.parametrize(
    ("status", "failure"),
    [(429, Throttled), (500, Broken), (502, Unreached), (503, Unreached), (400, None), (302, None)],
)
async def test_a_status_is_a_handshakes_answer_and_a_messages_failure(
    services: Services, receiver: Receiver, status: int, failure: type[Exception] | None
) -> None:
    receiver.answer = answering(status, b"why")
    one = proxy(services, receiver, type=IntegrationType.HTTP_PROXY)
    assert (await one.invoke(opening(), reads=True)).status == status
    if failure is None:
        assert (await one.invoke(message(), reads=True)).body == b"why"
        return
    with pytest.raises(failure):
        await one.invoke(message(), reads=True)


async def test_a_path_that_a_message_would_change_is_not_called(services: Services, receiver: Receiver) -> None:
    one = invoker(
        services,
        type=IntegrationType.HTTP_PROXY,
        uri=f"http://127.0.0.1:{receiver.port}/rooms/{{room}}/in",
        request_parameters=read_parameters({"integration.request.path.room": "route.request.body.room"}),
    )
    await one.invoke(message('{"room": "a/../b"}'), reads=False)
    assert receiver.received[0].target == "/rooms/a%2F..%2Fb/in"
    for body in ('{"room": ".."}', "{}"):
        with pytest.raises(Broken):
            await one.invoke(message(body), reads=False)
    assert len(receiver.received) == 1


# mock and callables


async def test_a_mock_answers_alone(services: Services) -> None:
    one = invoker(
        services, type=IntegrationType.MOCK, status=201, response=read_template('{"to": "${context.connectionId}"}')
    )
    outcome = await one.invoke(message(), reads=True)
    assert (outcome.status, json.loads(outcome.body or b"")) == (201, {"to": FACTS.id})
    assert (await invoker(services, type=IntegrationType.MOCK).invoke(message(), reads=True)).body is None


async def test_a_function_is_called_with_the_event(services: Services, application: Functions) -> None:
    handler = application.answer("handler", {"statusCode": 200, "body": "hi"})
    one = invoker(services, type=IntegrationType.CALLABLE, handler=handler, timeout_ms=5000)
    call = message()
    assert await one.invoke(call, reads=True) == Outcome(body=b"hi")
    assert application.events == [call.event]
    (context,) = application.contexts
    assert (context.aws_request_id, context.function_name) == (REQUEST, handler)
    assert 0 < context.get_remaining_time_in_millis() <= 5000


@pytest.mark.parametrize("answer", [None, "hi", {}, ValueError("no")])
async def test_a_function_that_fails(services: Services, application: Functions, answer: object) -> None:
    one = invoker(services, type=IntegrationType.CALLABLE, handler=application.answer("handler", answer))
    with pytest.raises(Broken):
        await one.invoke(message(), reads=True)
    if not isinstance(answer, Exception):
        assert await one.invoke(message(), reads=False) == Outcome()


def test_a_function_must_be_there() -> None:
    services = Services(Callables(), callbacks(now_ms=lambda: NOW_MS))
    with pytest.raises(ValueError, match="no_such_module"):
        invoker(services, type=IntegrationType.CALLABLE, handler="no_such_module:f")
