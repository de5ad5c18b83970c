"""What every store does alike, with topics and projects."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from logs import NOTHING, TOPIC, keyed, placed, put, put_one, texts_after

from broker.errors import AlreadyExists, InvalidName, UnknownProject, UnknownTopic
from broker.names import DEFAULT_PROJECT, ProjectName, TopicName
from broker.positions import Recovery
from broker.store.base import ProjectInfo, Retention, Store, TopicInfo

Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


async def test_a_topic_is_created_described_configured_and_deleted(store: Store) -> None:
    limits = Retention(max_messages=5, max_age_ms=1000)
    created = await store.create_topic(TOPIC, limits)
    assert created == await store.topic(TOPIC)
    assert (created.name, created.retention, created.bytes) == (TOPIC, limits, 0)
    with pytest.raises(AlreadyExists):
        await store.create_topic(TOPIC, limits)
    configured = await store.configure_topic(TOPIC, Retention(max_bytes=7))
    assert configured == await store.topic(TOPIC) == replace(created, retention=Retention(max_bytes=7))
    await store.delete_topic(TOPIC)
    with pytest.raises(UnknownTopic):
        await store.topic(TOPIC)
    assert await store.topics(DEFAULT_PROJECT) == []


async def test_a_topic_created_again_is_empty_and_its_positions_are_new(store: Store) -> None:
    created = await store.create_topic(TOPIC, Retention(max_messages=1))
    old = await put_one(store, keyed("k", "a"))
    await store.delete_topic(TOPIC)
    again = await store.create_topic(TOPIC, NOTHING)
    assert again.log.epoch > created.log.epoch
    assert again.retention == NOTHING
    assert again.log.next_offset == 0
    new = await put_one(store, keyed("k", "a"))
    assert not new.duplicate
    assert new.first.offset == 0
    verdict = await placed(store, old.first)
    assert verdict.recovery is Recovery.LOST
    assert await texts_after(store, verdict.after) == ["a"]


async def test_topics_are_listed_newest_first_by_project(store: Store, eventually: Eventually) -> None:
    await store.create_project(ProjectInfo(ProjectName("p"), 0, 0))
    names = [TopicName("p/b"), TopicName("p/a"), TopicName("p/c/d")]
    made: list[TopicInfo] = []
    for name in names:

        async def created_later(name: TopicName = name) -> bool:
            info = await store.create_topic(name, NOTHING)
            if made and info.created_ms <= made[-1].created_ms:
                await store.delete_topic(name)
                return False
            made.append(info)
            return True

        await eventually(created_later)
    await store.create_topic(TOPIC, NOTHING)
    assert await store.topics(ProjectName("p")) == made[::-1]
    with pytest.raises(UnknownProject):
        await store.topics(ProjectName("none"))


@pytest.mark.parametrize(
    "name", ["default/ü/€ %7B~:", "default/a b", "ein projekt%/x", "projects/all", "default/" + "é" * 120]
)
async def test_names_of_any_shape_work(backend, store: Store, name: str) -> None:  # type: ignore[no-untyped-def]
    topic = TopicName(name)
    project = ProjectName(name.partition("/")[0])
    if project != DEFAULT_PROJECT:
        await store.create_project(ProjectInfo(project, 0, 0))
    await store.create_topic(topic, NOTHING)
    async with backend.ear(topic) as ear:
        await put(store, "a", topic=topic)
        assert len((await ear.next()).entries) == 1
    assert [info.name for info in await store.topics(project)] == [topic]


async def test_a_topic_needs_its_project(store: Store) -> None:
    with pytest.raises(UnknownProject):
        await store.create_topic(TopicName("none/t"), NOTHING)


async def test_projects_are_created_described_configured_and_deleted(store: Store) -> None:
    name = ProjectName("p")
    given = ProjectInfo(name, 1, 2, "text", True, Retention(max_bytes=9), "me")
    created = await store.create_project(given)
    assert created == await store.project(name)
    assert created == replace(given, created_ms=created.created_ms, modified_ms=created.created_ms)
    assert created.created_ms > 10**12
    with pytest.raises(AlreadyExists):
        await store.create_project(given)
    configured = await store.configure_project(ProjectInfo(name, 0, 0, "new", created_by="you"))
    assert configured == await store.project(name)
    assert (configured.description, configured.created_by, configured.created_ms) == ("new", "me", created.created_ms)
    assert configured.modified_ms >= created.modified_ms
    assert [info.name for info in await store.projects()] == [DEFAULT_PROJECT, name]

    topic = TopicName("p/t")
    await store.create_topic(topic, NOTHING)
    await store.delete_project(name)
    for call in (store.project(name), store.topics(name), store.delete_project(name), store.configure_project(given)):
        with pytest.raises(UnknownProject):
            await call
    assert await store.ends([topic]) == [None]


async def test_a_project_is_renamed_and_stays_itself(store: Store) -> None:
    old, new = ProjectName("p"), ProjectName("q")
    created = await store.create_project(ProjectInfo(old, 0, 0, "kept", created_by="me"))
    renamed = await store.rename_project(old, new)
    assert renamed == await store.project(new)
    assert renamed.modified_ms >= created.modified_ms
    assert replace(renamed, name=old, modified_ms=created.modified_ms) == created
    assert [info.name for info in await store.projects()] == [DEFAULT_PROJECT, new]
    await store.create_project(ProjectInfo(old, 0, 0))
    for taken in (old, DEFAULT_PROJECT):
        with pytest.raises(AlreadyExists):
            await store.rename_project(new, taken)
    with pytest.raises(UnknownProject):
        await store.rename_project(ProjectName("absent"), ProjectName("r"))
    with pytest.raises(InvalidName):
        await store.rename_project(DEFAULT_PROJECT, ProjectName("r"))
    assert len(await store.projects()) == 3


async def test_the_default_project_always_exists(store: Store) -> None:
    assert (await store.project(DEFAULT_PROJECT)).auto_create_topics is False
    assert [info.name for info in await store.projects()] == [DEFAULT_PROJECT]
    with pytest.raises(InvalidName):
        await store.delete_project(DEFAULT_PROJECT)
    with pytest.raises(AlreadyExists):
        await store.create_project(ProjectInfo(DEFAULT_PROJECT, 0, 0))
    configured = await store.configure_project(ProjectInfo(DEFAULT_PROJECT, 0, 0, auto_create_topics=True))
    assert configured == await store.project(DEFAULT_PROJECT)
    assert configured.auto_create_topics


async def test_a_project_knows_how_many_topics_it_has(store: Store) -> None:
    assert await store.topic_count(DEFAULT_PROJECT) == 0
    await store.create_topic(TOPIC, NOTHING)
    await store.create_topic(TopicName("default/other"), NOTHING)
    assert await store.topic_count(DEFAULT_PROJECT) == 2
    await store.delete_topic(TOPIC)
    assert await store.topic_count(DEFAULT_PROJECT) == 1
    assert await store.topic_count(ProjectName("absent")) == 0
