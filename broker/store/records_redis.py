"""Records in Redis: a hash for each space and kind, changed by one script that does all or nothing."""

from collections.abc import Mapping, Sequence
from typing import cast

from broker.names import ProjectName
from broker.store import scripts, wire
from broker.store.base import Commands, ReplyError
from broker.store.keys import Keys
from broker.store.records import EVERYWHERE, Change, check
from broker.store.wire import Word


class RedisRecords:
    """Implements `Records` over any `Commands`. Holds no state."""

    def __init__(self, commands: Commands, *, prefix: str = "hr") -> None:
        self._keys = Keys(prefix)
        self._commands = commands

    async def get(self, space: ProjectName, kind: str, id: str) -> bytes | None:
        key = self._keys.records(space, kind)
        return cast("bytes | None", await self._execute(key, "HGET", key, id))

    async def several(self, space: ProjectName, kind: str, ids: Sequence[str]) -> list[bytes | None]:
        if not ids:
            return []
        key = self._keys.records(space, kind)
        return cast("list[bytes | None]", await self._execute(key, "HMGET", key, *ids))

    async def all(self, space: ProjectName, kind: str) -> Mapping[str, bytes]:
        key = self._keys.records(space, kind)
        flat = cast("list[bytes]", await self._execute(key, "HGETALL", key))
        return {id.decode(): value for id, value in zip(flat[::2], flat[1::2], strict=True)}

    async def commit(self, space: ProjectName, changes: Sequence[Change]) -> bool:
        check(changes)
        kinds = list(dict.fromkeys(change.kind for change in changes))
        args: list[Word] = []
        for change in changes:
            args += [kinds.index(change.kind) + 1, change.id, change.before or b"", change.after or b""]
        keys = [self._keys.records(space, kind) for kind in kinds]
        try:
            return bool(await self._commands.run(scripts.RECORDS, keys, args, retry=True)) if changes else True
        except ReplyError as error:
            raise wire.refusal(error) from error

    async def clear(self, space: ProjectName, kind: str) -> None:
        key = self._keys.records(space, kind)
        await self._execute(key, "UNLINK", key)

    async def now_ms(self) -> int:
        key = self._keys.records(EVERYWHERE, "users")
        seconds, microseconds = cast("list[bytes]", await self._execute(key, "TIME"))
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _execute(self, key: bytes, *command: Word) -> object:
        try:
            return await self._commands.execute(key, *command, retry=True)
        except ReplyError as error:
            raise wire.refusal(error) from error
