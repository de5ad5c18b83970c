"""An application behind an API: its functions in this process, what they were called with, and a stage's back end."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from gateway.apigateway.application.backend import Backends, Node, StageBackend
from gateway.apigateway.configuration.settings import ApiGateway, read_apis, read_credentials
from gateway.apigateway.management.credentials import Credentials
from gateway.apigateway.ports import ConnectRequest, Facts, Stage

NOW_MS = 1_700_000_000_000
CONNECTION = "L0SM9cOFvHcCIhw="
REQUEST = "R1kmxc2VNjMCFIA="
MESSAGE = "TXzPWdnOjoECGjA="
MODULE = "application_of_tests"
ARN = "arn:aws:execute-api:us-east-1:000000000000:chat/prod/$connect"

FACTS = Facts(
    id=CONNECTION,
    api="chat",
    stage="prod",
    connected_at_ms=NOW_MS,
    source_ip="10.0.0.1",
    user_agent="a browser",
    domain_name="push.example.com",
)


def request(*, query: str = "", headers: tuple[tuple[str, str], ...] = ()) -> ConnectRequest:
    """Return a handshake of `FACTS`."""
    return ConnectRequest(
        facts=FACTS,
        request_id=REQUEST,
        requested_at_ms=NOW_MS,
        path="/prod",
        query=query,
        headers=(("Host", "push.example.com"), *headers),
        port=443,
        secure=True,
    )


def allowing(
    principal: str = "ada", effect: str = "Allow", resource: str = ARN, **members: object
) -> dict[str, object]:
    """Return an authorizer's answer."""
    statement = {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"principalId": principal, "policyDocument": document, **members}


@dataclass
class Functions:
    """The module `MODULE`: each function answers as it is told, and its events are remembered."""

    module: ModuleType
    events: list[Any] = field(default_factory=list)
    contexts: list[Any] = field(default_factory=list)

    def answer(self, name: str, answer: object) -> str:
        """Make a function that answers `answer`, calls it, or raises it; return its handler's name."""

        def handler(event: Any, context: Any) -> object:
            self.events.append(event)
            self.contexts.append(context)
            if isinstance(answer, BaseException):
                raise answer
            return answer(event) if callable(answer) else answer

        return self.define(name, handler)

    def define(self, name: str, handler: Callable[..., object]) -> str:
        setattr(self.module, name, handler)
        return f"{MODULE}:{name}"


@contextmanager
def functions() -> Iterator[Functions]:
    module = sys.modules[MODULE] = ModuleType(MODULE)
    try:
        yield Functions(module)
    finally:
        del sys.modules[MODULE]


async def no_claims(token: str, *, issuer: str, audience: tuple[str, ...]) -> Mapping[str, object]:
    raise AssertionError("no token was to be read")


def node(**changes: Any) -> Node:
    members: dict[str, Any] = {
        "now_ms": lambda: NOW_MS,
        "read_claims": no_claims,
        "credentials": Credentials(()),
        "observe": lambda *_: None,
        **changes,
    }
    return Node(**members)


@asynccontextmanager
async def backend(
    api: Mapping[str, object], of: Node | None = None, *, credentials: list[object] | None = None
) -> AsyncIterator[StageBackend]:
    """Give what is behind stage `prod` of the API `chat`, the rest of which is `api`."""
    table = {"name": "chat", "stage": "prod", **api}
    section = ApiGateway(apis=read_apis([table]), credentials=read_credentials(credentials or []))
    backends = Backends(section, of or node())
    try:
        found = backends.of(Stage("chat", "prod"))
        assert found is not None
        yield found
    finally:
        await backends.close()
