"""Rights: who is calling, and what it may do. Pure: tokens are read elsewhere, `now_ms` is passed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker import roles
from broker.errors import Forbidden, InvalidName
from broker.names import ProjectName, SubscriptionName, TopicName, check_text, project_of, shown

CONSUMING = "subscriptions:pull"
"""The route of ARGO whose roles may consume, over any face."""

MAX_PATTERNS = 100
"""Patterns of one kind that a caller may have: bounds what a check costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user as its token was read: roles by project, and the access lists that hold it (contract ams.md 2).

    `topics` are full names, `subscriptions` too (`project/subscription`). `by_resource` False: a role is enough, no
    access list is asked. `token_hash` is of the token that was shown: a user may have a new one since.
    """

    uuid: str
    name: str
    projects: Mapping[ProjectName, frozenset[str]] = field(default_factory=dict, hash=False)
    service_roles: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    subscriptions: frozenset[str] = frozenset()
    by_resource: bool = True
    token_hash: str = field(default="", repr=False)

    def roles_in(self, project: ProjectName) -> frozenset[str]:
        """The roles that count in `project`; in none (an empty name), those of the whole service."""
        return self.projects.get(project, frozenset()) | self.service_roles

    def may_publish(self, topic: TopicName) -> bool:
        listed = not self.by_resource or topic in self.topics
        return roles.may_publish(self.roles_in(project_of(topic)), listed=listed)

    def may_follow(self, topic: TopicName) -> bool:
        listed = not self.by_resource or topic in self.topics
        return roles.may_follow(self.roles_in(project_of(topic)), listed=listed)

    def may_consume(self, subscription: SubscriptionName) -> bool:
        granted = self.roles_in(project_of(subscription))
        if not roles.allowed(CONSUMING, granted):
            return False
        listed = not self.by_resource or subscription in self.subscriptions
        return listed or not roles.asks_access_list(CONSUMING, granted)


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller after its credential was read.

    `name` scopes idempotency keys and appears in logs; it is never a secret. `publish` and `subscribe` are patterns
    over full topic names: exact, or with one `*` at the end for the rest of the name. `operator` may do everything,
    the management of projects and topics included. `expires_ms` is Unix milliseconds, None for never. `account` is
    there for users: their rights come from roles and access lists, and may change while they are connected.
    """

    name: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    operator: bool = False
    expires_ms: int | None = None
    account: Account | None = None

    @property
    def has_rights(self) -> bool:
        return self.operator or bool(self.publish or self.subscribe) or self.account is not None

    def has_expired(self, now_ms: int) -> bool:
        return self.expires_ms is not None and now_ms >= self.expires_ms

    def require_publish(self, topic: TopicName) -> None:
        """Raise `Forbidden` unless this caller may publish to `topic`."""
        if not (self.operator or matches(self.publish, topic) or (self.account and self.account.may_publish(topic))):
            raise Forbidden(f"The token does not grant publishing to {topic}.")

    def require_subscribe(self, topic: TopicName) -> None:
        """Raise `Forbidden` unless this caller may follow `topic`."""
        if not (self.operator or matches(self.subscribe, topic) or (self.account and self.account.may_follow(topic))):
            raise Forbidden(f"The token does not grant following {topic}.")

    def require_consume(self, subscription: SubscriptionName) -> None:
        """Raise `Forbidden` unless this caller may receive and settle the messages of `subscription`.

        The patterns that grant following a topic grant consuming a subscription of such a full name.
        """
        granted = self.operator or matches(self.subscribe, subscription)
        if not (granted or (self.account and self.account.may_consume(subscription))):
            raise Forbidden(f"The token does not grant consuming {subscription}.")

    def require_operator(self) -> None:
        """Raise `Forbidden` unless this caller may manage projects and topics."""
        if not self.operator:
            raise Forbidden("Only the service token grants this.")


def matches(patterns: tuple[str, ...], topic: TopicName | SubscriptionName) -> bool:
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
