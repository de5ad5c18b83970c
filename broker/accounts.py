"""Accounts: users, their tokens, their membership in projects, and what a token's bearer may do (contract ams.md 4).

Tokens are found by their SHA-256: whoever reads the records cannot use them. Because the contract returns a user's
token in several answers, the vault keeps it too, encrypted. A user, its name and its token change in one commit, so
a refused call leaves nothing behind, and of two that take a name one is refused.
"""

import asyncio
import hashlib
import secrets
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from broker import users
from broker.acls import ATTEMPTS, AccessLists, Grants, Resource, contended
from broker.errors import AlreadyExists, InvalidRequest, Unauthorized, UnknownProject
from broker.names import ProjectName
from broker.rights import Account, Principal
from broker.roles import Role
from broker.store.records import EVERYWHERE, Change, Records
from broker.users import AlreadyMember, NotMember, UnknownMembers, UnknownUser, User, UserChange

USERS = "users"
NAMES = "user_names"
TOKENS = "tokens"

TOKEN_BYTES = 32

Edit = Callable[[User, int], User]
"""Makes the user anew; gets the time, Unix milliseconds. May raise."""


class Vault(Protocol):
    """Encrypts what must be read again. `purpose` is bound to the text: it opens for no other."""

    def seal(self, text: str, *, purpose: str) -> str: ...

    def open(self, sealed: str, *, purpose: str) -> str | None:
        """Return the text, None where no key that this node has opens it."""

    def is_stale(self, sealed: str) -> bool:
        """Tell whether it was sealed under an older key."""


class Accounts:
    """All verbs raise `Unavailable` where the records cannot be asked. `require_project` raises `UnknownProject`."""

    def __init__(
        self,
        records: Records,
        vault: Vault,
        *,
        require_project: Callable[[ProjectName], Awaitable[object]],
        by_resource: bool = True,
    ) -> None:
        self.lists = AccessLists(records)
        self.records = records
        self._vault = vault
        self._require_project = require_project
        self._by_resource = by_resource
        self.on_change: Callable[[], None] = lambda: None
        """Called after this node changed a user or an access list: what was remembered of them may be wrong."""

    # Finding users.

    async def user(self, name: str) -> User:
        """Raises `UnknownUser`."""
        found = await self.records.get(EVERYWHERE, NAMES, name)
        return await self.user_by_uuid(found.decode()) if found else _unknown()

    async def user_by_uuid(self, uuid: str) -> User:
        """Raises `UnknownUser`."""
        return (await self._read(uuid))[1]

    async def user_by_token(self, token: str) -> User:
        """Raises `UnknownUser`."""
        digest = digest_of(token)
        found = await self.records.get(EVERYWHERE, TOKENS, digest)
        user = await self.user_by_uuid(found.decode()) if found else _unknown()
        return user if user.token_hash == digest else _unknown()

    async def users(self, project: ProjectName | None = None) -> list[User]:
        """Return every user, or a project's members."""
        found = [users.read_user(record) for record in (await self.records.all(EVERYWHERE, USERS)).values()]
        return [user for user in found if project is None or project in user.projects]

    async def member(self, project: ProjectName, name: str) -> User:
        """Raises `UnknownUser`, also for a user that is no member."""
        user = await self.user(name)
        return user if project in user.projects else _unknown()

    async def names_of(self, uuids: Sequence[str]) -> Mapping[str, str]:
        """Return the names of those users that there still are, by uuid."""
        wanted = sorted({uuid for uuid in uuids if uuid})
        records = await self.records.several(EVERYWHERE, USERS, wanted)
        return {uuid: users.read_user(record).name for uuid, record in zip(wanted, records, strict=True) if record}

    def token_of(self, user: User) -> str:
        """Return a user's token; empty where its key is lost, and only a new token helps."""
        return self._vault.open(user.token_sealed, purpose=_purpose(user.uuid)) or ""

    async def grants(self, found: Sequence[User]) -> Mapping[tuple[str, ProjectName], Grants]:
        """Return what access lists grant these users in their projects, by uuid and project."""
        if len(found) == 1:
            pairs = [(found[0].uuid, project) for project in found[0].projects]
            return dict(zip(pairs, await asyncio.gather(*(self.lists.grants(p, u) for u, p in pairs)), strict=True))
        projects = sorted({project for user in found for project in user.projects})
        listed = dict(zip(projects, await asyncio.gather(*map(self.lists.all_grants, projects)), strict=True))
        return {(user.uuid, p): listed[p].get(user.uuid, Grants()) for user in found for p in user.projects}

    # Changing users.

    async def create(self, name: str, change: UserChange, *, created_by: str = "") -> User:
        """Make a user with a new uuid and token. Raises `AlreadyExists`, `InvalidRequest`; then nothing was made."""
        changes, user = await self.creation(name, change, created_by=created_by)
        if not await self.records.commit(EVERYWHERE, changes):
            raise _taken(name)
        return user

    async def creation(self, name: str, change: UserChange, *, created_by: str = "") -> tuple[list[Change], User]:
        """Return what `create` would commit, for a caller that commits more with it."""
        users.checked_name(name)
        if await self.records.get(EVERYWHERE, NAMES, name):
            raise _taken(name)
        now = await self.records.now_ms()
        user = User(uuid=str(uuid.uuid4()), name=name, created_ms=now, created_by=created_by)
        user = self._with_token(users.changed(user, replace(change, name=""), now_ms=now))
        await self._require_projects(change)
        return _changes(None, user, None), user

    async def update(self, name: str, change: UserChange) -> User:
        """Raises `UnknownUser`, `InvalidRequest`; then nothing was changed."""
        before = await self.user(name)
        await self._require_projects(change)
        return await self._edit(before.uuid, lambda user, now: users.changed(user, change, now_ms=now))

    async def refresh_token(self, name: str) -> User:
        """Give a user a new token; the old one is known no more. Raises `UnknownUser`."""
        user = await self.user(name)
        return await self._edit(user.uuid, lambda user, now: self._with_token(replace(user, modified_ms=now)))

    async def delete(self, name: str) -> None:
        """Raises `UnknownUser`."""
        user = await self.user(name)
        for _ in range(ATTEMPTS):
            record, user = await self._read(user.uuid)
            if await self.records.commit(EVERYWHERE, _changes(user, None, record)):
                self.on_change()
                await self._leave(user.uuid, user.projects)
                return
        raise contended()

    # Members.

    async def set_roles(self, project: ProjectName, name: str, roles: Sequence[str]) -> User:
        """Raises `UnknownUser`, `NotMember`, `InvalidRequest`."""
        return await self._edit_member(project, name, roles, is_member=True)

    async def add_member(self, project: ProjectName, name: str, roles: Sequence[str]) -> User:
        """Raises `UnknownUser`, `AlreadyMember`, `InvalidRequest`."""
        return await self._edit_member(project, name, roles, is_member=False)

    async def remove_member(self, project: ProjectName, name: str) -> None:
        """Take a user out of a project and of its access lists. Raises `UnknownUser`, `NotMember`."""

        def edit(user: User, now_ms: int) -> User:
            _require_membership(user, project, is_member=True)
            return users.without_project(user, project, now_ms=now_ms)

        await self._edit((await self.user(name)).uuid, edit)

    async def forget_project(self, project: ProjectName) -> None:
        """Nobody is a member of a deleted project; one that is made later under its name begins without members."""
        for user in await self.users(project):
            await self._edit(user.uuid, lambda user, now: users.without_project(user, project, now_ms=now))
        await self.lists.forget(project)

    async def rename_project(self, project: ProjectName, new: ProjectName) -> None:
        """Members of `project` are members of `new` instead. Its access lists must be empty: it has no topics."""

        def edit(user: User, now_ms: int) -> User:
            moved = {new if name == project else name: roles for name, roles in user.projects.items()}
            return replace(user, projects=moved, modified_ms=now_ms)

        for user in await self.users(project):
            await self._edit(user.uuid, edit)

    # Access lists, by users' names.

    async def acl(self, project: ProjectName, resource: Resource, name: str) -> list[str]:
        """Return the names of the users in a resource's access list; deleted users are passed over."""
        listed = await self.lists.of(project, resource, name)
        names = await self.names_of(listed)
        return [names[uuid] for uuid in listed if uuid in names]

    async def set_acl(self, project: ProjectName, resource: Resource, name: str, user_names: Sequence[str]) -> None:
        """Replace a resource's access list. Raises `UnknownMembers` with their names."""
        wanted = list(dict.fromkeys(user_names))
        uuids = [found.decode() if found else "" for found in await self.records.several(EVERYWHERE, NAMES, wanted)]
        records = await self.records.several(EVERYWHERE, USERS, uuids)
        absent = [
            user_name
            for user_name, record in zip(wanted, records, strict=True)
            if record is None or project not in users.read_user(record).projects
        ]
        if absent:
            raise UnknownMembers(f"User(s): {', '.join(absent)} do not exist")
        await self.lists.replace(project, resource, name, uuids)
        self.on_change()

    async def drop_acl(self, project: ProjectName, resource: Resource, name: str) -> None:
        """Forget the access list of a resource that was deleted."""
        await self.lists.drop(project, resource, name)
        self.on_change()

    # Tokens.

    async def principal(self, token: str) -> Principal:
        """Return who bears `token`. Raises `Unauthorized`."""
        try:
            return await self.principal_of(await self.user_by_token(token))
        except UnknownUser:
            raise Unauthorized("The token is not known.") from None

    async def principal_again(self, account: Account) -> Principal:
        """Return what holds now for a caller read before. Raises `Unauthorized` if its token is known no more."""
        try:
            user = await self.user_by_uuid(account.uuid)
        except UnknownUser:
            raise Unauthorized("The user was deleted.") from None
        if user.token_hash != account.token_hash:
            raise Unauthorized("The token was replaced.")
        return await self.principal_of(user)

    async def principal_of(self, user: User) -> Principal:
        granted = await self.grants([user])
        account = Account(
            uuid=user.uuid,
            name=user.name,
            projects={project: frozenset(roles) for project, roles in user.projects.items()},
            service_roles=frozenset(user.service_roles),
            topics=frozenset(f"{p}/{name}" for (_, p), grants in granted.items() for name in grants.topics),
            subscriptions=frozenset(f"{p}/{n}" for (_, p), grants in granted.items() for n in grants.subscriptions),
            by_resource=self._by_resource,
            token_hash=user.token_hash,
        )
        operator = Role.SERVICE_ADMIN in user.service_roles
        return Principal(f"@user/{user.uuid}", operator=operator, account=account)

    async def reseal(self) -> int:
        """Seal again what older keys sealed, and return how many tokens: after that, those keys are needed no more."""
        count = 0
        for user in await self.users():
            if self._vault.is_stale(user.token_sealed) and self.token_of(user):
                await self._edit(user.uuid, lambda user, _: self._sealed(user, self.token_of(user)))
                count += 1
        return count

    # Inside.

    async def _read(self, uuid: str) -> tuple[bytes, User]:
        """Return a user, and the record as it stands: what a commit must find again. Raises `UnknownUser`."""
        record = await self.records.get(EVERYWHERE, USERS, uuid)
        return (record, users.read_user(record)) if record else (b"", _unknown())

    async def _edit(self, uuid: str, edit: Edit) -> User:
        for _ in range(ATTEMPTS):
            record, before = await self._read(uuid)
            after = edit(before, await self.records.now_ms())
            if after.name != before.name and await self.records.get(EVERYWHERE, NAMES, after.name):
                raise InvalidRequest("invalid user name change, name already exists")
            if await self.records.commit(EVERYWHERE, _changes(before, after, record)):
                self.on_change()
                await self._leave(uuid, before.projects.keys() - after.projects.keys())
                return after
        raise contended()

    async def _edit_member(self, project: ProjectName, name: str, roles: Sequence[str], *, is_member: bool) -> User:
        def edit(user: User, now_ms: int) -> User:
            _require_membership(user, project, is_member=is_member)
            return users.with_roles(user, project, roles, now_ms=now_ms)

        return await self._edit((await self.user(name)).uuid, edit)

    async def _leave(self, uuid: str, projects: Iterable[ProjectName]) -> None:
        for project in projects:
            await self.lists.leave(project, uuid)

    async def _require_projects(self, change: UserChange) -> None:
        for project, _ in change.projects or ():
            try:
                await self._require_project(ProjectName(project))
            except UnknownProject:
                raise InvalidRequest(f"invalid project: {project[: users.MAX_SHOWN]}") from None

    def _with_token(self, user: User) -> User:
        return self._sealed(user, secrets.token_hex(TOKEN_BYTES))

    def _sealed(self, user: User, token: str) -> User:
        sealed = self._vault.seal(token, purpose=_purpose(user.uuid))
        return replace(user, token_hash=digest_of(token), token_sealed=sealed)


def digest_of(token: str) -> str:
    """Return what a token is found by: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _purpose(uuid: str) -> str:
    return f"user token {uuid}"


def _changes(before: User | None, after: User | None, record: bytes | None) -> list[Change]:
    """Return a user's record and its two indexes, as they are (`record` as it stands) and as they become."""
    old, new = _indexed(before), _indexed(after)
    if before is not None and record is not None:
        old[(USERS, before.uuid)] = record
    return [
        Change(kind, id, old.get((kind, id)), new.get((kind, id)))
        for kind, id in {**old, **new}
        if old.get((kind, id)) != new.get((kind, id))
    ]


def _indexed(user: User | None) -> dict[tuple[str, str], bytes]:
    if user is None:
        return {}
    uuid = user.uuid.encode()
    return {(USERS, user.uuid): users.pack(user), (NAMES, user.name): uuid, (TOKENS, user.token_hash): uuid}


def _require_membership(user: User, project: ProjectName, *, is_member: bool) -> None:
    if (project in user.projects) is not is_member:
        raise NotMember if is_member else AlreadyMember


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"The user {name} exists already.")


def _unknown() -> User:
    raise UnknownUser
