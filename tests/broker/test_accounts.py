"""Users, tokens, members and access lists, over records in memory."""

import asyncio
import re
from dataclasses import dataclass, field

import pytest

from broker.accounts import Accounts, digest_of
from broker.acls import Resource
from broker.errors import AlreadyExists, Forbidden, InvalidRequest, Unauthorized, Unavailable, UnknownProject
from broker.names import ProjectName, TopicName
from broker.store.records import EVERYWHERE, Change
from broker.store.records_memory import MemoryRecords
from broker.users import AlreadyMember, NotMember, Profile, UnknownUser, UserChange

P, Q = ProjectName("p"), ProjectName("q")
TOPIC, SUBSCRIPTION = Resource.TOPIC, Resource.SUBSCRIPTION


class PlainVault:
    """Encrypts nothing; `key` names the key that a text was sealed under."""

    def __init__(self, key: str, *others: str) -> None:
        self.keys = (key, *others)

    def seal(self, text: str, *, purpose: str) -> str:
        return f"{self.keys[0]}|{purpose}|{text}"

    def open(self, sealed: str, *, purpose: str) -> str | None:
        key, bound, text = sealed.split("|")
        return text if key in self.keys and bound == purpose else None

    def is_stale(self, sealed: str) -> bool:
        return sealed.split("|", maxsplit=1)[0] != self.keys[0]


async def require_project(project: ProjectName) -> None:
    if project not in (P, Q):
        raise UnknownProject


@dataclass
class Clock:
    ms: int = 1000


@dataclass
class Story:
    clock: Clock = field(default_factory=Clock)
    vault: PlainVault = field(default_factory=lambda: PlainVault("k1"))

    def __post_init__(self) -> None:
        self.records = MemoryRecords(now_ms=lambda: self.clock.ms)
        self.accounts = self.on(self.vault)

    def on(self, vault: PlainVault, *, by_resource: bool = True) -> Accounts:
        return Accounts(self.records, vault, require_project=require_project, by_resource=by_resource)

    async def everything(self) -> list[dict[str, bytes]]:
        return [dict(await self.records.all(EVERYWHERE, kind)) for kind in ("users", "user_names", "tokens")]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def accounts(story: Story) -> Accounts:
    return story.accounts


def member(*roles: str, project: str = "p") -> UserChange:
    return UserChange(projects=[(project, roles)])


async def test_a_user_is_found_by_name_by_uuid_and_by_token(accounts: Accounts, story: Story) -> None:
    made = await accounts.create("ann", UserChange(profile=Profile(email="a@x")), created_by="u0")
    token = accounts.token_of(made)
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made.uuid)
    assert (made.created_ms, made.modified_ms, made.created_by) == (1000, 1000, "u0")
    assert await accounts.user("ann") == made
    assert await accounts.user_by_uuid(made.uuid) == made
    assert await accounts.user_by_token(token) == made
    # Nothing that is kept to find a token is the token.
    assert all(token not in key for kind in await story.everything() for key in kind)


@pytest.mark.parametrize("way", ["user", "user_by_uuid", "user_by_token"])
async def test_an_unknown_user_is_said_to_be(accounts: Accounts, way: str) -> None:
    await accounts.create("ann", UserChange())
    with pytest.raises(UnknownUser):
        await getattr(accounts, way)("bob")


async def test_a_name_is_taken_once_also_at_the_same_time(accounts: Accounts, story: Story) -> None:
    made = await asyncio.gather(*(accounts.create("ann", UserChange()) for _ in range(4)), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in made) == ["AlreadyExists"] * 3 + ["User"]
    assert [len(kind) for kind in await story.everything()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (member("consumer", project="absent"), "invalid project: absent"),
        (member("nothing"), "invalid role: nothing"),
        (UserChange(projects=[("p", []), ("p", [])]), "duplicate reference of project p"),
        (UserChange(service_roles=["consumer"]), "invalid role: consumer"),
    ],
)
async def test_a_refused_change_leaves_nothing(
    accounts: Accounts, story: Story, change: UserChange, sentence: str
) -> None:
    await accounts.create("ann", UserChange())
    before = await story.everything()
    with pytest.raises(InvalidRequest, match=sentence):
        await accounts.create("bob", change)
    with pytest.raises(InvalidRequest, match=sentence):
        await accounts.update("ann", change)
    with pytest.raises(InvalidRequest, match="Invalid user name"):
        await accounts.create("b b", UserChange())
    with pytest.raises(AlreadyExists):
        await accounts.create("ann", change)
    assert await story.everything() == before


async def test_a_renamed_user_keeps_uuid_token_and_access(accounts: Accounts, story: Story) -> None:
    ann = await accounts.create("ann", member("publisher"))
    await accounts.create("bob", UserChange())
    await accounts.set_acl(P, TOPIC, "t", ["ann"])
    story.clock.ms = 5000
    renamed = await accounts.update("ann", UserChange(name="anna"))
    assert (renamed.uuid, renamed.modified_ms, renamed.created_ms) == (ann.uuid, 5000, 1000)
    assert (await accounts.user_by_token(accounts.token_of(ann))).name == "anna"
    assert await accounts.acl(P, TOPIC, "t") == ["anna"]
    with pytest.raises(UnknownUser):
        await accounts.user("ann")
    with pytest.raises(InvalidRequest, match="invalid user name change, name already exists"):
        await accounts.update("bob", UserChange(name="anna"))
    assert (await accounts.update("bob", UserChange(name="bob"))).name == "bob"
    # A name that has become free can be had again, by somebody else without the access.
    assert (await accounts.create("ann", member("publisher"))).uuid != ann.uuid
    assert await accounts.acl(P, TOPIC, "t") == ["anna"]


async def test_a_refreshed_token_replaces_the_old_one(accounts: Accounts) -> None:
    old = accounts.token_of(await accounts.create("ann", UserChange()))
    new = accounts.token_of(await accounts.refresh_token("ann"))
    assert new != old
    assert (await accounts.user_by_token(new)).name == "ann"
    with pytest.raises(Unauthorized):
        await accounts.principal(old)
    with pytest.raises(UnknownUser):
        await accounts.refresh_token("bob")


async def test_an_index_that_leads_astray_finds_nobody(accounts: Accounts, story: Story) -> None:
    """Its user was given another token between the two looks."""
    ann = await accounts.create("ann", UserChange())
    stale = Change("tokens", digest_of("stale"), None, ann.uuid.encode())
    await story.records.commit(EVERYWHERE, [stale])
    with pytest.raises(UnknownUser):
        await accounts.user_by_token("stale")


async def test_nothing_is_left_of_a_deleted_user(accounts: Accounts, story: Story) -> None:
    ann = await accounts.create("ann", member("publisher"))
    await accounts.create("bob", member("publisher"))
    await accounts.set_acl(P, TOPIC, "t", ["ann", "bob"])
    await accounts.delete("ann")
    assert [len(kind) for kind in await story.everything()] == [1, 1, 1]
    assert await accounts.acl(P, TOPIC, "t") == ["bob"]
    assert await accounts.lists.of(P, TOPIC, "t") == ((await accounts.user("bob")).uuid,)
    with pytest.raises(Unauthorized):
        await accounts.principal(accounts.token_of(ann))
    with pytest.raises(UnknownUser):
        await accounts.delete("ann")


async def test_members_come_and_go(accounts: Accounts) -> None:
    await accounts.create("ann", UserChange())
    added = await accounts.add_member(P, "ann", ["publisher"])
    assert added.projects == {P: ("publisher",)}
    assert (await accounts.set_roles(P, "ann", ["consumer"])).projects == {P: ("consumer",)}
    assert (await accounts.member(P, "ann")).name == "ann"
    await accounts.set_acl(P, SUBSCRIPTION, "s", ["ann"])
    await accounts.remove_member(P, "ann")
    # Coming back is not having back what was left.
    await accounts.add_member(P, "ann", ["consumer"])
    assert await accounts.acl(P, SUBSCRIPTION, "s") == []


async def test_membership_is_asked_first(accounts: Accounts, story: Story) -> None:
    await accounts.create("ann", member("consumer"))
    before = await story.everything()
    with pytest.raises(AlreadyMember):
        await accounts.add_member(P, "ann", ["nothing"])
    for refused in (accounts.set_roles(Q, "ann", ["nothing"]), accounts.remove_member(Q, "ann")):
        with pytest.raises(NotMember):
            await refused
    with pytest.raises(UnknownUser):
        await accounts.member(Q, "ann")
    with pytest.raises(InvalidRequest, match="invalid role"):
        await accounts.add_member(Q, "ann", ["nothing"])
    for absent in (accounts.add_member(P, "bob", []), accounts.set_roles(P, "bob", []), accounts.remove_member(P, "b")):
        with pytest.raises(UnknownUser):
            await absent
    assert await story.everything() == before


async def test_an_update_that_drops_a_project_leaves_its_lists(accounts: Accounts) -> None:
    await accounts.create("ann", member("consumer"))
    await accounts.set_acl(P, TOPIC, "t", ["ann"])
    await accounts.update("ann", member("consumer", project="q"))
    assert await accounts.acl(P, TOPIC, "t") == []


async def test_a_deleted_project_has_no_members(accounts: Accounts) -> None:
    await accounts.create("ann", UserChange(projects=[("p", ["consumer"]), ("q", ["publisher"])]))
    await accounts.create("bob", member("consumer", project="q"))
    await accounts.set_acl(P, TOPIC, "t", ["ann"])
    await accounts.lists.replace(P, SUBSCRIPTION, "s", ["a user that is gone"])
    await accounts.forget_project(P)
    assert await accounts.lists.of(P, SUBSCRIPTION, "s") == ()
    assert (await accounts.user("ann")).projects == {Q: ("publisher",)}
    assert await accounts.lists.of(P, TOPIC, "t") == ()
    assert await accounts.users(P) == []
    assert {user.name for user in await accounts.users(Q)} == {"ann", "bob"}
    assert len(await accounts.users()) == 2


async def test_members_go_along_with_a_renamed_project(accounts: Accounts) -> None:
    await accounts.create("ann", member("consumer"))
    await accounts.rename_project(P, ProjectName("r"))
    assert (await accounts.user("ann")).projects == {ProjectName("r"): ("consumer",)}


async def test_a_list_takes_members_only_and_all_or_none(accounts: Accounts) -> None:
    await accounts.create("ann", member("consumer"))
    await accounts.create("bob", member("consumer", project="q"))
    await accounts.set_acl(P, TOPIC, "t", ["ann", "ann"])
    with pytest.raises(UnknownUser, match=re.escape("User(s): bob, carl do not exist")):
        await accounts.set_acl(P, TOPIC, "t", ["bob", "ann", "carl"])
    assert await accounts.acl(P, TOPIC, "t") == ["ann"]
    await accounts.set_acl(P, TOPIC, "t", [])
    assert await accounts.acl(P, TOPIC, "t") == []
    await accounts.set_acl(P, TOPIC, "t", ["ann"])
    await accounts.drop_acl(P, TOPIC, "t")
    assert await accounts.acl(P, TOPIC, "t") == []


async def test_a_token_speaks_for_roles_and_lists(accounts: Accounts) -> None:
    ann = await accounts.create("ann", UserChange(projects=[("p", ["publisher"]), ("q", ["project_admin"])]))
    await accounts.set_acl(P, TOPIC, "t", ["ann"])
    await accounts.set_acl(P, SUBSCRIPTION, "s", ["ann"])
    caller = await accounts.principal(accounts.token_of(ann))
    assert caller.account is not None
    assert (caller.name, caller.operator) == (f"@user/{ann.uuid}", False)
    assert caller.account.roles_in(P) == {"publisher"}
    assert caller.account.roles_in(ProjectName("")) == set()
    assert (caller.account.topics, caller.account.subscriptions) == ({"p/t"}, {"p/s"})
    caller.require_publish(TopicName("p/t"))
    caller.require_subscribe(TopicName("q/any"))
    for refused in (caller.require_subscribe, caller.require_publish):
        with pytest.raises(Forbidden):
            refused(TopicName("p/other"))
    with pytest.raises(Forbidden):
        caller.require_operator()


async def test_a_service_admin_is_the_operator(accounts: Accounts) -> None:
    root = await accounts.create("root", UserChange(service_roles=["service_admin"]))
    caller = await accounts.principal(accounts.token_of(root))
    caller.require_operator()
    caller.require_publish(TopicName("any/topic"))


async def test_without_access_lists_a_role_is_enough(story: Story) -> None:
    accounts = story.on(story.vault, by_resource=False)
    ann = await accounts.create("ann", member("publisher"))
    (await accounts.principal(accounts.token_of(ann))).require_publish(TopicName("p/any"))


async def test_grants_of_several_users_are_read_together(accounts: Accounts) -> None:
    for name in ("ann", "bob"):
        await accounts.create(name, UserChange(projects=[("p", ["consumer"]), ("q", ["consumer"])]))
    await accounts.set_acl(P, TOPIC, "t", ["ann"])
    everybody = await accounts.users()
    granted = await accounts.grants(everybody)
    assert len(granted) == 4
    assert {(uuid, project) for (uuid, project), grants in granted.items() if grants.topics} == {
        ((await accounts.user("ann")).uuid, P)
    }
    assert await accounts.grants([]) == {}


async def test_names_of_those_that_there_are(accounts: Accounts) -> None:
    ann = await accounts.create("ann", UserChange())
    assert await accounts.names_of([ann.uuid, "gone", "", ann.uuid]) == {ann.uuid: "ann"}


async def test_a_changed_key_reads_old_tokens_and_seals_them_again(story: Story) -> None:
    ann = await story.accounts.create("ann", UserChange())
    token = story.accounts.token_of(ann)
    rotating, after = story.on(PlainVault("k2", "k1")), story.on(PlainVault("k2"))
    assert rotating.token_of(ann) == token
    assert after.token_of(ann) == ""
    assert await rotating.reseal() == 1
    assert await rotating.reseal() == 0
    assert after.token_of(await after.user("ann")) == token
    assert (await after.user_by_token(token)).name == "ann"


async def test_what_no_key_opens_is_left_alone(story: Story) -> None:
    await story.accounts.create("ann", UserChange())
    assert await story.on(PlainVault("k3")).reseal() == 0


async def test_a_record_of_another_version_can_be_changed(accounts: Accounts, story: Story) -> None:
    ann = await accounts.create("ann", UserChange())
    record = await story.records.get(EVERYWHERE, "users", ann.uuid)
    assert record is not None
    await story.records.commit(EVERYWHERE, [Change("users", ann.uuid, record, record[:-1] + b',"later":1}')])
    assert (await accounts.update("ann", UserChange(profile=Profile(email="a@x")))).profile.email == "a@x"
    await accounts.delete("ann")


async def test_changes_at_the_same_time_both_count(accounts: Accounts) -> None:
    await accounts.create("ann", UserChange())
    await asyncio.gather(accounts.add_member(P, "ann", ["consumer"]), accounts.add_member(Q, "ann", ["publisher"]))
    assert (await accounts.user("ann")).projects == {P: ("consumer",), Q: ("publisher",)}


@pytest.mark.parametrize("verb", ["refresh_token", "delete"])
async def test_a_change_that_is_always_overtaken_gives_up(
    accounts: Accounts, story: Story, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    await accounts.create("ann", UserChange())

    async def overtaken(*_: object) -> bool:
        return False

    monkeypatch.setattr(story.records, "commit", overtaken)
    with pytest.raises(Unavailable):
        await getattr(accounts, verb)("ann")


def test_a_digest_is_of_any_text() -> None:
    assert digest_of("a") != digest_of("b")
    assert len(digest_of("\ud800")) == 64
