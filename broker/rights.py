"""Rights: who is calling, and what it may do. Pure: tokens are read elsewhere, `now_ms` is passed in."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.errors import Forbidden, InvalidName
from broker.names import TopicName, check_text, shown

MAX_PATTERNS = 100
"""Patterns of one kind that a caller may have: bounds what a check costs."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller after its credential was read.

    `name` scopes idempotency keys and appears in logs; it is never a secret. `publish` and `subscribe` are patterns
    over full topic names: exact, or with one `*` at the end for the rest of the name. `operator` may do everything,
    the management of projects and topics included. `expires_ms` is Unix milliseconds, None for never.
    """

    name: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    operator: bool = False
    expires_ms: int | None = None

    @property
    def has_rights(self) -> bool:
        return self.operator or bool(self.publish or self.subscribe)

    def has_expired(self, now_ms: int) -> bool:
        return self.expires_ms is not None and now_ms >= self.expires_ms

    def require_publish(self, topic: TopicName) -> None:
        """Raise `Forbidden` unless this caller may publish to `topic`."""
        if not (self.operator or matches(self.publish, topic)):
            raise Forbidden(f"The token does not grant publishing to {topic}.")

    def require_subscribe(self, topic: TopicName) -> None:
        """Raise `Forbidden` unless this caller may follow `topic`."""
        if not (self.operator or matches(self.subscribe, topic)):
            raise Forbidden(f"The token does not grant following {topic}.")

    def require_operator(self) -> None:
        """Raise `Forbidden` unless this caller may manage projects and topics."""
        if not self.operator:
            raise Forbidden("Only the service token grants this.")


def matches(patterns: tuple[str, ...], topic: TopicName) -> bool:
    """Tell whether one of `patterns` covers `topic`. A `*` counts at the end only, and only there is it allowed."""
    return any(topic.startswith(p[:-1]) if p.endswith("*") else topic == p for p in patterns)


def check_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return `patterns`, or raise `InvalidName` for one that could match other than it reads.

    A `*` that is not at the end would match nothing, and whoever wrote it meant more than nothing.
    """
    if len(patterns) > MAX_PATTERNS:
        raise InvalidName(f"At most {MAX_PATTERNS} patterns are allowed, these are {len(patterns)}.")
    for pattern in patterns:
        prefix = pattern.removesuffix("*")
        if not pattern:
            raise InvalidName("A pattern is empty.")
        if "*" in prefix:
            raise InvalidName(f"The pattern {shown(pattern)} has a * that is not at its end.")
        check_text(prefix)
    return tuple(patterns)
