"""The connections that are attached to this node, by id and by user, and what is written to them.

Nothing here awaits: between the look at a connection and the write nothing can happen, which is what makes a repeated
post be written once. What the owner says of its connections is the truth about them.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from broker.errors import Forbidden
from broker.names import TopicName
from gateway.apigateway.beyond.criteria import Criteria
from gateway.apigateway.cluster.identifiers import place_of
from gateway.apigateway.cluster.invocations import Invocations
from gateway.apigateway.errors import BufferFull, Gone
from gateway.apigateway.ports import Framing, LocalConnection, Stage, Standing

GONE, FULL = "gone", "buffer_full"
"""Why a message did not reach one of many: the codes of `Gone` and `BufferFull`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a message to many."""

    written: int
    failed: dict[str, str]
    """By connection id, why not."""


class Table:
    """`in_group` returns the members of a group; a table without groups has none."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        in_group: Callable[[TopicName], Iterable[LocalConnection]] = lambda _: (),
    ) -> None:
        self.in_group = in_group
        self._monotonic = monotonic
        self._connections: dict[str, LocalConnection] = {}
        self._of_user: dict[str, dict[str, LocalConnection]] = {}
        self._written = Invocations(monotonic())

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, connection: str) -> bool:
        return connection in self._connections

    def add(self, connection: LocalConnection) -> None:
        facts = connection.facts
        self._connections[facts.id] = connection
        if facts.user is not None:
            self._of_user.setdefault(facts.user, {})[facts.id] = connection

    def remove(self, connection: str) -> LocalConnection | None:
        """Forget a connection, and return it if it was there."""
        removed = self._connections.pop(connection, None)
        if removed is not None and (user := removed.facts.user) is not None:
            of_user = self._of_user[user]
            del of_user[connection]
            if not of_user:
                del self._of_user[user]
        return removed

    def find(self, connection: str, within: Stage | None = None) -> LocalConnection:
        """Raises `Gone`, and `Forbidden` for a connection of another stage (contracts/apigateway 3)."""
        found = self._connections.get(connection)
        if found is None:
            raise Gone
        if within not in (None, Stage(found.facts.api, found.facts.stage)):
            raise Forbidden("The connection belongs to another stage.")
        return found

    def post(self, connection: str, data: bytes, *, invocation: str | None, within: Stage | None = None) -> None:
        """Write one message, unless this invocation was written before. Raises `Gone`, `Forbidden`, `BufferFull`."""
        found = self.find(connection, within)
        if invocation is not None and (connection, invocation) in self._written:
            return
        if not found.send(data):
            raise BufferFull
        if invocation is not None:
            self._written.note(connection, invocation, self._monotonic())

    def post_many(self, connections: Sequence[str], data: bytes, *, invocation: str | None = None) -> Outcome:
        """Write one message to each of `connections`: framed once, one write a socket."""
        frames: dict[Framing, bytes] = {}
        failed: dict[str, str] = {}
        known, now = self._written, self._monotonic()
        for name in connections:
            found = self._connections.get(name)
            if found is None:
                failed[name] = GONE
            elif found.paused:
                failed[name] = FULL
            elif invocation is not None and (name, invocation) in known:
                continue
            else:
                framing = found.framing
                frame = frames.get(framing)
                if frame is None:
                    frame = frames[framing] = framing.framed(data)
                found.write(frame)
                if invocation is not None:
                    known.note(name, invocation, now)
        return Outcome(len(connections) - len(failed), failed)

    def chosen(self, criteria: Criteria) -> Iterator[LocalConnection]:
        """Return the connections that are meant."""
        if criteria.group is not None:
            some: Iterable[LocalConnection] = self.in_group(criteria.group)
        elif criteria.user is not None:
            some = self._of_user.get(criteria.user, {}).values()
        else:
            some = self._connections.values()
        return (connection for connection in list(some) if criteria.match(connection.facts))

    def page(self, criteria: Criteria, *, after: bytes, limit: int) -> list[Standing]:
        """Return the first `limit` connections that are meant and stand behind the place `after`, in that order."""
        placed = ((place_of(one.facts.id), one) for one in self.chosen(criteria))
        first = heapq.nsmallest(limit, (row for row in placed if row[0] > after), key=lambda row: row[0])
        return [standing_of(connection) for _, connection in first]


def standing_of(connection: LocalConnection) -> Standing:
    return Standing(facts=connection.facts, last_active_at_ms=connection.last_active_at_ms)
