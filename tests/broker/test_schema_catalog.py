"""Schemas of a project over the memory records: what binds which topic, and how soon another node knows."""

import asyncio
import itertools
from collections.abc import Mapping

import pytest

from broker.errors import AlreadyExists, InvalidRequest, InvalidSchema, Unavailable, UnknownSchema
from broker.messages import Kind, Message, pack
from broker.names import ProjectName, parse_topic
from broker.observe import Silent
from broker.publish import Publisher, PublishRequest
from broker.schema_catalog import FRESH_SECONDS, SCHEMAS, TOPICS, Schema, SchemaCatalog, read_reference
from broker.schemas import SchemaType, SchemaViolation
from broker.store.base import AppendRequest, ProjectInfo, Retention
from broker.store.memory import MemoryStore
from broker.store.records import Change
from broker.store.records_memory import MemoryRecords

P = ProjectName("p")
T = parse_topic("p/t")
NUMBER = {"type": "integer"}
TEXT = {"type": "string"}
JSON = SchemaType.JSON


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class CountingRecords(MemoryRecords):
    def __init__(self) -> None:
        super().__init__(now_ms=lambda: 0)
        self.reads = 0
        self.away = False
        self.held: asyncio.Event | None = None
        self.rival: Change | None = None

    async def all(self, space: ProjectName, kind: str) -> Mapping[str, bytes]:
        if self.away:
            raise Unavailable
        self.reads += 1
        found = await super().all(space, kind)
        if self.held is not None:
            await self.held.wait()
        return found

    async def commit(self, space: ProjectName, changes: object) -> bool:
        if self.rival is not None:
            rival, self.rival = self.rival, None
            assert await super().commit(space, [rival])
        return await super().commit(space, changes)  # type: ignore[arg-type]


@pytest.fixture
def records() -> CountingRecords:
    return CountingRecords()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def node(records: CountingRecords, clock: Clock) -> SchemaCatalog:
    numbers = itertools.count()
    return SchemaCatalog(records, monotonic=clock, new_id=lambda: f"id-{next(numbers)}")


@pytest.fixture
def schemas(records: CountingRecords, clock: Clock) -> SchemaCatalog:
    return node(records, clock)


def request(*payloads: bytes) -> AppendRequest:
    return AppendRequest(tuple(pack(Message(Kind.JSON, payload)) for payload in payloads))


async def test_a_schema_is_kept_as_it_was_given(schemas: SchemaCatalog) -> None:
    made = await schemas.create(P, "s", JSON, NUMBER)
    assert made == Schema(P, "s", "id-0", JSON, NUMBER)
    assert await schemas.schema(P, "s") == made
    await schemas.create(P, "a", SchemaType.AVRO, {"type": "string"})
    assert [schema.name for schema in await schemas.schemas(P)] == ["a", "s"]
    assert await schemas.schemas(ProjectName("q")) == []


async def test_what_is_refused_changes_nothing(schemas: SchemaCatalog) -> None:
    made = await schemas.create(P, "s", JSON, NUMBER)
    with pytest.raises(AlreadyExists):
        await schemas.create(P, "s", JSON, TEXT)
    with pytest.raises(InvalidSchema):
        await schemas.create(P, "bad", JSON, {"type": "x"})
    with pytest.raises(InvalidSchema):
        await schemas.update(P, "s", document={"type": "x"})
    with pytest.raises(InvalidSchema):
        await schemas.update(P, "s", kind=SchemaType.AVRO)
    assert await schemas.schemas(P) == [made]


async def test_what_is_unknown_is_said_to_be(schemas: SchemaCatalog) -> None:
    for asked in (
        schemas.schema(P, "s"),
        schemas.update(P, "s"),
        schemas.delete(P, "s"),
        schemas.attach(T, "s"),
    ):
        with pytest.raises(UnknownSchema):
            await asked
    await schemas.detach(T)


async def test_a_topic_is_bound_and_freed_at_once_where_it_is_done(schemas: SchemaCatalog) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    assert await schemas.check_for(T) is None
    await schemas.attach(T, "s")
    assert await schemas.schema_of(T) == "s"
    assert await schemas.schemas_of(P) == {T: "s"}
    assert await schemas.check_for(T) is not None
    assert await schemas.check_for(parse_topic("p/other")) is None
    await schemas.detach(T)
    assert await schemas.schema_of(T) is None
    assert await schemas.check_for(T) is None


async def test_each_request_stands_by_itself(schemas: SchemaCatalog) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    assert await schemas.refusals(T, [request(b'"x"')]) is None
    await schemas.attach(T, "s")
    refusals = await schemas.refusals(T, [request(b"1", b"2"), request(b"1", b'"x"'), request(b"3")])
    assert refusals is not None
    first, second, third = refusals
    assert (first, third) == (None, None)
    assert isinstance(second, SchemaViolation)
    assert second.reason == 'Message 1 data is not valid,(root): "x" is not of type "integer"'


async def test_another_node_knows_after_a_second(
    schemas: SchemaCatalog, records: CountingRecords, clock: Clock
) -> None:
    other = node(records, clock)
    assert await other.check_for(T) is None
    await schemas.create(P, "s", JSON, NUMBER)
    await schemas.attach(T, "s")
    reads = records.reads
    clock.now += FRESH_SECONDS * 0.9
    assert await other.check_for(T) is None
    assert records.reads == reads
    clock.now += FRESH_SECONDS * 0.1
    assert await other.check_for(T) is not None


async def test_an_unchanged_schema_is_not_compiled_again(schemas: SchemaCatalog, clock: Clock) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    await schemas.attach(T, "s")
    first = await schemas.check_for(T)
    clock.now += FRESH_SECONDS
    assert await schemas.check_for(T) is first
    await schemas.update(P, "s", document=TEXT)
    assert await schemas.check_for(T) is not first


async def test_all_who_wait_share_one_look(schemas: SchemaCatalog, records: CountingRecords) -> None:
    await asyncio.gather(*(schemas.check_for(T) for _ in range(50)))
    assert records.reads == 1


async def test_a_change_counts_though_a_look_was_under_way(schemas: SchemaCatalog, records: CountingRecords) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    records.held = asyncio.Event()
    looking = asyncio.create_task(schemas.check_for(T))
    await asyncio.sleep(0.01)
    held, records.held = records.held, None
    await schemas.attach(T, "s")
    held.set()
    await looking
    assert await schemas.check_for(T) is not None


async def test_what_was_known_counts_while_the_records_are_away(
    schemas: SchemaCatalog, records: CountingRecords, clock: Clock
) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    await schemas.attach(T, "s")
    first = await schemas.check_for(T)
    records.away = True
    clock.now += 1000
    assert await schemas.check_for(T) is first
    with pytest.raises(Unavailable):
        await node(records, clock).check_for(T)
    records.away = False
    await schemas.detach(T)
    assert await schemas.check_for(T) is None


async def test_topics_follow_a_new_name(schemas: SchemaCatalog) -> None:
    made = await schemas.create(P, "s", JSON, NUMBER)
    await schemas.create(P, "taken", JSON, NUMBER)
    await schemas.attach(T, "s")
    with pytest.raises(AlreadyExists):
        await schemas.update(P, "s", new_name="taken")
    renamed = await schemas.update(P, "s", new_name="n", document=TEXT)
    assert renamed == Schema(P, "n", made.uuid, JSON, TEXT)
    assert await schemas.schema_of(T) == "n"
    assert [schema.name for schema in await schemas.schemas(P)] == ["n", "taken"]
    assert await schemas.refusals(T, [request(b'"x"')]) == [None]


async def test_a_deleted_schema_frees_its_topics(schemas: SchemaCatalog) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    await schemas.attach(T, "s")
    await schemas.delete(P, "s")
    assert await schemas.schema_of(T) is None
    assert await schemas.check_for(T) is None
    await schemas.create(P, "s", JSON, NUMBER)
    assert await schemas.check_for(T) is None


async def test_a_deleted_project_leaves_nothing(schemas: SchemaCatalog, records: CountingRecords) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    await schemas.attach(T, "s")
    assert await schemas.check_for(T) is not None
    await schemas.forget_project(P)
    assert await schemas.check_for(T) is None
    assert not await records.all(P, SCHEMAS)
    assert not await records.all(P, TOPICS)


async def test_of_two_at_once_both_count(schemas: SchemaCatalog, records: CountingRecords) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    records.rival = Change(TOPICS, "t", None, b"other")
    await schemas.attach(T, "s")
    assert await schemas.schema_of(T) == "s"
    records.rival = Change(TOPICS, "u", None, b"s")
    await schemas.delete(P, "s")


async def test_no_topic_is_bound_to_a_schema_that_goes_meanwhile(
    schemas: SchemaCatalog, records: CountingRecords
) -> None:
    await schemas.create(P, "s", JSON, NUMBER)
    record = await records.get(P, SCHEMAS, "s")
    records.rival = Change(SCHEMAS, "s", record, None)
    with pytest.raises(UnknownSchema):
        await schemas.attach(T, "s")
    assert await schemas.schema_of(T) is None


async def test_nothing_of_a_refused_publish_is_written(schemas: SchemaCatalog, clock: Clock) -> None:
    store = MemoryStore(now_ms=lambda: 0, announce=lambda topic, payload: None)
    await store.create_project(ProjectInfo(P, 0, 0))
    await store.create_topic(T, Retention(1000, 10**6, 10**9))

    class NoMaker:
        async def create_on_use(self, topic: object) -> None:
            raise AssertionError

    publisher = Publisher(store, NoMaker(), observer=Silent(), monotonic=clock, gate=schemas)
    await schemas.create(P, "s", JSON, NUMBER)
    await schemas.attach(T, "s")

    def say(*payloads: bytes) -> PublishRequest:
        return PublishRequest(T, tuple(Message(Kind.JSON, payload) for payload in payloads))

    outcomes = await asyncio.gather(
        publisher.publish(say(b"1")),
        publisher.publish(say(b"2", b'"x"')),
        publisher.publish(say(b"3")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], SchemaViolation)
    good = [outcome.first.offset for outcome in outcomes if not isinstance(outcome, BaseException)]
    assert good == [0, 1]
    with pytest.raises(SchemaViolation):
        await publisher.publish(say(b"null"))


@pytest.mark.parametrize(
    "text", ["", "s", "projects/p/schemas", "/projects/p/schemas/s", "projects/p/topics/s", "projects/p/schemas/a b"]
)
def test_a_reference_that_is_none(text: str) -> None:
    with pytest.raises(InvalidRequest, match="wrong schema name declaration"):
        read_reference(text, P)


def test_a_reference_stays_in_its_project() -> None:
    assert read_reference("projects/p/schemas/s", P) == "s"
    with pytest.raises(UnknownSchema):
        read_reference("projects/q/schemas/s", P)
