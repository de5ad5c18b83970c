"""What the node's HTTP application sends where, and what it lets browsers do."""

import httpx
import pytest

from gateway.app import Claim, Dispatcher, build
from gateway.asgi import AsgiApp, Event, Receive, Scope, Send
from gateway.health import Health, Readiness
from gateway.metrics import CONTENT_TYPE, Metrics

HOME = "https://home.example"


class Origins:
    """Home is allowed, as is whoever is no browser."""

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return origin in (None, HOME)


def room(name: str) -> AsgiApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-room", name.encode())]})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    return answer


async def probe() -> Readiness:
    return Readiness(ready=True)


@pytest.fixture
def health() -> Health:
    return Health(probe)


@pytest.fixture
def app(health: Health) -> Dispatcher:
    return build(ams=room("ams"), sse=room("sse"), health=health, metrics=Metrics(), origins=Origins())


@pytest.fixture
def node(app: Dispatcher) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/projects/default/topics/demo:publish", "ams"),
        ("GET", "/v1/projects", "ams"),
        ("PUT", "/v1/projects/default/topics/a%2Fb", "ams"),
        ("GET", "/v1/projects/default/topics/demo:stream", "sse"),
        ("GET", "/v1/projects/default/topics/a%2Fb:stream", "sse"),
    ],
)
async def test_hot_paths_go_straight_to_their_room(
    node: httpx.AsyncClient, method: str, path: str, expected: str
) -> None:
    assert (await node.request(method, path)).headers["x-room"] == expected


async def test_health_and_metrics_answer(node: httpx.AsyncClient, health: Health) -> None:
    assert (await node.get("/healthz")).json() == {"alive": True}
    assert (await node.get("/readyz")).status_code == 200
    shown = await node.get("/metrics")
    assert "headrace_build_info" in shown.text
    assert shown.headers["content-type"] == CONTENT_TYPE

    health.draining = True

    assert (await node.get("/readyz")).status_code == 503
    assert (await node.get("/healthz")).status_code == 200


async def test_what_does_not_exist_is_not_found(node: httpx.AsyncClient) -> None:
    assert (await node.get("/nowhere")).status_code == 404


async def test_the_reference_names_lean_routes_and_fastapi_routes(node: httpx.AsyncClient) -> None:
    document = (await node.get("/openapi.json")).json()

    assert "post" in document["paths"]["/v1/projects/{project}/topics/{topic}:publish"]
    assert "get" in document["paths"]["/readyz"]
    assert document["components"]["securitySchemes"].keys() == {"apiKey", "bearer"}


async def test_a_page_of_a_foreign_origin_is_refused_and_reaches_no_room(node: httpx.AsyncClient) -> None:
    foreign = {"origin": "https://evil.example"}

    published = await node.post("/v1/projects/default/topics/demo:publish", headers=foreign)
    streamed = await node.get("/v1/projects/default/topics/demo:stream", headers=foreign)

    assert published.status_code == streamed.status_code == 403
    assert published.json()["error"]["code"] == 403
    assert streamed.json()["error"]["code"] == "forbidden"
    assert "x-room" not in published.headers
    assert "access-control-allow-origin" not in published.headers


async def test_a_page_of_an_allowed_origin_may_read_the_answer(node: httpx.AsyncClient) -> None:
    answer = await node.get("/v1/projects", headers={"origin": HOME})

    assert answer.headers["x-room"] == "ams"
    assert answer.headers["access-control-allow-origin"] == HOME
    assert answer.headers["vary"] == "origin"


async def test_a_preflight_is_answered_without_a_room(node: httpx.AsyncClient) -> None:
    ask = {"origin": HOME, "access-control-request-method": "POST"}

    answer = await node.options("/v1/projects/default/topics/demo:publish", headers=ask)

    assert answer.status_code == 204
    assert "x-room" not in answer.headers
    assert "x-api-key" in answer.headers["access-control-allow-headers"]
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-origin"] == HOME


async def test_only_http_comes_here(app: Dispatcher) -> None:
    async def receive() -> Event:
        raise AssertionError

    async def send(event: Event) -> None:
        raise AssertionError

    with pytest.raises(NotImplementedError):
        await app({"type": "websocket", "path": "/"}, receive, send)


async def test_a_room_gets_what_it_claims_unless_it_lies_under_v1(health: Health) -> None:
    claims = [
        Claim(lambda scope: "x" in scope["path"], room("x")),
        Claim(lambda scope: "y" in scope["path"], room("y")),
    ]
    app = build(ams=room("ams"), sse=room("sse"), health=health, metrics=Metrics(), origins=Origins(), claims=claims)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as node:
        rooms = [(await node.get(path)).headers.get("x-room") for path in ("/x", "/xy", "/y", "/v1/xy", "/healthz")]
        assert rooms == ["x", "x", "y", "ams", None]
        # A stage of API Gateway may be called v1: back ends post to https://{domainName}/{stage}.
        paths = (
            "/v1/@connections/x",
            "/v1/a/%40connections/y",
            "/v1/@connections/",
            "/v1/projects/p/topics/@connections",
        )
        rooms = [(await node.get(path)).headers.get("x-room") for path in paths]
        assert rooms == ["x", "y", "ams", "ams"]
