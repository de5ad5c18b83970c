"""Integrations: what stands behind a route is called, in the contract of its type (contracts/apigateway 9).

An `aws_proxy` and a callable get the event and answer as Lambda functions do; an `http_proxy` gets the message as it
is, with mapped parameters; a mock is nobody.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl

import orjson

from gateway.apigateway.application.callables import Callables, load
from gateway.apigateway.application.callbacks import Callbacks
from gateway.apigateway.application.events import MAX_QUERY_FIELDS, Event
from gateway.apigateway.application.mapping import Pairs, Sources, apply
from gateway.apigateway.application.outcomes import (
    Broken,
    IntegrationError,
    Outcome,
    Slots,
    Throttled,
    Unreached,
    read_answer,
    read_output,
)
from gateway.apigateway.configuration.definitions import ApiLimits, Integration, IntegrationType, Stage
from gateway.apigateway.configuration.stages import fill
from gateway.outgoing import Reply

LEAST_ANSWER_BYTES = 1024 * 1024

ANSWER_FACTOR = 8
"""An answer is JSON, where one byte of a message may stand as six, besides the headers."""

AWAY = (502, 503, 504)
"""What a proxy says for a back end that is not there."""

TOO_MANY = 429

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
BINARY_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of an integration. `headers` and `query` are those of a handshake, for `$connect`."""

    event: Event
    event_id: str
    body: str | bytes = ""
    headers: Pairs = ()
    query: str = ""
    opens: bool = False
    """True for `$connect`: any status of a back end is the handshake's then, and none a failure."""


class Observe(Protocol):
    """Counts one call of a back end: of a `route` or an `authorizer`, `ok` or the code of its failure."""

    def __call__(self, kind: str, result: str, seconds: float) -> None: ...


def unobserved(kind: str, result: str, seconds: float) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Services:
    """What integrations and authorizers are called through."""

    callables: Callables
    callbacks: Callbacks
    observe: Observe = unobserved

    @contextmanager
    def counted(self, kind: str) -> Iterator[None]:
        """Count the call within."""
        began, result = time.monotonic(), "ok"
        try:
            yield
        except IntegrationError as error:
            result = error.code
            raise
        finally:
            self.observe(kind, result, time.monotonic() - began)


class Invoker:
    """Calls one integration of one stage. Raises `ValueError` where its function cannot be found."""

    def __init__(self, integration: Integration, stage: Stage, limits: ApiLimits, services: Services) -> None:
        self._integration = integration
        self._stage = stage
        self._services = services
        self._url = fill(integration.uri, stage.variables)
        self._seconds = integration.timeout_ms / 1000
        self._max_bytes = max(LEAST_ANSWER_BYTES, limits.message_bytes * ANSWER_FACTOR)
        self._handler = load(integration.handler) if integration.handler else None
        self._slots = Slots(integration.concurrency)

    async def invoke(self, call: Call, *, reads: bool) -> Outcome:
        """Return the answer; without `reads` it is not looked at, and all that is good is an empty one.

        Raises `IntegrationError`.
        """
        with self._services.counted("route"), self._slots:
            return await self._called(call, reads=reads)

    async def _called(self, call: Call, *, reads: bool) -> Outcome:
        match self._integration.type:
            case IntegrationType.MOCK:
                return self._mock(call)
            case IntegrationType.HTTP_PROXY:
                return await self._pass_on(call)
            case IntegrationType.AWS_PROXY:
                answer = await self._post(call)
                return read_output(_json(answer.body)) if reads else Outcome()
            case IntegrationType.CALLABLE:
                output = await self._run(call)
                return read_output(output) if reads else Outcome()

    def _mock(self, call: Call) -> Outcome:
        response = self._integration.response.fill(self._sources(call))
        return Outcome(status=self._integration.status, body=response.encode(errors="replace") or None)

    async def _run(self, call: Call) -> object:
        assert self._handler is not None
        name = self._integration.handler
        return await self._services.callables.call(
            self._handler, call.event, name=name, request_id=call.event_id, seconds=self._seconds
        )

    async def _post(self, call: Call) -> Reply:
        """Post the event. An error status is a function's failure, and never an answer."""
        headers = [("Content-Type", JSON_TYPE)]
        reply = await self._send("POST", self._url, headers, orjson.dumps(call.event), call.event_id)
        check_status(reply.status)
        return reply

    async def _pass_on(self, call: Call) -> Outcome:
        try:
            mapped = apply(self._integration.request_parameters, self._url, self._sources(call))
        except ValueError as error:
            raise Broken(str(error)) from None
        headers = list(mapped.headers)
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", _type_of(call.body)))
        body = call.body if isinstance(call.body, bytes) else call.body.encode(errors="replace")
        reply = await self._send(self._integration.method, mapped.url, headers, body, call.event_id)
        if not call.opens and (reply.status >= 500 or reply.status == TOO_MANY):
            check_status(reply.status)
        return read_answer(reply.status, dict(reply.headers), reply.body)

    async def _send(self, method: str, url: str, headers: Pairs, body: bytes, event_id: str) -> Reply:
        return await self._services.callbacks.send(
            method,
            url,
            headers=headers,
            body=body,
            secret=self._integration.secret,
            event_id=event_id,
            seconds=self._seconds,
            max_bytes=self._max_bytes,
        )

    def _sources(self, call: Call) -> Sources:
        context = call.event["requestContext"]
        assert isinstance(context, Mapping)
        query = parse_qsl(call.query, keep_blank_values=True)[:MAX_QUERY_FIELDS] if call.query else ()
        return Sources(
            headers=call.headers,
            query=query,
            body=call.body if isinstance(call.body, str) else "",
            stage_variables=self._stage.variables,
            context=context,
        )


def check_status(status: int) -> None:
    """Raise what an HTTP status says that is no success: `Throttled`, `Unreached`, `Broken`."""
    if status == TOO_MANY:
        raise Throttled
    if status in AWAY:
        raise Unreached(f"The back end answered {status}.")
    if not 200 <= status < 300:
        raise Broken(f"The back end answered {status}.")


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Broken("The answer is not JSON.") from None


def _type_of(body: str | bytes) -> str:
    if isinstance(body, bytes):
        return BINARY_TYPE
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return TEXT_TYPE
    return JSON_TYPE
