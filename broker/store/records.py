"""The records' port: small documents beside the logs - users, tokens, registrations, access lists, schemas.

A record is bytes under a kind and an id, within a space: a project, or `EVERYWHERE` for what belongs to none. Law: all
records of one space live in one slot, and one `commit` changes any number of them, or none where one is no longer
what the caller saw. So a user and the index of its token appear together, and nobody overwrites another unseen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from broker.errors import LimitExceeded, TooLarge
from broker.names import ProjectName

EVERYWHERE = ProjectName("")
"""The space of what belongs to no project."""

MAX_RECORD_BYTES = 1024 * 1024
"""Of one record's value: bounds what a commit holds its primary for."""

MAX_CHANGES = 1000
"""Records in one commit."""


@dataclass(frozen=True, slots=True)
class Change:
    """One record of a commit. None is absent; `before` equal to `after` only holds the record to what was seen."""

    kind: str
    id: str
    before: bytes | None
    after: bytes | None


class Records(Protocol):
    """All calls raise `Unavailable` when Redis could not be asked. A value is never empty."""

    async def get(self, space: ProjectName, kind: str, id: str) -> bytes | None: ...

    async def several(self, space: ProjectName, kind: str, ids: Sequence[str]) -> list[bytes | None]:
        """Return the records in the order of `ids`, in one round trip."""

    async def all(self, space: ProjectName, kind: str) -> Mapping[str, bytes]:
        """Return every record of a kind by its id."""

    async def commit(self, space: ProjectName, changes: Sequence[Change]) -> bool:
        """Make all changes or, where one of them finds another value than `before`, none: then return False.

        A repeated commit finds its own work and returns True, so it may be sent again after a lost connection.
        Raises `TooLarge` for a value above `MAX_RECORD_BYTES`, `LimitExceeded` above `MAX_CHANGES`, `OutOfMemory`.
        """

    async def clear(self, space: ProjectName, kind: str) -> None:
        """Remove every record of a kind."""

    async def now_ms(self) -> int:
        """Return the store's clock, Unix milliseconds: one for all nodes."""


def check(changes: Sequence[Change]) -> None:
    """Raise what `commit` raises for changes beyond the bounds."""
    if len(changes) > MAX_CHANGES:
        raise LimitExceeded(f"At most {MAX_CHANGES} records change at once.")
    for change in changes:
        if change.after is not None and len(change.after) > MAX_RECORD_BYTES:
            raise TooLarge(f"A record has at most {MAX_RECORD_BYTES} bytes.")
