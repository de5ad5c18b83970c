"""Who may use which route, by roles, by access lists and by patterns."""

import pytest

from broker.errors import Forbidden
from broker.names import ProjectName, SubscriptionName, TopicName
from broker.rights import Account, Principal
from gateway.ams.access import reaches, require_role, sees_subscription, sees_topic

PROJECT, NONE = ProjectName("p"), ProjectName("")
TOPIC, OTHER_TOPIC = TopicName("p/t"), TopicName("p/other")
SUBSCRIPTION, OTHER_SUBSCRIPTION = SubscriptionName("p/s"), SubscriptionName("p/other")
OPERATOR = Principal("@service", operator=True)


def user(*roles: str, service: tuple[str, ...] = (), by_resource: bool = True) -> Principal:
    """A user of project p that stands in the access lists of topic t and subscription s."""
    account = Account(
        uuid="u",
        name="ann",
        projects={PROJECT: frozenset(roles)} if roles else {},
        service_roles=frozenset(service),
        topics=frozenset({TOPIC}),
        subscriptions=frozenset({SUBSCRIPTION}),
        by_resource=by_resource,
    )
    return Principal("@user/u", account=account)


def may(
    caller: Principal,
    name: str,
    resource: TopicName | SubscriptionName | None = None,
    *,
    project: ProjectName = PROJECT,
) -> bool:
    try:
        require_role(caller, name, project, resource)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("caller", "name", "resource", "expected"),
    [
        (OPERATOR, "topics:create", TOPIC, True),
        (user("project_admin"), "topics:create", TOPIC, True),
        (user("publisher"), "topics:create", TOPIC, False),
        (user("publisher"), "topics:show", OTHER_TOPIC, True),
        (user("publisher"), "topics:metrics", TOPIC, True),
        (user("publisher"), "topics:metrics", OTHER_TOPIC, False),
        (user("publisher", "project_admin"), "topics:metrics", OTHER_TOPIC, False),
        (user("publisher", by_resource=False), "topics:metrics", OTHER_TOPIC, True),
        (user("consumer"), "subscriptions:pull", SUBSCRIPTION, True),
        (user("consumer"), "subscriptions:pull", OTHER_SUBSCRIPTION, False),
        (user("consumer"), "subscriptions:acknowledge", OTHER_SUBSCRIPTION, False),
        (user("consumer"), "subscriptions:modifyOffset", OTHER_SUBSCRIPTION, False),
        (user("consumer"), "subscriptions:offsets", OTHER_SUBSCRIPTION, True),
        (user("consumer"), "subscriptions:create", SUBSCRIPTION, False),
        (user("push_worker"), "subscriptions:pull", OTHER_SUBSCRIPTION, True),
        (user("publisher"), "subscriptions:pull", SUBSCRIPTION, False),
        (Principal("jwt", publish=("p/*",)), "topics:list", None, True),
        (Principal("jwt", publish=("p/*",)), "topics:create", TOPIC, False),
        (Principal("jwt", publish=("p/*",)), "subscriptions:pull", SUBSCRIPTION, False),
        (Principal("jwt", subscribe=("p/s",)), "subscriptions:pull", SUBSCRIPTION, True),
        (Principal("jwt", subscribe=("p/s",)), "subscriptions:pull", OTHER_SUBSCRIPTION, False),
        (Principal("jwt", subscribe=("p/s",)), "subscriptions:delete", SUBSCRIPTION, False),
    ],
)
def test_who_may_what(
    caller: Principal, name: str, resource: TopicName | SubscriptionName | None, expected: bool
) -> None:
    assert may(caller, name, resource) is expected


def test_without_a_project_only_roles_in_the_whole_service_count() -> None:
    assert may(user(service=("metrics_viewer",)), "ams:metrics", project=NONE)
    assert not may(user("project_admin"), "ams:metrics", project=NONE)
    assert not reaches(user("project_admin"), NONE)
    assert reaches(user(service=("metrics_viewer",)), NONE)


def test_a_user_reaches_a_project_by_any_role() -> None:
    assert reaches(user("consumer"), PROJECT)
    assert not reaches(user("consumer"), ProjectName("q"))
    assert not reaches(user(), PROJECT)
    assert reaches(user(service=("push_worker",)), PROJECT)


@pytest.mark.parametrize(
    ("patterns", "reached"),
    [
        ((), False),
        (("p/t",), True),
        (("p/a/b",), True),
        (("p/*",), True),
        (("*",), True),
        (("p*",), True),
        (("pp/t",), False),
        (("pp*",), False),
        (("q/*", "p/x"), True),
    ],
)
def test_any_right_in_a_project_reaches_it(patterns: tuple[str, ...], reached: bool) -> None:
    assert reaches(Principal("who", publish=patterns), PROJECT) is reached
    assert reaches(Principal("who", subscribe=patterns), PROJECT) is reached


def test_a_list_holds_what_its_caller_may_use() -> None:
    consumer = user("consumer")
    assert [sees_subscription(consumer, PROJECT, name) for name in (SUBSCRIPTION, OTHER_SUBSCRIPTION)] == [True, False]
    assert [sees_topic(user("publisher"), PROJECT, name) for name in (TOPIC, OTHER_TOPIC)] == [True, False]
    for caller in (OPERATOR, user("consumer", "project_admin"), user(service=("service_admin",))):
        assert sees_subscription(caller, PROJECT, OTHER_SUBSCRIPTION)
        assert sees_topic(caller, PROJECT, OTHER_TOPIC)
    jwt = Principal("who", publish=("p/a*",), subscribe=("p/b",))
    assert [sees_topic(jwt, PROJECT, TopicName(f"p/{n}")) for n in ("a", "ab", "b", "bc")] == [True, True, True, False]
    assert sees_subscription(jwt, PROJECT, SubscriptionName("p/b"))
    assert not sees_subscription(jwt, PROJECT, SubscriptionName("p/a"))
