"""The memory store: the reference that says what the scripts must do. For tests; nothing outlives it.

It keeps epochs as a primary would. A test plays failures on it: `promote` is a new primary or a restart with its data,
`fork` a replica as of now, `restore` a return to an earlier fork, `lose` a restart without data.
"""

import secrets
from bisect import bisect_left
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import islice

from broker.errors import AlreadyExists, InvalidName, NoSubscriber, UnknownProject, UnknownTopic
from broker.messages import Entry, unpack
from broker.names import DEFAULT_PROJECT, ProjectName, SubscriptionName, TopicName, project_of
from broker.positions import Link, Position, mint_epoch
from broker.store.announcements import pack_batch, pack_end, read_announcement
from broker.store.base import (
    TRIM_BYTES,
    TRIM_ENTRIES,
    Announcement,
    Appended,
    AppendOutcome,
    AppendRequest,
    Page,
    ProjectInfo,
    Retention,
    TopicInfo,
    Trimmed,
)
from broker.store.memory_log import MemoryLog
from broker.store.memory_subscription import MemorySubscription
from broker.store.memory_subscriptions import MemorySubscriptions
from broker.store.once import ONCE_BOUNDS, OnceBounds, OnceRecords
from broker.traffic import Traffic, daily


@dataclass(slots=True)
class _Data:
    """What a Redis would hold, and a replica would have a copy of."""

    logs: dict[TopicName, MemoryLog] = field(default_factory=dict)
    tombstones: dict[TopicName, int] = field(default_factory=dict)
    projects: dict[ProjectName, ProjectInfo] = field(default_factory=dict)
    subscriptions: dict[SubscriptionName, MemorySubscription] = field(default_factory=dict)


class MemoryStore(MemorySubscriptions):
    """Implements `Store` and `SubscriptionStore`. `announce` gets each announcement in the step that appended it.

    `now_ms` is the store's clock (Redis TIME), Unix milliseconds. `is_followed` tells whether anybody follows live.
    """

    def __init__(
        self,
        *,
        now_ms: Callable[[], int],
        announce: Callable[[TopicName, bytes], None] = lambda topic, payload: None,
        is_followed: Callable[[TopicName], bool] = lambda topic: False,
        once: OnceBounds = ONCE_BOUNDS,
    ) -> None:
        self.replid = secrets.token_hex(20)
        self._now_ms = now_ms
        self._announce = announce
        self._is_followed = is_followed
        self._once = once
        self._data = _Data()

    # Failures, for tests.

    def promote(self, replid: str | None = None) -> None:
        """Become a primary with another replication id: a promotion, or a restart that kept its data."""
        self.replid = replid or secrets.token_hex(20)

    def fork(self) -> "MemoryStore":
        """Return a replica as of now that was promoted: from here on both write histories of their own."""
        other = MemoryStore(
            now_ms=self._now_ms, announce=self._announce, is_followed=self._is_followed, once=self._once
        )
        other._data = deepcopy(self._data)
        return other

    def restore(self, earlier: "MemoryStore") -> None:
        """Go on from the data of `earlier`, a fork: what was written since is rolled back."""
        self._data = deepcopy(earlier._data)
        self.promote()

    def lose(self) -> None:
        """Restart without data."""
        self._data = _Data()
        self.promote()

    # The log.

    async def append(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[AppendOutcome]:
        log = self._live(topic)
        previous = log.state().end
        self._begin_epoch(log)
        now = self._now_ms()
        before_ms, log.time_ms = log.time_ms, max(now, log.time_ms)
        first = log.next_offset
        log.once.drop_old(now)
        outcomes = [self._append_one(topic, log, request, now) for request in requests]
        log.once.drop_excess()
        log.count(first, before_ms)
        self._announce_from(topic, log, previous, first)
        return outcomes

    def _append_one(self, topic: TopicName, log: MemoryLog, request: AppendRequest, now: int) -> AppendOutcome:
        outcome: AppendOutcome | None = log.once.outcome(request)
        if outcome is not None:
            return outcome
        if request.heard and not self._is_heard(topic, log):
            return NoSubscriber()
        appended = Appended(Position(log.chain[-1].epoch, log.next_offset), len(request.envelopes), log.time_ms)
        for index, envelope in enumerate(request.envelopes):
            log.add(log.time_ms, envelope, request.lives_ms[index] if request.lives_ms else 0)
        if request.retained is not None:
            log.snapshot = log.entries[request.retained - len(request.envelopes)]
        log.once.keep(request, appended, now)
        return appended

    def _is_heard(self, topic: TopicName, log: MemoryLog) -> bool:
        subscriptions = self._data.subscriptions.values()
        return self._is_followed(topic) or any(kept.topic == topic and kept.born == log.born for kept in subscriptions)

    def _announce_from(self, topic: TopicName, log: MemoryLog, previous: Position, first: int) -> None:
        added = log.next_offset - first
        if added:
            batch = log.entries[-added:]
            envelopes = [stored.envelope for stored in batch]
            self._announce(topic, pack_batch(previous, batch[0].position, log.time_ms, envelopes))

    def read_announcement(self, payload: bytes) -> Announcement:
        return read_announcement(payload)

    async def read(self, topic: TopicName, after: Position | None, *, max_entries: int, max_bytes: int) -> Page:
        log = self._live(topic)
        self._begin_epoch(log)
        entries: list[Entry] = []
        start = log.index_after(after)
        for stored in islice(log.entries, start, start + max_entries):
            max_bytes -= len(stored.envelope)
            if entries and max_bytes < 0:
                break
            entries.append(Entry(stored.position, stored.time_ms, unpack(stored.envelope)))
        return Page(log.state(), tuple(entries))

    async def snapshot(self, topic: TopicName) -> tuple[Position, Entry | None]:
        log = self._live(topic)
        kept = log.snapshot
        return log.state().end, Entry(kept.position, kept.time_ms, unpack(kept.envelope)) if kept else None

    async def find_time(self, topic: TopicName, time_ms: int) -> Position:
        log = self._live(topic)
        self._begin_epoch(log)
        index = bisect_left(log.entries, time_ms, key=lambda stored: stored.time_ms)
        if index == len(log.entries):
            return log.state().end
        return log.state().before(log.entries[index].position.offset)

    async def ends(self, topics: Sequence[TopicName]) -> list[Position | None]:
        logs = [self._data.logs.get(topic) for topic in topics]
        return [log.state().end if log else None for log in logs]

    # Topics.

    async def create_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        await self.project(project_of(topic))
        if topic in self._data.logs:
            raise AlreadyExists(f"The topic {topic} exists already.")
        now = self._now_ms()
        previous = self._data.tombstones.pop(topic, 0)
        epoch = mint_epoch(now_s=now // 1000, previous=previous, last=0, replid=self.replid)
        log = MemoryLog(now, retention, self.replid, (Link(epoch, 0),), OnceRecords(self._once), epoch)
        self._data.logs[topic] = log
        return self._info(topic, log)

    async def topic(self, topic: TopicName) -> TopicInfo:
        log = self._live(topic)
        self._begin_epoch(log)
        return self._info(topic, log)

    async def topics(self, project: ProjectName) -> list[TopicInfo]:
        await self.project(project)
        infos = [self._info(name, log) for name, log in self._data.logs.items() if project_of(name) == project]
        return sorted(infos, key=lambda info: (-info.created_ms, info.name))

    async def topic_count(self, project: ProjectName) -> int:
        return sum(project_of(name) == project for name in self._data.logs)

    async def traffic(self, topic: TopicName) -> Traffic:
        log = self._live(topic)
        days = daily(log.marks.items(), log.next_offset)
        return Traffic(log.next_offset, log.written, log.time_ms, log.previous_ms, log.batch, days)

    async def configure_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        self._live(topic).retention = retention
        return await self.topic(topic)

    async def delete_topic(self, topic: TopicName) -> None:
        end = self._live(topic).state().end
        del self._data.logs[topic]
        self._data.tombstones[topic] = end.epoch
        self._announce(topic, pack_end(end))

    async def trim(self, topic: TopicName, retention: Retention) -> Trimmed:
        log = self._live(topic)
        removed, budget = 0, TRIM_BYTES
        while removed < TRIM_ENTRIES and budget > 0 and self._exceeds(log, removed, retention):
            size = len(log.entries[removed].envelope)
            log.envelope_bytes -= size
            budget -= size
            removed += 1
        more = self._exceeds(log, removed, retention)
        del log.entries[:removed]
        return Trimmed(removed, more)

    def _exceeds(self, log: MemoryLog, index: int, retention: Retention) -> bool:
        """Tell whether the entry at `index`, the oldest that is left, has to go."""
        if index == len(log.entries):
            return False
        count, oldest = len(log.entries) - index, self._now_ms() - (retention.max_age_ms or 0)
        return (
            (retention.max_messages is not None and count > retention.max_messages)
            or (retention.max_bytes is not None and log.envelope_bytes > retention.max_bytes)
            or (retention.max_age_ms is not None and log.entries[index].time_ms < oldest)
            or log.entries[index].has_expired(self._now_ms())
        )

    # Projects.

    async def create_project(self, project: ProjectInfo) -> ProjectInfo:
        if project.name in self._data.projects or project.name == DEFAULT_PROJECT:
            raise AlreadyExists(f"The project {project.name} exists already.")
        now = self._now_ms()
        return self._data.projects.setdefault(project.name, replace(project, created_ms=now, modified_ms=now))

    async def project(self, project: ProjectName) -> ProjectInfo:
        if project == DEFAULT_PROJECT:
            return self._data.projects.get(project) or ProjectInfo(DEFAULT_PROJECT, 0, 0)
        if project not in self._data.projects:
            raise UnknownProject(f"The project {project} does not exist.")
        return self._data.projects[project]

    async def projects(self) -> list[ProjectInfo]:
        names = {*self._data.projects, DEFAULT_PROJECT}
        return [await self.project(name) for name in sorted(names)]

    async def configure_project(self, project: ProjectInfo) -> ProjectInfo:
        old = await self.project(project.name)
        new = replace(project, created_ms=old.created_ms, created_by=old.created_by, modified_ms=self._now_ms())
        self._data.projects[project.name] = new
        return new

    async def rename_project(self, project: ProjectName, new: ProjectName) -> ProjectInfo:
        if project == DEFAULT_PROJECT:
            raise InvalidName(f"The project {DEFAULT_PROJECT} keeps its name.")
        old = await self.project(project)
        if new == DEFAULT_PROJECT or new in self._data.projects:
            raise AlreadyExists(f"The project {new} exists already.")
        self._data.projects[new] = replace(old, name=new, modified_ms=self._now_ms())
        del self._data.projects[project]
        return self._data.projects[new]

    async def delete_project(self, project: ProjectName) -> None:
        if project == DEFAULT_PROJECT:
            raise InvalidName(f"The project {DEFAULT_PROJECT} always exists.")
        for info in await self.topics(project):
            await self.delete_topic(info.name)
        await self._delete_subscriptions(project)
        del self._data.projects[project]

    # Inside.

    def _subscriptions(self) -> dict[SubscriptionName, MemorySubscription]:
        return self._data.subscriptions

    def _open(self, topic: TopicName) -> MemoryLog | None:
        log = self._data.logs.get(topic)
        if log is not None:
            self._begin_epoch(log)
        return log

    def _now(self) -> int:
        return self._now_ms()

    def _live(self, topic: TopicName) -> MemoryLog:
        log = self._data.logs.get(topic)
        if log is None:
            raise UnknownTopic(f"The topic {topic} does not exist.")
        return log

    def _begin_epoch(self, log: MemoryLog) -> None:
        log.begin_epoch(self.replid, now_s=self._now_ms() // 1000)

    def _info(self, topic: TopicName, log: MemoryLog) -> TopicInfo:
        return TopicInfo(topic, log.created_ms, log.retention, log.state(), log.envelope_bytes)
