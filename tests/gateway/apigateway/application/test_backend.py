"""A stage's application, whole: authorizer, `$connect`, messages, `$disconnect` (contracts/apigateway 17, 9 to 13)."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from application import (
    ARN,
    CONNECTION,
    FACTS,
    MESSAGE,
    NOW_MS,
    REQUEST,
    Functions,
    allowing,
    backend,
    node,
    request,
)
from receiver import Answer, Receiver, answering, hanging, hanging_up

from gateway.apigateway.application import events
from gateway.apigateway.application.backend import Backends, StageBackend
from gateway.apigateway.application.outcomes import Throttled, TimedOut, Unreached
from gateway.apigateway.configuration.settings import ApiGateway, read_apis
from gateway.apigateway.ports import Admitted, Denied, Reply, Stage
from gateway.options import ConfigError

OK = {"statusCode": 200}
MOCK = {"type": "mock"}


def route(handler: str, **members: object) -> dict[str, object]:
    return {"integration": {"handler": handler}, **members}


async def received(app: StageBackend, body: str | bytes, facts: Any = FACTS) -> Reply:
    return await app.receive(facts, body, request_id=REQUEST, message_id=MESSAGE, now_ms=NOW_MS + 5)


# Opening


async def test_without_a_connect_route_everybody_is_let_in() -> None:
    async with backend({"routes": {"$default": {"integration": MOCK}}}) as app:
        assert await app.connect(request()) == Admitted(facts=FACTS)


@pytest.mark.parametrize("output", [OK, {"statusCode": 204}, {"statusCode": "200", "body": "ignored"}])
async def test_connect_lets_in_with_any_2xx(application: Functions, output: object) -> None:
    async with backend({"routes": {"$connect": route(application.answer("f", output))}}) as app:
        assert await app.connect(request()) == Admitted(facts=FACTS)


@pytest.mark.parametrize(
    ("output", "status", "message"),
    [
        ({"statusCode": 400}, 400, "Bad Request"),
        ({"statusCode": 401}, 401, "Unauthorized"),
        ({"statusCode": 403}, 403, "Forbidden"),
        ({"statusCode": 302}, 302, "Found"),
        ({"statusCode": 500}, 500, "Internal server error"),
        ({"statusCode": 503}, 503, "Service Unavailable"),
        (ValueError("no"), 502, "Internal server error"),
        (None, 502, "Internal server error"),
        ({"statusCode": "ok"}, 502, "Internal server error"),
    ],
)
async def test_connect_refuses_with_its_own_status(
    application: Functions, output: object, status: int, message: str
) -> None:
    async with backend({"routes": {"$connect": route(application.answer("f", output))}}) as app:
        assert await app.connect(request()) == Denied(status=status, message=message)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (answering(200, b'{"statusCode": 200}'), None),
        (answering(200, b'{"statusCode": 401}'), 401),
        (answering(200, b"ok"), 502),
        (answering(500), 502),
        (answering(429), 429),
        (hanging_up, 502),
        (hanging, 504),
    ],
)
async def test_connect_over_http(receiver: Receiver, answer: Answer, status: int | None) -> None:
    receiver.answer = answer
    integration = {"uri": f"http://127.0.0.1:{receiver.port}/", "timeout_ms": 200}
    async with backend({"routes": {"$connect": {"integration": integration}}}) as app:
        outcome = await app.connect(request())
    assert (outcome.status if isinstance(outcome, Denied) else None) == status


async def test_connect_sees_the_handshake_and_chooses_the_subprotocol(application: Functions) -> None:
    handler = application.answer("f", {**OK, "headers": {"Sec-WebSocket-Protocol": "chat", "X": "dropped"}})
    async with backend({"routes": {"$connect": route(handler)}, "stage_variables": {"a": "b"}}) as app:
        shown = request(query="a=1&a=2", headers=(("Sec-WebSocket-Protocol", "chat, other"),))
        outcome = await app.connect(shown)
    assert outcome == Admitted(facts=FACTS, subprotocol="chat")
    (event,) = application.events
    assert event == events.connect(shown, stage_variables={"a": "b"})
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"]}


async def test_connect_may_name_a_user_and_tags(application: Functions) -> None:
    handler = application.answer("f", {**OK, "user": "ada", "tags": {"room": "blue"}})
    async with backend({"routes": {"$connect": route(handler)}}) as app:
        outcome = await app.connect(request())
    assert outcome == Admitted(facts=replace(FACTS, user="ada", tags={"room": "blue"}))


async def test_connect_of_an_http_proxy(receiver: Receiver) -> None:
    receiver.answer = answering(200, b"", "Sec-WebSocket-Protocol: chat", 'Headrace-Tags: {"room": "blue"}')
    parameters = {
        "integration.request.header.id": "context.connectionId",
        "integration.request.header.token": "route.request.querystring.token",
    }
    uri = f"http://127.0.0.1:{receiver.port}/"
    integration = {"type": "http_proxy", "uri": uri, "request_parameters": parameters}
    async with backend({"routes": {"$connect": {"integration": integration}}}) as app:
        outcome = await app.connect(request(query="token=t"))
        assert outcome == Admitted(facts=replace(FACTS, tags={"room": "blue"}), subprotocol="chat")
        assert (receiver.received[0].headers["id"], receiver.received[0].headers["token"]) == (CONNECTION, "t")
        receiver.answer = answering(418)
        assert await app.connect(request()) == Denied(status=418, message="I'm a Teapot")
        receiver.answer = answering(503)
        assert await app.connect(request()) == Denied(status=503, message="Service Unavailable")


async def test_a_mock_may_let_in_or_not() -> None:
    for status, kind in ((200, Admitted), (403, Denied)):
        async with backend({"routes": {"$connect": {"integration": {**MOCK, "status": status}}}}) as app:
            assert isinstance(await app.connect(request()), kind)


# Authorizers


def authorized(application: Functions, answer: object, **members: object) -> dict[str, object]:
    return {
        "authorizer": {"handler": application.answer("authorize", answer), **members},
        "routes": {key: route(application.answer("f", OK)) for key in ("$connect", "$disconnect", "$default")},
    }


async def test_what_an_authorizer_says_shows_in_every_event(application: Functions) -> None:
    api = authorized(application, allowing(context={"room": "blue", "level": 7}))
    async with backend(api) as app:
        outcome = await app.connect(request())
        assert isinstance(outcome, Admitted)
        facts = outcome.facts
        await received(app, "hi", facts)
        await app.disconnect(facts, code=1000, reason="", event_id="E", now_ms=NOW_MS + 9)
    asked, *told = application.events
    assert asked["methodArn"] == ARN
    assert "authorizer" not in asked["requestContext"]
    shown = {"principalId": "ada", "room": "blue", "level": 7}
    assert [event["requestContext"]["authorizer"] for event in told] == [shown] * 3
    assert [event["requestContext"]["eventType"] for event in told] == ["CONNECT", "MESSAGE", "DISCONNECT"]
    assert (facts.principal_id, facts.user) == ("ada", "ada")


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (allowing(effect="Deny"), 403, "Forbidden"),
        ({}, 403, "Forbidden"),
        (Exception("Unauthorized"), 401, "Unauthorized"),
        (ValueError("crash"), 500, "Internal server error"),
    ],
)
async def test_whom_an_authorizer_refuses_never_reaches_connect(
    application: Functions, answer: object, status: int, message: str
) -> None:
    async with backend(authorized(application, answer)) as app:
        assert await app.connect(request()) == Denied(status=status, message=message)
    assert len(application.events) == 1


async def test_a_missing_identity_source_is_401(application: Functions) -> None:
    sources = ["route.request.header.Authorization"]
    async with backend(authorized(application, allowing(), identity_sources=sources)) as app:
        assert await app.connect(request()) == Denied(status=401, message="Unauthorized")
        assert application.events == []
        shown = request(headers=(("authorization", "x"),))
        assert isinstance(await app.connect(shown), Admitted)


async def test_a_user_that_connect_names_goes_over_the_principal(application: Functions) -> None:
    api = authorized(application, allowing())
    api["routes"] = {"$connect": route(application.answer("g", {**OK, "user": "grace"}))}
    async with backend(api) as app:
        outcome = await app.connect(request())
    assert isinstance(outcome, Admitted)
    assert (outcome.facts.principal_id, outcome.facts.user) == ("ada", "grace")


async def test_a_token_of_this_node_opens(application: Functions) -> None:
    async def read(token: str, *, issuer: str, audience: tuple[str, ...]) -> dict[str, object]:
        return {"sub": token, "exp": 1_700_000_100}

    api = {"authorizer": {"type": "jwt"}, "routes": {"$default": {"integration": MOCK}}}
    async with backend(api, node(read_claims=read)) as app:
        outcome = await app.connect(request(query="token=ada"))
        assert isinstance(outcome, Admitted)
        assert (outcome.facts.user, outcome.facts.authorizer) == ("ada", {"sub": "ada", "exp": 1_700_000_100})
        assert outcome.facts.expires_ms == 1_700_000_100_000
        assert await app.connect(request()) == Denied(status=401, message="Unauthorized")


async def test_a_signature_may_be_asked_for() -> None:
    api = {"authorizer": {"type": "iam"}, "routes": {"$default": {"integration": MOCK}}}
    async with backend(api) as app:
        assert await app.connect(request()) == Denied(status=403, message="Forbidden")


KEY = "a-key-of-at-least-20-characters"


@pytest.mark.parametrize(("given", "status"), [(KEY, None), (None, 403), ("", 403), (KEY + "x", 403), ("\xff", 403)])
async def test_an_api_key_comes_in_its_header(given: str | None, status: int | None) -> None:
    api = {"api_keys": ["another-key-of-20-characters", KEY], "routes": {"$default": {"integration": MOCK}}}
    headers = () if given is None else (("X-Api-Key", given),)
    async with backend(api) as app:
        outcome = await app.connect(request(headers=headers))
    assert (outcome.status if isinstance(outcome, Denied) else None) == status


@pytest.mark.parametrize(("given", "status"), [(KEY, None), (None, 403), ("x" * 20, 403)])
async def test_or_the_authorizer_brings_it(application: Functions, given: str | None, status: int | None) -> None:
    api = authorized(application, allowing(usageIdentifierKey=given))
    async with backend({**api, "api_keys": [KEY], "api_key_source": "authorizer"}) as app:
        outcome = await app.connect(request(headers=(("x-api-key", KEY),)))
    assert (outcome.status if isinstance(outcome, Denied) else None) == status


# Messages


SELECTED = [
    ("$request.body.action", '{"action": "send"}', "send"),
    ("$request.body.action", '{"action": 1}', "1"),
    ("$request.body.action", '{"action": true}', "true"),
    ("$request.body.action", '{"action": ["a", 1]}', '["a",1]'),
    ("$request.body.action", '{"action": "unknown"}', "$default"),
    ("$request.body.action", '{"action": "$connect"}', "$default"),
    ("$request.body.action", "no JSON", "$default"),
    ("$request.body.action", "{}", "$default"),
    ("$request.body.a.b[1]", '{"a": {"b": ["x", "send"]}}', "send"),
    ("${request.body.service}/${request.body.action}", '{"service": "chat", "action": "send"}', "chat/send"),
    ("${request.body.service}/${request.body.action}", '{"action": "send"}', "/send"),
    ("send", '{"action": "other"}', "send"),
    ("\\$default", '{"action": "send"}', "$default"),
]


@pytest.mark.parametrize(("expression", "body", "key"), SELECTED)
async def test_a_message_takes_its_route(application: Functions, expression: str, body: str, key: str) -> None:
    keys = ["$connect", "$default", "send", "1", "true", '["a",1]', "chat/send", "/send"]
    handler = application.answer("f", OK)
    api = {"route_selection_expression": expression, "routes": {name: route(handler) for name in keys}}
    async with backend(api) as app:
        assert await received(app, body) == Reply()
    (event,) = application.events
    assert event["requestContext"]["routeKey"] == key
    assert event["body"] == body


async def test_without_a_route_a_message_is_forbidden(application: Functions) -> None:
    async with backend({"routes": {"send": route(application.answer("f", OK))}}) as app:
        for body in ('{"action": "other"}', "no JSON", b"\xff"):
            assert await received(app, body) == Reply(error="Forbidden")
        assert await received(app, '{"action": "send"}') == Reply()


async def test_a_message_is_told_as_an_event(application: Functions) -> None:
    api = {"stage_variables": {"a": "b"}, "routes": {"$default": route(application.answer("f", OK))}}
    async with backend(api) as app:
        await received(app, "hello")
    told = events.message(
        FACTS,
        "hello",
        route_key="$default",
        request_id=REQUEST,
        message_id=MESSAGE,
        now_ms=NOW_MS + 5,
        stage_variables={"a": "b"},
    )
    assert application.events == [told]
    assert application.contexts[0].aws_request_id == REQUEST


async def test_only_a_route_with_a_response_answers(application: Functions) -> None:
    handler = application.answer("f", {**OK, "body": "hi"})
    routes = {"one": route(handler), "two": route(handler, route_response=True)}
    async with backend({"routes": routes}) as app:
        assert await received(app, '{"action": "one"}') == Reply()
        assert await received(app, '{"action": "two"}') == Reply(body=b"hi")


@pytest.mark.parametrize("output", [None, "hi", {"body": 7}])
async def test_what_nobody_is_sent_may_be_anything(application: Functions, output: object) -> None:
    async with backend({"routes": {"$default": route(application.answer("f", output))}}) as app:
        assert await received(app, "x") == Reply()


@pytest.mark.parametrize(
    ("output", "reply"),
    [
        (OK, Reply()),
        ({**OK, "body": ""}, Reply(body=b"")),
        ({**OK, "body": "/w==", "isBase64Encoded": True}, Reply(body=b"\xff")),
        ({"statusCode": 500, "body": "sorry"}, Reply(body=b"sorry")),
        ("hi", Reply(error="Internal server error")),
        ({"body": "no status"}, Reply(error="Internal server error")),
        (ValueError("no"), Reply(error="Internal server error")),
    ],
)
async def test_what_a_response_may_be(application: Functions, output: object, reply: Reply) -> None:
    async with backend({"routes": {"$default": route(application.answer("f", output), route_response=True)}}) as app:
        assert await received(app, "x") == reply


@pytest.mark.parametrize("response", [False, True])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (answering(500), "Internal server error"),
        (answering(404), "Internal server error"),
        (answering(429), "Too Many Requests"),
        (hanging_up, "Internal server error"),
        (hanging, "Endpoint request timed out"),
    ],
)
async def test_failures_are_told_with_and_without_a_response(
    receiver: Receiver, answer: Answer, error: str, response: bool
) -> None:
    receiver.answer = answer
    integration = {"uri": f"http://127.0.0.1:{receiver.port}/", "timeout_ms": 200}
    async with backend({"routes": {"$default": {"integration": integration, "route_response": response}}}) as app:
        assert await received(app, "x") == Reply(error=error)
    assert len(receiver.received) == 1


async def test_a_function_that_takes_too_long_is_told(application: Functions) -> None:
    async def forever(event: object, context: object) -> object:
        return await asyncio.Event().wait()

    integration = {"handler": application.define("f", forever), "timeout_ms": 50}
    async with backend({"routes": {"$default": {"integration": integration}}}) as app:
        assert await received(app, "x") == Reply(error="Endpoint request timed out")


async def test_a_slow_back_end_takes_no_more_than_its_share(application: Functions) -> None:
    end = asyncio.Event()

    async def slow(event: object, context: object) -> object:
        await end.wait()
        return OK

    routes = {
        "slow": {"integration": {"handler": application.define("slow", slow), "concurrency": 2}},
        "$default": route(application.answer("f", OK)),
    }
    async with backend({"routes": routes}) as app:
        waiting = [asyncio.create_task(received(app, '{"action": "slow"}')) for _ in range(2)]
        await asyncio.sleep(0)
        assert await received(app, '{"action": "slow"}') == Reply(error="Too Many Requests")
        assert await received(app, "x") == Reply()
        end.set()
        assert await asyncio.gather(*waiting) == [Reply(), Reply()]
        assert await received(app, '{"action": "slow"}') == Reply()


async def test_an_authorizer_has_its_share_too(application: Functions) -> None:
    end = asyncio.Event()

    async def slow(event: object, context: object) -> object:
        await end.wait()
        return allowing()

    api = {
        "authorizer": {"handler": application.define("slow", slow), "concurrency": 1},
        "routes": {"$default": {"integration": MOCK}},
    }
    async with backend(api) as app:
        waiting = asyncio.create_task(app.connect(request()))
        await asyncio.sleep(0)
        assert await app.connect(request()) == Denied(status=429, message="Too Many Requests")
        end.set()
        assert isinstance(await waiting, Admitted)


async def test_an_http_proxy_answers_with_its_body(receiver: Receiver) -> None:
    receiver.answer = answering(200, b"hello")
    integration = {"type": "http_proxy", "uri": f"http://127.0.0.1:{receiver.port}/"}
    async with backend({"routes": {"$default": {"integration": integration, "route_response": True}}}) as app:
        assert await received(app, "hi") == Reply(body=b"hello")
        assert receiver.received[0].body == b"hi"


async def test_a_ping_costs_no_back_end() -> None:
    integration = {**MOCK, "response": '{"pong": "${route.request.body.id}"}'}
    async with backend({"routes": {"ping": {"integration": integration, "route_response": True}}}) as app:
        assert await received(app, '{"action": "ping", "id": "7"}') == Reply(body=b'{"pong": "7"}')


async def test_a_message_that_its_model_refuses_reaches_nobody(application: Functions) -> None:
    send = route(application.answer("f", OK), model="send")
    api = {"models": {"send": {"required": ["text"]}}, "routes": {"send": send, "$default": send}}
    async with backend(api) as app:
        for body in ('{"action": "send"}', "no JSON", b"\xff"):
            assert await received(app, body) == Reply(error="Bad request body")
        assert application.events == []
        assert await received(app, '{"action": "send", "text": 1}') == Reply()
        assert await received(app, b'{"text": 1}') == Reply()


async def test_a_binary_message_comes_as_base64(application: Functions) -> None:
    async with backend({"routes": {"$default": route(application.answer("f", OK))}}) as app:
        await received(app, b"\xff")
    assert (application.events[0]["body"], application.events[0]["isBase64Encoded"]) == ("/w==", True)


async def test_whatever_breaks_is_an_error_and_no_exception(
    application: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with backend({"routes": {"$default": route(application.answer("f", OK))}}) as app:
        monkeypatch.setattr("gateway.apigateway.application.integrations.Invoker.invoke", None)
        assert await received(app, "x") == Reply(error="Internal server error")


# The end


async def ended(app: StageBackend) -> None:
    await app.disconnect(FACTS, code=1001, reason="Going away", event_id="E7", now_ms=NOW_MS + 9)


async def test_an_end_is_told_as_an_event_known_by_its_id(application: Functions) -> None:
    api = {"stage_variables": {"a": "b"}, "routes": {"$disconnect": route(application.answer("f", None))}}
    async with backend(api) as app:
        await ended(app)
        await ended(app)
    told = events.disconnect(
        FACTS, code=1001, reason="Going away", event_id="E7", now_ms=NOW_MS + 9, stage_variables={"a": "b"}
    )
    assert application.events == [told, told]
    assert application.contexts[0].aws_request_id == told["requestContext"]["requestId"]  # type: ignore[index]


async def test_without_a_route_for_it_nobody_is_told() -> None:
    async with backend({"routes": {"$default": {"integration": MOCK}}}) as app:
        await ended(app)


@pytest.mark.parametrize("output", [ValueError("no"), {"statusCode": 500}])
async def test_whoever_has_heard_is_not_told_again(application: Functions, output: object) -> None:
    async with backend({"routes": {"$disconnect": route(application.answer("f", output))}}) as app:
        await ended(app)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (answering(200), None),
        (answering(500), None),
        (answering(404), None),
        (answering(429), Throttled),
        (answering(503), Unreached),
        (hanging_up, Unreached),
        (hanging, TimedOut),
    ],
)
@pytest.mark.parametrize("kind", ["aws_proxy", "http_proxy"])
async def test_whoever_may_not_have_heard_can_be_told_again(
    receiver: Receiver, kind: str, answer: Answer, failure: type[Unreached] | None
) -> None:
    receiver.answer = answer
    integration = {"type": kind, "uri": f"http://127.0.0.1:{receiver.port}/", "timeout_ms": 200}
    async with backend({"routes": {"$disconnect": {"integration": integration}}}) as app:
        if failure is None:
            await ended(app)
        else:
            with pytest.raises(failure):
                await ended(app)
    assert receiver.received[0].headers["webhook-id"] == events.id_for("E7")


# All stages


def test_functions_that_are_not_there_are_mistakes_of_the_configuration() -> None:
    missing = {"integration": {"handler": "no_such_module:f"}}
    apis = [
        {
            "name": "chat",
            "stages": ["prod", "dev"],
            "authorizer": {"handler": "json:nothing"},
            "routes": {"$default": missing, "send": missing, "ping": {"integration": MOCK}},
        }
    ]
    with pytest.raises(ConfigError) as error:
        Backends(ApiGateway(apis=read_apis(apis)), node())
    assert [mistake.place for mistake in error.value.mistakes] == [
        'apigateway.apis.chat.routes."$default".integration.handler',
        "apigateway.apis.chat.routes.send.integration.handler",
        "apigateway.apis.chat.authorizer.handler",
    ]


async def test_each_stage_has_its_own_variables(application: Functions) -> None:
    apis = [
        {
            "name": "chat",
            "stages": {"prod": {"stage_variables": {"a": "1"}}, "dev": {"stage_variables": {"a": "2"}}},
            "routes": {"$default": route(application.answer("f", OK))},
        }
    ]
    backends = Backends(ApiGateway(apis=read_apis(json.loads(json.dumps(apis)))), node())
    try:
        for name in ("prod", "dev"):
            app = backends.of(Stage("chat", name))
            assert app is not None
            await received(app, "x")
        assert backends.of(Stage("chat", "other")) is None
        assert backends.of(Stage("other", "prod")) is None
    finally:
        await backends.close()
    assert [event["stageVariables"] for event in application.events] == [{"a": "1"}, {"a": "2"}]


async def test_failures_are_told_to_the_operator_at_our_pace(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = answering(500)
    integration = {"uri": f"http://127.0.0.1:{receiver.port}/"}
    async with backend({"routes": {"$default": {"integration": integration}}}) as app:
        for _ in range(3):
            await received(app, "x")
    (record,) = caplog.records
    assert (record.getMessage(), record.__dict__["reason"]) == ("an integration failed", "The back end answered 500.")


async def test_every_call_is_counted(application: Functions) -> None:
    counted: list[tuple[str, str, str]] = []

    def observe(api: str, kind: str, result: str, seconds: float) -> None:
        assert seconds >= 0
        counted.append((api, kind, result))

    api = authorized(application, allowing())
    api["routes"] = {
        "$connect": route(application.answer("f", OK)),
        "bad": route(application.answer("g", ValueError())),
    }
    async with backend(api, node(observe=observe)) as app:
        await app.connect(request())
        await received(app, '{"action": "bad"}')
        await received(app, "no route")
    assert counted == [("chat", "authorizer", "ok"), ("chat", "route", "ok"), ("chat", "route", "failed")]
