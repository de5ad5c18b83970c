"""The catalog over the memory store: policy of creation, inheritance of retention, the trimmer."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from broker.catalog import (
    MAX_DESCRIPTION_BYTES,
    MAX_SETTINGS,
    SETTINGS_SECONDS,
    TRIM_CALLS_A_TOPIC,
    TRIM_SECONDS,
    AutoCreate,
    Catalog,
    CatalogDefaults,
)
from broker.errors import (
    AlreadyExists,
    InvalidName,
    InvalidRequest,
    LimitExceeded,
    Unavailable,
    UnknownProject,
    UnknownTopic,
)
from broker.messages import Kind, Message, pack
from broker.names import DEFAULT_PROJECT, ProjectName, TopicName
from broker.observe import Silent
from broker.positions import MAX_EPOCH
from broker.retention import NODE_RETENTION
from broker.store.base import AppendRequest, ProjectInfo, ProjectLimits, Retention, TopicInfo, Trimmed, Unheard
from broker.store.memory import MemoryStore

SHOP = ProjectName("shop")
ORDERS = TopicName("shop/orders")
NEWS = TopicName("default/news")


class Watched(MemoryStore):
    """A memory store that counts what it is asked, and can be away."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        super().__init__(now_ms=now_ms)
        self.asked: list[str] = []
        self.away = 0
        self.more = False

    async def project(self, project: ProjectName) -> ProjectInfo:
        self.asked.append(f"project {project}")
        return await super().project(project)

    async def create_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        # Another node's turn comes in between.
        await asyncio.sleep(0)
        return await super().create_topic(topic, retention)

    async def create_project(self, project: ProjectInfo) -> ProjectInfo:
        await asyncio.sleep(0)
        return await super().create_project(project)

    async def trim(self, topic: TopicName, retention: Retention) -> Trimmed:
        self.asked.append(f"trim {topic}")
        if self.away:
            self.away -= 1
            raise Unavailable
        trimmed = await super().trim(topic, retention)
        return replace(trimmed, more=trimmed.more or self.more)


class Recorder(Silent):
    def __init__(self) -> None:
        self.removed = 0

    def trimmed(self, messages: int) -> None:
        self.removed += messages


class House:
    def __init__(self, auto_create: AutoCreate = AutoCreate.NONE, retention: Retention = NODE_RETENTION) -> None:
        self.now = 1_700_000_000.0
        self.store = Watched(lambda: int(self.now * 1000))
        self.observer = Recorder()
        self.catalog = self.another(auto_create, retention)

    def another(self, auto_create: AutoCreate, retention: Retention = NODE_RETENTION) -> Catalog:
        """A node's catalog over the same store."""
        defaults = CatalogDefaults(retention=retention, auto_create=auto_create)
        return Catalog(self.store, monotonic=lambda: self.now, defaults=defaults, observer=self.observer)

    async def fill(self, topic: TopicName, count: int, *, size: int = 1) -> None:
        request = AppendRequest((pack(Message(Kind.BINARY, b"x" * size)),) * count)
        await self.store.append(topic, [request])

    async def kept(self, topic: TopicName) -> int:
        log = (await self.store.topic(topic)).log
        return log.next_offset - log.first_offset


def a_project(name: ProjectName = SHOP, *, auto_create_topics: bool = False, **more: object) -> ProjectInfo:
    return ProjectInfo(name, 0, 0, auto_create_topics=auto_create_topics, **more)  # type: ignore[arg-type]


async def test_projects_and_topics_live_and_die() -> None:
    house = House()
    catalog = house.catalog
    made = await catalog.create_project(a_project(description="things"))
    assert made.description == "things"
    assert made.created_ms == 1_700_000_000_000
    topic = await catalog.create_topic(ORDERS, Retention(max_messages=5))
    assert topic.retention == Retention(max_messages=5)
    assert [info.name for info in await catalog.topics(SHOP)] == [ORDERS]
    assert (await catalog.configure_topic(ORDERS, Retention(max_bytes=7))).retention == Retention(max_bytes=7)
    assert (await catalog.topic(ORDERS)).retention == Retention(max_bytes=7)
    await catalog.delete_topic(ORDERS)
    assert await catalog.topics(SHOP) == []
    assert [info.name for info in await catalog.projects()] == [DEFAULT_PROJECT, SHOP]
    await catalog.delete_project(SHOP)
    assert [info.name for info in await catalog.projects()] == [DEFAULT_PROJECT]


async def test_what_is_there_or_not_there_is_said() -> None:
    catalog = House().catalog
    await catalog.create_project(a_project())
    await catalog.create_topic(ORDERS)
    with pytest.raises(AlreadyExists):
        await catalog.create_project(a_project())
    with pytest.raises(AlreadyExists):
        await catalog.create_topic(ORDERS)
    with pytest.raises(UnknownTopic):
        await catalog.topic(NEWS)
    with pytest.raises(UnknownTopic):
        await catalog.delete_topic(NEWS)
    with pytest.raises(UnknownProject):
        await catalog.create_topic(TopicName("nowhere/x"))
    with pytest.raises(UnknownProject):
        await catalog.project(ProjectName("nowhere"))
    with pytest.raises(InvalidName):
        await catalog.delete_project(DEFAULT_PROJECT)


async def test_a_project_without_topics_is_renamed() -> None:
    house, new = House(), ProjectName("store")
    await house.catalog.create_project(a_project())
    assert (await house.catalog.rename_project(SHOP, new)).name == new
    with pytest.raises(UnknownProject):
        await house.catalog.retention_of(replace(await house.catalog.create_topic(NEWS), name=ORDERS))
    await house.catalog.create_topic(TopicName("store/orders"))
    with pytest.raises(InvalidRequest, match="has topics"):
        await house.catalog.rename_project(new, SHOP)
    assert (await house.catalog.project(new)).name == new


async def test_a_topic_that_another_node_made_meanwhile_keeps_its_project(monkeypatch: pytest.MonkeyPatch) -> None:
    house, new = House(), ProjectName("store")
    await house.catalog.create_project(a_project())
    counts = iter([0, 1])

    async def count(_: ProjectName) -> int:
        return next(counts)

    monkeypatch.setattr(house.store, "topic_count", count)
    with pytest.raises(InvalidRequest, match="has topics"):
        await house.catalog.rename_project(SHOP, new)
    assert [info.name for info in await house.catalog.projects()] == [DEFAULT_PROJECT, SHOP]


BAD_RETENTIONS = [
    Retention(max_messages=0),
    Retention(max_bytes=-1),
    Retention(max_age_ms=0),
    Retention(max_messages=MAX_EPOCH + 1),
]


@pytest.mark.parametrize("retention", BAD_RETENTIONS)
async def test_a_retention_out_of_range_is_refused_everywhere(retention: Retention) -> None:
    catalog = House().catalog
    await catalog.create_topic(NEWS)
    with pytest.raises(InvalidRequest):
        await catalog.create_topic(TopicName("default/other"), retention)
    with pytest.raises(InvalidRequest):
        await catalog.configure_topic(NEWS, retention)
    with pytest.raises(InvalidRequest):
        await catalog.create_project(a_project(retention=retention))
    with pytest.raises(InvalidRequest):
        await catalog.configure_project(a_project(DEFAULT_PROJECT, retention=retention))
    assert [info.name for info in await catalog.topics(DEFAULT_PROJECT)] == [NEWS]


async def test_a_description_has_a_bound() -> None:
    catalog = House().catalog
    await catalog.create_project(a_project(description="é" * (MAX_DESCRIPTION_BYTES // 2)))
    with pytest.raises(InvalidRequest):
        await catalog.configure_project(a_project(description="é" * (MAX_DESCRIPTION_BYTES // 2) + "x"))


# policy, the project's own setting: is a topic of `default`, of `shop`, of a missing project created?
CREATION = [
    (AutoCreate.ALL, False, (True, True, True)),
    (AutoCreate.ALL, True, (True, True, True)),
    (AutoCreate.DEFAULT, False, (True, False, False)),
    (AutoCreate.DEFAULT, True, (True, True, False)),
    (AutoCreate.NONE, False, (False, False, False)),
    (AutoCreate.NONE, True, (False, True, False)),
]


@pytest.mark.parametrize(("policy", "setting", "created"), CREATION)
async def test_first_use_creates_where_policy_says_so(
    policy: AutoCreate, setting: bool, created: tuple[bool, bool, bool]
) -> None:
    house = House(policy)
    await house.store.create_project(a_project(auto_create_topics=setting))
    topics = (NEWS, ORDERS, TopicName("missing/x"))
    for topic, expected, refusal in zip(topics, created, (UnknownTopic, UnknownTopic, UnknownProject), strict=True):
        if expected:
            await house.catalog.create_on_use(topic)
            assert (await house.store.topic(topic)).retention == Retention()
        else:
            with pytest.raises(refusal):
                await house.catalog.create_on_use(topic)
            with pytest.raises(UnknownTopic):
                await house.store.topic(topic)


async def test_two_nodes_that_meet_a_new_topic_at_once_both_find_it_created() -> None:
    house = House(AutoCreate.ALL)
    catalogs = [house.another(AutoCreate.ALL) for _ in range(5)]
    await asyncio.gather(*(catalog.create_on_use(ORDERS) for catalog in catalogs))
    assert [info.name for info in await house.catalog.topics(SHOP)] == [ORDERS]


async def test_a_topic_that_exists_already_stays_as_it_is() -> None:
    house = House(AutoCreate.ALL)
    await house.catalog.create_topic(NEWS, Retention(max_messages=3))
    await house.catalog.create_on_use(NEWS)
    assert (await house.catalog.topic(NEWS)).retention == Retention(max_messages=3)


async def test_settings_are_remembered_for_a_short_time() -> None:
    house = House()
    await house.store.create_project(a_project(auto_create_topics=True))
    for number in range(5):
        await house.catalog.create_on_use(TopicName(f"shop/{number}"))
    # Once by the catalog, five times by the store itself, which checks at each creation.
    assert house.store.asked.count("project shop") == 6
    await house.store.configure_project(a_project(auto_create_topics=False))
    house.now += SETTINGS_SECONDS - 1
    await house.catalog.create_on_use(TopicName("shop/still"))
    house.now += 1
    with pytest.raises(UnknownTopic):
        await house.catalog.create_on_use(TopicName("shop/no longer"))


async def test_a_change_made_here_counts_at_once() -> None:
    house = House()
    await house.catalog.create_project(a_project(auto_create_topics=True))
    await house.catalog.create_on_use(ORDERS)
    await house.catalog.configure_project(a_project(auto_create_topics=False))
    with pytest.raises(UnknownTopic):
        await house.catalog.create_on_use(TopicName("shop/other"))
    await house.catalog.delete_project(SHOP)
    with pytest.raises(UnknownProject):
        await house.catalog.create_on_use(ORDERS)


async def test_a_project_that_another_node_deleted_is_noticed() -> None:
    house = House(AutoCreate.ALL)
    await house.catalog.create_on_use(ORDERS)
    await house.store.delete_project(SHOP)
    with pytest.raises(UnknownProject):
        await house.catalog.create_on_use(ORDERS)
    await house.catalog.create_on_use(ORDERS)
    assert (await house.catalog.topic(ORDERS)).name == ORDERS


async def test_what_is_remembered_is_bounded() -> None:
    house = House()
    for number in range(MAX_SETTINGS + 10):
        await house.catalog.create_project(a_project(ProjectName(f"p{number}")))
    assert len(house.catalog._settings) == MAX_SETTINGS


async def test_retention_is_inherited_field_by_field() -> None:
    house = House(retention=Retention(1, 2, 3))
    await house.catalog.create_project(a_project(retention=Retention(max_messages=10, max_bytes=20)))
    topic = await house.catalog.create_topic(ORDERS, Retention(max_messages=100))
    assert await house.catalog.retention_of(topic) == Retention(100, 20, 3)


async def test_the_trimmer_enforces_what_holds() -> None:
    house = House(retention=Retention(100, 2**30, 10_000))
    await house.catalog.create_project(a_project(retention=Retention(max_bytes=50)))
    for topic in (NEWS, ORDERS):
        await house.catalog.create_topic(topic)
        await house.fill(topic, 120, size=5)
    assert await house.catalog.trim_some() == (120 - 100) + (120 - 5)
    assert house.observer.removed == 135
    assert (await house.kept(NEWS), await house.kept(ORDERS)) == (100, 5)
    house.now += 11
    await house.catalog.trim_some()
    assert (await house.kept(NEWS), await house.kept(ORDERS)) == (0, 0)


async def test_a_tick_is_bounded_and_the_round_goes_on_in_the_next() -> None:
    house = House()
    for number in range(10):
        topic = TopicName(f"default/{number}")
        await house.catalog.create_topic(topic)
        await house.fill(topic, 1)
    house.store.asked.clear()
    for _ in range(3):
        await house.catalog.trim_some(max_calls=4)
    trims = [asked for asked in house.store.asked if asked.startswith("trim")]
    assert len(trims) == 10
    assert len(set(trims)) == 10


async def test_a_topic_with_much_to_trim_does_not_hold_up_the_others() -> None:
    house = House()
    for topic in (NEWS, TopicName("default/other")):
        await house.catalog.create_topic(topic)
        await house.fill(topic, 1)
    house.store.more = True
    house.store.asked.clear()
    await house.catalog.trim_some(max_calls=TRIM_CALLS_A_TOPIC * 3)
    trims = [asked for asked in house.store.asked if asked.startswith("trim")]
    assert len(trims) == 3 * TRIM_CALLS_A_TOPIC
    turns = [set(trims[start : start + TRIM_CALLS_A_TOPIC]) for start in range(0, len(trims), TRIM_CALLS_A_TOPIC)]
    assert [len(turn) for turn in turns] == [1, 1, 1]
    assert turns[0] == turns[2] != turns[1]


async def test_empty_topics_cost_no_call_and_deleted_ones_no_round() -> None:
    house = House()
    for name in ("a", "b", "c"):
        await house.catalog.create_topic(TopicName(f"default/{name}"))
    await house.fill(TopicName("default/a"), 1)
    await house.fill(TopicName("default/b"), 1)
    await house.catalog.trim_some(max_calls=1)
    for name in ("a", "b"):
        await house.store.delete_topic(TopicName(f"default/{name}"))
    assert await house.catalog.trim_some() == 0
    assert "trim default/c" not in house.store.asked


async def test_the_trimmer_survives_a_redis_that_is_away() -> None:
    house = House(retention=Retention(1, 2**30, 10_000))
    await house.catalog.create_topic(NEWS)
    await house.fill(NEWS, 10)
    house.store.away = 3
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 5:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    house.catalog._sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        await house.catalog.run()
    assert await house.kept(NEWS) == 1
    assert all(TRIM_SECONDS * 0.8 <= wait <= TRIM_SECONDS * 1.2 for wait in waits)


# Limits of a project.


async def test_first_use_makes_no_more_topics_than_a_project_may_have() -> None:
    house = House(AutoCreate.ALL)
    house.catalog = Catalog(
        house.store,
        monotonic=lambda: house.now,
        defaults=CatalogDefaults(auto_create=AutoCreate.ALL, auto_topics=2),
    )
    for name in "ab":
        await house.catalog.create_on_use(TopicName(f"shop/{name}"))
    with pytest.raises(LimitExceeded):
        await house.catalog.create_on_use(TopicName("shop/c"))
    await house.catalog.create_on_use(TopicName("other/c"))
    # Whoever manages topics is not held to what first use may do.
    await house.catalog.create_topic(TopicName("shop/c"))


async def test_a_project_has_no_more_topics_than_it_may() -> None:
    catalog = House(AutoCreate.ALL).catalog
    await catalog.create_project(a_project(limits=ProjectLimits(topics=1)))
    await catalog.create_topic(ORDERS)
    for make in (catalog.create_topic, catalog.create_on_use):
        with pytest.raises(LimitExceeded):
            await make(TopicName("shop/more"))
    await catalog.delete_topic(ORDERS)
    await catalog.create_on_use(TopicName("shop/more"))


async def test_the_nodes_limits_hold_where_a_project_has_none() -> None:
    house = House()
    limits = ProjectLimits(topics=5, subscriptions=6)
    catalog = Catalog(house.store, monotonic=lambda: house.now, defaults=CatalogDefaults(limits=limits))
    await catalog.create_project(a_project(limits=ProjectLimits(topics=7)))
    assert await catalog.limits_of(SHOP) == ProjectLimits(topics=7, subscriptions=6)
    assert await catalog.limits_of(DEFAULT_PROJECT) == limits


async def test_a_project_publishes_no_faster_than_it_may() -> None:
    house = House()
    await house.catalog.create_project(a_project(limits=ProjectLimits(publish_per_second=2)))
    for _ in range(2):
        house.catalog.admit(ORDERS, 1)
    with pytest.raises(LimitExceeded) as refusal:
        house.catalog.admit(ORDERS, 1)
    assert refusal.value.retry_ms == 1
    house.catalog.admit(NEWS, 1_000_000)
    house.now += 0.5
    house.catalog.admit(ORDERS, 1)


async def test_asking_for_a_project_gives_it_no_new_allowance() -> None:
    house = House()
    await house.catalog.create_project(a_project(limits=ProjectLimits(publish_per_second=1)))
    house.catalog.admit(ORDERS, 1)
    await house.catalog.project(SHOP)
    with pytest.raises(LimitExceeded):
        house.catalog.admit(ORDERS, 1)


async def test_other_nodes_learn_of_limits_in_time() -> None:
    house = House()
    other = house.another(AutoCreate.NONE)
    await house.catalog.create_project(a_project(limits=ProjectLimits(publish_per_second=1)))
    other.admit(ORDERS, 5)
    await other.learn_limits()
    other.admit(ORDERS, 5)
    with pytest.raises(LimitExceeded):
        other.admit(ORDERS, 1)
    await house.catalog.configure_project(a_project())
    await other.learn_limits()
    other.admit(ORDERS, 1)


async def test_a_project_that_keeps_too_much_publishes_no_more_until_it_keeps_less() -> None:
    house = House()
    await house.catalog.create_project(a_project(limits=ProjectLimits(retained_bytes=100)))
    await house.catalog.create_topic(ORDERS, Retention(max_messages=3))
    await house.fill(ORDERS, 10, size=50)
    house.catalog.admit(ORDERS, 1)
    await house.catalog.learn_limits()
    with pytest.raises(LimitExceeded):
        house.catalog.admit(ORDERS, 1)
    # Asked or changed in between, it is as full as when it was counted.
    await house.catalog.project(SHOP)
    await house.catalog.configure_project(a_project(limits=ProjectLimits(retained_bytes=101, publish_per_second=9)))
    with pytest.raises(LimitExceeded):
        house.catalog.admit(ORDERS, 1)
    await house.catalog.configure_topic(ORDERS, Retention(max_messages=1))
    await house.catalog.trim_some()
    await house.catalog.learn_limits()
    house.catalog.admit(ORDERS, 1)


async def test_a_limit_that_is_lifted_counts_at_once() -> None:
    house = House()
    await house.catalog.create_project(a_project(limits=ProjectLimits(retained_bytes=0, publish_per_second=1)))
    await house.catalog.create_topic(ORDERS)
    await house.fill(ORDERS, 1)
    await house.catalog.learn_limits()
    with pytest.raises(LimitExceeded):
        house.catalog.admit(ORDERS, 1)
    await house.catalog.configure_project(a_project(limits=ProjectLimits(publish_per_second=9)))
    house.catalog.admit(ORDERS, 9)
    await house.catalog.delete_project(SHOP)
    house.catalog.admit(ORDERS, 9)


async def test_a_project_that_another_node_deleted_has_no_limits_left() -> None:
    house = House()
    other = house.another(AutoCreate.NONE)
    await house.catalog.create_project(a_project(limits=ProjectLimits(publish_per_second=1)))
    await other.delete_project(SHOP)
    await house.catalog.learn_limits()
    assert not house.catalog._allowances


async def test_whether_a_publish_must_be_heard_is_the_projects_choice_or_the_nodes() -> None:
    house = House()
    assert not house.catalog.must_be_heard(ORDERS)
    await house.catalog.create_project(a_project(limits=ProjectLimits(no_subscriber=Unheard.REFUSE)))
    assert house.catalog.must_be_heard(ORDERS)
    assert not house.catalog.must_be_heard(NEWS)
    house.catalog.reconfigure(CatalogDefaults(limits=ProjectLimits(no_subscriber=Unheard.REFUSE)))
    assert house.catalog.must_be_heard(NEWS)
    await house.catalog.configure_project(a_project(limits=ProjectLimits(no_subscriber=Unheard.ACCEPT)))
    assert not house.catalog.must_be_heard(ORDERS)
    other = house.another(AutoCreate.NONE)
    await other.learn_limits()
    await other.delete_project(SHOP)
    await house.catalog.learn_limits()
    assert not house.catalog._unheard


async def test_limits_are_watched_through_a_redis_that_is_away() -> None:
    house = House()
    ticks = 0

    async def sleep(seconds: float) -> None:
        nonlocal ticks
        ticks += 1
        assert 0.8 * TRIM_SECONDS <= seconds <= 1.2 * TRIM_SECONDS
        if ticks == 4:
            raise asyncio.CancelledError

    asked = 0

    async def projects() -> list[ProjectInfo]:
        nonlocal asked
        asked += 1
        raise (Unavailable(), RuntimeError("a defect"), Unavailable())[asked - 1]

    house.store.projects = projects  # type: ignore[method-assign]
    catalog = Catalog(house.store, monotonic=lambda: house.now, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await catalog.watch_limits()
    assert asked == 3


@pytest.mark.parametrize(
    "limits",
    [
        ProjectLimits(topics=-1),
        ProjectLimits(subscriptions=-1),
        ProjectLimits(retained_bytes=MAX_EPOCH + 1),
        ProjectLimits(publish_per_second=0),
        ProjectLimits(publish_per_second=-1.0),
        ProjectLimits(publish_per_second=float("nan")),
        ProjectLimits(publish_per_second=float("inf")),
    ],
)
async def test_limits_out_of_range_are_refused(limits: ProjectLimits) -> None:
    catalog = House().catalog
    with pytest.raises(InvalidRequest):
        await catalog.create_project(a_project(limits=limits))
    with pytest.raises(InvalidRequest):
        await catalog.configure_project(a_project(DEFAULT_PROJECT, limits=limits))


async def test_other_defaults_may_hold_under_way() -> None:
    house = House(AutoCreate.ALL)
    await house.catalog.create_on_use(NEWS)
    news = await house.catalog.topic(NEWS)
    assert (await house.catalog.retention_of(news)).max_messages == NODE_RETENTION.max_messages
    retention = replace(NODE_RETENTION, max_messages=7)
    house.catalog.reconfigure(CatalogDefaults(retention=retention, auto_create=AutoCreate.NONE))
    assert (await house.catalog.retention_of(news)).max_messages == 7
    with pytest.raises(UnknownTopic):
        await house.catalog.create_on_use(TopicName("default/late"))
