"""Push deliveries on the wire, and their pace (contract ams.md 5). Pure."""

import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import orjson

from broker.messages import Entry
from broker.names import SubscriptionName, local_of, project_of
from gateway.pushes import PushConfig, PushType, RetryPolicy

Document = Callable[[Entry], Mapping[str, object]]
"""Makes ARGO's form of a message: messageId, attributes, data, publishTime."""

HTTP_SUCCESS = frozenset({200, 201, 204, 102})
MATTERMOST_SUCCESS = frozenset({200})

MIN_SLOWSTART_MS = 300
FIRST_SLOWSTART_MS = 1000
MAX_SLOWSTART_MS = 24 * 3600 * 1000

EVENT_ID = "Headrace-Event-Id"
"""Names what a delivery is about, not who sends it: a repeated delivery of the same messages has the same."""


@dataclass(frozen=True, slots=True)
class Delivery:
    url: str
    headers: Mapping[str, str]
    body: bytes
    success: frozenset[int]


def batch_size(config: PushConfig) -> int:
    """Return how many messages one delivery takes: a Mattermost post holds one."""
    return 1 if config.type is PushType.MATTERMOST else config.max_messages


def delivery_of(
    name: SubscriptionName, config: PushConfig, entries: Sequence[Entry], document_of: Document
) -> Delivery:
    """Return the request that delivers `entries`, at least one."""
    messages = [_message(document_of(entry), config) for entry in entries]
    headers = {"Content-Type": "application/json", EVENT_ID: event_id(name, entries)}
    if config.type is PushType.MATTERMOST:
        return Delivery(config.mattermost_url, headers, _post(config, str(messages[0]["data"])), MATTERMOST_SUCCESS)
    if config.authorization_value:
        headers["Authorization"] = config.authorization_value
    wrapped = [{"message": message, "subscription": full_name(name)} for message in messages]
    body = orjson.dumps(wrapped[0] if config.max_messages == 1 else {"messages": wrapped})
    return Delivery(config.endpoint, headers, body, HTTP_SUCCESS)


def event_id(name: SubscriptionName, entries: Sequence[Entry]) -> str:
    first, last = entries[0].position, entries[-1].position
    return f"{name}:{first.epoch}-{first.offset}:{last.epoch}-{last.offset}:{len(entries)}".encode().decode("latin-1")


def full_name(name: SubscriptionName) -> str:
    return f"/projects/{project_of(name)}/subscriptions/{local_of(name)}"


def active_status(name: SubscriptionName) -> str:
    return f"Subscription {full_name(name)} is currently active"


def _post(config: PushConfig, text: str) -> bytes:
    post = {"text": text, "username": config.mattermost_username, "channel": config.mattermost_channel}
    return orjson.dumps({key: value for key, value in post.items() if value or key == "text"})


def _message(document: Mapping[str, object], config: PushConfig) -> Mapping[str, object]:
    if not config.base64_decode:
        return document
    return {**document, "data": _decoded(str(document["data"]))}


def _decoded(data: str) -> str:
    """Return the text in `data`; the original where it is no base64 or no text."""
    try:
        return binascii.a2b_base64(data.encode(), strict_mode=True).decode()
    except ValueError:
        return data


class Outcome(Enum):
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a subscription waits before it looks for its next messages."""

    wait_ms: int
    failing: bool = False


def first_pace(config: PushConfig) -> Pace:
    """linear looks at once, slowstart after a second."""
    return Pace(FIRST_SLOWSTART_MS if config.retry is RetryPolicy.SLOWSTART else 0)


def next_pace(config: PushConfig, pace: Pace, outcome: Outcome) -> Pace:
    """Return the pace after a delivery. linear keeps its period; slowstart halves it, or doubles it while it fails."""
    failed = outcome is Outcome.FAILED
    if config.retry is RetryPolicy.LINEAR:
        return Pace(config.period_ms, failed)
    if failed:
        return Pace(min(pace.wait_ms * 2, MAX_SLOWSTART_MS), failing=True)
    if pace.failing:
        return Pace(FIRST_SLOWSTART_MS)
    return Pace(max(pace.wait_ms // 2, MIN_SLOWSTART_MS))
