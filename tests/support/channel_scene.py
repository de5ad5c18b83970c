"""Scenery for the Python channel module: a clock in hand, a dispatcher that takes notes, and a scripted node."""

from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from headrace.channel.messages import Refusal, Request, Response


@dataclass
class Clock:
    now: float = 1000.5

    def __call__(self) -> float:
        return self.now


@dataclass
class Dispatcher:
    """Notes what a stub asks of it."""

    requests: list[tuple[str, str, list[tuple[str, str]], str, str]] = field(default_factory=list)
    events: list[tuple[Callable[[], object], float, str | None, str | None]] = field(default_factory=list)
    updates: list[tuple[float, str, str]] = field(default_factory=list)

    def get_dispatcher(self) -> "Dispatcher":
        return self

    def add_async_request(
        self, method: str, relative_url: str, headers: list[tuple[str, str]], body: str, source_ip: str
    ) -> None:
        self.requests.append((method, relative_url, headers, body, source_ip))

    def add_event(
        self, runnable: Callable[[], object], eta: float, service: str | None = None, event_id: str | None = None
    ) -> None:
        self.events.append((runnable, eta, service, event_id))

    def update_event(self, eta: float, service: str, event_id: str) -> None:
        self.updates.append((eta, service, event_id))

    @property
    def told(self) -> list[tuple[str, str]]:
        """(last part of the path, body) of each request."""
        return [(url.split("/")[-2], body) for _, url, _, body, _ in self.requests]


Answer = bytes | int | None
"""A body after a 200, another status, or a connection that is closed without an answer."""


@dataclass
class ScriptedNode:
    """Serves `/rpc_http`: notes each call, and answers as `answer` says."""

    answer: Callable[[Request], Answer] = lambda _: b""
    seen: list[tuple[Request, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def methods(self) -> list[str]:
        return [request.method for request, _ in self.seen]


def response(data: bytes) -> bytes:
    return Response(response=data).SerializeToString()


def application_error(code: int, detail: str = "") -> bytes:
    return Response(application_error=Refusal(code=code, detail=detail).SerializeToString()).SerializeToString()


def rpc_error(code: int, detail: str = "") -> bytes:
    return Response(rpc_error=Refusal(code=code, detail=detail).SerializeToString()).SerializeToString()


def serve(node: ScriptedNode) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = Request.FromString(body)
            node.seen.append((request, {**self.headers, "path": self.path}))
            answer = node.answer(request)
            if answer is None:
                self.close_connection = True
                return
            data = answer if isinstance(answer, bytes) else b""
            self.send_response(200 if isinstance(answer, bytes) else answer)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
