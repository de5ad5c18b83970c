"""Durable subscriptions that a client consumes: attaching over its connections, deliveries, and settling them. Pure.

What is settled within one loop turn goes in one frame a subscription. It is sent again after a reconnect: an ack id
holds on every connection until its lease ends (protocol/realtime.md 6).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal

from headrace.dialects import Dialect, Frame
from headrace.errors import (
    AlreadySubscribed,
    HeadraceError,
    LeaseLost,
    NotSubscribed,
    QueueFull,
    SettleTimeout,
    is_temporary,
)
from headrace.events import Delivered, Released, Settled
from headrace.following import Phase
from headrace.frames import read_attached, read_deliveries, read_refused, read_subscription
from headrace.messages import Attached
from headrace.outbox import DEFAULT_RETRY_S
from headrace.requests import Requests, number_of

MAX_ACKS = 1000
"""Of one frame."""

MAX_UNANSWERED = 100_000
"""Settlements of a client that wait for an answer."""

Verb = Literal["ack", "nack", "release", "extend"]
_ARGUMENTS: dict[Verb, str] = {"nack": "delay_ms", "extend": "deadline_s"}

Event = Attached | Delivered | Released | Settled


@dataclass(slots=True)
class Consuming:
    """One subscription. `request` is the attach that counts; answers to earlier ones do not."""

    subscription: str
    window: int
    phase: Phase = Phase.IDLE
    request: int = -1
    retry_at: float | None = field(default=None)
    """Monotonic seconds at which to ask again."""
    overlaps: bool = False
    """Whether deliveries of the connection that is being left count."""


@dataclass(slots=True)
class Settlement:
    """One delivery's end, or its extension. `argument`: ms of delay, seconds of the new deadline."""

    ticket: int
    verb: Verb
    subscription: str
    ack: str
    argument: int | None
    deadline: float
    sent: int = 0
    """How often; a repetition may meet what it did itself."""


class Consumings:
    """All that one client consumes."""

    def __init__(self, requests: Requests, dialect: Dialect) -> None:
        self._requests = requests
        self._dialect = dialect
        self._consumed: dict[str, Consuming] = {}
        self._asked: dict[int, str] = {}
        self._tickets = 0
        self._unanswered: dict[int, Settlement] = {}
        self._ready: list[Settlement] = []
        self._on_the_way: dict[int, list[Settlement]] = {}
        self._held: list[Settlement] = []
        self._hold_until: float | None = None
        self._old: set[int] = set()
        """Requests on the connection that is being left."""

    @property
    def are_moving(self) -> bool:
        """Whether the connection that is being left is still listened to."""
        overlaps = any(consuming.overlaps for consuming in self._consumed.values())
        return overlaps or not self._old.isdisjoint(self._on_the_way)

    @property
    def unanswered(self) -> int:
        """Settlements without an answer, sent or queued."""
        return len(self._unanswered)

    # What the application asks for.

    def attach(self, subscription: str, window: int) -> None:
        """Consume over all connections to come. Raises `AlreadySubscribed`."""
        if subscription in self._consumed:
            raise AlreadySubscribed("This client consumes that subscription already.")
        consuming = self._consumed[subscription] = Consuming(subscription, window)
        self._ask(consuming)

    def detach(self, subscription: str) -> None:
        """Raises `NotSubscribed`. What was delivered can still be settled."""
        if self._consumed.pop(subscription, None) is None:
            raise NotSubscribed("This client does not consume that subscription.")
        self._requests.send({"op": "detach", "subscription": subscription})

    def settle(self, verb: Verb, subscription: str, ack: str, argument: int | None, *, deadline: float) -> int:
        """Queue a settlement and return its ticket. Raises `QueueFull`."""
        if len(self._unanswered) >= MAX_UNANSWERED:
            raise QueueFull("Too many acks wait for an answer.")
        self._tickets += 1
        settlement = Settlement(self._tickets, verb, subscription, ack, argument, deadline)
        self._unanswered[settlement.ticket] = settlement
        self._ready.append(settlement)
        return settlement.ticket

    # Connections.

    def restart(self) -> None:
        """A connection begins: ask again for everything, and send again what has no answer, in order."""
        for consuming in self._consumed.values():
            self._ask(consuming)
        self._ready = list(self._unanswered.values())
        self._held, self._hold_until = [], None

    def drop(self) -> None:
        """The connection is gone: nothing that it still says counts."""
        self._asked, self._on_the_way, self._old = {}, {}, set()
        for consuming in self._consumed.values():
            consuming.phase, consuming.retry_at, consuming.overlaps = Phase.IDLE, None, False

    def move(self) -> None:
        """Another connection takes over: attach there. What is on its way here is answered here."""
        self._asked, self._old = {}, set(self._on_the_way)
        for consuming in self._consumed.values():
            consuming.overlaps = consuming.phase is Phase.LIVE
            consuming.phase, consuming.retry_at = Phase.IDLE, None
            self._ask(consuming)

    def leave(self) -> None:
        """The connection that was being left is gone: what it did not answer is sent again."""
        for number in self._old & self._on_the_way.keys():
            self._ready += self._on_the_way.pop(number)
        self._old = set()
        for consuming in self._consumed.values():
            consuming.overlaps = False

    def _ask(self, consuming: Consuming) -> None:
        if not self._requests.connected or consuming.phase is not Phase.IDLE:
            return
        number = self._requests.number()
        consuming.phase, consuming.request, consuming.retry_at = Phase.ASKED, number, None
        self._asked[number] = consuming.subscription
        frame: Frame = {"op": "attach", "subscription": consuming.subscription, "window": consuming.window}
        self._requests.send(frame, number=number)

    def flush(self) -> None:
        """Hand over the frames that settle what is ready. Called with a connection."""
        ready, self._ready = self._ready, []
        alive = (settlement for settlement in ready if settlement.ticket in self._unanswered)
        for (verb, subscription, argument), group in groupby(alive, lambda s: (s.verb, s.subscription, s.argument)):
            settlements = list(group)
            for at in range(0, len(settlements), MAX_ACKS):
                self._send(verb, subscription, argument, settlements[at : at + MAX_ACKS])

    def _send(self, verb: Verb, subscription: str, argument: int | None, settlements: list[Settlement]) -> None:
        number = self._requests.number()
        self._on_the_way[number] = settlements
        for settlement in settlements:
            settlement.sent += 1
        frame: Frame = {"op": verb, "subscription": subscription, "acks": [each.ack for each in settlements]}
        if argument is not None:
            frame[_ARGUMENTS[verb]] = argument
        self._requests.send(frame, number=number)

    # What the server says.

    def receive_attached(self, frame: Frame) -> list[Event]:
        number = number_of(frame)
        consuming = self._consumed.get(self._asked.pop(number, ""))
        if consuming is None or consuming.request != number or consuming.phase is not Phase.ASKED:
            return []
        consuming.phase, consuming.overlaps = Phase.LIVE, False
        return [read_attached(frame)]

    def receive_delivery(self, frame: Frame, *, leaving: bool = False) -> list[Event]:
        consuming = self._consumed.get(read_subscription(frame))
        if consuming is None or not (leaving or consuming.phase is Phase.LIVE):
            return []  # the lease ends by itself
        return [Delivered(consuming.subscription, read_deliveries(frame, self._dialect))]

    def receive_settled(self, frame: Frame) -> list[Event]:
        refused = read_refused(frame)
        settlements = self._on_the_way.pop(number_of(frame), [])
        return self._answer((settlement, _verdict(settlement, refused)) for settlement in settlements)

    def receive_refusal(self, number: int, error: HeadraceError, now: float) -> list[Event] | None:
        """Return what an `error` means, None where it answered no request of ours."""
        if number in self._asked:
            return self._receive_attach_refusal(self._asked.pop(number), number, error, now)
        settlements = self._on_the_way.pop(number, None)
        if settlements is None:
            return None
        if not is_temporary(error):
            return self._answer((settlement, error) for settlement in settlements)
        self._held += settlements
        self._hold_until = _later(now, error)
        return []

    def _receive_attach_refusal(self, name: str, number: int, error: HeadraceError, now: float) -> list[Event]:
        consuming = self._consumed.get(name)
        if consuming is None or consuming.request != number:
            return []
        if not is_temporary(error):
            return self.end(name, error)
        consuming.phase, consuming.retry_at = Phase.IDLE, _later(now, error)
        return []

    def end(self, subscription: str, error: HeadraceError) -> list[Event]:
        """The server delivers nothing more of it."""
        ended = self._consumed.pop(subscription, None)
        return [Released(subscription, error)] if ended else []

    def _answer(self, outcomes: Iterable[tuple[Settlement, HeadraceError | None]]) -> list[Event]:
        return [
            Settled(settlement.ticket, error)
            for settlement, error in outcomes
            if self._unanswered.pop(settlement.ticket, None)
        ]

    # Time.

    def poll(self, now: float) -> list[Event]:
        """Ask and send again where the time has come, and give up what is too late."""
        for consuming in self._consumed.values():
            if consuming.retry_at is not None and consuming.retry_at <= now:
                self._ask(consuming)
        if self._hold_until is not None and self._hold_until <= now:
            self._ready = self._held + self._ready
            self._held, self._hold_until = [], None
        late: list[tuple[Settlement, HeadraceError | None]] = []
        for settlement in self._unanswered.values():
            if settlement.deadline > now:
                break  # they were queued in this order, with the same patience
            late.append((settlement, SettleTimeout()))
        return self._answer(late)

    def dues(self) -> Iterable[float | None]:
        """Return when `poll` has something to do, in monotonic seconds."""
        oldest = next(iter(self._unanswered.values()), None)
        yield oldest.deadline if oldest else None
        yield self._hold_until
        for consuming in self._consumed.values():
            yield consuming.retry_at

    def fail(self, error: HeadraceError) -> list[Event]:
        """The client is over."""
        events = self._answer([(settlement, error) for settlement in self._unanswered.values()])
        for subscription in list(self._consumed):
            events += self.end(subscription, error)
        return events


def _verdict(settlement: Settlement, refused: dict[str, str]) -> HeadraceError | None:
    code = refused.get(settlement.ack)
    if code is None or (code == "unknown" and settlement.verb == "ack" and settlement.sent > 1):
        return None  # the first sending did it, and its answer was lost
    return LeaseLost()


def _later(now: float, error: HeadraceError) -> float:
    return now + (DEFAULT_RETRY_S if error.retry_ms is None else error.retry_ms / 1000)
