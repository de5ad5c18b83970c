"""The management API on the wire, in front of connections that are a list."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from http_node import Node, Served
from management import ID, Listed, api, credential, facts, managed, section, signed

from broker.errors import Unavailable
from gateway.apigateway.application.policies import read_policy
from gateway.apigateway.configuration.definitions import ApiLimits
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.errors import BufferFull
from gateway.apigateway.management import routes
from gateway.apigateway.management.throttle import Throttle
from gateway.context import Context

QUOTED = ID.replace("=", "%3D")
PATH = f"/prod/@connections/{QUOTED}"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Api:
    served: Served
    connections: Listed
    http: httpx.AsyncClient

    async def call(self, method: str, path: str = PATH, body: bytes = b"", **given: object) -> httpx.Response:
        return await self.http.send(signed(method, self.served.url + path, body, **given))  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Api]:
    connections = Listed()
    async with managed(section(), connections) as served, httpx.AsyncClient() as http:
        yield Api(served, connections, http)


@pytest.fixture
def api_(shared: Api) -> Api:
    shared.connections.reset()
    return shared


@asynccontextmanager
async def other(given: ApiGateway, **more: Any) -> AsyncIterator[Api]:
    """Serve an API of another configuration."""
    connections = Listed()
    async with managed(given, connections, **more) as served, httpx.AsyncClient() as http:
        yield Api(served, connections, http)


def refused(answer: httpx.Response, status: int, name: str) -> str:
    """Check that `answer` is the refusal `name`, all of it, and return its message."""
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, name)
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-amzn-RequestId"]) == 36
    body = json.loads(answer.content)
    assert list(body) == ["message"] and body["message"]
    return str(body["message"])


# What succeeds.


async def test_a_post_is_written_and_answered_with_nothing(api_: Api) -> None:
    answer = await api_.call("POST", body=b'{"a": 1}')
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert len(answer.headers["x-amzn-RequestId"]) == 36
    assert "x-amzn-ErrorType" not in answer.headers
    assert api_.connections.posted == [(ID, b'{"a": 1}')]


async def test_a_connection_is_shown_in_lower_camel_case_and_utc(api_: Api) -> None:
    answer = await api_.call("GET")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "connectedAt": "2023-11-14T22:13:20.123Z",
        "identity": {"sourceIp": "192.0.2.7", "userAgent": "tests/1"},
        "lastActiveAt": "2023-11-14T22:14:20.000Z",
    }


async def test_a_client_without_a_user_agent_is_shown_with_an_empty_one(api_: Api) -> None:
    api_.connections.present[ID] = facts(user_agent=None)
    assert (await api_.call("GET")).json()["identity"]["userAgent"] == ""


async def test_a_delete_closes_and_is_answered_with_no_body_at_all(api_: Api) -> None:
    peer = await api_.served.connect()
    made = signed("DELETE", api_.served.url + PATH)
    head = "".join(f"{name}: {value}\r\n" for name, value in made.headers.items() if name != "content-length")
    await peer.send(f"DELETE {PATH} HTTP/1.1\r\n{head}\r\n".encode())
    answer = await peer.read_until(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ") and b"content-" not in answer.lower()
    assert api_.connections.deleted == [(ID, 1000, "")]
    refused(await api_.call("DELETE"), 410, "GoneException")
    peer.close()


@pytest.mark.parametrize("at", ["@", "%40"])
@pytest.mark.parametrize("connection", [ID, QUOTED, ID.replace("=", "%3d")])
@pytest.mark.parametrize("prefix", ["", "/prod", "/a/b", "/@connections"])
async def test_any_prefix_and_either_form_of_at_and_equals_serve(
    api_: Api, prefix: str, at: str, connection: str
) -> None:
    peer = await api_.served.connect()
    path = f"{prefix}/{at}connections/{connection}"
    made = signed("POST", api_.served.url + path, b"hi")
    head = "".join(f"{name}: {value}\r\n" for name, value in made.headers.items())
    await peer.send(f"POST {path} HTTP/1.1\r\n{head}\r\nhi".encode())
    assert (await peer.read_response())[0] == 200
    assert api_.connections.posted == [(ID, b"hi")]
    peer.close()


@pytest.mark.parametrize("kind", ["application/octet-stream", "binary/octet-stream", "application/json", "text/plain"])
async def test_the_type_of_a_post_says_nothing(api_: Api, kind: str) -> None:
    assert (await api_.call("POST", body=b"\xff\x00", headers={"Content-Type": kind})).status_code == 200
    assert api_.connections.posted == [(ID, b"\xff\x00")]


async def test_the_invocation_goes_along(api_: Api) -> None:
    for given in ("c0ffee", "c0ffee", "other"):
        await api_.call("POST", body=given.encode(), headers={"amz-sdk-invocation-id": given})
    await api_.call("POST", body=b"none")
    assert api_.connections.invocations == ["c0ffee", "c0ffee", "other", None]
    assert [data for _, data in api_.connections.posted] == [b"c0ffee", b"other", b"none"]
    long = await api_.call("POST", headers={"amz-sdk-invocation-id": "x" * 129})
    refused(long, 400, "BadRequestException")


async def test_posts_of_all_sizes_up_to_the_limit_are_taken(api_: Api) -> None:
    for size in (0, 1, 131_072):
        assert (await api_.call("POST", body=b"x" * size)).status_code == 200
    assert [len(data) for _, data in api_.connections.posted] == [0, 1, 131_072]


@pytest.mark.parametrize("size", [131_073, 1_000_000])
async def test_a_larger_post_is_refused_and_the_connection_goes_on(api_: Api, size: int) -> None:
    refused(await api_.call("POST", body=b"x" * size), 413, "PayloadTooLargeException")
    assert (await api_.call("POST", body=b"small")).status_code == 200
    assert api_.connections.posted == [(ID, b"small")]


async def test_the_limit_is_the_apis() -> None:
    async with other(section(apis=(api("chat", "prod", limits=ApiLimits(message_bytes=10)),))) as small:
        assert (await small.call("POST", body=b"x" * 10)).status_code == 200
        refused(await small.call("POST", body=b"x" * 11), 413, "PayloadTooLargeException")


# What is refused.


async def test_an_unknown_connection_is_gone(api_: Api) -> None:
    for method in ("POST", "GET", "DELETE"):
        refused(await api_.call(method, "/prod/@connections/L0SM9cOFvHcCIhx%3D"), 410, "GoneException")


@pytest.mark.parametrize("wrong", ["", "x", "not%20an%20id", "a%2Fb", "%ff", "a/b", QUOTED + "/more", "..."])
async def test_what_can_be_no_id_is_a_bad_request(api_: Api, wrong: str) -> None:
    for method in ("POST", "GET", "DELETE"):
        refused(await api_.call(method, f"/prod/@connections/{wrong}"), 400, "BadRequestException")


async def test_a_path_that_ends_without_an_id_is_a_bad_request(api_: Api) -> None:
    refused(await api_.call("POST", "/prod/@connections"), 400, "BadRequestException")


async def test_an_id_is_decoded_once(api_: Api) -> None:
    refused(await api_.call("POST", f"/prod/@connections/{ID.replace('=', '%253D')}"), 400, "BadRequestException")


async def test_another_method_is_named_as_such(api_: Api) -> None:
    for method in ("PUT", "PATCH", "OPTIONS"):
        answer = await api_.call(method)
        refused(answer, 405, "MethodNotAllowedException")
        assert answer.headers["allow"] == "POST, GET, DELETE"
    assert (await api_.call("HEAD")).status_code == 405


async def test_a_full_buffer_is_a_limit_that_is_exceeded(api_: Api) -> None:
    api_.connections.refusals = [BufferFull(retry_ms=1500)]
    answer = await api_.call("POST")
    refused(answer, 429, "LimitExceededException")
    assert answer.headers["retry-after"] == "2"
    assert (await api_.call("POST")).status_code == 200


async def test_an_owner_that_is_not_reached_is_a_5xx(api_: Api) -> None:
    api_.connections.refusals = [Unavailable("The node did not answer.")]
    refused(await api_.call("POST"), 503, "ServiceUnavailableException")


async def test_a_fault_of_our_own_says_nothing_of_itself(api_: Api, caplog: pytest.LogCaptureFixture) -> None:
    api_.connections.refusals = [RuntimeError("a secret detail")]
    assert refused(await api_.call("POST"), 500, "InternalServerErrorException") == "Internal server error"
    assert "a secret detail" in caplog.text


# Who may.


async def test_an_unsigned_call_is_refused(api_: Api) -> None:
    answer = await api_.http.post(api_.served.url + PATH, content=b"hi")
    refused(answer, 403, "MissingAuthenticationTokenException")
    assert not api_.connections.posted


async def test_a_wrong_signature_is_refused(api_: Api) -> None:
    refused(await api_.call("POST", secret="wrong"), 403, "InvalidSignatureException")
    refused(await api_.call("POST", key="AKIDNOBODY"), 403, "UnrecognizedClientException")
    refused(await api_.call("POST", token="none"), 403, "UnrecognizedClientException")
    refused(
        await api_.http.post(api_.served.url + PATH, headers={"authorization": "AWS4-HMAC-SHA256 x"}),
        403,
        "IncompleteSignatureException",
    )
    assert not api_.connections.posted


async def test_a_signature_for_one_connection_is_none_for_another(api_: Api) -> None:
    other = "/prod/@connections/L0SM9cOFvHcCIhx%3D"
    api_.connections.present["L0SM9cOFvHcCIhx="] = facts("L0SM9cOFvHcCIhx=")
    made = signed("POST", api_.served.url + PATH, b"hi")
    answer = await api_.http.post(api_.served.url + other, content=b"hi", headers=made.headers)
    refused(answer, 403, "InvalidSignatureException")


async def test_a_policy_says_what_a_key_may_do() -> None:
    resource = "arn:aws:execute-api:*:*:chat/prod/POST/@connections/*"
    posts = read_policy([{"Effect": "Allow", "Action": "execute-api:ManageConnections", "Resource": resource}])
    async with other(section(credential(policy=posts))) as posting:
        assert (await posting.call("POST")).status_code == 200
        for method in ("GET", "DELETE"):
            refused(await posting.call(method), 403, "ForbiddenException")


async def test_a_key_of_one_stage_does_not_reach_the_connections_of_another() -> None:
    one = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:execute-api:*:*:game/*"}
    given = section(credential(policy=read_policy([one])), apis=(api("chat", "prod"), api("game", "play")))
    async with other(given) as gaming:
        refused(await gaming.call("POST"), 403, "ForbiddenException")
        refused(await gaming.call("POST", f"/@connections/{QUOTED}"), 403, "ForbiddenException")
        refused(await gaming.call("POST", f"/play/@connections/{QUOTED}"), 403, "ForbiddenException")


async def test_an_open_api_asks_for_no_signature_but_keeps_foreign_pages_out() -> None:
    async with other(section(open=True)) as opened:
        url = opened.served.url
        assert (await opened.http.post(url + PATH, content=b"hi")).status_code == 200
        assert (await opened.call("POST", key="ANY", secret="thing")).status_code == 200
        refused(await opened.http.post(url + "/@connections/", content=b"hi"), 400, "BadRequestException")
        evil = await opened.http.post(url + PATH, headers={"origin": "https://evil.example"})
        refused(evil, 403, "ForbiddenException")
        assert (await opened.http.post(url + PATH, headers={"origin": url})).status_code == 200
        assert len(opened.connections.posted) == 3


async def test_an_open_api_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        routes.build(Node().context, section(), Listed(), throttles={})
        assert not caplog.records
        routes.build(Node().context, section(open=True), Listed(), throttles={})
    assert "is open" in caplog.text


async def test_too_many_calls_are_throttled_once_they_are_signed() -> None:
    throttles = {"chat": Throttle(rate=0.001, burst=2, now=0)}
    async with other(section(), throttles=throttles) as one:
        for _ in range(3):
            refused(await one.http.post(one.served.url + PATH), 403, "MissingAuthenticationTokenException")
        assert [(await one.call("POST")).status_code for _ in range(2)] == [200, 200]
        answer = await one.call("POST")
        refused(answer, 429, "LimitExceededException")
        assert int(answer.headers["retry-after"]) > 1


# The ASGI side.


async def test_the_room_takes_whatever_names_connections() -> None:
    for path in (
        b"/@connections/x",
        b"/p/%40connections/x",
        b"/p/@connections/",
        b"/@connections",
        b"/a/@connections/x/y",
    ):
        assert routes.takes({"raw_path": path}), path
    for path in (b"/", b"/@connectionsx/y", b"/p/connections/x", b"/x@connections/y", b"/p/%2540connections/x"):
        assert not routes.takes({"raw_path": path}), path


async def test_a_caller_who_leaves_is_not_answered() -> None:
    sent: list[object] = []

    async def send(event: object) -> None:
        sent.append(event)

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "raw_path": PATH.encode(), "query_string": b"", "headers": []}
    await routes.build(Node().context, section(), Listed(), throttles={})(scope, receive, send)
    assert not sent


async def test_another_server_is_answered_through_send() -> None:
    sent: list[dict[str, object]] = []

    async def send(event: dict[str, object]) -> None:
        sent.append(event)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"hi"}

    context: Context = Node().context
    app = routes.build(context, section(open=True), Listed(), throttles={})
    scope = {"type": "http", "method": "POST", "raw_path": PATH.encode(), "query_string": b"", "headers": []}
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 200 and (b"content-length", b"0") in sent[0]["headers"]  # type: ignore[operator]


async def test_many_calls_on_one_connection(api_: Api) -> None:
    await asyncio.gather(*(api_.call("POST", body=b"%d" % number) for number in range(50)))
    assert sorted(int(data) for _, data in api_.connections.posted) == list(range(50))
