"""What the HTTP API's reference says of the lean routes: FastAPI does not see them, so they are written down here.

Paths, words and answers are those of the ARGO contract as the `ams` room serves it (`gateway.admin.operations`), of
connections (`gateway.admin.connections`), and of the event stream.
"""

import re
from typing import Any

from gateway.admin.connections import CONNECTION_OPERATIONS
from gateway.admin.operations import OPERATIONS, Operation

OpenApi = dict[str, Any]
"""A fragment of an OpenAPI 3.1 document, JSON as it will be sent."""

DESCRIPTION = (
    "Publish messages, pull and acknowledge them, follow topics as server-sent events, and manage what there is. "
    "Sockets speak the realtime protocol at /v1/realtime. "
    "Credentials: x-api-key, Authorization: Bearer, or ?token=. "
    "Every refusal is an envelope: {error: {code, message, status}}, its code the HTTP status."
)

SECURITY_SCHEMES: OpenApi = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {"type": "http", "scheme": "bearer"},
}

REFUSALS = {
    400: "The request cannot be understood, or asks for what may not be.",
    401: "No valid token.",
    403: "The token does not grant this.",
    404: "It does not exist.",
    408: "The ack deadline is over: what was pulled comes again.",
    409: "It exists already, or is not in a state for this; with an Idempotency-Key: it was used for other messages.",
    410: "The connection is gone.",
    413: "A message is too large.",
    429: "A limit of the project is reached; Retry-After says when to come back.",
    503: "Nothing was changed, and coming back helps: see Retry-After.",
    504: "The outcome is unknown; with an Idempotency-Key a retry is safe.",
}

_PATH = {
    "project": "The project's name.",
    "topic": "The topic's name inside the project; a / in it is %2F.",
    "subscription": "The subscription's name inside the project.",
    "schema": "The schema's name inside the project.",
    "user": "The user's name.",
    "uuid": "A UUID.",
    "token": "A user's token.",
    "connection": "A connection's id; a = in it may be %3D.",
    "stage": "The path of a stage, or any other.",
}

_QUERY = {
    "pageSize": ("integer", "Items a page; 0: all."),
    "pageToken": ("string", "The last answer's nextPageToken."),
    "project": ("string", "Members of this project only."),
    "details": ("boolean", "Tell more, to those who may know."),
    "time": ("string", "YYYY-MM-DDTHH:MM:SS.mmmZ."),
    "start_date": ("string", "YYYY-MM-DD, the first day; 1970-01-01 by default."),
    "end_date": ("string", "YYYY-MM-DD, the last day; today by default."),
    "projects": ("string", "Names of projects, separated by commas; all by default."),
    "api": ("string", "Connections of this API only."),
    "stage": ("string", "Of this stage only."),
    "user": ("string", "Of this user only."),
    "group": ("string", "Members of this group only: the full name of its topic."),
    "tag.NAME": ("string", "Those whose tag NAME has this value only; may be given for several tags."),
    "limit": ("integer", "Connections a page, 1 to 1000; 100 by default."),
    "after": ("string", "The last answer's next."),
    "code": ("integer", "The close code; 1000 by default."),
    "reason": ("string", "The close frame's reason."),
    "since": ("string", "now (default), earliest, last:N, time:MS or EPOCH-OFFSET (the last position seen)."),
}

_HEADERS = {
    "Idempotency-Key": "The same key with the same messages, within an hour, gives the same messageIds.",
    "Last-Event-ID": "The last position seen, which a browser's EventSource sends by itself; weighs more than since.",
}

STREAM = "GET /v1/projects/{project}/topics/{topic}:stream"


def paths() -> OpenApi:
    """Return the path items of the lean routes."""
    items: OpenApi = {}
    for operation in (*OPERATIONS, *CONNECTION_OPERATIONS):
        _add(items, operation.call, _described(operation))
    _add(items, STREAM, _stream())
    return items


def _add(items: OpenApi, call: str, described: OpenApi) -> None:
    method, _, path = call.partition(" ")
    variables = [_variable(name) for name in re.findall(r"{(\w+)}", path)]
    items.setdefault(path, {"parameters": variables} if variables else {})[method.lower()] = described


def _variable(name: str) -> OpenApi:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": _PATH[name]}


def _parameter(name: str) -> OpenApi:
    if name in _HEADERS:
        return {"name": name, "in": "header", "schema": {"type": "string"}, "description": _HEADERS[name]}
    kind, description = _QUERY[name]
    return {"name": name, "in": "query", "schema": {"type": kind}, "description": description}


def _described(operation: Operation) -> OpenApi:
    ok: OpenApi = {"description": "Done."}
    if operation.answer is not None:
        ok["content"] = {"application/json": {"example": operation.answer}}
    refused = sorted({401, 403, 404, *operation.refusals})
    made: OpenApi = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {"200": ok, **{str(status): {"description": REFUSALS[status]} for status in refused}},
    }
    if operation.query:
        made["parameters"] = [_parameter(name) for name in operation.query]
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"example": operation.body}}}
    return made


def _stream() -> OpenApi:
    made = _described(
        Operation("Messages", STREAM, "Follow a topic as server-sent events.", query=("since", "Last-Event-ID"))
    )
    frame = {"op": "message", "topic": "default/demo", "epoch": 1, "offset": 41, "time": 1767225600000, "text": "hello"}
    shown = f"id: 1-41\ndata: {frame}\n\n".replace("'", '"')
    made["responses"]["200"] = {
        "description": "A stream of events: messages, and `recovery` and `gap` about what could not be delivered.",
        "content": {"text/event-stream": {"example": shown}},
    }
    return made
