"""Who may use which route (contract ams.md 2): a user by roles and access lists, a JWT by its patterns."""

from broker import roles
from broker.errors import Forbidden
from broker.names import ProjectName, SubscriptionName, TopicName
from broker.rights import Account, Principal, matches

WITH_ANY_RIGHT = frozenset({"projects:list", "projects:show", "topics:list", "topics:show"})
"""What a JWT with any right in the project may use besides publishing, which its patterns decide."""

CONSUMING = frozenset(
    {
        "subscriptions:show",
        "subscriptions:pull",
        "subscriptions:acknowledge",
        "subscriptions:offsets",
        "subscriptions:timeToOffset",
    }
)
"""What a JWT may use whose `sub` patterns cover the subscription's full name."""


def require_role(
    caller: Principal, name: str, project: ProjectName, resource: TopicName | SubscriptionName | None = None
) -> None:
    """Raise `Forbidden` unless the caller may use the route `name` on `resource` (None where the path names none).

    `project` is empty where the path names none; then only roles in the whole service count.
    """
    if caller.operator:
        return
    if caller.account is not None:
        granted = _account_may(caller.account, name, project, resource)
    else:
        granted = name in WITH_ANY_RIGHT or (
            name in CONSUMING and resource is not None and matches(caller.subscribe, TopicName(resource))
        )
    if not granted:
        raise Forbidden(f"The token does not grant {name}.")


def _account_may(
    account: Account, name: str, project: ProjectName, resource: TopicName | SubscriptionName | None
) -> bool:
    granted = account.roles_in(project)
    if not roles.allowed(name, granted):
        return False
    if not account.by_resource or not roles.asks_access_list(name, granted):
        return True
    return resource in (account.topics if name.startswith("topics:") else account.subscriptions)


def reaches(caller: Principal, project: ProjectName) -> bool:
    """Tell whether the caller has any right in `project`: what ARGO calls having a role there."""
    if caller.operator:
        return True
    if caller.account is not None:
        return bool(caller.account.roles_in(project))
    if not project:
        return caller.has_rights
    root = f"{project}/"
    return any(
        pattern.startswith(root) or (pattern.endswith("*") and root.startswith(pattern[:-1]))
        for pattern in (*caller.publish, *caller.subscribe)
    )


def sees_topic(caller: Principal, project: ProjectName, topic: TopicName) -> bool:
    """Tell whether `topic` appears in this caller's lists."""
    if caller.account is not None:
        return _sees_all(caller.account, project) or topic in caller.account.topics
    return caller.operator or matches(caller.publish, topic) or matches(caller.subscribe, topic)


def sees_subscription(caller: Principal, project: ProjectName, name: SubscriptionName) -> bool:
    """Tell whether a subscription appears in this caller's lists."""
    if caller.account is not None:
        return _sees_all(caller.account, project) or name in caller.account.subscriptions
    return caller.operator or matches(caller.subscribe, TopicName(name))


def _sees_all(account: Account, project: ProjectName) -> bool:
    return not roles.lists_own_only(account.roles_in(project))
