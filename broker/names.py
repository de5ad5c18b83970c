"""Names: what a project, a topic and a subscription may be called.

A topic's full name is `project/segment[/segment...]`, at most 255 bytes of UTF-8 (DESIGN 2). It is a plain string
once it has been parsed: `TopicName` says that it has. Wildcards and brackets are refused because other systems were
broken by them (a pattern that reaches another tenant, a `}` that ends a hash tag).
"""

import re
from typing import NewType

from broker.errors import InvalidName

TopicName = NewType("TopicName", str)
ProjectName = NewType("ProjectName", str)
SubscriptionName = NewType("SubscriptionName", str)

MAX_NAME_BYTES = 255
"""Of a full topic name. Bounds keys, channels, frames and log lines."""

DEFAULT_PROJECT = ProjectName("default")
"""Always exists."""

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff*?\[\]{}\\]")
_ARGO_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def parse_topic(text: str) -> TopicName:
    """Return `text` as a topic's full name, or raise `InvalidName` with the rule that it breaks."""
    project, slash, rest = text.partition("/")
    if not slash or not project or not rest:
        raise InvalidName(f"A topic is named project/topic; {shown(text)} is not.")
    if "" in rest.split("/"):
        raise InvalidName(f"The topic {shown(text)} has an empty segment.")
    check_text(text)
    return TopicName(text)


def parse_project(text: str) -> ProjectName:
    """Return `text` as a project's name, or raise `InvalidName`."""
    if not text or "/" in text:
        raise InvalidName(f"A project's name is one non-empty segment; {shown(text)} is not.")
    check_text(text)
    return ProjectName(text)


def topic_of(project: ProjectName, local: str) -> TopicName:
    """Return the full name of the topic that its project calls `local`, or raise `InvalidName`."""
    return parse_topic(f"{project}/{local}")


def parse_subscription(text: str) -> SubscriptionName:
    """Return `text` as a subscription's full name `project/subscription`, or raise `InvalidName`."""
    project, slash, local = text.partition("/")
    if not slash or not project or not local or "/" in local:
        raise InvalidName(f"A subscription is named project/subscription; {shown(text)} is not.")
    check_text(text)
    return SubscriptionName(text)


def project_of(name: TopicName | SubscriptionName) -> ProjectName:
    return ProjectName(name.partition("/")[0])


def local_of(name: TopicName | SubscriptionName) -> str:
    return name.partition("/")[2]


def is_argo_name(text: str) -> bool:
    """Tell whether ARGO's own rule allows `text` as a path variable (contract ams.md 1.1)."""
    return _ARGO_NAME.fullmatch(text) is not None


def shown(text: str) -> str:
    """Return `text` quoted, escaped and cut, for a sentence or a log line."""
    cut = text if len(text) <= 64 else text[:64] + "…"
    return ascii(cut)


def check_text(text: str) -> None:
    """Raise `InvalidName` when `text` holds what no name may, or is longer than `MAX_NAME_BYTES`."""
    found = _FORBIDDEN.search(text)
    if found:
        raise InvalidName(f"The name {shown(text)} holds {found[0]!a}, which no name may.")
    if len(text.encode()) > MAX_NAME_BYTES:
        raise InvalidName(f"The name {shown(text)} is longer than {MAX_NAME_BYTES} bytes.")
