"""Registrations: people who ask for an account, and what an admin makes of it (contract ams.md 4.3).

A registration is decided once. Accepting makes the user in the same commit, so that there is never one without the
other.
"""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum

import orjson

from broker.accounts import TOKEN_BYTES, Accounts
from broker.acls import ATTEMPTS, contended
from broker.errors import AlreadyExists, InvalidRequest
from broker.store.records import EVERYWHERE, Change
from broker.users import MAX_TEXT_BYTES, Profile, UnknownRegistration, UnknownUser, User, UserChange, checked_name
from broker.users import checked_profile as checked

REGISTRATIONS = "registrations"


class Status(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """`modified_by` is the uuid of who decided. Times are Unix milliseconds, 0 for never."""

    uuid: str
    name: str
    profile: Profile
    status: Status = Status.PENDING
    activation_token: str = ""
    registered_ms: int = 0
    decline_comment: str = ""
    modified_by: str = ""
    modified_ms: int = 0


class Registrations:
    """All verbs raise `Unavailable` where the records cannot be asked."""

    def __init__(self, accounts: Accounts) -> None:
        self._records = accounts.records
        self._accounts = accounts

    async def register(self, name: str, profile: Profile) -> Registration:
        """Raises `AlreadyExists` where a user has the name, `InvalidRequest`."""
        checked_name(name)
        try:
            await self._accounts.user(name)
        except UnknownUser:
            pass
        else:
            raise AlreadyExists(f"The user {name} exists already.")
        made = Registration(
            uuid=str(uuid.uuid4()),
            name=name,
            profile=checked(profile),
            activation_token=secrets.token_hex(TOKEN_BYTES),
            registered_ms=await self._records.now_ms(),
        )
        await self._records.commit(EVERYWHERE, [Change(REGISTRATIONS, made.uuid, None, _pack(made))])
        return made

    async def find(self, uuid: str) -> Registration:
        """Raises `UnknownRegistration`."""
        return (await self._read(uuid))[1]

    async def all(self) -> list[Registration]:
        """Newest first."""
        found = [_registration(record) for record in (await self._records.all(EVERYWHERE, REGISTRATIONS)).values()]
        return sorted(found, key=lambda each: (-each.registered_ms, each.name))

    async def accept(self, uuid: str, *, by: str) -> User:
        """Make the user that was asked for. Raises `UnknownRegistration` unless it is pending, `AlreadyExists`."""
        for _ in range(ATTEMPTS):
            record, pending = await self._pending(uuid)
            change = UserChange(profile=pending.profile)
            creation, user = await self._accounts.creation(pending.name, change, created_by=by)
            decided = replace(self._decided(pending, Status.ACCEPTED, by), modified_ms=user.created_ms)
            changes = [Change(REGISTRATIONS, uuid, record, _pack(decided)), *creation]
            if await self._records.commit(EVERYWHERE, changes):
                return user
        raise contended()

    async def decline(self, uuid: str, comment: str, *, by: str) -> None:
        """Raises `UnknownRegistration` unless it is pending, `InvalidRequest`."""
        if len(comment.encode(errors="replace")) > MAX_TEXT_BYTES:
            raise InvalidRequest(f"A comment has at most {MAX_TEXT_BYTES} bytes")
        for _ in range(ATTEMPTS):
            record, pending = await self._pending(uuid)
            declined = self._decided(pending, Status.DECLINED, by)
            declined = replace(declined, decline_comment=comment, modified_ms=await self._records.now_ms())
            if await self._records.commit(EVERYWHERE, [Change(REGISTRATIONS, uuid, record, _pack(declined))]):
                return
        raise contended()

    async def delete(self, uuid: str) -> None:
        """Raises `UnknownRegistration`."""
        for _ in range(ATTEMPTS):
            record, _registration = await self._read(uuid)
            if await self._records.commit(EVERYWHERE, [Change(REGISTRATIONS, uuid, record, None)]):
                return
        raise contended()

    async def _read(self, uuid: str) -> tuple[bytes, Registration]:
        record = await self._records.get(EVERYWHERE, REGISTRATIONS, uuid)
        if record is None:
            raise UnknownRegistration
        return record, _registration(record)

    async def _pending(self, uuid: str) -> tuple[bytes, Registration]:
        record, found = await self._read(uuid)
        if found.status is not Status.PENDING:
            raise UnknownRegistration
        return record, found

    def _decided(self, pending: Registration, status: Status, by: str) -> Registration:
        return replace(pending, status=status, modified_by=by, activation_token="")


def matching(found: Sequence[Registration], **wanted: str) -> list[Registration]:
    """Return those whose texts equal all that are wanted: name, status, email, organization, activation_token."""
    texts = {key: text for key, text in wanted.items() if text}
    return [each for each in found if all(_text(each, key) == text for key, text in texts.items())]


def _text(registration: Registration, key: str) -> str:
    return str(getattr(registration.profile if key in ("email", "organization") else registration, key))


def _pack(registration: Registration) -> bytes:
    return orjson.dumps(registration)


def _registration(record: bytes) -> Registration:
    document = orjson.loads(record)
    known = {each.name: document[each.name] for each in fields(Registration) if each.name in document}
    known["profile"] = Profile(**{each.name: document["profile"].get(each.name, "") for each in fields(Profile)})
    known["status"] = Status(document["status"])
    return Registration(**known)
