"""History: what a project's deleted topics had brought, day by day, so that its counts do not fall."""

import orjson

from broker.acls import ATTEMPTS, contended
from broker.names import ProjectName
from broker.store.records import Change, Records
from broker.traffic import added

KIND = "history"
ID = "days"


class History:
    """Raises `Unavailable` where the records cannot be asked."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def days(self, project: ProjectName) -> dict[int, int]:
        """Return messages by day of the topics that were deleted."""
        return _read(await self._records.get(project, KIND, ID))

    async def add(self, project: ProjectName, days: dict[int, int]) -> None:
        """Keep the days of a topic that is deleted."""
        if not days:
            return
        for _ in range(ATTEMPTS):
            before = await self._records.get(project, KIND, ID)
            record = orjson.dumps([*added([_read(before), days]).items()])
            if await self._records.commit(project, [Change(KIND, ID, before, record)]):
                return
        raise contended()

    async def forget(self, project: ProjectName) -> None:
        """Remove it all: the project was deleted."""
        await self._records.clear(project, KIND)


def _read(record: bytes | None) -> dict[int, int]:
    return dict(orjson.loads(record)) if record is not None else {}
