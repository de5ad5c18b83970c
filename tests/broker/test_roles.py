"""The table of roles against the contract's (ams.md 2), row by row, and what access lists add."""

import pytest

from broker.roles import (
    PROJECT_ROLES,
    ROUTES,
    SERVICE_ROLES,
    Role,
    allowed,
    asks_access_list,
    lists_own_only,
    may_follow,
    may_publish,
)

SA, PA, PU, CO, PW = (
    Role.SERVICE_ADMIN,
    Role.PROJECT_ADMIN,
    Role.PUBLISHER,
    Role.CONSUMER,
    Role.PUSH_WORKER,
)

CONTRACT: list[tuple[str, set[Role]]] = [
    ("ams:metrics ams:va_metrics", {SA, PA, Role.METRICS_VIEWER}),
    ("users:byUUID", {SA, Role.ARGO_API_AUTHN}),
    ("users:byToken", {SA, PW}),
    ("users:list", {SA, PA}),
    ("users:show users:create users:update users:refreshToken users:delete", {SA}),
    ("registrations:new", {SA, Role.REGISTER_ADMIN}),
    ("registrations:accept registrations:decline registrations:show registrations:list", {SA}),
    ("registrations:delete", {SA}),
    ("projects:list projects:create projects:modifyLimits", {SA}),
    ("projects:show projects:update projects:delete projects:metrics projects:limits", {SA, PA}),
    ("members:list members:show members:create members:update members:add members:remove", {SA, PA}),
    ("topics:list topics:show topics:publish topics:metrics", {SA, PA, PU}),
    ("topics:create topics:delete topics:acl topics:modifyAcl topics:attachSchema topics:detachSchema", {SA, PA}),
    ("subscriptions:list subscriptions:offsets subscriptions:timeToOffset subscriptions:modifyOffset", {SA, PA, CO}),
    ("subscriptions:metrics subscriptions:modifyAckDeadline", {SA, PA, CO}),
    ("subscriptions:show subscriptions:pull subscriptions:acknowledge", {SA, PA, CO, PW}),
    ("subscriptions:create subscriptions:delete subscriptions:acl subscriptions:modifyAcl", {SA, PA}),
    ("subscriptions:modifyPushConfig subscriptions:verifyPushEndpoint topics:subscriptions", {SA, PA}),
    ("schemas:create schemas:show schemas:list schemas:update schemas:delete schemas:validate", {SA, PA}),
]
ROWS = [(route, roles) for routes, roles in CONTRACT for route in routes.split()]


@pytest.mark.parametrize(("route", "roles"), ROWS)
def test_a_route_is_granted_to_these_roles_and_no_others(route: str, roles: set[Role]) -> None:
    assert {role for role in Role if allowed(route, {role})} == roles
    assert not allowed(route, set())
    assert allowed(route, {"unheard_of", *roles})


def test_the_table_has_these_routes_and_no_others() -> None:
    assert set(ROUTES) == {route for route, _ in ROWS}
    assert {role for role in Role if allowed("not:named", {role})} == {SA}


def test_roles_are_of_a_project_or_of_the_service() -> None:
    assert set(Role) == PROJECT_ROLES | SERVICE_ROLES
    assert {PW} == PROJECT_ROLES & SERVICE_ROLES
    assert {PA, PU, CO} == PROJECT_ROLES - {PW}


@pytest.mark.parametrize(
    ("route", "roles", "asked"),
    [
        ("topics:publish", {PU}, True),
        ("topics:publish", {PU, PA}, True),
        ("topics:publish", {PU, SA}, False),
        ("topics:publish", {PA}, False),
        ("topics:publish", {CO, PA}, False),
        ("topics:metrics", {PU}, True),
        ("topics:show", {PU}, False),
        ("subscriptions:pull", {CO}, True),
        ("subscriptions:pull", {CO, PA}, True),
        ("subscriptions:pull", {CO, SA}, False),
        ("subscriptions:pull", {PW}, False),
        ("subscriptions:pull", {PU, PA}, False),
        ("subscriptions:metrics", {CO}, True),
        ("subscriptions:acknowledge", {CO}, True),
        ("subscriptions:modifyOffset", {CO}, True),
        ("subscriptions:offsets", {CO}, False),
        ("subscriptions:timeToOffset", {CO}, False),
        ("subscriptions:modifyAckDeadline", {CO}, False),
    ],
)
def test_publishers_and_consumers_must_stand_in_the_access_list(route: str, roles: set[Role], asked: bool) -> None:
    assert asks_access_list(route, roles) is asked


@pytest.mark.parametrize(
    ("roles", "publish", "publish_listed", "follow", "follow_listed"),
    [
        (set(), False, False, False, False),
        ({SA}, True, True, True, True),
        ({PA}, True, True, True, True),
        ({PU}, False, True, False, False),
        ({PU, PA}, False, True, True, True),
        ({PU, SA}, True, True, True, True),
        ({CO}, False, False, False, True),
        ({CO, PA}, True, True, True, True),
        ({PU, CO}, False, True, False, True),
        ({PW}, False, False, False, False),
        ({Role.METRICS_VIEWER, Role.ADMIN_VIEWER}, False, False, False, False),
    ],
)
def test_publishing_and_following(
    roles: set[Role], publish: bool, publish_listed: bool, follow: bool, follow_listed: bool
) -> None:
    assert (may_publish(roles, listed=False), may_publish(roles, listed=True)) == (publish, publish_listed)
    assert (may_follow(roles, listed=False), may_follow(roles, listed=True)) == (follow, follow_listed)


def test_only_admins_see_all_in_lists() -> None:
    assert [lists_own_only({role}) for role in (SA, PA, PU, CO)] == [False, False, True, True]
    assert not lists_own_only({PU, PA})
