"""Users by their tokens: remembered for a moment, looked at again while they are connected."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from broker.accounts import Accounts
from broker.acls import Resource
from broker.errors import Unauthorized, Unavailable
from broker.names import ProjectName, TopicName
from broker.rights import Principal
from broker.store.records_memory import MemoryRecords
from broker.users import User, UserChange
from gateway.bearers import KEPT_SECONDS, MAX_KEPT, WATCHED_A_ROUND, Bearers, looks_like_user_token
from gateway.options import Secret
from gateway.vault import Vault

P = ProjectName("p")
ABSENT = "0" * 64


@dataclass(eq=False)
class Connection:
    heard: list[Principal | None] = field(default_factory=list)

    def on_principal(self, principal: Principal | None) -> None:
        self.heard.append(principal)


class Story:
    def __init__(self) -> None:
        self.now = 0.0
        self.records = MemoryRecords(now_ms=lambda: 1)
        self.accounts = Accounts(self.records, Vault(Secret("k" * 32)), require_project=self._project)
        self.bearers = Bearers(self.accounts, monotonic=lambda: self.now)

    async def _project(self, project: ProjectName) -> None: ...

    async def user(self, name: str, *roles: str) -> tuple[User, str]:
        user = await self.accounts.create(name, UserChange(projects=[("p", roles)]))
        return user, self.accounts.token_of(user)

    async def connect(self, token: str) -> tuple[Connection, Principal]:
        connection, principal = Connection(), await self.bearers.find(token)
        self.bearers.watch(connection, principal)
        return connection, principal


@pytest.fixture
def story() -> Story:
    return Story()


async def test_a_token_is_remembered_for_a_moment(story: Story) -> None:
    _, token = await story.user("ann", "consumer")
    assert story.bearers.known(token) is None
    found = await story.bearers.find(token)
    assert story.bearers.known(token) is found
    story.now = KEPT_SECONDS
    assert story.bearers.known(token) is None


@pytest.mark.parametrize("change", ["refresh", "delete", "acl", "drop", "update"])
async def test_a_change_on_this_node_counts_at_once(story: Story, change: str) -> None:
    _, token = await story.user("ann", "consumer")
    await story.bearers.find(token)
    changes = {
        "refresh": lambda: story.accounts.refresh_token("ann"),
        "delete": lambda: story.accounts.delete("ann"),
        "acl": lambda: story.accounts.set_acl(P, Resource.TOPIC, "t", ["ann"]),
        "drop": lambda: story.accounts.drop_acl(P, Resource.TOPIC, "t"),
        "update": lambda: story.accounts.update("ann", UserChange(service_roles=["admin_viewer"])),
    }
    await changes[change]()  # type: ignore[no-untyped-call]
    assert story.bearers.known(token) is None


async def test_a_refreshed_token_is_forgotten_when_it_is_asked_for(story: Story) -> None:
    """Another node refreshed it."""
    _, token = await story.user("ann")
    await story.bearers.find(token)
    story.accounts.on_change = lambda: None
    await story.accounts.refresh_token("ann")
    assert story.bearers.known(token) is not None
    with pytest.raises(Unauthorized):
        await story.bearers.find(token)
    assert story.bearers.known(token) is None


async def test_what_is_remembered_has_a_bound(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    async def anybody(token: str) -> Principal:
        return Principal(token)

    monkeypatch.setattr(story.accounts, "principal", anybody)
    for number in range(MAX_KEPT + 1):
        await story.bearers.find(f"{number:064x}")
    assert story.bearers.known(f"{0:064x}") is None
    assert story.bearers.known(f"{1:064x}") is not None


async def test_a_connection_hears_that_its_token_is_gone(story: Story) -> None:
    _, ann = await story.user("ann")
    _, bob = await story.user("bob")
    connections = [(await story.connect(token))[0] for token in (ann, ann, bob)]
    await story.accounts.refresh_token("ann")
    await story.accounts.delete("bob")
    await story.bearers.look()
    await story.bearers.look()
    assert [connection.heard for connection in connections] == [[None]] * 3


async def test_a_connection_hears_of_other_rights_once(story: Story) -> None:
    _, token = await story.user("ann", "consumer")
    connection, before = await story.connect(token)
    await story.bearers.look()
    assert connection.heard == []
    await story.accounts.set_acl(P, Resource.TOPIC, "t", ["ann"])
    await story.bearers.look()
    await story.bearers.look()
    assert len(connection.heard) == 1
    after = connection.heard[0]
    assert after is not None
    assert after.name == before.name
    after.require_subscribe(TopicName("p/t"))
    await story.accounts.refresh_token("ann")
    await story.bearers.look()
    assert connection.heard[1:] == [None]


async def test_a_connection_that_fails_does_not_keep_others_from_hearing(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, token = await story.user("ann")
    broken, sound = (await story.connect(token))[0], (await story.connect(token))[0]
    monkeypatch.setattr(broken, "on_principal", lambda _: 1 / 0)
    await story.accounts.refresh_token("ann")
    await story.bearers.look()
    assert sound.heard == [None]
    assert "ZeroDivisionError" in caplog.text


async def test_who_left_hears_nothing(story: Story) -> None:
    _, token = await story.user("ann")
    connection, principal = await story.connect(token)
    other, _ = await story.connect(token)
    story.bearers.unwatch(connection, principal)
    story.bearers.unwatch(connection, principal)
    await story.accounts.refresh_token("ann")
    await story.bearers.look()
    assert (connection.heard, other.heard) == ([], [None])


async def test_nobody_is_asked_about_when_all_have_left(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = await story.user("ann")
    connection, principal = await story.connect(token)
    story.bearers.unwatch(connection, principal)
    monkeypatch.setattr(story.accounts, "principal_again", None)
    await story.bearers.look()


async def test_who_is_no_user_is_not_watched(story: Story) -> None:
    connection = Connection()
    story.bearers.watch(connection, Principal("jwt"))
    story.bearers.unwatch(connection, Principal("jwt"))
    await story.bearers.look()
    assert connection.heard == []


async def test_a_round_begins_where_the_last_one_ended(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    again = story.accounts.principal_again

    async def note(account: object) -> Principal:
        asked.append(account.name)  # type: ignore[attr-defined]
        return await again(account)  # type: ignore[arg-type]

    monkeypatch.setattr("gateway.bearers.WATCHED_A_ROUND", 2)
    assert WATCHED_A_ROUND > 2
    for name in ("ann", "bob", "carl"):
        await story.connect((await story.user(name))[1])
    monkeypatch.setattr(story.accounts, "principal_again", note)
    for _ in range(3):
        await story.bearers.look()
    assert asked == ["ann", "bob", "carl", "ann", "bob", "carl"]


async def run_rounds(story: Story, rounds: int) -> None:
    turns = 0

    async def sleep(_: float) -> None:
        nonlocal turns
        turns += 1
        if turns > rounds:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Bearers(story.accounts, monotonic=lambda: 0.0, sleep=sleep).run()


@pytest.mark.parametrize("fault", [Unavailable(), TimeoutError(), ZeroDivisionError()])
async def test_a_fault_is_not_the_end_of_the_watch(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    async def fail(_: object) -> None:
        raise fault

    monkeypatch.setattr(Bearers, "look", fail)
    await run_rounds(story, 2)
    assert len(caplog.records) == 2


async def test_without_an_answer_rights_stay(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = await story.user("ann")
    connection, _ = await story.connect(token)

    async def away(*_: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(story.records, "get", away)
        with pytest.raises(Unavailable):
            await story.bearers.look()
    assert connection.heard == []
    await story.accounts.refresh_token("ann")
    await story.bearers.look()
    assert connection.heard == [None]


CASES: list[tuple[Callable[[], str], bool]] = [
    (lambda: ABSENT, True),
    (lambda: "0123456789abcdef" * 4, True),
    (lambda: "A" * 64, False),
    (lambda: "0" * 63, False),
    (lambda: "0" * 65, False),
    (lambda: "0" * 32 + "g" + "0" * 31, False),
    (lambda: "", False),
]


@pytest.mark.parametrize(("token", "expected"), CASES)
def test_the_form_of_a_users_token(token: Callable[[], str], expected: bool) -> None:
    assert looks_like_user_token(token()) is expected
