"""ARGO's HTTP API as one lean ASGI app: the path, the caller, the handler.

Publishing is the hot verb and has a way of its own: parse, check the right, hand to the publisher, answer. The order of
checks is the contract's (ams.md 1): route (404, 405), names (400), missing token (401), project (404), unknown token
or no right in the project (401), right (403). Where a publish is in order, no check asks the store; the project is only
looked up to choose between two refusals.

A topic's name in a path is ARGO's (`[a-zA-Z0-9_-]+`). One with an encoded slash (`%2F`), which ARGO's client never
sends, is taken by the rule of `broker.names` instead, except to create it: so HTTP reaches what other faces made.

`Idempotency-Key` on `:publish`: the same key with the same messages from the same caller gives the same message ids,
on any node and for an hour; with other messages it is a 409.
"""

import logging
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from urllib.parse import unquote

from broker.errors import (
    CallerError,
    Forbidden,
    HeadraceError,
    InvalidName,
    InvalidRequest,
    Unauthorized,
    Unavailable,
    UnknownTopic,
)
from broker.messages import Message
from broker.names import ProjectName, SubscriptionName, TopicName, is_argo_name, parse_subscription, topic_of
from broker.publish import PublishRequest
from broker.rights import Principal
from broker.store.base import IdempotencyKey
from gateway import ams
from gateway.ams import errors, wire
from gateway.ams.access import reaches, require_role
from gateway.ams.rates import Rates
from gateway.ams.requests import NO_PROJECT, NO_SUBSCRIPTION, NO_TOPIC, Request, Target
from gateway.ams.table import Needs, Row, Table, WrongVerb
from gateway.asgi import (
    Answer,
    AsgiApp,
    PeerGone,
    Receive,
    Scope,
    Send,
    answered_at_once,
    headers_of,
    permitted,
    principal_of,
    query_of,
    read_body,
    send_answer,
    token_of,
)
from gateway.context import Context

log = logging.getLogger(__name__)

_ENCODED_SLASH = re.compile(rb"%2[fF]")

PUBLISH = b":publish"

MAX_REMEMBERED_PATHS = 4096
"""Publish paths whose names are known to be good."""


class ArgoApp:
    """The ASGI app of everything under `/v1` but event streams and the realtime protocol."""

    __slots__ = ("_context", "_max_body_bytes", "_rates", "_table")

    def __init__(self, context: Context) -> None:
        self._rates = Rates()
        self._table = Table(rows())
        self._context = context
        self._max_body_bytes = context.config.limits.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except PeerGone:
            return
        except HeadraceError as refusal:
            answer = errors.answer_to(refusal)
            self._context.metrics.refused(refusal.code)
        except Exception:
            log.exception("a request failed")
            answer = errors.backend_error()
        if not answered_at_once(scope, answer):
            await send_answer(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path: bytes = scope["raw_path"]
        parts = path.split(b"/")
        if _is_publish(scope["method"], parts):
            return await self._publish(scope, receive, parts[3], parts[5][: -len(PUBLISH)])
        row, target = self._find(scope["method"], parts)
        query = query_of(scope)
        token = token_of(headers_of(scope), query)
        caller = await self._admit(row, token, target)
        body = await read_body(receive, max_bytes=self._max_body_bytes)
        request = Request(self._context, caller, target, query, body, token, self._rates)
        try:
            return Answer(200, await row.handler(request))
        except (CallerError, errors.ArgoRefusal) as refusal:
            if not row.asks_project:
                await self._prefer_unknown_project(target.project)
            raise refusal

    def _find(self, method: str, parts: list[bytes]) -> tuple[Row, Target]:
        """Return the row and what its path names. `parts` are the raw path's, the first two being `""` and `v1`."""
        try:
            found = self._table.find(method, parts[2:]) if b"" not in parts[2:] else None
        except WrongVerb as wrong:
            raise errors.wrong_verb(wrong.allowed) from None
        if found is None:
            raise errors.unknown_route()
        return found.row, _target(found.values, creates=found.row.name == "topics:create")

    async def _admit(self, row: Row, token: str | None, target: Target) -> Principal:
        """Return who is calling, or raise the first refusal in the contract's order."""
        auth = self._context.auth
        if row.needs is Needs.NOTHING:
            return auth.anonymous
        if token is None and not auth.anonymous.has_rights:
            raise Unauthorized
        project = NO_PROJECT if row.creates_project else target.project
        if project and row.asks_project:
            await self._context.catalog.project(project)
        if row.needs is Needs.TOKEN:
            return await principal_of(auth, token)
        resource = target.subscription or target.topic or None
        return await self._caller(token, project, lambda caller: require_role(caller, row.name, project, resource))

    async def _publish(self, scope: Scope, receive: Receive, raw_project: bytes, raw_topic: bytes) -> Answer:
        project, topic = _publish_target(raw_project, raw_topic)
        headers = headers_of(scope)
        token = token_of(headers, query_of(scope))
        caller = await self._caller(token, project, lambda caller: caller.require_publish(topic))
        try:
            messages = _messages(await read_body(receive, max_bytes=self._max_body_bytes))
            once = _once(headers, caller)
            if not messages:
                await self._context.catalog.topic(topic)
                return Answer(200, wire.published(0, 0))
            appended = await self._context.publisher.publish(PublishRequest(topic, messages, once))
        except UnknownTopic as refusal:
            await self._prefer_unknown_project(project)
            raise refusal
        return Answer(200, wire.published(appended.first.offset, appended.count))

    async def _caller(self, token: str | None, project: ProjectName, check: Callable[[Principal], None]) -> Principal:
        """Return who is calling, with a right in `project`, or any where it is empty, and once `check` passes.

        Raises `Unauthorized` and what `check` raises; an unknown project comes before both.
        """
        auth = self._context.auth
        if token is None and not auth.anonymous.has_rights:
            raise Unauthorized

        def check_all(caller: Principal) -> None:
            if not reaches(caller, project):
                raise Unauthorized
            check(caller)

        try:
            return await permitted(auth, token, check_all)
        except (Forbidden, Unauthorized) as refusal:
            await self._prefer_unknown_project(project)
            raise refusal

    async def _prefer_unknown_project(self, project: ProjectName) -> None:
        """Raise `UnknownProject` where that is so: it comes before other refusals."""
        if not project:
            return
        try:
            await self._context.catalog.project(project)
        except Unavailable:
            # The refusal at hand is true anyway.
            return


def build(context: Context) -> AsgiApp:
    return ArgoApp(context)


def _is_publish(method: str, parts: list[bytes]) -> bool:
    if len(parts) != 6 or not parts[5].endswith(PUBLISH) or method != "POST":
        return False
    return parts[4] == b"topics" and parts[2] == b"projects"


def rows() -> list[Row]:
    """Return the rows that the resource files of this room export as `ROUTES`."""
    modules = [import_module(f"{ams.__name__}.{found.name}") for found in iter_modules(ams.__path__)]
    return [row for module in modules for row in getattr(module, "ROUTES", ())]


def _target(values: dict[str, bytes], *, creates: bool) -> Target:
    """Check the names, of which the first bad one in alphabetical order is refused (contract ams.md 1.1)."""
    project, topic, subscription, names = NO_PROJECT, NO_TOPIC, NO_SUBSCRIPTION, {}
    for variable in sorted(values):
        if variable == "project":
            project = _project(values[variable])
        elif variable == "topic":
            topic = _topic(project, values[variable], create=creates)
        elif variable == "subscription":
            subscription = _subscription(project, values[variable])
        else:
            names[variable] = _name(variable, values[variable])
    return Target(project, topic, subscription, names)


def _name(variable: str, raw: bytes) -> str:
    name = raw.decode("ascii", "replace")
    if not is_argo_name(name):
        raise errors.invalid_name(variable)
    return name


def _project(raw: bytes) -> ProjectName:
    return ProjectName(_name("project", raw))


def _subscription(project: ProjectName, raw: bytes) -> SubscriptionName:
    try:
        return parse_subscription(f"{project}/{_name('subscription', raw)}")
    except InvalidName:
        raise errors.invalid_name("subscription") from None


def _topic(project: ProjectName, raw: bytes, *, create: bool = False) -> TopicName:
    name = raw.decode("ascii", "replace")
    try:
        if is_argo_name(name):
            return topic_of(project, name)
        if _ENCODED_SLASH.search(raw) and not create:
            return topic_of(project, unquote(name, errors="strict"))
    except (InvalidName, UnicodeDecodeError):
        pass
    raise errors.invalid_name("topic")


@lru_cache(maxsize=MAX_REMEMBERED_PATHS)
def _publish_target(raw_project: bytes, raw_topic: bytes) -> tuple[ProjectName, TopicName]:
    project = _project(raw_project)
    return project, _topic(project, raw_topic)


def _messages(body: bytes) -> tuple[Message, ...]:
    try:
        return wire.read_publish(body)
    except InvalidRequest:
        raise errors.invalid_arguments("Message") from None


def _once(headers: dict[bytes, bytes], caller: Principal) -> IdempotencyKey | None:
    key = headers.get(b"idempotency-key")
    return None if key is None else IdempotencyKey(caller.name, key.decode("latin-1"))
