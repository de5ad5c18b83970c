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
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from broker.errors import (
    Forbidden,
    HeadraceError,
    InvalidName,
    InvalidRequest,
    Unauthorized,
    Unavailable,
    UnknownTopic,
)
from broker.messages import Message
from broker.names import ProjectName, TopicName, is_argo_name, topic_of
from broker.publish import PublishRequest
from broker.rights import Principal
from broker.store.base import IdempotencyKey
from gateway.ams import errors, projects, topics, wire
from gateway.ams.requests import NO_PROJECT, NO_TOPIC, Handler, Request, Target, reaches
from gateway.asgi import (
    Answer,
    AsgiApp,
    PeerGone,
    Receive,
    Scope,
    Send,
    headers_of,
    principal_of,
    query_of,
    read_body,
    send_answer,
    token_of,
)
from gateway.context import Context

log = logging.getLogger(__name__)

_ENCODED_SLASH = re.compile(rb"%2[fF]")


@dataclass(frozen=True, slots=True)
class Route:
    handler: Handler
    operator: bool = True
    """False: any right in the project will do."""


Table = dict[str, Route]
"""Routes of one kind of path by method."""

PROJECTS: Table = {"GET": Route(projects.index, operator=False)}
PROJECT: Table = {
    "GET": Route(projects.show, operator=False),
    "POST": Route(projects.create),
    "PUT": Route(projects.update),
    "DELETE": Route(projects.delete),
}
TOPICS: Table = {"GET": Route(topics.index, operator=False)}
TOPIC: Table = {
    "GET": Route(topics.show, operator=False),
    "PUT": Route(topics.create),
    "DELETE": Route(topics.delete),
}

PUBLISH = b":publish"

MAX_REMEMBERED_PATHS = 4096
"""Publish paths whose names are known to be good."""


class ArgoApp:
    """The ASGI app of everything under `/v1/projects` but event streams."""

    __slots__ = ("_context", "_max_body_bytes")

    def __init__(self, context: Context) -> None:
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
        await send_answer(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path: bytes = scope["raw_path"]
        parts = path.split(b"/")
        if len(parts) == 6 and parts[4] == b"topics" and scope["method"] == "POST" and parts[5].endswith(PUBLISH):
            return await self._publish(scope, receive, parts[3], parts[5][: -len(PUBLISH)])
        route, target = _find(scope["method"], parts)
        headers, query = headers_of(scope), query_of(scope)
        existing = NO_PROJECT if route.handler is projects.create else target.project
        try:
            caller = await self._caller(token_of(headers, query), existing)
            if route.operator:
                caller.require_operator()
            body = await read_body(receive, max_bytes=self._max_body_bytes)
            return Answer(200, await route.handler(Request(self._context.catalog, caller, target, query, body)))
        except (Forbidden, UnknownTopic) as refusal:
            await self._prefer_unknown_project(existing)
            raise refusal

    async def _publish(self, scope: Scope, receive: Receive, raw_project: bytes, raw_topic: bytes) -> Answer:
        project, topic = _publish_target(raw_project, raw_topic)
        headers = headers_of(scope)
        caller = await self._caller(token_of(headers, query_of(scope)), project)
        try:
            caller.require_publish(topic)
            messages = _messages(await read_body(receive, max_bytes=self._max_body_bytes))
            once = _once(headers, caller)
            if not messages:
                await self._context.catalog.topic(topic)
                return Answer(200, wire.published(0, 0))
            appended = await self._context.publisher.publish(PublishRequest(topic, messages, once))
        except (Forbidden, UnknownTopic) as refusal:
            await self._prefer_unknown_project(project)
            raise refusal
        return Answer(200, wire.published(appended.first.offset, appended.count))

    async def _caller(self, token: str | None, project: ProjectName) -> Principal:
        """Return who is calling, with a right in `project`, or any where it is empty. Raises `Unauthorized`."""
        auth = self._context.auth
        if token is None and not auth.anonymous.has_rights:
            raise Unauthorized
        try:
            caller = await principal_of(auth, token)
            if not (reaches(caller, project) if project else caller.has_rights):
                raise Unauthorized
        except Unauthorized as refusal:
            await self._prefer_unknown_project(project)
            raise refusal
        return caller

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


def _find(method: str, parts: list[bytes]) -> tuple[Route, Target]:
    """Return the route and what its path names. `parts` are the raw path's, the first two being `""` and `v1`."""
    table = _table(parts)
    if table is None:
        raise errors.unknown_route()
    route = table.get(method)
    if route is None:
        raise errors.wrong_verb([*table])
    if len(parts) == 3:
        return route, Target(NO_PROJECT, NO_TOPIC)
    project = _project(parts[3])
    if len(parts) < 6:
        return route, Target(project, NO_TOPIC)
    return route, Target(project, _topic(project, parts[5], create=route.handler is topics.create))


def _table(parts: list[bytes]) -> Table | None:
    if parts[:3] != [b"", b"v1", b"projects"] or b"" in parts[3:]:
        return None
    if len(parts) >= 5 and parts[4] != b"topics":
        return None
    return {3: PROJECTS, 4: PROJECT, 5: TOPICS, 6: TOPIC}.get(len(parts))


def _project(raw: bytes) -> ProjectName:
    name = raw.decode("ascii", "replace")
    if not is_argo_name(name):
        raise errors.invalid_name("project")
    return ProjectName(name)


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
