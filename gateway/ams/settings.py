"""A subscription in ARGO's form: the body of its creation to settings, its record to a document. Pure.

Besides ARGO's own keys (contract ams.md 4.8) a body may have Headrace's: `kind` (`cursor` or `shared`) and, for shared
ones, `maxAttempts`, `deadLetterTopic`, `retryPolicy` (`type`, `minimumMs`, `maximumMs`), `orderingAttribute` and
`maxOutstanding`. They are shown in the same words.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar
from urllib.parse import unquote

from broker.errors import InvalidName, InvalidRequest
from broker.names import ProjectName, SubscriptionName, TopicName, is_argo_name, local_of, project_of, topic_of
from broker.redelivery import MAX_ACK_DEADLINE_S
from broker.store.subscriptions import (
    DEFAULT_ACK_DEADLINE_S,
    DEFAULT_OUTSTANDING,
    RetryKind,
    SubscriptionInfo,
    SubscriptionKind,
    SubscriptionSettings,
)
from gateway.ams.wire import field_of, read_object, text_of, zulu_seconds

NO_PUSH: Mapping[str, object] = {
    "type": "",
    "pushEndpoint": "",
    "maxMessages": 0,
    "authorizationHeader": {},
    "retryPolicy": {},
    "verificationHash": "",
    "verified": False,
    "mattermostUrl": "",
    "mattermostUsername": "",
    "mattermostChannel": "",
    "base64Decode": False,
}
"""The push configuration of a subscription that is pulled: always a full object, because ARGO's client reads it."""

W = TypeVar("W", bound=StrEnum)

_ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


class InvalidTopicReference(InvalidRequest):
    sentence = "Invalid Topic name"


@dataclass(frozen=True, slots=True)
class Creation:
    topic: TopicName
    settings: SubscriptionSettings
    push: Mapping[str, object]
    """`pushConfig` as it came; empty for none."""


def read_creation(body: bytes) -> Creation:
    """Read the body of a creation. Raises `InvalidRequest`, for the topic's reference `InvalidTopicReference`."""
    document = read_object(body)
    push = field_of(document, "pushconfig")
    if push is not None and not isinstance(push, dict):
        raise InvalidRequest("pushConfig is not an object.")
    settings = read_settings(document)
    return Creation(read_topic_reference(text_of(document, "topic") or ""), settings, push or {})


def read_topic_reference(text: str) -> TopicName:
    """Read `projects/P/topics/T`, in which a `/` of the topic is `%2F`. Raises `InvalidTopicReference`."""
    parts = text.split("/")
    if len(parts) != 4 or parts[0] != "projects" or parts[2] != "topics" or not is_argo_name(parts[1]):
        raise InvalidTopicReference
    try:
        if is_argo_name(parts[3]):
            return topic_of(ProjectName(parts[1]), parts[3])
        if _ENCODED_SLASH.search(parts[3]):
            return topic_of(ProjectName(parts[1]), unquote(parts[3], errors="strict"))
    except (InvalidName, UnicodeDecodeError):
        pass
    raise InvalidTopicReference


def topic_reference(topic: TopicName) -> str:
    """Return `projects/P/topics/T`, the inverse of `read_topic_reference`."""
    local = local_of(topic).replace("%", "%25").replace("/", "%2F")
    return f"projects/{project_of(topic)}/topics/{local}"


def read_settings(document: Mapping[str, object]) -> SubscriptionSettings:
    """Read what a subscription's creator chooses; whether it can be kept is `broker.redelivery`'s to say.

    Raises `InvalidRequest`.
    """
    kind = _word(document, "kind", SubscriptionKind, SubscriptionKind.CURSOR)
    deadline = _integer(document, "ackdeadlineseconds", default=0)
    if not 0 <= deadline <= MAX_ACK_DEADLINE_S:
        raise InvalidRequest("ackDeadlineSeconds is out of range.")
    plain = SubscriptionSettings(ack_deadline_s=deadline or DEFAULT_ACK_DEADLINE_S)
    if kind is SubscriptionKind.SHARED:
        return _shared(plain, document)
    for name in ("maxattempts", "deadlettertopic", "retrypolicy", "orderingattribute", "maxoutstanding"):
        if field_of(document, name) is not None:
            raise InvalidRequest(f"{name} needs the kind shared.")
    return plain


def _shared(plain: SubscriptionSettings, document: Mapping[str, object]) -> SubscriptionSettings:
    retry = field_of(document, "retrypolicy")
    if retry is None:
        retry = {}
    elif not isinstance(retry, dict):
        raise InvalidRequest("retryPolicy is not an object.")
    dead_letters = text_of(document, "deadlettertopic")
    least = _integer(retry, "minimumms", default=0)
    return replace(
        plain,
        kind=SubscriptionKind.SHARED,
        max_attempts=_integer(document, "maxattempts", default=0) or None,
        dead_letter_topic=read_topic_reference(dead_letters) if dead_letters else None,
        retry_kind=_word(retry, "type", RetryKind, RetryKind.LINEAR),
        retry_min_ms=least,
        retry_max_ms=_integer(retry, "maximumms", default=least),
        ordering_attribute=text_of(document, "orderingattribute"),
        max_outstanding=_integer(document, "maxoutstanding", default=DEFAULT_OUTSTANDING),
    )


def _integer(document: Mapping[str, object], name: str, *, default: int) -> int:
    value = field_of(document, name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{name} is not an integer.")
    return value


def _word(document: Mapping[str, object], name: str, words: type[W], default: W) -> W:
    text = text_of(document, name)
    if not text:
        return default
    try:
        return words(text)
    except ValueError:
        raise InvalidRequest(f"{name} is none of {', '.join(words)}.") from None


def subscription_name(name: SubscriptionName) -> str:
    return f"/projects/{project_of(name)}/subscriptions/{local_of(name)}"


def subscription_document(info: SubscriptionInfo, push: Mapping[str, object] = NO_PUSH) -> dict[str, object]:
    """Return ARGO's form, with Headrace's keys behind its own."""
    return {
        "name": subscription_name(info.name),
        "topic": f"/{topic_reference(info.topic)}",
        "pushConfig": push,
        "ackDeadlineSeconds": info.settings.ack_deadline_s,
        "createdOn": zulu_seconds(info.created_ms),
        **settings_document(info.settings),
    }


def settings_document(settings: SubscriptionSettings) -> dict[str, object]:
    """Return the keys that are not ARGO's; of a cursor it is `kind` alone."""
    if settings.kind is SubscriptionKind.CURSOR:
        return {"kind": settings.kind}
    document: dict[str, object] = {
        "kind": settings.kind,
        "maxAttempts": settings.max_attempts,
        "deadLetterTopic": topic_reference(settings.dead_letter_topic) if settings.dead_letter_topic else None,
        "retryPolicy": {
            "type": settings.retry_kind,
            "minimumMs": settings.retry_min_ms,
            "maximumMs": settings.retry_max_ms,
        },
        "orderingAttribute": settings.ordering_attribute,
        "maxOutstanding": settings.max_outstanding,
    }
    return {key: value for key, value in document.items() if value is not None}
