"""ARGO's bodies: bytes to values and back (contract ams.md 1, 4.4, 4.6, 4.7). Pure.

Keys of a request are matched without regard to case and unknown ones ignored, as Go's decoder does. ARGO's `data` is
any string and comes back byte for byte: canonical base64 is stored decoded, everything else as it stands and marked.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

import orjson

from broker.errors import InvalidRequest
from broker.messages import MAX_LIFE_MS, Kind, Message
from broker.names import ProjectName, local_of, project_of
from broker.store.base import ProjectInfo, TopicInfo

T = TypeVar("T")

NO_ATTRIBUTES: Mapping[str, str] = {}


def read_object(body: bytes) -> dict[str, object]:
    """Return the JSON object in `body`; `null` is an empty one. Raises `InvalidRequest`."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The body is not JSON.") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidRequest("The body is not a JSON object.")
    return document


def field_of(document: Mapping[str, object], name: str) -> object:
    """Return the value of `name` (in lower case), matched exactly before without regard to case; None if absent."""
    if name in document:
        return document[name]
    for key, value in document.items():
        if key.lower() == name:
            return value
    return None


def text_of(document: Mapping[str, object], name: str) -> str | None:
    """Return a string field, None if absent. Raises `InvalidRequest` on another type."""
    value = field_of(document, name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name} is not a string.")
    return value


def read_publish(body: bytes) -> tuple[Message, ...]:
    """Return the messages of a publish body, none where `messages` is absent. Raises `InvalidRequest`."""
    items = field_of(read_object(body), "messages")
    if items is None:
        return ()
    if not isinstance(items, list):
        raise InvalidRequest("messages is not a list.")
    return tuple([_message(item) for item in items])


def _message(item: object) -> Message:
    if not isinstance(item, dict):
        raise InvalidRequest("A message is not a JSON object.")
    data = text_of(item, "data")
    attributes = field_of(item, "attributes")
    if attributes is None:
        attributes = NO_ATTRIBUTES
    elif not isinstance(attributes, dict):
        raise InvalidRequest("attributes is not an object.")
    for value in attributes.values():
        if not isinstance(value, str):
            raise InvalidRequest("An attribute's value is not a string.")
    message = message_of(data or "", attributes)
    life_ms = field_of(item, "ttlms")
    return message if life_ms is None else replace(message, life_ms=_life_ms(life_ms))


def _life_ms(value: object) -> int:
    """Read our extension `ttlMs`: how long the message is given out, ms; 0 is for ever."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_LIFE_MS:
        raise InvalidRequest("ttlMs is not a time.")
    return value


def message_of(data: str, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> Message:
    """Return what the log keeps of ARGO's `data` (DESIGN 8, kinds across faces)."""
    raw = data.encode()
    try:
        payload = binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error:
        payload = None
    if payload is None or binascii.b2a_base64(payload, newline=False) != raw:
        return Message(Kind.TEXT, raw, attributes, verbatim=True)
    return Message(Kind.TEXT if _is_text(payload) else Kind.BINARY, payload, attributes)


def data_of(message: Message) -> str:
    """Return ARGO's `data` of a stored message, whichever face published it: the inverse of `message_of`."""
    if message.verbatim:
        return message.payload.decode()
    return binascii.b2a_base64(message.payload, newline=False).decode("ascii")


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def published(first_offset: int, count: int) -> bytes:
    """Return the answer to a publish: message ids are the offsets in decimal, as strings."""
    if count == 1:
        return b'{"messageIds":["%d"]}' % first_offset
    ids = '","'.join(map(str, range(first_offset, first_offset + count)))
    return b'{"messageIds":["%b"]}' % ids.encode() if count else b'{"messageIds":[]}'


def topic_name(topic: TopicInfo) -> str:
    """Return `/projects/P/topics/T`; a `/` inside the topic is `%2F`, so that clients can split and send it back."""
    local = local_of(topic.name).replace("%", "%25").replace("/", "%2F")
    return f"/projects/{project_of(topic.name)}/topics/{local}"


def topic_document(topic: TopicInfo, schema: str | None = None) -> dict[str, object]:
    """`schema` is the name of the topic's schema."""
    bound = {} if schema is None else {"schema": schema_reference(project_of(topic.name), schema)}
    return {"name": topic_name(topic), **bound, "created_on": zulu_seconds(topic.created_ms)}


def schema_reference(project: ProjectName, name: str) -> str:
    return f"projects/{project}/schemas/{name}"


def project_document(project: ProjectInfo) -> dict[str, object]:
    document: dict[str, object] = {
        "name": project.name,
        "created_on": zulu_seconds(project.created_ms),
        "modified_on": zulu_seconds(project.modified_ms),
        "created_by": project.created_by,
        "description": project.description,
    }
    return {key: value for key, value in document.items() if value}


def zulu_seconds(time_ms: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SSZ`."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class InvalidPageSize(InvalidRequest):
    sentence = "Invalid page size"


class InvalidPageToken(InvalidRequest):
    sentence = "Invalid page token"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """`size` 0 is everything; `after` is the name of the last item of the page before, with its time of creation."""

    size: int = 0
    after: tuple[int, str] | None = None


def read_page(size: str, token: str) -> PageRequest:
    """Read `pageSize` and `pageToken`, empty where absent. Raises `InvalidPageSize`, `InvalidPageToken`."""
    if size and not (size.isascii() and size.isdigit() and len(size) <= 9):
        raise InvalidPageSize
    return PageRequest(int(size or 0), _read_page_token(token) if token else None)


def _read_page_token(token: str) -> tuple[int, str]:
    try:
        created, _, name = urlsafe_b64decode(token.encode("ascii")).decode().partition(" ")
        return int(created), name
    except ValueError:
        raise InvalidPageToken from None


def cut_page(items: Sequence[T], page: PageRequest, *, key: Callable[[T], tuple[int, str]]) -> tuple[list[T], str]:
    """Return one page of `items`, newest first, and the token of the next one (`""` on the last).

    `key` gives an item's creation time and name. The token names an item, not a number: what is created or deleted
    between two pages neither repeats nor hides another item.
    """
    ordered = sorted(items, key=lambda item: (-key(item)[0], key(item)[1]))
    if page.after is not None:
        created, name = page.after
        ordered = [item for item in ordered if (-key(item)[0], key(item)[1]) > (-created, name)]
    if not page.size or len(ordered) <= page.size:
        return ordered, ""
    shown = ordered[: page.size]
    created, name = key(shown[-1])
    return shown, urlsafe_b64encode(f"{created} {name}".encode()).decode("ascii")
