"""The bodies and queries of `/headrace/v1`: JSON to values, and values to JSON. Pure.

A message is one of `text`, `json` and `base64`. Whom it is for is either `connections`, a list of ids, or `to`, a map
of criteria. Members that are not known are refused: a misspelt one must not widen whom a call is about.
"""

import binascii
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from broker.errors import InvalidRequest, TooLarge
from broker.messages import Kind, Message
from broker.names import TopicName, parse_topic
from gateway.apigateway.beyond.criteria import Criteria, read_criteria
from gateway.apigateway.beyond.deeds import Tally, Target
from gateway.apigateway.ports import Facts, Standing

MAX_CONNECTIONS = 10_000
"""Named in one call."""

MAX_MESSAGE_BYTES = 1_000_000
"""Of a message to many."""

CREDENTIALS = ("token", "key")
"""Members of any query, which are not this room's."""

DEFAULT_PAGE = 100
MAX_PAGE = 1000

MAX_REASON_BYTES = 123
"""Of a close frame (RFC 6455 section 5.5)."""

MESSAGE = ("text", "json", "base64")
TARGET = ("connections", "to")
CRITERIA = ("api", "stage", "user", "group", "tags")
TAG_PREFIX = "tag."


def read_body(body: bytes, known: Collection[str]) -> dict[str, Any]:
    """Return a body's members. Raises `InvalidRequest`, also for one that is not `known`."""
    try:
        told = orjson.loads(body)
    except ValueError:
        raise InvalidRequest("The body is not JSON.") from None
    if not isinstance(told, dict):
        raise InvalidRequest("The body is a JSON object.")
    _check_known(told, known)
    return told


def read_target(told: Mapping[str, Any]) -> Target:
    """Raises `InvalidRequest`, `InvalidName`."""
    given = [name for name in TARGET if name in told]
    if len(given) != 1:
        raise InvalidRequest("Say whom this is for: either connections, a list of ids, or to, a map.")
    if given == ["connections"]:
        return Target(ids=_ids(told["connections"]))
    to = told["to"]
    if not isinstance(to, dict):
        raise InvalidRequest("to is a map.")
    _check_known(to, CRITERIA)
    criteria = read_criteria(to)
    if criteria.is_empty:
        raise InvalidRequest(f"to says at least one of {', '.join(CRITERIA)}.")
    return Target(criteria=criteria)


def read_message(told: Mapping[str, Any]) -> Message:
    """Raises `InvalidRequest`, `TooLarge`."""
    given = [name for name in MESSAGE if name in told]
    if len(given) != 1:
        raise InvalidRequest(f"A message is one of {', '.join(MESSAGE)}.")
    message = _message(given[0], told[given[0]])
    if len(message.payload) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"A message has at most {MAX_MESSAGE_BYTES} bytes.")
    return message


def read_group(told: Mapping[str, Any]) -> TopicName:
    """Raises `InvalidRequest`, `InvalidName`."""
    group = told.get("group")
    if not isinstance(group, str):
        raise InvalidRequest("group is the full name of a topic, project/topic.")
    return parse_topic(group)


def read_close(told: Mapping[str, Any]) -> tuple[int, str]:
    """Return code and reason of a close. Raises `InvalidRequest` for what no close frame may hold."""
    code, reason = told.get("code", 1000), told.get("reason", "")
    is_code = isinstance(code, int) and not isinstance(code, bool)
    if not is_code or not (code in (1000, 1001, 1008, 1011, 1012, 1013) or 3000 <= code <= 4999):
        raise InvalidRequest("code is 1000, 1001, 1008, 1011, 1012, 1013, or 3000 to 4999.")
    if not isinstance(reason, str) or len(reason.encode(errors="replace")) > MAX_REASON_BYTES:
        raise InvalidRequest(f"reason is a text of at most {MAX_REASON_BYTES} bytes.")
    return code, reason


def query_criteria(query: Mapping[str, str], *, besides: Collection[str] = ()) -> Criteria:
    """Read criteria from a query: `api`, `stage`, `user`, `group`, `tag.NAME`. Raises `InvalidRequest`."""
    told: dict[str, Any] = {name: value for name, value in query.items() if not name.startswith(TAG_PREFIX)}
    check_query(told, (*CRITERIA[:-1], f"{TAG_PREFIX}NAME", *besides))
    tags = {name.removeprefix(TAG_PREFIX): value for name, value in query.items() if name.startswith(TAG_PREFIX)}
    return read_criteria({**told, "tags": tags})


def check_query(query: Collection[str], known: Collection[str]) -> None:
    """Raise `InvalidRequest` for a member that is none of `known`."""
    _check_known(set(query) - set(CREDENTIALS), known)


def query_limit(query: Mapping[str, str]) -> int:
    """Raises `InvalidRequest`."""
    text = query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidRequest(f"limit is a number from 1 to {MAX_PAGE}.")
    return int(text)


def tally_json(tally: Tally, *, done: str) -> bytes:
    """Return what became of a call; `done` names how many it reached: `posted`, `closed`, `joined` or `left`."""
    told: dict[str, object] = {done: tally.done, "not_reached": tally.not_done, "failed": tally.failed}
    if tally.unreached:
        told["unavailable_nodes"] = tally.unreached
    return orjson.dumps(told)


def page_json(page: Sequence[Standing], *, is_last: bool) -> bytes:
    told: dict[str, object] = {"connections": [_shown(standing) for standing in page]}
    if page and not is_last:
        told["next"] = page[-1].facts.id
    return orjson.dumps(told)


def standing_json(standing: Standing) -> bytes:
    return orjson.dumps(_shown(standing))


def _shown(standing: Standing) -> dict[str, object]:
    facts: Facts = standing.facts
    told: dict[str, object] = {
        "connection": facts.id,
        "api": facts.api,
        "stage": facts.stage,
        "connected_at_ms": facts.connected_at_ms,
        "last_active_at_ms": standing.last_active_at_ms,
        "source_ip": facts.source_ip,
    }
    optional = {"user_agent": facts.user_agent, "user": facts.user, "tags": dict(facts.tags)}
    return {**told, **{name: value for name, value in optional.items() if value}}


def _check_known(told: Collection[str], known: Collection[str]) -> None:
    unknown = sorted(set(told) - set(known))
    if unknown:
        raise InvalidRequest(f"There is no {unknown[0][:64]!a} here; known: {', '.join(known)}.")


def _ids(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidRequest("connections is a list of ids.")
    if not 1 <= len(value) <= MAX_CONNECTIONS:
        raise InvalidRequest(f"connections holds 1 to {MAX_CONNECTIONS} ids.")
    # A connection that is named twice gets a message once.
    return tuple(dict.fromkeys(value))


def _message(name: str, value: object) -> Message:
    if name == "json":
        return Message(Kind.JSON, orjson.dumps(value))
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} is a text.")
    if name == "text":
        try:
            return Message(Kind.TEXT, value.encode())
        except UnicodeEncodeError:
            raise InvalidRequest("text is not valid Unicode.") from None
    try:
        return Message(Kind.BINARY, b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise InvalidRequest("base64 is not valid base64.") from None
