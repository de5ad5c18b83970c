"""The management API for tests: listed connections instead of sockets, a server, and requests that botocore signs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config as BotoConfig
from botocore.credentials import Credentials as BotoCredentials
from http_node import Node, Served, serving

from broker.errors import Forbidden
from gateway.apigateway.application.policies import ALL, Policy
from gateway.apigateway.cluster.identifiers import place_of
from gateway.apigateway.configuration.definitions import Api, Credential, Stage
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.errors import Gone
from gateway.apigateway.management import routes
from gateway.apigateway.management.throttle import Throttle
from gateway.apigateway.ports import Facts, Standing
from gateway.apigateway.ports import Stage as Within
from gateway.options import Secret

ID = "L0SM9cOFvHcCIhw="
KEY, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1"
JS_PACKAGE = "@aws-sdk/client-apigatewaymanagementapi@3"
JS_SCRIPT = Path(__file__).parents[1] / "gateway" / "apigateway" / "management" / "js_sdk.cjs"
CONNECTED_MS, ACTIVE_MS = 1_700_000_000_123, 1_700_000_060_000


def credential(
    access_key: str = KEY, secret: str = SECRET, *, policy: Policy = ALL, token: str | None = None
) -> Credential:
    return Credential(
        access_key=access_key,
        secret=Secret(secret),
        session_token=None if token is None else Secret(token),
        policy=policy,
    )


def api(name: str, *stages: str, **more: Any) -> Api:
    """Return an API whose stages are at the paths of their names."""
    return Api(name=name, stages=tuple(Stage(name=stage, path=f"/{stage}") for stage in stages), **more)


def section(*credentials: Credential, apis: tuple[Api, ...] = (), **more: Any) -> ApiGateway:
    return ApiGateway(credentials=credentials or (credential(),), apis=apis or (api("chat", "prod"),), **more)


def facts(connection: str = ID, *, user_agent: str | None = "tests/1") -> Facts:
    return Facts(
        id=connection,
        api="chat",
        stage="prod",
        connected_at_ms=CONNECTED_MS,
        source_ip="192.0.2.7",
        user_agent=user_agent,
        domain_name="ws.example.org",
    )


@dataclass
class Listed:
    """`Connections` of one node, without a socket: what was written stands in `posted`."""

    present: dict[str, Facts] = field(default_factory=lambda: {ID: facts()})
    posted: list[tuple[str, bytes]] = field(default_factory=list)
    deleted: list[tuple[str, int, str]] = field(default_factory=list)
    refusals: list[Exception] = field(default_factory=list)
    """What the next calls raise, one after the other."""
    invocations: list[str | None] = field(default_factory=list)
    active_at_ms: int = ACTIVE_MS
    _written: set[str | None] = field(default_factory=set)

    def reset(self) -> None:
        """Begin anew, as it was made."""
        self.__init__()  # type: ignore[misc]

    async def post(
        self, connection: str, data: bytes, *, invocation: str | None = None, within: Within | None = None
    ) -> None:
        self.invocations.append(invocation)
        self._find(connection, within)
        if invocation is None or invocation not in self._written:
            self.posted.append((connection, data))
        self._written.add(invocation)

    async def describe(self, connection: str, *, within: Within | None = None) -> Standing:
        return Standing(facts=self._find(connection, within), last_active_at_ms=self.active_at_ms)

    async def delete(
        self, connection: str, *, code: int = 1000, reason: str = "", within: Within | None = None
    ) -> None:
        self._find(connection, within)
        del self.present[connection]
        self.deleted.append((connection, code, reason))

    def _find(self, connection: str, within: Within | None) -> Facts:
        if self.refusals:
            raise self.refusals.pop(0)
        place_of(connection)
        found = self.present.get(connection)
        if found is None:
            raise Gone
        if within not in (None, Within(found.api, found.stage)):
            raise Forbidden
        return found


@contextlib.asynccontextmanager
async def managed(
    given: ApiGateway,
    connections: Listed,
    *,
    node: Node | None = None,
    throttles: dict[str, Throttle] | None = None,
) -> AsyncIterator[Served]:
    """Serve the management API in front of `connections`."""
    app = routes.build((node or Node()).context, given, connections, throttles=throttles or {})

    async def dispatch(scope: Any, receive: Any, send: Any) -> None:
        assert routes.takes(scope), scope["raw_path"]
        await app(scope, receive, send)

    async with serving(dispatch) as served:
        yield served


def signed(
    method: str,
    url: str,
    body: bytes = b"",
    *,
    key: str = KEY,
    secret: str = SECRET,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Request:
    """Return a request that botocore has signed, whose path goes to the server as it stands in `url`."""
    request = AWSRequest(method, url, headers=headers or {}, data=body)
    SigV4Auth(BotoCredentials(key, secret, token), "execute-api", REGION).add_auth(request)
    return httpx.Request(method, url, headers=dict(request.headers.items()), content=body)


def boto(endpoint: str, *, key: str = KEY, secret: str = SECRET, token: str | None = None, **config: Any) -> Any:
    """Return boto3's client. It tries once, unless `config` says otherwise."""
    config.setdefault("retries", {"total_max_attempts": 1})
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=BotoConfig(**config),
    )


def unsigned(endpoint: str) -> Any:
    return boto(endpoint, signature_version=UNSIGNED)


async def apart(call: Callable[..., Any], **given: Any) -> Any:
    """Make a blocking call beside the server under test."""
    return await asyncio.to_thread(call, **given)
