"""Roles, and which of them each route of ARGO asks for (contract ams.md 2). Pure.

The table is data; `allowed` is the whole decision. What a resource's access list adds to a role is `asks_access_list`.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum


class Role(StrEnum):
    SERVICE_ADMIN = "service_admin"
    PROJECT_ADMIN = "project_admin"
    PUBLISHER = "publisher"
    CONSUMER = "consumer"
    PUSH_WORKER = "push_worker"
    METRICS_VIEWER = "metrics_viewer"
    ARGO_API_AUTHN = "argo_api_authn"
    REGISTER_ADMIN = "register_admin"
    ADMIN_VIEWER = "admin_viewer"


PROJECT_ROLES = frozenset({Role.PROJECT_ADMIN, Role.PUBLISHER, Role.CONSUMER, Role.PUSH_WORKER})
"""What a member may be in a project."""

SERVICE_ROLES = frozenset(Role) - {Role.PROJECT_ADMIN, Role.PUBLISHER, Role.CONSUMER}
"""What a user may be in the whole service. A worker for pushes serves all projects, or is let into some."""

_SHORT = {
    "SA": Role.SERVICE_ADMIN,
    "PA": Role.PROJECT_ADMIN,
    "PU": Role.PUBLISHER,
    "CO": Role.CONSUMER,
    "PW": Role.PUSH_WORKER,
    "MV": Role.METRICS_VIEWER,
    "AA": Role.ARGO_API_AUTHN,
    "RA": Role.REGISTER_ADMIN,
}

_TABLE = """
    ams:metrics ams:va_metrics                                                              SA PA MV
    users:byUUID                                                                            SA AA
    users:byToken                                                                           SA PW
    users:list                                                                              SA PA
    users:show users:create users:update users:refreshToken users:delete                    SA
    registrations:new                                                                       SA RA
    registrations:accept registrations:decline registrations:show registrations:list        SA
    registrations:delete                                                                    SA
    projects:list projects:create projects:modifyLimits                                     SA
    projects:show projects:update projects:delete projects:metrics projects:limits          SA PA
    members:list members:show members:create members:update members:add members:remove      SA PA
    topics:list topics:show topics:publish topics:metrics                                   SA PA PU
    topics:create topics:delete topics:acl topics:modifyAcl                                 SA PA
    topics:attachSchema topics:detachSchema topics:subscriptions                            SA PA
    subscriptions:list subscriptions:offsets subscriptions:timeToOffset                     SA PA CO
    subscriptions:modifyOffset subscriptions:metrics subscriptions:modifyAckDeadline        SA PA CO
    subscriptions:show subscriptions:pull subscriptions:acknowledge                         SA PA CO PW
    subscriptions:create subscriptions:delete subscriptions:acl subscriptions:modifyAcl     SA PA
    subscriptions:modifyPushConfig subscriptions:verifyPushEndpoint                         SA PA
    schemas:create schemas:show schemas:list schemas:update schemas:delete schemas:validate SA PA
"""


def _read(text: str) -> Mapping[str, frozenset[Role]]:
    table: dict[str, frozenset[Role]] = {}
    for line in text.split("\n"):
        words = line.split()
        roles = frozenset(_SHORT[word] for word in words if word in _SHORT)
        table |= {word: roles for word in words if word not in _SHORT}
    return table


ROUTES = _read(_TABLE)
"""A route's name to the roles that may use it."""

_LISTED_PUBLISHER = {"topics:publish", "topics:metrics"}
_LISTED_CONSUMER = {
    "subscriptions:pull",
    "subscriptions:metrics",
    "subscriptions:acknowledge",
    "subscriptions:modifyOffset",
}


def allowed(route: str, roles: Collection[str]) -> bool:
    """Tell whether a caller with `roles` may use a route. One that the table does not name is the service admin's."""
    granted = ROUTES.get(route)
    if granted is None:
        return Role.SERVICE_ADMIN in roles
    return not granted.isdisjoint(roles)


def asks_access_list(route: str, roles: Collection[str]) -> bool:
    """Tell whether a caller who may use a route must also stand in the resource's access list.

    So it is for publishers and consumers, also for one who is the project's admin besides; a service admin never.
    Acknowledging and moving the offset are held to it too, which the original forgets.
    """
    if Role.SERVICE_ADMIN in roles:
        return False
    publishing = route in _LISTED_PUBLISHER and Role.PUBLISHER in roles
    return publishing or (route in _LISTED_CONSUMER and Role.CONSUMER in roles)


def lists_own_only(roles: Collection[str]) -> bool:
    """Tell whether lists of topics and subscriptions hold only those whose access list has the caller."""
    return Role.SERVICE_ADMIN not in roles and Role.PROJECT_ADMIN not in roles


def may_publish(roles: Collection[str], *, listed: bool) -> bool:
    """Tell whether a caller may publish to a topic; `listed`: its access list has the caller."""
    return allowed("topics:publish", roles) and (listed or not asks_access_list("topics:publish", roles))


def may_follow(roles: Collection[str], *, listed: bool) -> bool:
    """Tell whether a caller may follow a topic live: admins, and a consumer that stands in the topic's access list."""
    if Role.SERVICE_ADMIN in roles or Role.PROJECT_ADMIN in roles:
        return True
    return Role.CONSUMER in roles and listed
