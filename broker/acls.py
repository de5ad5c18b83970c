"""Access lists: which users may publish to or follow a topic, and pull from a subscription (contract ams.md 4.9).

A list keeps users' uuids, so that a renamed user keeps its access and a new one with an old name gets none. Beside the
lists stands their reverse, a user's grants in a project: what reading a token needs is one record a project, however
many topics there are. Both change in one commit.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

import orjson

from broker.errors import InvalidRequest, Unavailable
from broker.names import ProjectName
from broker.store.records import Change, Records

MAX_LISTED = 400
"""Users of one list: a change of all of them fits into one commit."""

GRANTS = "grants"

ATTEMPTS = 8
"""How often a change is tried while others change the same records."""

RETRY_MS = 100


class Resource(StrEnum):
    """What has an access list. The value is the kind of its records."""

    TOPIC = "topic_acl"
    SUBSCRIPTION = "subscription_acl"


@dataclass(frozen=True, slots=True)
class Grants:
    """The resources of one project whose lists hold a user, by their names inside the project, in order."""

    topics: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()

    def of(self, resource: Resource) -> tuple[str, ...]:
        return self.topics if resource is Resource.TOPIC else self.subscriptions


class AccessLists:
    """The lists of all projects. Raises `Unavailable` like the records it stands on."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def of(self, project: ProjectName, resource: Resource, name: str) -> tuple[str, ...]:
        """Return the uuids in a resource's list, none where it has no list."""
        return _read_list(await self._records.get(project, resource, name))

    async def grants(self, project: ProjectName, uuid: str) -> Grants:
        return read_grants(await self._records.get(project, GRANTS, uuid))

    async def all_grants(self, project: ProjectName) -> Mapping[str, Grants]:
        """Return the grants of every user that has any, by uuid."""
        return {uuid: read_grants(record) for uuid, record in (await self._records.all(project, GRANTS)).items()}

    async def replace(self, project: ProjectName, resource: Resource, name: str, uuids: Sequence[str]) -> None:
        """Make `uuids` a resource's list. Raises `InvalidRequest` above `MAX_LISTED`."""
        wanted = tuple(dict.fromkeys(uuids))
        if len(wanted) > MAX_LISTED:
            raise InvalidRequest(f"An access list holds at most {MAX_LISTED} users")
        for _ in range(ATTEMPTS):
            before = await self._records.get(project, resource, name)
            listed = _read_list(before)
            if listed == wanted or await self._records.commit(
                project,
                [
                    Change(resource, name, before, orjson.dumps(wanted) if wanted else None),
                    *await self._regrant(project, resource, name, {*listed} ^ {*wanted}, {*wanted}),
                ],
            ):
                return
        raise contended()

    async def drop(self, project: ProjectName, resource: Resource, name: str) -> None:
        """Forget a resource that was deleted."""
        await self.replace(project, resource, name, ())

    async def leave(self, project: ProjectName, uuid: str) -> None:
        """Take a user out of every list of a project."""
        grants = await self.grants(project, uuid)
        for resource in Resource:
            for name in grants.of(resource):
                listed = await self.of(project, resource, name)
                await self.replace(project, resource, name, [other for other in listed if other != uuid])

    async def forget(self, project: ProjectName) -> None:
        """Remove all lists of a project that was deleted."""
        for kind in (*Resource, GRANTS):
            await self._records.clear(project, kind)

    async def _regrant(
        self, project: ProjectName, resource: Resource, name: str, touched: Set[str], wanted: Set[str]
    ) -> list[Change]:
        """Return the changes of the grants of users who came into a list or left it."""
        uuids = sorted(touched)
        records = await self._records.several(project, GRANTS, uuids)
        return [
            Change(GRANTS, uuid, record, _granted(read_grants(record), resource, name, to=uuid in wanted))
            for uuid, record in zip(uuids, records, strict=True)
        ]


def contended() -> Unavailable:
    return Unavailable("Others change the same records at the same time.", retry_ms=RETRY_MS)


def read_grants(record: bytes | None) -> Grants:
    if record is None:
        return Grants()
    topics, subscriptions = orjson.loads(record)
    return Grants(tuple(topics), tuple(subscriptions))


def _granted(grants: Grants, resource: Resource, name: str, *, to: bool) -> bytes | None:
    """Return the record of `grants` with `name` among them or not; None where nothing is left."""
    names = {each: {*grants.of(each)} for each in Resource}
    names[resource] = names[resource] | {name} if to else names[resource] - {name}
    ordered = [sorted(names[each]) for each in (Resource.TOPIC, Resource.SUBSCRIPTION)]
    return orjson.dumps(ordered) if any(ordered) else None


def _read_list(record: bytes | None) -> tuple[str, ...]:
    return tuple(orjson.loads(record)) if record is not None else ()
