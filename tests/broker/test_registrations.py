"""Registrations: asked for, decided once, and never half accepted."""

import asyncio
import re

import pytest

from broker.accounts import Accounts
from broker.errors import AlreadyExists, InvalidRequest, Unavailable
from broker.names import ProjectName
from broker.registrations import Registrations, Status, matching
from broker.store.records import EVERYWHERE
from broker.store.records_memory import MemoryRecords
from broker.users import MAX_TEXT_BYTES, Profile, UnknownRegistration, UnknownUser, UserChange

ANN = Profile(email="a@x", first_name="Ann", last_name="B", organization="o", description="d")


class PlainVault:
    def seal(self, text: str, *, purpose: str) -> str:
        return text

    def open(self, sealed: str, *, purpose: str) -> str | None:
        return sealed

    def is_stale(self, sealed: str) -> bool:
        return False


async def any_project(project: ProjectName) -> None: ...


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords(now_ms=lambda: 7000)


@pytest.fixture
def accounts(records: MemoryRecords) -> Accounts:
    return Accounts(records, PlainVault(), require_project=any_project)


@pytest.fixture
def registrations(accounts: Accounts) -> Registrations:
    return Registrations(accounts)


async def test_a_registration_waits_for_a_decision(registrations: Registrations) -> None:
    made = await registrations.register("ann", ANN)
    assert (made.name, made.profile, made.status, made.registered_ms) == ("ann", ANN, Status.PENDING, 7000)
    assert re.fullmatch("[0-9a-f]{64}", made.activation_token)
    assert await registrations.find(made.uuid) == made
    assert await registrations.all() == [made]


async def test_an_accepted_one_is_a_user_without_roles(registrations: Registrations, accounts: Accounts) -> None:
    made = await registrations.register("ann", ANN)
    user = await registrations.accept(made.uuid, by="admin")
    assert user == await accounts.user("ann")
    assert (user.profile, user.projects, user.service_roles, user.created_by) == (ANN, {}, (), "admin")
    accepted = await registrations.find(made.uuid)
    assert (accepted.status, accepted.activation_token, accepted.modified_by, accepted.modified_ms) == (
        Status.ACCEPTED,
        "",
        "admin",
        7000,
    )


async def test_a_declined_one_says_why(registrations: Registrations, accounts: Accounts) -> None:
    made = await registrations.register("ann", ANN)
    await registrations.decline(made.uuid, "no", by="admin")
    declined = await registrations.find(made.uuid)
    assert (declined.status, declined.decline_comment, declined.activation_token) == (Status.DECLINED, "no", "")
    assert (declined.modified_by, declined.modified_ms) == ("admin", 7000)
    with pytest.raises(UnknownUser):
        await accounts.user("ann")


async def test_a_decision_is_made_once(registrations: Registrations, accounts: Accounts) -> None:
    made = await registrations.register("ann", ANN)
    outcomes = await asyncio.gather(
        registrations.accept(made.uuid, by="a"), registrations.accept(made.uuid, by="b"), return_exceptions=True
    )
    assert len([outcome for outcome in outcomes if isinstance(outcome, UnknownRegistration | AlreadyExists)]) == 1
    for late in (registrations.accept(made.uuid, by="a"), registrations.decline(made.uuid, "no", by="a")):
        with pytest.raises(UnknownRegistration):
            await late
    assert len(await accounts.users()) == 1


async def test_a_name_that_is_taken_is_refused_and_nothing_changes(
    registrations: Registrations, accounts: Accounts, records: MemoryRecords
) -> None:
    made = await registrations.register("ann", ANN)
    await accounts.create("ann", UserChange())
    before = await records.all(EVERYWHERE, "registrations")
    with pytest.raises(AlreadyExists):
        await registrations.register("ann", ANN)
    with pytest.raises(AlreadyExists):
        await registrations.accept(made.uuid, by="a")
    assert await records.all(EVERYWHERE, "registrations") == before


async def test_what_is_too_long_or_has_no_valid_name_is_refused(registrations: Registrations) -> None:
    made = await registrations.register("ann", ANN)
    with pytest.raises(InvalidRequest):
        await registrations.register("a b", ANN)
    with pytest.raises(InvalidRequest):
        await registrations.register("bob", Profile(email="x" * (MAX_TEXT_BYTES + 1)))
    with pytest.raises(InvalidRequest):
        await registrations.decline(made.uuid, "x" * (MAX_TEXT_BYTES + 1), by="a")
    assert await registrations.all() == [made]


async def test_a_deleted_one_is_gone(registrations: Registrations) -> None:
    made = await registrations.register("ann", ANN)
    await registrations.delete(made.uuid)
    for late in (registrations.find(made.uuid), registrations.delete(made.uuid)):
        with pytest.raises(UnknownRegistration):
            await late


async def test_they_are_chosen_by_their_texts(registrations: Registrations) -> None:
    ann = await registrations.register("ann", ANN)
    bob = await registrations.register("bob", Profile(email="b@x", organization="o"))
    found = await registrations.all()
    assert matching(found) == [ann, bob]
    assert matching(found, organization="o", name="") == [ann, bob]
    assert matching(found, organization="o", email="b@x") == [bob]
    assert matching(found, status="pending", name="ann") == [ann]
    assert matching(found, status="declined") == []
    assert matching(found, activation_token=bob.activation_token) == [bob]


@pytest.mark.parametrize("verb", ["accept", "decline", "delete"])
async def test_a_change_that_is_always_overtaken_gives_up(
    registrations: Registrations, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    made = await registrations.register("ann", ANN)

    async def overtaken(*_: object) -> bool:
        return False

    monkeypatch.setattr(records, "commit", overtaken)
    calls = {
        "accept": lambda: registrations.accept(made.uuid, by="a"),
        "decline": lambda: registrations.decline(made.uuid, "", by="a"),
        "delete": lambda: registrations.delete(made.uuid),
    }
    with pytest.raises(Unavailable):
        await calls[verb]()  # type: ignore[no-untyped-call]
