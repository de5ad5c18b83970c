"""What one subject's messages are to the application, and the statuses between them. Pure.

The order is MigratoryData's: the snapshot, what was missed, then what is live; the place to which a node had the log
when it placed us is where the second ends and the third begins (contracts/migratorydata 2).
"""

from dataclasses import dataclass

from headrace.messages import Gap, Message, Started
from headrace.migratorydata.constants import Constants, MessageType
from headrace.positions import Position, Recovery, Since

Told = str | tuple[Message, MessageType]
"""A status about the subject, or a message and why it comes."""

_WHOLE = (Recovery.COMPLETE, Recovery.NONE)


@dataclass(slots=True)
class Place:
    """Where a subject's follower stands; it outlives a connection, so that a pause can be resumed from it."""

    history: int = 0
    """How many earlier messages a new follower wants."""
    position: Position | None = None
    """Of the last message that the application had; before the first, where its follower was placed."""
    was_absent: bool = False
    """Whether there was no such topic when it was asked for: all that it will hold is later than that."""

    @property
    def has_begun(self) -> bool:
        return self.position is not None or self.was_absent

    @property
    def since(self) -> Since:
        if self.position is not None:
            return self.position
        if self.was_absent:
            return "earliest"
        return {"last": self.history} if self.history else "now"


class Following:
    """One subject on one connection of the application's. Each method returns what to tell, in order."""

    def __init__(self, *, resumed: bool) -> None:
        """`resumed`: the application has had messages of it before, and comes back."""
        self._resumed = resumed
        self._is_allowed = False
        self._type = MessageType.UPDATE
        self._horizon: Position | None = None
        self._synchronising = False
        self._gap_is_told = False

    def started(self, started: Started) -> list[Told]:
        """A node has placed us, the first or after a failover."""
        told: list[Told] = []
        again = self._resumed or self._is_allowed
        if not self._is_allowed:
            self._is_allowed = True
            told.append(Constants.NOTIFY_SUBSCRIBE_ALLOW)
        whole = started.recovery in _WHOLE
        if again and not whole:
            told.append(Constants.NOTIFY_DATA_RESYNC)
            self._gap_is_told = True
        snapshot = started.snapshot
        # One that lies beyond our place comes with the others, in its turn.
        if snapshot is not None and not (again and whole) and _place(snapshot.position) <= _place(started.after):
            told.append((snapshot, MessageType.SNAPSHOT))
        self._type = MessageType.RECOVERED if again else MessageType.HISTORICAL
        self._synchronising = again and whole
        self._horizon = started.end
        return told + (self._caught_up() if started.after == started.end else [])

    def gap(self, gap: Gap) -> list[Told]:
        """Messages are gone; whatever is left comes as it is."""
        was_told, self._gap_is_told = self._gap_is_told, False
        self._synchronising = False
        return [] if was_told else [Constants.NOTIFY_DATA_RESYNC]

    def message(self, message: Message) -> list[Told]:
        horizon, place = self._horizon, _place(message.position)
        if horizon is None or place > _place(horizon):
            return [*self._caught_up(), (message, MessageType.UPDATE)]
        told: list[Told] = [(message, self._type)]
        return told + (self._caught_up() if place == _place(horizon) else [])

    def _caught_up(self) -> list[Told]:
        self._horizon = None
        synchronised, self._synchronising = self._synchronising, False
        return [Constants.NOTIFY_DATA_SYNC] if synchronised else []


def _place(position: Position) -> tuple[int, int]:
    return position.epoch, position.offset
