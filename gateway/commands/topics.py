"""`headrace topics`: list, create, show and delete topics over the HTTP API of any node."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from gateway.commands.target import Target
from gateway.commands.terminal import MISUSED, fail

TIMEOUT_SECONDS = 15.0
"""For one request, connecting included: longer than a node's own deadline."""

PAGE_SIZE = 500
"""Topics asked for at once."""

MAX_PAGES = 10_000
"""Of one listing, so that a server that pages in a circle is noticed."""

Topic = Mapping[str, Any]
"""A topic as the HTTP API shows it."""


def split(topic: str) -> tuple[str, str]:
    """Return project and topic of a full name, or end the command."""
    project, slash, name = topic.partition("/")
    if not (slash and project and name):
        fail(
            f"{topic!r} is not a full topic name: write PROJECT/TOPIC, for example default/{topic or 'demo'}.", MISUSED
        )
    return project, name


def path_of(topic: str) -> str:
    """Return a topic's path in the HTTP API; a slash inside the topic is escaped."""
    project, name = split(topic)
    return f"/v1/projects/{quote(project, safe='')}/topics/{quote(name, safe='')}"


def name_of(topic: Topic) -> str:
    """Return the full name of a topic that the API calls `/projects/P/topics/T`."""
    _, _, rest = str(topic["name"]).partition("projects/")
    project, _, name = rest.partition("/topics/")
    return f"{project}/{name}"


class Api:
    """The HTTP API of the first server of the target that answers."""

    def __init__(self, target: Target, *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"x-api-key": target.token} if target.token else {}
        self._servers = target.servers
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, transport=transport, trust_env=False)

    def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        body: Mapping[str, object] | None = None,
    ) -> Any:
        """Return the answer's JSON (None for an empty one), or end the command with the refusal's sentence."""
        for server in self._servers:
            try:
                return _result(self._client.request(method, server + path, params=params, json=body))
            except httpx.TransportError as error:
                unreachable = f"{server} cannot be reached: {error}"
        return fail(unreachable)

    def topics(self, project: str) -> Iterator[Topic]:
        """Yield all topics of a project, page by page."""
        params = {"pageSize": str(PAGE_SIZE)}
        for _ in range(MAX_PAGES):
            page = self.call("GET", f"/v1/projects/{quote(project, safe='')}/topics", params)
            yield from page.get("topics", [])
            token = page.get("nextPageToken")
            if not token:
                return
            params["pageToken"] = token
        fail("the listing does not end")


def _result(answer: httpx.Response) -> Any:
    try:
        body = answer.json() if answer.content else None
    except ValueError:
        body = None
    if answer.is_success:
        return body
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return fail(f"{message or 'the server refused'} (HTTP {answer.status_code})")


def show_list(api: Api, project: str, *, as_json: bool) -> None:
    for topic in api.topics(project):
        print(json.dumps(topic) if as_json else name_of(topic))


def show_one(api: Api, topic: str, *, as_json: bool) -> None:
    shown = api.call("GET", path_of(topic)) or {}
    if as_json:
        print(json.dumps(shown))
        return
    for key, value in {"topic": topic, **{k: v for k, v in shown.items() if k != "name"}}.items():
        sys.stdout.write(f"{key}: {value}\n")


def create(api: Api, topic: str) -> None:
    api.call("PUT", path_of(topic))


def delete(api: Api, topic: str) -> None:
    api.call("DELETE", path_of(topic))
