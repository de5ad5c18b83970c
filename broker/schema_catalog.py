"""Schemas of projects, which topics they bind, and the gate that every publish of such a topic goes through.

A schema is a record under its name; a topic that has one is a record that holds the schema's name. The gate sits in the
publisher, so it binds every face. It reads a project's records at most once in `FRESH_SECONDS` and node, however much
is published, and a project without schemas costs a look into a dict a batch. A change is in force at once on the node
that made it and within `FRESH_SECONDS` on the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import orjson

from broker.errors import AlreadyExists, InvalidRequest, Unavailable, UnknownSchema
from broker.messages import unpack
from broker.names import ProjectName, TopicName, is_argo_name, local_of, project_of
from broker.schemas import Check, SchemaType, SchemaViolation, compile_schema
from broker.store.base import AppendRequest
from broker.store.records import Change, Records

T = TypeVar("T")

SCHEMAS = "schemas"
TOPICS = "topic_schemas"

FRESH_SECONDS = 1.0
"""How long what is known of a project's schemas counts on another node than the one that changed them."""

MAX_PROJECTS = 10_000
"""Projects that a node remembers; above it the oldest are read again."""

MAX_SCHEMAS = 1000
"""Of one project."""

ATTEMPTS = 5
"""At a change that others get in the way of."""

TURN_SECONDS = 0.01
"""How long messages are checked before others get a turn of the loop."""

RETRY_MS = 1000


@dataclass(frozen=True, slots=True)
class Schema:
    project: ProjectName
    name: str
    uuid: str
    kind: SchemaType
    document: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a node knows of one project's schemas."""

    read_at: float
    by_topic: Mapping[str, Check] = field(default_factory=dict)
    compiled: Mapping[bytes, Check] = field(default_factory=dict)
    """By the schema's record, so that what did not change is not compiled again."""


class SchemaCatalog:
    """Raises `Unavailable` where the records cannot be asked."""

    def __init__(self, records: Records, *, monotonic: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._records = records
        self._monotonic = monotonic
        self._new_id = new_id
        self._known: dict[ProjectName, _Known] = {}
        self._reading: dict[ProjectName, asyncio.Task[_Known]] = {}

    # Schemas.

    async def create(self, project: ProjectName, name: str, kind: SchemaType, document: Mapping[str, object]) -> Schema:
        """Raises `AlreadyExists`, `InvalidSchema`, `InvalidRequest` beyond `MAX_SCHEMAS`."""
        existing = await self._records.all(project, SCHEMAS)
        if name in existing:
            raise AlreadyExists
        compile_schema(kind, document)
        if len(existing) >= MAX_SCHEMAS:
            raise InvalidRequest(f"A project has at most {MAX_SCHEMAS} schemas.")
        made = Schema(project, name, self._new_id(), kind, document)
        if not await self._records.commit(project, [Change(SCHEMAS, name, None, _pack(made))]):
            raise AlreadyExists
        return made

    async def schema(self, project: ProjectName, name: str) -> Schema:
        """Raises `UnknownSchema`."""
        return _unpack(project, name, await self._record(project, name))

    async def schemas(self, project: ProjectName) -> list[Schema]:
        """All of a project, by name."""
        found = await self._records.all(project, SCHEMAS)
        return [_unpack(project, name, record) for name, record in sorted(found.items())]

    async def update(
        self,
        project: ProjectName,
        name: str,
        *,
        new_name: str | None = None,
        kind: SchemaType | None = None,
        document: Mapping[str, object] | None = None,
    ) -> Schema:
        """Change what is given; topics follow a new name. Raises `UnknownSchema`, `AlreadyExists`, `InvalidSchema`."""

        async def changes() -> tuple[list[Change], Schema]:
            record = await self._record(project, name)
            old = _unpack(project, name, record)
            made = replace(
                old,
                name=new_name or name,
                kind=kind or old.kind,
                document=old.document if document is None else document,
            )
            compile_schema(made.kind, made.document)
            if made.name == name:
                return [Change(SCHEMAS, name, record, _pack(made))], made
            if await self._records.get(project, SCHEMAS, made.name) is not None:
                raise AlreadyExists
            moved = [
                Change(TOPICS, local, name.encode(), made.name.encode())
                for local in await self._topics_of(project, name)
            ]
            return [Change(SCHEMAS, name, record, None), Change(SCHEMAS, made.name, None, _pack(made)), *moved], made

        return await self._commit(project, changes)

    async def delete(self, project: ProjectName, name: str) -> None:
        """Its topics are free from then on. Raises `UnknownSchema`."""

        async def changes() -> tuple[list[Change], None]:
            record = await self._record(project, name)
            freed = [Change(TOPICS, local, name.encode(), None) for local in await self._topics_of(project, name)]
            return [Change(SCHEMAS, name, record, None), *freed], None

        await self._commit(project, changes)

    # Topics.

    async def attach(self, topic: TopicName, name: str) -> None:
        """Hold the topic's later messages against a schema of its project. Raises `UnknownSchema`."""
        project, local = project_of(topic), local_of(topic)

        async def changes() -> tuple[list[Change], None]:
            record = await self._record(project, name)
            before = await self._records.get(project, TOPICS, local)
            return [Change(SCHEMAS, name, record, record), Change(TOPICS, local, before, name.encode())], None

        await self._commit(project, changes)

    async def detach(self, topic: TopicName) -> None:
        """Also of a topic that was deleted: made again it has no schema."""
        project, local = project_of(topic), local_of(topic)

        async def changes() -> tuple[list[Change], None]:
            before = await self._records.get(project, TOPICS, local)
            return [Change(TOPICS, local, before, None)] if before is not None else [], None

        await self._commit(project, changes)

    async def forget_project(self, project: ProjectName) -> None:
        """Remove everything of a deleted project."""
        await self._records.clear(project, TOPICS)
        await self._records.clear(project, SCHEMAS)
        self._forget(project)

    async def schema_of(self, topic: TopicName) -> str | None:
        """Return the name of the topic's schema."""
        found = await self._records.get(project_of(topic), TOPICS, local_of(topic))
        return found.decode() if found is not None else None

    async def schemas_of(self, project: ProjectName) -> dict[TopicName, str]:
        """Return the names of all schemas that topics of a project have."""
        found = await self._records.all(project, TOPICS)
        return {TopicName(f"{project}/{local}"): name.decode() for local, name in found.items()}

    # The gate.

    async def check_for(self, topic: TopicName) -> Check | None:
        """Return what the topic's messages are held against, None for nothing."""
        project = project_of(topic)
        known = self._known.get(project)
        if known is None or self._monotonic() - known.read_at >= FRESH_SECONDS:
            known = await self._refresh(project, known)
        return known.by_topic.get(local_of(topic)) if known.by_topic else None

    async def refusals(
        self, topic: TopicName, requests: Sequence[AppendRequest]
    ) -> Sequence[SchemaViolation | None] | None:
        """Hold each request against the topic's schema; None where it has none."""
        check = await self.check_for(topic)
        if check is None:
            return None
        turn = self._monotonic()
        found: list[SchemaViolation | None] = []
        for request in requests:
            violation = None
            for index, envelope in enumerate(request.envelopes):
                complaint = check(unpack(envelope))
                if complaint is not None:
                    violation = SchemaViolation(f"Message {index} {complaint}")
                    break
                if self._monotonic() - turn > TURN_SECONDS:
                    await asyncio.sleep(0)
                    turn = self._monotonic()
            found.append(violation)
        return found

    async def _refresh(self, project: ProjectName, known: _Known | None) -> _Known:
        reading = self._reading.get(project)
        if reading is None:
            reading = self._reading[project] = asyncio.create_task(self._read(project, known))
        try:
            # Shielded: the one who asked first may leave, and the others still wait.
            return await asyncio.shield(reading)
        except Unavailable:
            if known is None:
                raise
            # Its records' primary is away, its topics' may not be: what was known goes on to count.
            return known

    async def _read(self, project: ProjectName, known: _Known | None) -> _Known:
        """Read the project's schemas; what was changed meanwhile on this node is not remembered as it was before."""
        asked = self._monotonic()
        try:
            fresh = await self._load(project, asked, known)
        finally:
            is_current = self._reading.get(project) is asyncio.current_task()
            if is_current:
                del self._reading[project]
        if is_current:
            self._known.pop(project, None)
            if len(self._known) >= MAX_PROJECTS:
                del self._known[next(iter(self._known))]
            self._known[project] = fresh
        return fresh

    async def _load(self, project: ProjectName, asked: float, known: _Known | None) -> _Known:
        topics = await self._records.all(project, TOPICS)
        names = sorted({name.decode() for name in topics.values()})
        records = await self._records.several(project, SCHEMAS, names) if names else []
        before = known.compiled if known is not None else {}
        checks: dict[str, Check] = {}
        compiled: dict[bytes, Check] = {}
        for name, record in zip(names, records, strict=True):
            if record is not None:
                checks[name] = compiled[record] = before.get(record) or _compile(project, name, record)
        by_topic = {local: checks[name] for local, raw in topics.items() if (name := raw.decode()) in checks}
        return _Known(asked, by_topic, compiled)

    async def _commit(self, project: ProjectName, changes: Callable[[], Awaitable[tuple[list[Change], T]]]) -> T:
        """Make the changes anew and commit them until nobody is in the way."""
        for _ in range(ATTEMPTS):
            wanted, made = await changes()
            if not wanted or await self._records.commit(project, wanted):
                self._forget(project)
                return made
        raise Unavailable("Others change these schemas at the same time.", retry_ms=RETRY_MS)

    def _forget(self, project: ProjectName) -> None:
        self._known.pop(project, None)
        self._reading.pop(project, None)

    async def _record(self, project: ProjectName, name: str) -> bytes:
        found = await self._records.get(project, SCHEMAS, name)
        if found is None:
            raise UnknownSchema
        return found

    async def _topics_of(self, project: ProjectName, name: str) -> list[str]:
        found = await self._records.all(project, TOPICS)
        return [local for local, attached in found.items() if attached.decode() == name]


def read_reference(text: str, project: ProjectName) -> str:
    """Return the name in `projects/P/schemas/S`, where P is `project`. Raises `InvalidRequest`."""
    parts = text.split("/")
    if len(parts) != 4 or parts[0] != "projects" or parts[2] != "schemas" or not is_argo_name(parts[3]):
        raise InvalidRequest("wrong schema name declaration")
    if parts[1] != project:
        raise UnknownSchema
    return parts[3]


def _compile(project: ProjectName, name: str, record: bytes) -> Check:
    schema = _unpack(project, name, record)
    return compile_schema(schema.kind, schema.document)


def _pack(schema: Schema) -> bytes:
    return orjson.dumps({"uuid": schema.uuid, "type": schema.kind, "schema": schema.document})


def _unpack(project: ProjectName, name: str, record: bytes) -> Schema:
    stored = orjson.loads(record)
    return Schema(project, name, stored["uuid"], SchemaType(stored["type"]), stored["schema"])
