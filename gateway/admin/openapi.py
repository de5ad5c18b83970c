"""What the HTTP API's reference says of the lean routes: FastAPI does not see them, so they are written down here.

Paths, words and answers are those of the ARGO contract as the `ams` room serves it, and of the event stream.
"""

import re
from typing import Any

from gateway.admin import argo

OpenApi = dict[str, Any]
"""A fragment of an OpenAPI 3.1 document, JSON as it will be sent."""

DESCRIPTION = (
    "Publish and manage topics over HTTP, follow them as server-sent events. "
    "Sockets speak the realtime protocol at /v1/realtime. "
    "Credentials: x-api-key, Authorization: Bearer, or ?token=."
)

SECURITY_SCHEMES: OpenApi = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}

_PROJECT: OpenApi = {
    "name": "project",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The project's name.",
}
_TOPIC: OpenApi = {
    "name": "topic",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "The topic's name inside the project; a / in it is %2F.",
}
_SINCE: OpenApi = {
    "name": "since",
    "in": "query",
    "schema": {"type": "string", "default": "now"},
    "description": "now, earliest, last:N, time:MS or EPOCH-OFFSET (the last position seen).",
}
_LAST_EVENT_ID: OpenApi = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The last position seen, which a browser's EventSource sends by itself; weighs more than since.",
}
_IDEMPOTENCY_KEY: OpenApi = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The same key with the same messages, within an hour, gives the same messageIds.",
}
_PAGE_SIZE: OpenApi = {"name": "pageSize", "in": "query", "schema": {"type": "integer"}, "description": "0: all."}
_PAGE_TOKEN: OpenApi = {
    "name": "pageToken",
    "in": "query",
    "schema": {"type": "string"},
    "description": "The last answer's nextPageToken.",
}

PUBLISHED = {"messageIds": ["41"]}
TOPIC = {"name": "/projects/default/topics/demo"}
TOPICS = {"topics": [TOPIC], "nextPageToken": "", "totalSize": 1}
PROJECT = {"name": "default", "created_on": "2026-01-01T00:00:00Z", "modified_on": "2026-01-01T00:00:00Z"}
DESCRIPTION_BODY = {"description": "what it is for"}
MESSAGES = {"messages": [{"data": "aGVsbG8=", "attributes": {"colour": "blue"}}]}


def _operation(
    tag: str, summary: str, *, body: object = None, answer: object = None, parameters: tuple[OpenApi, ...] = ()
) -> OpenApi:
    refusals = {"401": "No valid token.", "403": "The token does not grant this.", "404": "It does not exist."}
    ok: OpenApi = {"description": "Done."}
    if answer is not None:
        ok["content"] = {"application/json": {"example": answer}}
    made: OpenApi = {
        "tags": [tag],
        "summary": summary,
        "responses": {"200": ok, **{status: {"description": text} for status, text in refusals.items()}},
    }
    if parameters:
        made["parameters"] = list(parameters)
    if body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"example": body}}}
    return made


def _stream() -> OpenApi:
    made = _operation("Messages", "Follow a topic as server-sent events.", parameters=(_SINCE, _LAST_EVENT_ID))
    frame = {"op": "message", "topic": "default/demo", "epoch": 1, "offset": 41, "time": 1767225600000, "text": "hello"}
    shown = f"id: 1-41\ndata: {frame}\n\n".replace("'", '"')
    made["responses"]["200"] = {
        "description": "A stream of events: messages, and `recovery` and `gap` about what could not be delivered.",
        "content": {"text/event-stream": {"example": shown}},
    }
    return made


def paths() -> OpenApi:
    """Return the path items of the lean routes."""
    made = _written_out()
    for line in argo.lines():
        item = made.setdefault(line.path, {})
        item[line.method] = _operation(line.tag, line.summary)
        if "{" in line.path:
            item.setdefault("parameters", [_variable(name) for name in re.findall(r"{(\w+)}", line.path)])
    return made


def _variable(name: str) -> OpenApi:
    known = {"project": _PROJECT, "topic": _TOPIC}
    return known.get(name, {"name": name, "in": "path", "required": True, "schema": {"type": "string"}})


def _written_out() -> OpenApi:
    project, topic = "/v1/projects/{project}", "/v1/projects/{project}/topics/{topic}"
    return {
        f"{topic}:publish": {
            "parameters": [_PROJECT, _TOPIC],
            "post": _operation(
                "Messages",
                "Publish messages, all or none.",
                body=MESSAGES,
                answer=PUBLISHED,
                parameters=(_IDEMPOTENCY_KEY,),
            ),
        },
        f"{topic}:stream": {"parameters": [_PROJECT, _TOPIC], "get": _stream()},
        f"{project}/topics": {
            "parameters": [_PROJECT],
            "get": _operation(
                "Topics", "List a project's topics, newest first.", answer=TOPICS, parameters=(_PAGE_SIZE, _PAGE_TOKEN)
            ),
        },
        topic: {
            "parameters": [_PROJECT, _TOPIC],
            "put": _operation("Topics", "Create a topic.", answer=TOPIC),
            "get": _operation("Topics", "Show a topic.", answer=TOPIC),
            "delete": _operation("Topics", "Delete a topic with its messages.", answer={}),
        },
        "/v1/projects": {"get": _operation("Projects", "List the projects.", answer={"projects": [PROJECT]})},
        project: {
            "parameters": [_PROJECT],
            "post": _operation("Projects", "Create a project.", body=DESCRIPTION_BODY, answer=PROJECT),
            "put": _operation("Projects", "Describe a project.", body=DESCRIPTION_BODY, answer=PROJECT),
            "get": _operation("Projects", "Show a project.", answer=PROJECT),
            "delete": _operation("Projects", "Delete a project with its topics.", answer={}),
        },
    }
