"""The store over Redis: each verb is one script on the topic's primary (`lua/`), `wire` reads and writes what they say.

Redis' errors become the broker's here, by their code. Everything but an append may run twice, and is repeated by
`Commands` after a lost connection.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import cast

from broker.errors import AlreadyExists, InvalidName, Unavailable, UnknownTopic
from broker.messages import Entry
from broker.names import DEFAULT_PROJECT, ProjectName, TopicName, local_of, project_of
from broker.positions import Position
from broker.store import announcements, scripts, wire
from broker.store.asking import make_nonce
from broker.store.base import (
    MAX_ANNOUNCED_BYTES,
    TRIM_BYTES,
    TRIM_ENTRIES,
    Announcement,
    AppendOutcome,
    AppendRequest,
    Commands,
    Page,
    ProjectInfo,
    ReplyError,
    Retention,
    Script,
    TopicInfo,
    Trimmed,
)
from broker.store.keys import TopicKeys
from broker.store.once import ONCE_BOUNDS, OnceBounds
from broker.store.redis_subscriptions import RedisSubscriptions
from broker.store.wire import RETRY_MS, Word
from broker.traffic import Traffic

TOMBSTONE_SECONDS = 7 * 24 * 3600
"""How long a deleted topic's epoch is kept; after that the clock alone makes a higher one."""

CACHED_KEYS = 10_000
"""Topics whose keys are kept built: percent-encoding costs more than a lookup."""

LISTED_AT_ONCE = 256
"""Topics that a listing asks for at a time."""

REPLACE_ATTEMPTS = 8
"""How often a change of a project is tried while other nodes change the same one."""


class RedisStore(RedisSubscriptions):
    """Implements `Store` and `SubscriptionStore`. Holds no state but caches, so any number of nodes may run one."""

    def __init__(self, commands: Commands, *, prefix: str = "hr", once: OnceBounds = ONCE_BOUNDS) -> None:
        super().__init__(commands, prefix=prefix)
        self._once = once
        self._topic_keys = lru_cache(CACHED_KEYS)(self.keys.topic)

    # The log.

    async def append(self, topic: TopicName, requests: Sequence[AppendRequest]) -> list[AppendOutcome]:
        keys = self._topic_keys(topic)
        args: list[Word] = [keys.live, MAX_ANNOUNCED_BYTES, self._once.max_records, self._once.max_age_ms]
        args += wire.publish_args(requests)
        try:
            reply = await self._commands.run(scripts.PUBLISH, (keys.log, keys.meta, keys.once), args, retry=False)
        except ReplyError as error:
            raise wire.append_refusal(error) from error
        return wire.read_outcomes(requests, cast("list[int]", _existing(topic, reply)))

    def read_announcement(self, payload: bytes) -> Announcement:
        return announcements.read_announcement(payload)

    async def read(self, topic: TopicName, after: Position | None, *, max_entries: int, max_bytes: int) -> Page:
        reply = await self._ask(scripts.READ, topic, wire.start_id(after), max_entries, max_bytes)
        return Page(wire.read_log_state(reply), tuple(wire.read_entries(reply[3:])))

    async def snapshot(self, topic: TopicName) -> tuple[Position, Entry | None]:
        epoch, following, *kept = cast("list[bytes]", await self._ask(scripts.SNAPSHOT, topic))
        return Position(int(epoch), int(following) - 1), next(wire.read_entries(kept), None)

    async def find_time(self, topic: TopicName, time_ms: int) -> Position:
        reply = await self._ask(scripts.FIND_TIME, topic, time_ms)
        log, offset = wire.read_log_state(reply), cast(int, reply[3])
        return log.before(offset) if offset < log.next_offset else log.end

    async def ends(self, topics: Sequence[TopicName]) -> list[Position | None]:
        return await asyncio.gather(*(self._end(self._topic_keys(topic)) for topic in topics))

    async def _end(self, keys: TopicKeys) -> Position | None:
        reply = await self._execute(keys.meta, "HMGET", keys.meta, "epoch", "next")
        epoch, following = cast("list[bytes | None]", reply)
        return Position(int(epoch), int(following) - 1) if epoch and following else None

    async def trim(self, topic: TopicName, retention: Retention) -> Trimmed:
        keys = self._topic_keys(topic)
        args = (*wire.retention_args(retention), TRIM_ENTRIES, TRIM_BYTES, self._once.max_age_ms)
        reply = await self._run(scripts.TRIM, (keys.log, keys.meta, keys.once), args)
        removed, more = cast("list[int]", _existing(topic, reply))
        return Trimmed(removed, bool(more))

    # Topics. The registry is written before the first and after the last script, so that it may list a topic that is
    # not there (and is then passed over), but never misses one that is.

    async def create_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        await self.project(project_of(topic))
        keys, nonce = self._topic_keys(topic), make_nonce()
        await self._list(topic)
        args = (nonce, *wire.retention_args(retention))
        reply = await self._run(scripts.CREATE, (keys.log, keys.meta, keys.once), args)
        if reply is None:
            raise AlreadyExists(f"The topic {topic} exists already.")
        return wire.read_topic_info(topic, cast("list[object]", reply))

    async def topic(self, topic: TopicName) -> TopicInfo:
        return wire.read_topic_info(topic, await self._ask(scripts.DESCRIBE, topic))

    async def topics(self, project: ProjectName) -> list[TopicInfo]:
        await self.project(project)
        found: list[TopicInfo] = []
        names = await self._listed(project)
        for at in range(0, len(names), LISTED_AT_ONCE):
            infos = await asyncio.gather(*map(self._topic_or_none, names[at : at + LISTED_AT_ONCE]))
            found += [info for info in infos if info]
        return sorted(found, key=lambda info: (-info.created_ms, info.name))

    async def topic_count(self, project: ProjectName) -> int:
        registry = self.keys.topics(project)
        return cast(int, await self._execute(registry, "HLEN", registry))

    async def traffic(self, topic: TopicName) -> Traffic:
        return wire.read_traffic(await self._ask(scripts.TRAFFIC, topic))

    async def configure_topic(self, topic: TopicName, retention: Retention) -> TopicInfo:
        return wire.read_topic_info(topic, await self._ask(scripts.CONFIGURE, topic, *wire.retention_args(retention)))

    async def delete_topic(self, topic: TopicName) -> None:
        keys, nonce = self._topic_keys(topic), make_nonce()
        args = (keys.live, TOMBSTONE_SECONDS, nonce)
        if not await self._run(scripts.DELETE, (keys.log, keys.meta, keys.once), args):
            raise UnknownTopic(f"The topic {topic} does not exist.")
        await self._unlist(topic)
        if await self._end(keys):
            # Created again meanwhile, and listed before the line above.
            await self._list(topic)

    async def _topic_or_none(self, topic: TopicName) -> TopicInfo | None:
        try:
            return await self.topic(topic)
        except UnknownTopic:
            return None

    async def _list(self, topic: TopicName) -> None:
        registry = self.keys.topics(project_of(topic))
        await self._execute(registry, "HSET", registry, local_of(topic), 1)

    async def _unlist(self, topic: TopicName) -> None:
        registry = self.keys.topics(project_of(topic))
        await self._execute(registry, "HDEL", registry, local_of(topic))

    async def _listed(self, project: ProjectName) -> list[TopicName]:
        registry = self.keys.topics(project)
        names = cast("list[bytes]", await self._execute(registry, "HKEYS", registry))
        return [TopicName(f"{project}/{name.decode()}") for name in names]

    # Projects: one hash, name to record.

    async def create_project(self, project: ProjectInfo) -> ProjectInfo:
        now = await self._now_ms()
        created = replace(project, created_ms=now, modified_ms=now)
        if project.name == DEFAULT_PROJECT or not await self._replace(
            project.name, b"", wire.pack_project(created, make_nonce())
        ):
            raise AlreadyExists(f"The project {project.name} exists already.")
        return created

    async def project(self, project: ProjectName) -> ProjectInfo:
        return wire.read_project(project, await self._record(project))

    async def projects(self) -> list[ProjectInfo]:
        key = self.keys.projects()
        flat = cast("list[bytes]", await self._execute(key, "HGETALL", key))
        records = {ProjectName(name.decode()): record for name, record in zip(flat[::2], flat[1::2], strict=True)}
        records.setdefault(DEFAULT_PROJECT, b"")
        return [wire.read_project(name, records[name]) for name in sorted(records)]

    async def configure_project(self, project: ProjectInfo) -> ProjectInfo:
        for _ in range(REPLACE_ATTEMPTS):
            record = await self._record(project.name)
            old = wire.read_project(project.name, record)
            now = await self._now_ms()
            new = replace(project, created_ms=old.created_ms, created_by=old.created_by, modified_ms=now)
            if await self._replace(project.name, record, wire.pack_project(new, make_nonce())):
                return new
        raise Unavailable("Others change this project at the same time.", retry_ms=RETRY_MS)

    async def rename_project(self, project: ProjectName, new: ProjectName) -> ProjectInfo:
        if project == DEFAULT_PROJECT:
            raise InvalidName(f"The project {DEFAULT_PROJECT} keeps its name.")
        for _ in range(REPLACE_ATTEMPTS):
            record = await self._record(project)
            old = wire.read_project(project, record)
            if new == DEFAULT_PROJECT or await self._record(new):
                raise AlreadyExists(f"The project {new} exists already.")
            renamed = replace(old, name=new, modified_ms=await self._now_ms())
            args = (1, project, record, b"", 1, new, b"", wire.pack_project(renamed, make_nonce()))
            if await self._run(scripts.RECORDS, (self.keys.projects(),), args):
                return renamed
        raise Unavailable("Others change this project at the same time.", retry_ms=RETRY_MS)

    async def delete_project(self, project: ProjectName) -> None:
        if project == DEFAULT_PROJECT:
            raise InvalidName(f"The project {DEFAULT_PROJECT} always exists.")
        await self.project(project)
        await self._delete_topics(project)
        await self._delete_subscriptions(project)
        key = self.keys.projects()
        await self._execute(key, "HDEL", key, project)
        # What another node created between the two; nothing can be created any more.
        await self._delete_topics(project)
        await self._delete_subscriptions(project)

    async def _delete_topics(self, project: ProjectName) -> None:
        for topic in await self._listed(project):
            try:
                await self.delete_topic(topic)
            except UnknownTopic:
                await self._unlist(topic)

    async def _record(self, project: ProjectName) -> bytes:
        """Return a project's record, empty when it has none."""
        key = self.keys.projects()
        return cast("bytes | None", await self._execute(key, "HGET", key, project)) or b""

    async def _replace(self, project: ProjectName, old: bytes, new: bytes) -> bool:
        return await self._replace_field(self.keys.projects(), project, old, new)

    async def _now_ms(self) -> int:
        seconds, microseconds = cast("list[bytes]", await self._execute(self.keys.projects(), "TIME"))
        return int(seconds) * 1000 + int(microseconds) // 1000

    # Redis.

    async def _ask(self, script: Script, topic: TopicName, *args: Word) -> list[object]:
        """Run a script over a topic's log and meta. Raises `UnknownTopic` when it finds none."""
        keys = self._topic_keys(topic)
        return _existing(topic, await self._run(script, (keys.log, keys.meta), args))


def _existing(topic: TopicName, reply: object) -> list[object]:
    """Return a script's answer about a topic, or raise `UnknownTopic` when there was none."""
    if reply is None:
        raise UnknownTopic(f"The topic {topic} does not exist.")
    return cast("list[object]", reply)
