"""The catalog: projects, topics, what they keep, and who may make them by using them.

The store keeps the registry; here is policy. Creating on first use is idempotent: of two nodes that meet a new topic
at once, one creates it and the other finds it. Retention is inherited, topic before project before node, and enforced
in the background in small steps, by one node at a time; two at once would do no harm, trimming is idempotent too.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from broker.allowance import Allowance, effective_limits
from broker.errors import (
    AlreadyExists,
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    UnknownProject,
    UnknownTopic,
)
from broker.messages import Entry
from broker.names import DEFAULT_PROJECT, ProjectName, TopicName, project_of, shown
from broker.observe import Observer, Silent
from broker.positions import MAX_EPOCH, Position
from broker.retention import NODE_RETENTION, effective
from broker.store.base import ProjectInfo, ProjectLimits, Retention, Store, TopicInfo, Trimmed, Unheard
from broker.traffic import Traffic

log = logging.getLogger(__name__)

SETTINGS_SECONDS = 5.0
"""How long a project's settings are believed without asking again: how late a change is seen on other nodes."""

MAX_SETTINGS = 1000
"""Projects whose settings are remembered."""

MAX_DESCRIPTION_BYTES = 4096

AUTO_TOPICS = 10_000
"""Topics that a project has at most when first use creates one: a right to publish is no right to fill Redis."""

NO_LIMITS = ProjectLimits()

LEAST_RATE = 0.001
"""Messages a second: less is no rate."""

TRIM_SECONDS = 5.0
"""Time between two ticks of the trimmer, give or take a fifth, so that nodes do not march in step."""

TRIM_CALLS_A_TICK = 500
"""Trim calls of one tick: with more topics than that, a round takes several ticks."""

TRIM_CALLS_A_TOPIC = 20
"""Trim calls in a row that one topic gets before the others have their turn."""

TICK_TIMEOUT_SECONDS = 60.0


class AutoCreate(StrEnum):
    """Where a first use creates a topic: everywhere, projects included; or where a project's setting says so."""

    ALL = "all"
    """In every project, and a missing project too. Embedded mode."""
    DEFAULT = "default"
    """In project `default`, and in projects whose `auto_create_topics` is on."""
    NONE = "none"
    """Only in projects whose `auto_create_topics` is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogDefaults:
    """What holds where neither topic nor project say otherwise. `retention` has all its fields set."""

    retention: Retention = NODE_RETENTION
    auto_create: AutoCreate = AutoCreate.DEFAULT
    auto_topics: int = AUTO_TOPICS
    limits: ProjectLimits = NO_LIMITS


class Catalog:
    """Projects and topics of the store under the node's policy. Rights were checked by the caller."""

    def __init__(
        self,
        store: Store,
        *,
        monotonic: Callable[[], float],
        defaults: CatalogDefaults | None = None,
        observer: Observer | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._defaults = defaults if defaults is not None else CatalogDefaults()
        self._observer = observer if observer is not None else Silent()
        self._sleep = sleep
        self._settings: dict[ProjectName, tuple[float, ProjectInfo]] = {}
        self._round: deque[tuple[TopicName, Retention]] = deque()
        self._allowances: dict[ProjectName, Allowance] = {}
        self._unheard: dict[ProjectName, Unheard] = {}

    def reconfigure(self, defaults: CatalogDefaults) -> None:
        """Let other defaults hold from now on; a round of trimming under way ends by the old ones."""
        self._defaults = defaults

    async def create_topic(self, topic: TopicName, retention: Retention | None = None) -> TopicInfo:
        """Raises `AlreadyExists`, `UnknownProject`, `InvalidRequest`, `LimitExceeded`."""
        retention = _checked(retention or Retention())
        most = (await self.limits_of(project_of(topic))).topics
        if most is not None:
            await self._require_room(topic, most)
        return await self._store.create_topic(topic, retention)

    async def topic(self, topic: TopicName) -> TopicInfo:
        """Raises `UnknownTopic`."""
        return await self._store.topic(topic)

    async def snapshot(self, topic: TopicName) -> tuple[Position | None, Entry | None]:
        """Return the end of a topic that there is, and the newest message up to it that is retained (`Store`)."""
        try:
            return await self._store.snapshot(topic)
        except UnknownTopic:
            return None, None

    async def traffic(self, topic: TopicName) -> Traffic:
        """Return what was ever published to `topic`. Raises `UnknownTopic`."""
        return await self._store.traffic(topic)

    async def topics(self, project: ProjectName) -> list[TopicInfo]:
        """All topics of a project, newest first. Raises `UnknownProject`."""
        return await self._store.topics(project)

    async def configure_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        """Replace the topic's retention; a None in it inherits. Raises `UnknownTopic`, `InvalidRequest`."""
        return await self._store.configure_topic(topic, _checked(retention))

    async def delete_topic(self, topic: TopicName) -> None:
        """Raises `UnknownTopic`."""
        await self._store.delete_topic(topic)

    async def create_project(self, project: ProjectInfo) -> ProjectInfo:
        """The times in `project` are the store's to set. Raises `AlreadyExists`, `InvalidRequest`."""
        return self._remember(await self._store.create_project(_checked_project(project)))

    async def project(self, project: ProjectName) -> ProjectInfo:
        """Raises `UnknownProject`."""
        return self._remember(await self._store.project(project))

    async def projects(self) -> list[ProjectInfo]:
        return await self._store.projects()

    async def configure_project(self, project: ProjectInfo) -> ProjectInfo:
        """Replace description, auto-creation, retention and limits. Raises `UnknownProject`, `InvalidRequest`."""
        return self._remember(await self._store.configure_project(_checked_project(project)))

    async def rename_project(self, project: ProjectName, new: ProjectName) -> ProjectInfo:
        """Rename a project that has no topics: their names, and the keys of their logs, begin with the project's.

        Raises `UnknownProject`, `AlreadyExists`, `InvalidRequest` where it has topics, for `default` `InvalidName`.
        """
        await self._require_empty(project)
        renamed = await self._store.rename_project(project, new)
        self._settings.pop(project, None)
        self._forget_limits(project)
        try:
            await self._require_empty(project)
        except InvalidRequest:
            # Another node created a topic between the two.
            await self._store.rename_project(new, project)
            raise
        return self._remember(renamed)

    async def _require_empty(self, project: ProjectName) -> None:
        if await self._store.topic_count(project):
            raise InvalidRequest("A project that has topics cannot be renamed")

    async def delete_project(self, project: ProjectName) -> None:
        """Delete a project with its topics. Raises `UnknownProject`, for `default` `InvalidName`."""
        self._settings.pop(project, None)
        self._forget_limits(project)
        await self._store.delete_project(project)

    async def create_on_use(self, topic: TopicName) -> None:
        """Make sure that `topic` exists, or raise `UnknownTopic` / `UnknownProject` where policy does not allow that.

        A right to publish is enough to call this. Called after the store said that the topic is unknown. Raises
        `LimitExceeded` where the project has its number of topics.
        """
        project = await self._project_on_use(project_of(topic))
        if not self._creates_in(project):
            raise UnknownTopic(f"The topic {shown(topic)} does not exist.")
        most = effective_limits(project.limits, self._defaults.limits).topics
        await self._require_room(topic, self._defaults.auto_topics if most is None else most)
        try:
            await self._store.create_topic(topic, Retention())
        except AlreadyExists:
            return
        except UnknownProject:
            # Deleted a moment ago: what was remembered of it is out of date.
            self._settings.pop(project_of(topic), None)
            raise
        log.info("topic created by its first use", extra={"topic": topic})

    async def retention_of(self, topic: TopicInfo) -> Retention:
        """Return what holds for `topic` after inheritance, all fields set."""
        project = await self._settings_of(project_of(topic.name))
        return effective(topic.retention, project.retention, self._defaults.retention)

    async def limits_of(self, project: ProjectName) -> ProjectLimits:
        """Return what holds for `project` after inheritance. Raises `UnknownProject`."""
        return effective_limits((await self._settings_of(project)).limits, self._defaults.limits)

    def admit(self, topic: TopicName, messages: int) -> None:
        """Count messages that are about to be published, or raise `LimitExceeded` with when to come back.

        Hot path. A project's limits are known here some seconds after they were set on another node.
        """
        allowance = self._allowances.get(project_of(topic)) if self._allowances else None
        if allowance is None:
            return
        retry_ms = allowance.take(messages, self._monotonic())
        if retry_ms:
            what = "keeps as much" if allowance.is_full else "publishes as often"
            raise LimitExceeded(f"The project of {shown(topic)} {what} as it may.", retry_ms=retry_ms)

    def must_be_heard(self, topic: TopicName) -> bool:
        """Tell whether a publish that nobody would get is refused (`Unheard`). Hot path, as old as `admit`."""
        unheard = self._unheard.get(project_of(topic)) if self._unheard else None
        return (unheard or self._defaults.limits.no_subscriber) is Unheard.REFUSE

    async def _require_room(self, topic: TopicName, most: int) -> None:
        if await self._store.topic_count(project_of(topic)) >= most:
            raise LimitExceeded(f"The project of {shown(topic)} has {most} topics, as many as it may.")

    async def run(self) -> None:
        """Trim all topics, a bounded number of steps a tick, until cancelled. One node does it for all."""
        await self._repeat(self.trim_some, "trimming")

    async def watch_limits(self) -> None:
        """Learn what projects may publish, until cancelled. Each node does it for itself."""
        await self._repeat(self.learn_limits, "learning limits")

    async def _repeat(self, work: Callable[[], Awaitable[object]], name: str) -> None:
        while True:
            await self._sleep(TRIM_SECONDS * random.uniform(0.8, 1.2))
            try:
                async with asyncio.timeout(TICK_TIMEOUT_SECONDS):
                    await work()
            except (HeadraceError, TimeoutError) as refusal:
                log.warning("%s goes on later", name, extra={"reason": str(refusal) or "it took too long"})
            except Exception:
                log.exception("%s failed", name)

    async def learn_limits(self) -> None:
        """Take note of all projects' limits on publishing, and of what those keep that may not keep everything."""
        projects = await self._store.projects()
        for project in projects:
            retained = None
            if effective_limits(project.limits, self._defaults.limits).retained_bytes is not None:
                with suppress(UnknownProject):
                    retained = sum(topic.bytes for topic in await self._store.topics(project.name))
            self._allow(project, retained_bytes=retained)
        names = {project.name for project in projects}
        for gone in set(self._allowances) - names:
            del self._allowances[gone]
        for gone in set(self._unheard) - names:
            del self._unheard[gone]

    async def trim_some(self, *, max_calls: int = TRIM_CALLS_A_TICK) -> int:
        """Take the next steps of the current round over all topics, a new one if it is over; return messages removed.

        Raises `Unavailable`; the round goes on from there the next time.
        """
        if not self._round:
            await self._begin_round()
        removed = 0
        while self._round and max_calls > 0:
            topic, retention = self._round[0]
            steps = await self._trim_topic(topic, retention, max_calls=min(max_calls, TRIM_CALLS_A_TOPIC))
            max_calls -= len(steps)
            removed += sum(step.removed for step in steps)
            self._round.popleft()
            if steps[-1].more:
                self._round.append((topic, retention))
        return removed

    async def _trim_topic(self, topic: TopicName, retention: Retention, *, max_calls: int) -> list[Trimmed]:
        steps: list[Trimmed] = []
        while len(steps) < max_calls and (not steps or steps[-1].more):
            try:
                steps.append(await self._store.trim(topic, retention))
            except UnknownTopic:
                steps.append(Trimmed(0, more=False))
            self._observer.trimmed(steps[-1].removed)
        return steps

    async def _begin_round(self) -> None:
        for project in await self._store.projects():
            try:
                topics = await self._store.topics(project.name)
            except UnknownProject:
                continue
            for topic in topics:
                if topic.log.first is not None:
                    retention = effective(topic.retention, project.retention, self._defaults.retention)
                    self._round.append((topic.name, retention))

    def _allow(self, project: ProjectInfo, *, retained_bytes: int | None = None) -> None:
        """Take note of a project's limits on publishing, and of what it keeps where that was just counted."""
        if project.limits.no_subscriber is None:
            self._unheard.pop(project.name, None)
        else:
            self._unheard[project.name] = project.limits.no_subscriber
        limits = effective_limits(project.limits, self._defaults.limits)
        if limits.publish_per_second is None and limits.retained_bytes is None:
            self._allowances.pop(project.name, None)
            return
        allowance = self._allowances.get(project.name)
        if allowance is None or allowance.rate != limits.publish_per_second:
            fresh = Allowance(limits.publish_per_second, self._monotonic())
            fresh.is_full = allowance is not None and allowance.is_full
            allowance = self._allowances[project.name] = fresh
        if limits.retained_bytes is None:
            allowance.is_full = False
        elif retained_bytes is not None:
            allowance.is_full = retained_bytes > limits.retained_bytes

    def _forget_limits(self, project: ProjectName) -> None:
        self._allowances.pop(project, None)
        self._unheard.pop(project, None)

    async def _project_on_use(self, project: ProjectName) -> ProjectInfo:
        try:
            return await self._settings_of(project)
        except UnknownProject:
            if self._defaults.auto_create is not AutoCreate.ALL:
                raise
        try:
            made = ProjectInfo(project, 0, 0, auto_create_topics=True)
            return self._remember(await self._store.create_project(made))
        except AlreadyExists:
            return await self.project(project)

    def _creates_in(self, project: ProjectInfo) -> bool:
        if project.auto_create_topics or self._defaults.auto_create is AutoCreate.ALL:
            return True
        return project.name == DEFAULT_PROJECT and self._defaults.auto_create is AutoCreate.DEFAULT

    async def _settings_of(self, project: ProjectName) -> ProjectInfo:
        known = self._settings.get(project)
        if known is not None and self._monotonic() < known[0]:
            return known[1]
        return await self.project(project)

    def _remember(self, project: ProjectInfo) -> ProjectInfo:
        self._settings.pop(project.name, None)
        if len(self._settings) >= MAX_SETTINGS:
            # The first in a dict is the one put in longest ago.
            del self._settings[next(iter(self._settings))]
        self._settings[project.name] = (self._monotonic() + SETTINGS_SECONDS, project)
        self._allow(project)
        return project


def _checked(retention: Retention) -> Retention:
    for bound, name in (
        (retention.max_messages, "max_messages"),
        (retention.max_bytes, "max_bytes"),
        (retention.max_age_ms, "max_age_ms"),
    ):
        if bound is not None and not 1 <= bound <= MAX_EPOCH:
            raise InvalidRequest(f"The retention's {name} must be 1 to {MAX_EPOCH}, not {bound}.")
    return retention


def _checked_project(project: ProjectInfo) -> ProjectInfo:
    _checked(project.retention)
    limits = project.limits
    for bound, name in (
        (limits.topics, "topics"),
        (limits.subscriptions, "subscriptions"),
        (limits.retained_bytes, "retained_bytes"),
    ):
        if bound is not None and not 0 <= bound <= MAX_EPOCH:
            raise InvalidRequest(f"The limit {name} must be 0 to {MAX_EPOCH}, not {bound}.")
    rate = limits.publish_per_second
    if rate is not None and not LEAST_RATE <= rate <= MAX_EPOCH:
        raise InvalidRequest(f"The limit publish_per_second must be {LEAST_RATE} to {MAX_EPOCH}, not {rate}.")
    if len(project.description.encode(errors="replace")) > MAX_DESCRIPTION_BYTES:
        raise InvalidRequest(f"A project's description has at most {MAX_DESCRIPTION_BYTES} bytes.")
    return project
