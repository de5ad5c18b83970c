"""Which connections are meant: of an API, of a user, of a group, with tags. Pure.

All that is said must hold; nothing said means every connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.errors import InvalidRequest
from broker.names import TopicName, parse_topic
from gateway.apigateway.ports import Facts

MAX_TAGS = 20
"""Asked for at once."""

MAX_TEXT_CHARS = 1024
"""Of an API's name, a user's, a tag's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    api: str | None = None
    stage: str | None = None
    user: str | None = None
    group: TopicName | None = None
    """The full name of the topic that it is."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self == Criteria()

    def match(self, facts: Facts) -> bool:
        """Tell whether a connection is meant, its group aside: who is in a group is not among its facts."""
        return (
            self.api in (None, facts.api)
            and self.stage in (None, facts.stage)
            and self.user in (None, facts.user)
            and all(facts.tags.get(name) == value for name, value in self.tags.items())
        )

    def plain(self) -> dict[str, Any]:
        """Return what `read_criteria` reads."""
        told = {"api": self.api, "stage": self.stage, "user": self.user, "group": self.group, "tags": dict(self.tags)}
        return {name: value for name, value in told.items() if value}


def read_criteria(told: Mapping[str, Any]) -> Criteria:
    """Read the members `api`, `stage`, `user`, `group` and `tags`; others are passed over.

    Raises `InvalidRequest`, `InvalidName`.
    """
    group = _text(told, "group")
    return Criteria(
        api=_text(told, "api"),
        stage=_text(told, "stage"),
        user=_text(told, "user"),
        group=None if group is None else parse_topic(group),
        tags=_tags(told.get("tags")),
    )


def _text(told: Mapping[str, Any], name: str) -> str | None:
    value = told.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_CHARS:
        raise InvalidRequest(f"{name} is a text of 1 to {MAX_TEXT_CHARS} characters.")
    return value


def _tags(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_TAGS:
        raise InvalidRequest(f"tags is a map with at most {MAX_TAGS} members.")
    for name, text in value.items():
        if not isinstance(text, str) or len(text) > MAX_TEXT_CHARS or len(name) > MAX_TEXT_CHARS:
            raise InvalidRequest(f"A tag and its value are texts of at most {MAX_TEXT_CHARS} characters.")
    return value
