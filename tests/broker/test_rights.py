"""Rights: what a pattern covers, and what tries to look like it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Forbidden, InvalidName
from broker.names import MAX_NAME_BYTES, ProjectName, SubscriptionName, TopicName
from broker.rights import MAX_PATTERNS, Account, Principal, check_patterns, matches

COVERED = [
    ("p/t", "p/t"),
    ("p/*", "p/t"),
    ("p/*", "p/t/u/v"),
    ("p/t*", "p/t"),
    ("p/t*", "p/tt"),
    ("p/t/*", "p/t/u"),
    ("*", "p/t"),
    ("p/ü*", "p/über"),
]

NOT_COVERED = [
    ("p/t", "p/tt"),
    ("p/t", "p/t/u"),
    ("p/t", "P/t"),
    ("p/tt", "p/t"),
    ("p/*", "pp/t"),
    ("p/*", "q/p/t"),
    ("p/t/*", "p/t"),
    ("p/t/*", "p/tu/v"),
    ("p/t/*", "p"),
    # A star counts at the end only, and only one does.
    ("*/t", "p/t"),
    ("p/*/u", "p/t/u"),
    ("p/**", "p/t"),
    # Nothing else is a pattern.
    ("p/?", "p/t"),
    ("p/[t]", "p/t"),
    ("p/.*", "p/t"),
    ("p/%", "p/t"),
    ("p/>", "p/t"),
    ("p/#", "p/t"),
    ("", "p/t"),
]


@pytest.mark.parametrize(("pattern", "topic"), COVERED)
def test_a_pattern_covers(pattern: str, topic: str) -> None:
    assert matches((pattern,), TopicName(topic))
    assert matches(("x/y", pattern), TopicName(topic))


@pytest.mark.parametrize(("pattern", "topic"), NOT_COVERED)
def test_a_pattern_does_not_cover(pattern: str, topic: str) -> None:
    assert not matches((pattern,), TopicName(topic))


def test_no_pattern_covers_nothing() -> None:
    assert not matches((), TopicName("p/t"))


@given(st.text("abp/*", max_size=6), st.text("abp/", max_size=6))
def test_a_pattern_is_a_name_or_the_beginning_of_one(pattern: str, topic: str) -> None:
    expected = topic.startswith(pattern[:-1]) if pattern[-1:] == "*" else topic == pattern
    assert matches((pattern,), TopicName(topic)) == expected


TOPIC = TopicName("p/t")


def test_publishing_and_following_are_two_rights() -> None:
    publisher = Principal("me", publish=("p/*",))
    publisher.require_publish(TOPIC)
    with pytest.raises(Forbidden):
        publisher.require_subscribe(TOPIC)
    follower = Principal("me", subscribe=("p/*",))
    follower.require_subscribe(TOPIC)
    with pytest.raises(Forbidden):
        follower.require_publish(TOPIC)
    for caller in (publisher, follower):
        assert caller.has_rights
        with pytest.raises(Forbidden):
            caller.require_operator()


def test_the_operator_may_do_everything() -> None:
    operator = Principal("me", operator=True)
    operator.require_publish(TOPIC)
    operator.require_subscribe(TOPIC)
    operator.require_operator()
    assert operator.has_rights


def test_nobody_may_do_nothing() -> None:
    nobody = Principal("me")
    assert not nobody.has_rights
    for require in (nobody.require_publish, nobody.require_subscribe):
        with pytest.raises(Forbidden):
            require(TOPIC)
    # All patterns do not make an operator.
    with pytest.raises(Forbidden):
        Principal("me", publish=("*",), subscribe=("*",)).require_operator()


@pytest.mark.parametrize(
    ("expires_ms", "now_ms", "expired"), [(None, 10**15, False), (1000, 999, False), (1000, 1000, True), (0, 0, True)]
)
def test_expiry_is_the_first_moment_of_having_expired(expires_ms: int | None, now_ms: int, expired: bool) -> None:
    assert Principal("me", expires_ms=expires_ms).has_expired(now_ms) is expired


@pytest.mark.parametrize("pattern", ["*", "p/*", "p/t", "p/t/u*", "ü/*", "x" * MAX_NAME_BYTES + "*"])
def test_good_patterns_are_taken(pattern: str) -> None:
    assert check_patterns([pattern]) == (pattern,)


@pytest.mark.parametrize(
    "pattern",
    ["", "**", "p/**", "*/t", "p/*/u", "p/*t*", "p/{t}", "p/[t]*", "p/?", "p\\*", "p/\n*", "\ud800", "x" * 256],
)
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidName):
        check_patterns(["p/t", pattern])


def test_a_star_elsewhere_is_named_as_what_is_wrong() -> None:
    with pytest.raises(InvalidName, match="not at its end"):
        check_patterns(["p/*/t"])


def test_patterns_are_counted() -> None:
    assert len(check_patterns(["p/t"] * MAX_PATTERNS)) == MAX_PATTERNS
    with pytest.raises(InvalidName):
        check_patterns(["p/t"] * (MAX_PATTERNS + 1))


def consumer(*subscriptions: str, role: str = "consumer", by_resource: bool = True) -> Principal:
    account = Account(
        uuid="u",
        name="n",
        projects={ProjectName("p"): frozenset({role})},
        subscriptions=frozenset(subscriptions),
        by_resource=by_resource,
    )
    return Principal("@user/u", account=account)


@pytest.mark.parametrize(
    "caller",
    [
        Principal("o", operator=True),
        Principal("j", subscribe=("p/s",)),
        Principal("j", subscribe=("p/*",)),
        consumer("p/s"),
        consumer(by_resource=False),
        consumer(role="project_admin"),
    ],
)
def test_who_may_consume(caller: Principal) -> None:
    caller.require_consume(SubscriptionName("p/s"))


@pytest.mark.parametrize(
    "caller",
    [
        Principal("n"),
        Principal("j", publish=("*",), subscribe=("p/t",)),
        consumer("p/t"),
        consumer("p/s", role="publisher"),
    ],
)
def test_who_may_not_consume(caller: Principal) -> None:
    with pytest.raises(Forbidden):
        caller.require_consume(SubscriptionName("p/s"))


# Users.

P = ProjectName("p")
IN, OUT = TopicName("p/in"), TopicName("p/out")


def an_account(*roles: str, by_resource: bool = True, service: tuple[str, ...] = ()) -> Account:
    return Account(
        uuid="u",
        name="ann",
        projects={P: frozenset(roles)},
        service_roles=frozenset(service),
        topics=frozenset({IN}),
        by_resource=by_resource,
    )


@pytest.mark.parametrize(
    ("account", "publish", "follow"),
    [
        (an_account(), (False, False), (False, False)),
        (an_account("publisher"), (True, False), (False, False)),
        (an_account("consumer"), (False, False), (True, False)),
        (an_account("project_admin"), (True, True), (True, True)),
        (an_account("publisher", "consumer", by_resource=False), (True, True), (True, True)),
        (an_account(service=("service_admin",)), (True, True), (True, True)),
    ],
)
def test_a_user_has_the_rights_of_its_roles_and_lists(
    account: Account, publish: tuple[bool, bool], follow: tuple[bool, bool]
) -> None:
    assert (account.may_publish(IN), account.may_publish(OUT)) == publish
    assert (account.may_follow(IN), account.may_follow(OUT)) == follow
    caller = Principal("@user/u", account=account)
    assert caller.has_rights
    for granted, require in ((publish, caller.require_publish), (follow, caller.require_subscribe)):
        for topic, may in zip((IN, OUT), granted, strict=True):
            if may:
                require(topic)
            else:
                with pytest.raises(Forbidden):
                    require(topic)


def test_roles_count_in_their_project_and_of_the_service_everywhere() -> None:
    account = an_account("consumer", service=("admin_viewer",))
    assert account.roles_in(P) == {"consumer", "admin_viewer"}
    assert account.roles_in(ProjectName("")) == account.roles_in(ProjectName("q")) == {"admin_viewer"}
    assert "token" not in repr(account)
