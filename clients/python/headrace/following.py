"""Following one topic: where the client stands in it, what it drops, what it reports. Pure (protocol/realtime.md 4).

`resume` is the `since` that the next subscribe presents. It starts as what the application asked for and is a
position from the first `subscribed` on, so that a connection can end at any moment without a loss or a repeat.

While the client moves to another node, the topic is asked for there and goes on coming from here (`overlaps`), until
the new node has answered.
"""

from dataclasses import dataclass, field
from enum import Enum, auto

from headrace.messages import Gap, Message, Started
from headrace.positions import Position, Range, Recovery, Since, after_gap


class Phase(Enum):
    IDLE = auto()
    """Not asked for on this connection: there is none, or an answer said when to ask again."""
    ASKED = auto()
    """A subscribe is on its way."""
    LIVE = auto()
    """`subscribed` came: frames count."""
    PARKED = auto()
    """The application is behind: frames are dropped until it has caught up and the topic is asked for again."""


@dataclass(slots=True)
class Following:
    topic: str
    resume: Since
    snapshot: bool = False
    """Whether the answer is to bring the topic's newest retained message."""
    phase: Phase = Phase.IDLE
    request: int = -1
    """The id of the subscribe that counts; answers to earlier ones do not."""
    retry_at: float | None = field(default=None)
    """Monotonic seconds at which to ask again."""
    overlaps: bool = False
    """Whether frames of the connection that is being left count."""
    presented: Since | None = None
    """The `resume` of the latest subscribe."""

    def ask(self, request: int) -> None:
        self.phase, self.request, self.retry_at, self.presented = Phase.ASKED, request, None, self.resume

    def drop(self) -> None:
        """The connection ended: keep the place, ask again on the next one (unless parked)."""
        self.retry_at, self.overlaps = None, False
        if self.phase is not Phase.PARKED:
            self.phase = Phase.IDLE

    def move(self) -> None:
        """Another connection takes over: ask there, and listen here meanwhile."""
        overlaps = self.phase is Phase.LIVE
        self.drop()
        self.overlaps = overlaps

    def wait(self, until: float) -> None:
        self.phase, self.retry_at = Phase.IDLE, until

    def has_outrun(self, started: Started) -> bool:
        """Whether the old connection has brought the place so far that this answer cannot be joined to it."""
        if self.resume == self.presented:
            return False
        here, there = self.resume, started.after
        joins = isinstance(here, Position) and here.epoch == there.epoch and here.offset >= there.offset
        return not (joins and started.recovery is Recovery.COMPLETE)

    def receive_subscribed(self, started: Started, missing: tuple[Range, ...]) -> Gap | None:
        """Take the place that the server gave, and return what the application must hear of."""
        ahead = self.resume != self.presented
        self.phase, self.overlaps = Phase.LIVE, False
        if not ahead:  # what an old connection has brought stays, and what the new one repeats of it is dropped
            self.resume = started.after
        if started.recovery in (Recovery.COMPLETE, Recovery.NONE):
            return None
        return Gap(self.topic, started.recovery, missing)

    def receive_message(self, message: Message, *, leaving: bool = False) -> bool:
        """Tell whether the message is new; if so, the place is right after it.

        `leaving`: it came over the connection that is being left.
        """
        position, resume = message.position, self.resume
        if not (self.overlaps if leaving else self.phase is Phase.LIVE):
            return False
        if isinstance(resume, Position) and position.epoch == resume.epoch and position.offset <= resume.offset:
            return False
        self.resume = position
        return True

    def receive_gap(self, recovery: Recovery, missing: tuple[Range, ...], *, leaving: bool = False) -> Gap | None:
        """Move past what is missing, and return what the application must hear of."""
        if not (self.overlaps if leaving else self.phase is Phase.LIVE):
            return None
        self.resume = after_gap(recovery, missing)
        return Gap(self.topic, recovery, missing)
