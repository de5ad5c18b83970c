"""Records in memory: for tests, and the plainest form of the port's law."""

from collections.abc import Callable, Mapping, Sequence

from broker.names import ProjectName
from broker.store.records import Change, check


class MemoryRecords:
    """Implements `Records`. `now_ms` is the wall clock, Unix milliseconds."""

    def __init__(self, *, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._kinds: dict[tuple[ProjectName, str], dict[str, bytes]] = {}

    async def get(self, space: ProjectName, kind: str, id: str) -> bytes | None:
        return self._kind(space, kind).get(id)

    async def several(self, space: ProjectName, kind: str, ids: Sequence[str]) -> list[bytes | None]:
        return [self._kind(space, kind).get(id) for id in ids]

    async def all(self, space: ProjectName, kind: str) -> Mapping[str, bytes]:
        return dict(self._kind(space, kind))

    async def commit(self, space: ProjectName, changes: Sequence[Change]) -> bool:
        check(changes)
        seen = [self._kind(space, change.kind).get(change.id) for change in changes]
        if seen == [change.after for change in changes]:
            return True
        if seen != [change.before for change in changes]:
            return False
        for change in changes:
            if change.after is None:
                self._kind(space, change.kind).pop(change.id, None)
            else:
                self._kind(space, change.kind)[change.id] = change.after
        return True

    async def clear(self, space: ProjectName, kind: str) -> None:
        self._kinds.pop((space, kind), None)

    async def now_ms(self) -> int:
        return self._now_ms()

    def _kind(self, space: ProjectName, kind: str) -> dict[str, bytes]:
        return self._kinds.setdefault((space, kind), {})
