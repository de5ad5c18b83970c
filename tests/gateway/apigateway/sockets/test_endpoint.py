"""Handshakes of stages: what the application is shown, and every answer that it may give (contracts/apigateway 6)."""

import asyncio
import json
import re
from typing import Any

import deployed
import pytest
import sockets
from deployed import DOMAIN, Application, eventually, served
from sockets import CLOSE, frame, upgrade

from broker.errors import Unavailable
from gateway.apigateway.configuration.definitions import ApiLimits
from gateway.apigateway.ports import Denied, Reply
from gateway.apigateway.sockets.endpoint import new_request_id

ID = re.compile(r"[A-Za-z0-9_-]{15}=")

PATHS = ("/prod", "/ws/chat/v2", "/ws/chat/v3")


async def test_the_application_sees_the_handshake() -> None:
    async with served() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod?token=%20x&a=1", user_agent="wscat", host="anything:1"))
        assert answer.status == 101
        (request,) = d.application.requests
        facts = request.facts
        assert (facts.api, facts.stage, facts.domain_name) == ("abcdef1234", "prod", DOMAIN)
        assert (facts.source_ip, facts.user_agent) == ("127.0.0.1", "wscat")
        assert (facts.principal_id, facts.authorizer, facts.user, facts.tags) == (None, None, None, {})
        assert facts.connected_at_ms <= request.requested_at_ms
        assert (request.path, request.query) == ("/prod", "token=%20x&a=1")
        assert ("sec-websocket-version", "13") in request.headers
        assert "token" not in repr(request)
        assert "anything:1" not in repr(request)
        assert (request.port, request.secure) == (d.port, False)
        assert ID.fullmatch(request.request_id)
        assert d.attached.promised == [d.attached.only.facts] == [facts]


async def test_a_client_without_a_name_is_known_as_such() -> None:
    async with served() as d, sockets.raw(d.port) as client:
        await client.shake(upgrade("/prod"))
        assert d.application.requests[0].facts.user_agent is None


async def test_nothing_is_answered_before_connect_has_ended_and_no_post_gets_through() -> None:
    async with served(Application(gate=asyncio.Event())) as d, sockets.raw(d.port) as client:
        client.send(upgrade("/prod"))
        await eventually(lambda: d.application.requests)
        assert d.attached.connections == {}
        assert d.attached.promised == []
        assert d.application.gate
        d.application.gate.set()
        assert (await client.shake(b"\x81\x80\0\0\0\0")).status == 101
        await eventually(lambda: d.attached.connections)
        assert d.attached.only.send(b"now")
        assert await client.frame() == (0x81, b"now")


@pytest.mark.parametrize(
    ("status", "message", "error_type"),
    [
        (400, "Bad Request", None),
        (401, "Unauthorized", "UnauthorizedException"),
        (403, "Forbidden", "ForbiddenException"),
        (404, "Not Found", None),
        (429, "Too Many Requests", "LimitExceededException"),
        (500, "Internal server error", None),
        (502, "Internal server error", None),
        (504, "Endpoint request timed out", None),
        (302, "Found", None),
    ],
)
async def test_the_applications_status_is_the_answer(status: int, message: str, error_type: str | None) -> None:
    async with served(Application(Denied(status=status, message=message))) as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod"))
        assert answer.status == status
        assert answer.body == json.dumps({"message": message}, separators=(",", ":")).encode()
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-amzn-requestid"] == d.application.requests[0].request_id
        assert answer.headers.get("x-amzn-errortype") == error_type
        await eventually(lambda: d.total == 0)
        assert (d.attached.promised, d.attached.ends) == ([], [])


@pytest.mark.parametrize("status", [0, 100, 101, 200, 204, 299, 600, 99999])
async def test_a_status_that_is_no_refusal_is_a_fault(status: int) -> None:
    async with served(Application(Denied(status=status, message="Odd"))) as d, sockets.raw(d.port) as client:
        assert (await client.shake(upgrade("/prod"))).status == 502


async def test_an_application_that_raises_is_a_fault() -> None:
    async with served(Application(RuntimeError("boom"))) as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod"))
        assert (answer.status, answer.body) == (500, b'{"message":"Internal server error"}')
        assert ID.fullmatch(answer.headers["x-amzn-requestid"])


async def test_only_the_applications_subprotocol_is_selected() -> None:
    async with served() as d:
        async with sockets.raw(d.port) as client:
            answer = await client.shake(upgrade("/prod", sec_websocket_protocol="a, b"))
            assert answer.status == 101
            assert "sec-websocket-protocol" not in answer.headers
        d.application.subprotocol = "b"
        async with sockets.raw(d.port) as client:
            answer = await client.shake(upgrade("/prod", sec_websocket_protocol="a, b"))
            assert answer.headers["sec-websocket-protocol"] == "b"


@pytest.mark.parametrize("subprotocol", ["a b", "a\r\nX-Evil: 1", "", "a,b"])
async def test_a_subprotocol_that_is_none_is_a_fault_and_the_end_is_told(subprotocol: str) -> None:
    async with served(Application(subprotocol=subprotocol)) as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod"))
        assert answer.status == 502
        assert "x-evil" not in answer.headers
        assert await d.ended() == [(1006, "")]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/prod", 101),
        ("/prod/", 101),
        ("/prod?x=/y", 101),
        ("/ws/chat/v2", 101),
        ("/ws/chat/v3/?a", 101),
        ("/dev", 403),
        ("/PROD", 403),
        ("/prod/more", 403),
        ("/prod//", 403),
        ("/ws/chat/v4", 403),
        ("/ws/chat/v2/deep/er", 403),
        ("/", 403),
        ("/metrics", 404),
        ("/v1", 404),
        ("/V1", 404),
        ("/v1/realtime", 404),
        ("/ws/chat", 404),
        ("/ws/other/v2", 404),
        ("/a/b", 404),
    ],
)
async def test_a_stage_that_is_unknown_is_forbidden_and_other_paths_are_not_ours(path: str, status: int) -> None:
    async with served(paths=PATHS) as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade(path))
        assert answer.status == status
        if status == 403:
            assert answer.body == b'{"message":"Forbidden"}'
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-amzn-errortype"] == "ForbiddenException"


async def test_a_node_without_stages_claims_nothing() -> None:
    async with served(paths=()) as d, sockets.raw(d.port) as client:
        assert (await client.shake(upgrade("/prod"))).status == 404


async def test_a_request_line_has_an_end() -> None:
    async with served(limits=ApiLimits(url_chars=64)) as d:
        for length, status in ((64, 101), (65, 414)):
            async with sockets.raw(d.port) as client:
                assert (await client.shake(upgrade("/prod?".ljust(length, "x")))).status == status
        assert len(d.application.requests) == 1


async def test_so_many_connect_in_a_second() -> None:
    async with served(limits=ApiLimits(connects_per_second=0.001)) as d:
        answers = []
        for _ in range(2):
            async with sockets.raw(d.port) as client:
                answers.append(await client.shake(upgrade("/prod")))
        assert [answer.status for answer in answers] == [101, 429]
        assert answers[1].body == b'{"message":"Too Many Requests"}'
        assert answers[1].headers["x-amzn-errortype"] == "LimitExceededException"


async def test_a_promise_that_cannot_be_given_is_no_handshake() -> None:
    async with served() as d, sockets.raw(d.port) as client:
        d.attached.failure = Unavailable()
        answer = await client.shake(upgrade("/prod"))
        assert (answer.status, answer.body) == (503, b'{"message":"Service Unavailable"}')
        assert d.attached.ends == [], "its end is owed by whoever could not promise it"


async def test_a_client_that_leaves_during_connect_has_an_end_too() -> None:
    async with served(Application(gate=asyncio.Event())) as d:
        async with sockets.raw(d.port) as client:
            client.send(upgrade("/prod"))
            await eventually(lambda: d.application.requests)
        await eventually(lambda: all(handshake._over for handshake in d.front.undecided))
        assert d.application.gate
        d.application.gate.set()
        assert await d.ended() == [(1006, "")]
        assert d.attached.connections == {}
        await eventually(lambda: d.total == 0)


async def test_a_promise_that_takes_too_long_is_an_end(monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.admittance.ADMISSION_SECONDS", 0.02)

    async def forever(self: object, facts: object) -> None:
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(deployed.Attached, "promise", forever)
    async with served() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod"))
        assert (answer.status, answer.body) == (504, b'{"message":"Endpoint request timed out"}')
        assert await d.ended() == [(1006, "")]


async def test_a_node_that_drains_lets_nobody_in() -> None:
    async with served(Application(gate=asyncio.Event())) as d, sockets.raw(d.port) as client:
        client.send(upgrade("/prod"))
        await eventually(lambda: d.application.requests)
        draining = asyncio.create_task(d.front.drain())
        answer = await client.shake(b"\0")
        assert (answer.status, answer.body) == (503, b'{"message":"Service Unavailable"}')
        assert d.application.gate
        d.application.gate.set()
        await draining
        assert d.attached.ends == [("000000000000001=", 1012, "")]


async def test_a_drain_lets_the_messages_in_hand_be_handled(monkeypatch: Any) -> None:
    gate = asyncio.Event()

    async def wait(_: str | bytes) -> Reply:
        await gate.wait()
        return Reply()

    async with served(Application(reply=wait)) as d, sockets.raw(d.port) as client:
        await client.shake(upgrade("/prod"))
        await d.endpoint.drain()
        client.send(frame(0x81, b"slow"))
        await eventually(lambda: d.application.received)
        draining = asyncio.create_task(d.endpoint.drain())
        await asyncio.sleep(0.02)
        assert not draining.done()
        gate.set()
        await draining
        gate.clear()
        client.send(frame(0x81, b"too slow"))
        await eventually(lambda: len(d.application.received) == 2)
        monkeypatch.setattr("gateway.apigateway.sockets.endpoint.DRAIN_SECONDS", 0.02)
        await d.endpoint.drain()


async def test_foreign_pages_are_refused_only_where_the_node_is_asked_to() -> None:
    async with served() as d, sockets.raw(d.port) as client:
        assert (await client.shake(upgrade("/prod", origin="http://evil.example"))).status == 101
    async with served(checks_origin=True) as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod", origin="http://evil.example"))
        assert (answer.status, answer.body) == (403, b'{"message":"Forbidden"}')


async def test_our_own_credentials_mean_nothing_here() -> None:
    async with served() as d, sockets.raw(d.port) as client:
        request = upgrade("/prod?token=bad", authorization="Bearer bad", x_api_key="bad")
        assert (await client.shake(request)).status == 101


async def test_a_malformed_handshake_is_refused_in_awss_dialect() -> None:
    async with served() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod", sec_websocket_key="short"))
        assert (answer.status, answer.body) == (400, b'{"message":"Bad Request"}')
    async with served() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod").replace(b"GET", b"PUT"))
        assert (answer.status, answer.body) == (405, b'{"message":"Method Not Allowed"}')
    async with served() as d, sockets.raw(d.port) as client:
        answer = await client.shake(upgrade("/prod", sec_websocket_version="12"))
        assert (answer.status, answer.body) == (426, b'{"message":"Upgrade Required"}')
        assert answer.headers["sec-websocket-version"] == "13"
        assert d.application.requests == []


async def test_a_plain_request_for_a_stage_is_told_to_upgrade() -> None:
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    async def receive() -> Any:
        return {"type": "http.request"}

    async with served(paths=PATHS) as d:
        for path in ("/prod", "/prod/", "/prod/a/b", "/ws/chat/v2", "/ws/chat/v2/"):
            assert d.endpoint.takes({"type": "http", "path": path})
        for path in ("/dev", "/", "", "/ws", "/ws/chat", "/production", "/ws/chat/v4/a"):
            assert not d.endpoint.takes({"type": "http", "path": path})
        await d.endpoint.app({"type": "http", "path": "/prod", "headers": [], "method": "GET"}, receive, send)
        assert sent[0]["status"] == 426
        assert (b"upgrade", b"websocket") in sent[0]["headers"]
        assert json.loads(sent[1]["body"]) == {"message": "Upgrade Required"}


async def test_a_socket_is_told_of_once_when_all_is_said() -> None:
    async with served() as d, sockets.raw(d.port) as client:
        await client.shake(upgrade("/prod"))
        client.send(frame(0x80 | CLOSE, b"\x03\xe8bye"))
        assert await client.closed() == 1000
        assert await client.at_end()
        assert await d.ended() == [(1000, "bye")]
        await eventually(lambda: d.total == 0)
        assert len(d.attached.ends) == 1


def test_request_ids_are_shaped_as_awss() -> None:
    made = {new_request_id() for _ in range(100)}
    assert len(made) == 100
    assert all(ID.fullmatch(one) for one in made)
