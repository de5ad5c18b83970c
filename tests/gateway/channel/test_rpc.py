"""`/rpc_http` and `/_ah/remote_api` as their clients use them, over a real server."""

import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import appengine_pb as pb
import httpx
import pytest
import pytest_asyncio
from http_node import OPERATOR, Node, serving, token

from broker.errors import (
    HeadraceError,
    InvalidName,
    LimitExceeded,
    OutOfMemory,
    ServerError,
    TooLarge,
    Unavailable,
    UnknownOutcome,
)
from broker.names import TopicName
from broker.rights import Principal
from gateway.channel import rpc
from gateway.channel.errors import BadMessage, InvalidClientId, InvalidDuration
from gateway.channel.messages import RpcError
from gateway.metrics import Metrics

RPC_HTTP = {
    "X-Google-RPC-Service-Endpoint": "app-engine-apis",
    "X-Google-RPC-Service-Method": "/VMRemoteAPI.CallRemoteAPI",
    "X-Google-RPC-Service-Deadline": "60",
    "Content-Type": "application/octet-stream",
}
REMOTE_API = {"X-appcfg-api-version": "1", "Content-Type": "application/octet-stream"}
WAYS = pytest.mark.parametrize("path", ["/rpc_http", "/_ah/remote_api"])


@dataclass
class Channels:
    """Notes what it is asked, and raises `error` where there is one."""

    created: list[tuple[bytes, int | None, tuple[TopicName, ...]]] = field(default_factory=list)
    sent: list[tuple[bytes, bytes]] = field(default_factory=list)
    error: HeadraceError | None = None

    async def create(self, client_id: bytes, *, minutes: int | None = None, topics: Sequence[TopicName] = ()) -> str:
        if self.error:
            raise self.error
        self.created.append((client_id, minutes, tuple(topics)))
        return f"token-{len(self.created)}"

    async def send(self, key: bytes, message: bytes) -> None:
        if self.error:
            raise self.error
        self.sent.append((key, message))


@dataclass
class Scene:
    url: str
    channels: Channels
    client: httpx.AsyncClient
    metrics: Metrics

    async def post(
        self, body: bytes, *, path: str = "/rpc_http", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        given = {**(REMOTE_API if "remote_api" in path else RPC_HTTP), **(headers or {})}
        return await self.client.post(self.url + path, content=body, headers=given)

    async def call(self, body: bytes, *, path: str = "/rpc_http", headers: dict[str, str] | None = None) -> Any:
        """Return the answer's message, after a 200."""
        answer = await self.post(body, path=path, headers=headers or {"Authorization": f"Bearer {OPERATOR}"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/octet-stream"
        response = pb.Response()
        response.ParseFromString(answer.content)
        return response


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[Scene]:
    channels = Channels()
    anonymous = Principal("@anonymous")
    metrics = Metrics()
    auth = Node(anonymous=anonymous).auth
    app = rpc.build(auth, channels, application="my-app", default_minutes=120, metrics=metrics)
    async with serving(app) as server, httpx.AsyncClient(timeout=10) as client:
        yield Scene(server.url, channels, client, metrics)


@pytest.fixture
def scene(served: Scene) -> Scene:
    served.channels.created.clear()
    served.channels.sent.clear()
    served.channels.error = None
    return served


pytestmark = pytest.mark.asyncio(loop_scope="module")


def request(service: str, method: str, inner: bytes, *, ticket: str = "") -> bytes:
    made: Any = pb.Request(service_name=service, method=method, request=inner)
    if ticket:
        made.request_id = ticket
    data: bytes = made.SerializeToString()
    return data


def create(client_id: str = "a", *, service: str = "channel", ticket: str = "", **fields: object) -> bytes:
    inner = pb.CreateChannelRequest(application_key=client_id, **fields).SerializeToString()
    return request(service, "CreateChannel", inner, ticket=ticket)


def send(key: str = "a", message: str = "m", *, service: str = "xmpp", ticket: str = "") -> bytes:
    inner = pb.SendMessageRequest(application_key=key, message=message).SerializeToString()
    return request(service, "SendChannelMessage", inner, ticket=ticket)


# The two methods.


@WAYS
@pytest.mark.parametrize("service", ["channel", "xmpp"])
async def test_a_channel_is_created(scene: Scene, path: str, service: str) -> None:
    answer = await scene.call(create("player 1", service=service, duration_minutes=5), path=path)

    created: Any = pb.CreateChannelResponse()
    created.ParseFromString(answer.response)
    assert (created.token, created.duration_minutes) == ("token-1", 5)
    assert scene.channels.created == [(b"player 1", 5, ())]


async def test_without_a_duration_the_configured_one_is_told(scene: Scene) -> None:
    created: Any = pb.CreateChannelResponse()
    created.ParseFromString((await scene.call(create())).response)

    assert created.duration_minutes == 120
    assert scene.channels.created == [(b"a", None, ())]


@WAYS
@pytest.mark.parametrize("service", ["channel", "xmpp"])
async def test_a_message_is_sent(scene: Scene, path: str, service: str) -> None:
    answer = await scene.call(send("player", "hé", service=service), path=path)

    assert answer.response == b""
    assert not answer.HasField("application_error")
    assert not answer.HasField("rpc_error")
    assert scene.channels.sent == [(b"player", "hé".encode())]


# Errors.


@WAYS
@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (ServerError("it broke"), 1, "it broke"),
        (InvalidClientId(), 2, ""),
        (InvalidClientId("Client id length 65 is greater than max length 64"), 2, "Client id length 65 is greater"),
        (BadMessage(), 3, ""),
        (InvalidDuration("out of range"), 4, "out of range"),
    ],
    ids=["internal", "empty id", "long id", "empty message", "duration"],
)
async def test_a_refusal_of_the_service_is_an_application_error(
    scene: Scene, path: str, error: HeadraceError, code: int, detail: str
) -> None:
    scene.channels.error = error
    for body in (create(), send()):
        answer = await scene.call(body, path=path)

        assert answer.application_error.code == code
        assert answer.application_error.detail.startswith(detail)
        assert not answer.HasField("rpc_error")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LimitExceeded(), RpcError.OVER_QUOTA),
        (OutOfMemory(), RpcError.OVER_QUOTA),
        (TooLarge(), RpcError.REQUEST_TOO_LARGE),
        (UnknownOutcome(), RpcError.DEADLINE_EXCEEDED),
        (Unavailable(), RpcError.UNKNOWN),
        (InvalidName(), RpcError.PARSE_ERROR),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HeadraceError) else "",
)
async def test_other_refusals_are_rpc_errors(scene: Scene, error: HeadraceError, code: RpcError) -> None:
    scene.channels.error = error
    answer = await scene.call(send())

    assert (answer.rpc_error.code, answer.rpc_error.detail) == (code, error.reason)
    assert not answer.HasField("application_error")


@WAYS
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (request("memcache", "CreateChannel", b"\x0a\x01a"), 1),
        (request("channel", "Close", b""), 1),
        (request("channel", "createchannel", b""), 1),
        (request("channel", "CreateChannel", b""), 2),
        (request("channel", "SendChannelMessage", b"\x0a\x01a"), 2),
        (request("channel", "CreateChannel", b"\xff"), 2),
        (b"", 2),
        (b"\xff\xff", 2),
        (request("channel", "SendChannelMessage", bytes(rpc.MAX_REQUEST_BYTES + 1)), 5),
        (request("channel", "SendChannelMessage", bytes(rpc.MAX_CALL_BYTES)), 5),
    ],
    ids=[
        "service", "method", "method's case", "no key", "no message", "bad request", "nothing", "bad call",
        "large request", "large call",
    ],
)  # fmt: skip
async def test_a_call_that_cannot_be_made(scene: Scene, path: str, body: bytes, code: int) -> None:
    answer = await scene.call(body, path=path)

    assert answer.rpc_error.code == code
    assert answer.rpc_error.detail
    assert (scene.channels.created, scene.channels.sent) == ([], [])


async def test_a_call_takes_no_longer_than_its_client_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        import asyncio

        await asyncio.Event().wait()

    monkeypatch.setattr(scene.channels, "send", never)
    headers = {"Authorization": f"Bearer {OPERATOR}", "X-Google-RPC-Service-Deadline": "0.05"}

    answer = await scene.call(send(), headers=headers)

    assert answer.rpc_error.code == RpcError.DEADLINE_EXCEEDED


@pytest.mark.parametrize("deadline", ["-1", "0", "nan", "1e9", "soon", ""])
async def test_a_deadline_that_makes_no_sense_is_ours(scene: Scene, deadline: str) -> None:
    await scene.call(send(ticket=OPERATOR), headers={"X-Google-RPC-Service-Deadline": deadline})

    assert len(scene.channels.sent) == 1


async def test_refusals_are_counted(scene: Scene) -> None:
    scene.metrics.refusals.counts.clear()
    scene.channels.error = InvalidClientId()
    await scene.call(create())
    await scene.post(send(ticket="wrong"))
    await scene.post(send())
    await scene.call(b"")

    codes = {"invalid_client_id", "unauthorized", "forbidden", "invalid_request"}
    assert scene.metrics.refusals.counts == {(code,): 1 for code in codes}


# Who may call.


@WAYS
@pytest.mark.parametrize(
    "credential",
    [
        {"Authorization": f"Bearer {OPERATOR}"},
        {"Authorization": "Basic " + base64.b64encode(f"anyone:{OPERATOR}".encode()).decode()},
        {"x-api-key": OPERATOR},
    ],
    ids=["bearer", "basic", "x-api-key"],
)
async def test_a_credential_in_a_header(scene: Scene, path: str, credential: dict[str, str]) -> None:
    await scene.call(send(), path=path, headers=credential)

    assert scene.channels.sent


@WAYS
async def test_a_credential_in_the_query_or_as_the_ticket(scene: Scene, path: str) -> None:
    await scene.call(send(), path=f"{path}?token={OPERATOR}", headers={"accept": "*/*"})
    await scene.call(send(ticket=OPERATOR), path=path, headers={"accept": "*/*"})

    assert len(scene.channels.sent) == 2


@WAYS
@pytest.mark.parametrize(
    ("credential", "status"),
    [
        ({}, 403),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic bm8="}, 403),
        ({"Authorization": "Basic !"}, 403),
        ({"Authorization": "Digest " + base64.b64encode(f"anyone:{OPERATOR}".encode()).decode()}, 403),
        ({"x-api-key": "wrong"}, 401),
    ],
    ids=["none", "bearer", "basic without a password", "bad basic", "digest", "x-api-key"],
)
async def test_without_a_valid_credential_nothing_is_done(
    scene: Scene, path: str, credential: dict[str, str], status: int
) -> None:
    answer = await scene.post(send(), path=path, headers=credential)

    assert answer.status_code == status
    assert "wrong" not in answer.text
    assert scene.channels.sent == []


@WAYS
async def test_a_wrong_ticket_is_refused(scene: Scene, path: str) -> None:
    assert (await scene.post(send(ticket="wrong"), path=path)).status_code == 401


async def test_a_valid_ticket_does_not_heal_a_wrong_header(scene: Scene) -> None:
    answer = await scene.post(send(ticket=OPERATOR), headers={"Authorization": "Bearer wrong"})

    assert answer.status_code == 401


async def test_a_caller_that_is_not_known_yet_sends_little(scene: Scene) -> None:
    answer = await scene.post(send(message="x" * rpc.MAX_UNKNOWN_BYTES, ticket=OPERATOR))
    assert b"65536" in answer.content
    assert scene.channels.sent == []

    await scene.call(send(message="x" * 32767, ticket=OPERATOR), headers={"accept": "*/*"})
    assert len(scene.channels.sent) == 1


@pytest.mark.parametrize(
    ("publish", "allowed"), [(("@channel",), True), (("*",), True), (("p/*", "@channels"), False), ((), False)]
)
async def test_a_jwt_needs_the_right_to_channels(scene: Scene, publish: tuple[str, ...], allowed: bool) -> None:
    shown = {"Authorization": f"Bearer {token(publish=publish, subscribe=('*',))}"}
    answer = await scene.post(send(), headers=shown)

    assert answer.status_code == (200 if allowed else 403)
    assert bool(scene.channels.sent) == allowed


async def test_binding_topics_needs_the_right_to_follow_them(scene: Scene) -> None:
    shown = {"Authorization": f"Bearer {token(publish=('@channel',), subscribe=('p/*',))}"}
    await scene.call(create(topics=["p/news"]), headers=shown)
    assert scene.channels.created == [(b"a", None, (TopicName("p/news"),))]

    refused = await scene.post(create(topics=["p/news", "q/news"]), headers=shown)
    assert refused.status_code == 403
    invalid = await scene.call(create(topics=["no slash"]), headers=shown)
    assert invalid.rpc_error.code == RpcError.PARSE_ERROR
    assert len(scene.channels.created) == 1


@WAYS
async def test_a_page_of_a_foreign_origin_is_refused(scene: Scene, path: str) -> None:
    shown = {"Authorization": f"Bearer {OPERATOR}", "Origin": "https://evil.example"}

    assert (await scene.post(send(), path=path, headers=shown)).status_code == 403
    assert scene.channels.sent == []


# The rest of remote_api.


@pytest.mark.parametrize(
    ("query", "rtok"), [("?rtok=12345", "12345"), ("", "0"), ("?rtok=a-b_c.d", "a-b_c.d"), ("?token=t?rtok=7", "7")]
)
async def test_a_client_learns_the_application(scene: Scene, query: str, rtok: str) -> None:
    answer = await scene.client.get(f"{scene.url}/_ah/remote_api{query}", headers=REMOTE_API)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == f"{{app_id: my-app, rtok: '{rtok}'}}\n"


@pytest.mark.parametrize("rtok", ["'", "a b", "%0a", "x" * 65, ""])
async def test_what_cannot_stand_in_the_answer_is_refused(scene: Scene, rtok: str) -> None:
    answer = await scene.client.get(f"{scene.url}/_ah/remote_api?rtok={rtok}", headers=REMOTE_API)

    assert answer.status_code == 400


async def test_remote_api_asks_for_its_header(scene: Scene) -> None:
    for method in ("GET", "POST"):
        answer = await scene.client.request(method, f"{scene.url}/_ah/remote_api", headers={"x-api-key": OPERATOR})

        assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/rpc_http"), ("PUT", "/rpc_http"), ("PUT", "/_ah/remote_api"), ("DELETE", "/_ah/remote_api")],
)
async def test_other_methods_are_refused(scene: Scene, method: str, path: str) -> None:
    assert (await scene.client.request(method, scene.url + path, headers=REMOTE_API)).status_code == 405
