"""One subscription as the memory store keeps it: the reference that says what the scripts of subscriptions must do.

Every verb opens the subscription on its topic's log first, which notices a topic that was created again. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.errors import OutOfBounds
from broker.messages import Entry, unpack
from broker.names import SubscriptionName, TopicName
from broker.positions import LogState, Position
from broker.store.memory_log import MemoryLog, Stored
from broker.store.subscriptions import (
    LEASE_SCAN,
    MAX_HELD,
    Ack,
    CursorAck,
    Extend,
    Lease,
    Leased,
    Nack,
    Settled,
    Settlement,
    SubscriptionInfo,
    SubscriptionSettings,
    Window,
)


@dataclass(slots=True)
class _Pending:
    """A message that is leased, held back, or waits for a retry. Without a token it is in nobody's hands."""

    stored: Stored
    key: str | None
    attempt: int = 0
    token: str = ""


@dataclass(slots=True)
class _Window:
    epoch: int
    next_offset: int
    pulled_s: int


@dataclass(slots=True)
class MemorySubscription:
    name: SubscriptionName
    topic: TopicName
    created_ms: int
    settings: SubscriptionSettings
    cursor: Position
    born: int
    """Which topic of that name it stands on (`MemoryLog.born`)."""
    generation: int = 0
    window: _Window | None = None
    pending: dict[int, _Pending] = field(default_factory=dict)
    due: dict[int, int] = field(default_factory=dict)
    """Offset to deadline, ms; what is held back is in no deadline."""
    queues: dict[str, list[int]] = field(default_factory=dict)
    """Ordering key to the offsets that wait behind the one whose turn it is."""
    trimmed: int = 0
    restarts: int = 0
    restarted: bool = False
    delivered: int = 0
    delivered_bytes: int = 0
    expired: int = 0

    # On its log.

    def open(self, log: MemoryLog) -> None:
        """Go on at the first message if the topic was created again; never stand beyond its end."""
        if self.born != log.born:
            self.born = log.born
            self.restarts += 1
            self.restarted = True
            self._forget_pending(place_of(log.state(), -1))
        if self.cursor.offset >= log.next_offset:
            self.cursor = place_of(log.state(), log.next_offset - 1)
        if self.window and self.window.epoch != log.state().epoch:
            self.window = None

    def lift(self, log: MemoryLog) -> int:
        """Pass over what retention took before it was read, and return how many those were."""
        last = log.state().first_offset - 1
        return self._pass(log, last) if last > self.cursor.offset else 0

    def _pass(self, log: MemoryLog, last: int) -> int:
        lost = last - self.cursor.offset
        self.trimmed += lost
        self.cursor = place_of(log.state(), last)
        return lost

    def _forget_pending(self, cursor: Position) -> None:
        self.cursor = cursor
        self.generation += 1
        self.window = None
        self.pending.clear()
        self.due.clear()
        self.queues.clear()

    def seek(self, log: MemoryLog, to: Position | int) -> None:
        offset = to if isinstance(to, int) else checked_place(log.state(), to) + 1
        if not log.state().first_offset <= offset <= log.next_offset and isinstance(to, int):
            raise OutOfBounds(f"The offset {offset} is not one of the log's.")
        self._forget_pending(place_of(log.state(), offset - 1))

    def info(self, log: MemoryLog | None) -> SubscriptionInfo:
        first, following = (log.state().first_offset, log.next_offset) if log else (0, 0)
        return SubscriptionInfo(
            name=self.name,
            topic=self.topic,
            created_ms=self.created_ms,
            settings=self.settings,
            log=log.state() if log else None,
            cursor=self.cursor,
            generation=self.generation,
            pending=self._pending_count() if log else 0,
            lag=following - max(self.cursor.offset + 1, first) if log else 0,
            oldest_unacked_ms=self._oldest_ms(log) if log else None,
            trimmed=self.trimmed,
            restarts=self.restarts,
            delivered=self.delivered,
            delivered_bytes=self.delivered_bytes,
            expired=self.expired,
        )

    def _pending_count(self) -> int:
        if self.window:
            return max(0, self.window.next_offset - 1 - self.cursor.offset)
        return len(self.pending)

    def _oldest_ms(self, log: MemoryLog) -> int | None:
        if self.pending:
            return self.pending[min(self.pending)].stored.time_ms
        stored = log.at(self.cursor.offset + 1)
        return stored.time_ms if stored else None

    def _restarted(self) -> bool:
        restarted, self.restarted = self.restarted, False
        return restarted

    def _count(self, envelopes: Sequence[bytes]) -> None:
        self.delivered += len(envelopes)
        self.delivered_bytes += sum(map(len, envelopes))

    # `cursor`.

    def pull(self, log: MemoryLog, *, now_ms: int, max_entries: int, max_bytes: int) -> Window:
        trimmed, expired = self.lift(log), self._pass_expired(log, now_ms)
        taken: list[Stored] = []
        skipped = 0
        while len(taken) < max_entries and (stored := log.at(self.cursor.offset + 1 + len(taken) + skipped)):
            if stored.has_expired(now_ms):
                skipped += 1
                continue
            max_bytes -= len(stored.envelope)
            if taken and max_bytes < 0:
                break
            taken.append(stored)
        self.window = _Window(log.state().epoch, self.cursor.offset + 1 + len(taken) + skipped, now_ms // 1000)
        self._count([stored.envelope for stored in taken])
        return Window(tuple(map(entry_of, taken)), trimmed, self._restarted(), expired + skipped)

    def _pass_expired(self, log: MemoryLog, now_ms: int) -> int:
        before = self.expired
        while (stored := log.at(self.cursor.offset + 1)) and stored.has_expired(now_ms):
            self.cursor = stored.position
            self.expired += 1
        return self.expired - before

    def ack(self, log: MemoryLog, offset: int, *, now_ms: int) -> CursorAck:
        if offset <= self.cursor.offset:
            return CursorAck.ALREADY
        if self.window is None:
            return CursorAck.NOTHING_PENDING
        if offset >= self.window.next_offset:
            return CursorAck.OUTSIDE
        if now_ms // 1000 - self.window.pulled_s > self.settings.ack_deadline_s:
            return CursorAck.TIMEOUT
        self.cursor = place_of(log.state(), offset)
        self.window = None
        return CursorAck.COMMITTED

    # `shared`.

    def lease(
        self, log: MemoryLog, *, now_ms: int, max_entries: int, max_bytes: int, deadline_ms: int, nonce: str
    ) -> Leased:
        trimmed, expired = self.trimmed, self.expired
        taken: list[_Pending] = []
        for _ in range(max_entries + LEASE_SCAN if max_entries else 0):
            if len(taken) == max_entries:
                break
            pending = self._next(log, now_ms)
            if pending is None:
                break
            if taken and sum(len(one.stored.envelope) for one in [*taken, pending]) > max_bytes:
                self._put_back(log, pending)
                break
            if self._may_go(pending):
                taken.append(pending)
                self.due.pop(pending.stored.position.offset, None)
        leases = tuple(self._grant(log, pending, now_ms + deadline_ms, nonce) for pending in taken)
        self._count([pending.stored.envelope for pending in taken])
        next_due = min(self.due.values(), default=None)
        more = (next_due is not None and next_due <= now_ms) or (self._reads_on() and self._unread(log))
        restarted = self._restarted() if max_entries else self.restarted
        trimmed, expired = self.trimmed - trimmed, self.expired - expired
        return Leased(leases, self.settings, now_ms, next_due, more, trimmed, restarted, expired)

    def _next(self, log: MemoryLog, now_ms: int) -> _Pending | None:
        """Return the next message to give out, due ones first; counts what was trimmed or has expired meanwhile."""
        while due := [(at, offset) for offset, at in self.due.items() if at <= now_ms]:
            offset = min(due)[1]
            stored = log.at(offset)
            if stored and not stored.has_expired(now_ms):
                return self.pending[offset]
            self._finish(offset, now_ms)
            self.trimmed += stored is None
            self.expired += stored is not None
        if not self._reads_on():
            return None
        self.lift(log)
        self._pass_expired(log, now_ms)
        stored = log.at(self.cursor.offset + 1)
        if stored is None:
            return None
        self.cursor = stored.position
        return self._add(stored)

    def _reads_on(self) -> bool:
        held = sum(map(len, self.queues.values()))
        return len(self.pending) < self.settings.max_outstanding and held < MAX_HELD

    def _unread(self, log: MemoryLog) -> bool:
        return self.cursor.offset + 1 < log.next_offset

    def _add(self, stored: Stored) -> _Pending:
        attribute = self.settings.ordering_attribute
        key = unpack(stored.envelope).attributes.get(attribute) if attribute is not None else None
        pending = self.pending[stored.position.offset] = _Pending(stored, key)
        return pending

    def _put_back(self, log: MemoryLog, pending: _Pending) -> None:
        offset = pending.stored.position.offset
        if offset not in self.due:
            del self.pending[offset]
            self.cursor = place_of(log.state(), offset - 1)

    def _may_go(self, pending: _Pending) -> bool:
        """Tell whether it is this message's turn; a new one behind its key's other messages is held back."""
        offset = pending.stored.position.offset
        if pending.key is None or offset in self.due:
            return True
        if pending.key in self.queues:
            self.queues[pending.key].append(offset)
            return False
        self.queues[pending.key] = []
        return True

    def _grant(self, log: MemoryLog, pending: _Pending, deadline_ms: int, nonce: str) -> Lease:
        pending.attempt += 1
        pending.token = f"{pending.attempt}.{self.generation}.{log.state().epoch}.{nonce}"
        self.due[pending.stored.position.offset] = deadline_ms
        return Lease(entry_of(pending.stored), pending.attempt, pending.token, deadline_ms)

    def settle(self, settlement: Settlement, *, epoch: int, now_ms: int) -> Settled:
        _, generation, leased_in, _ = (*settlement.token.split("."), "", "", "", "")[:4]
        if (generation, leased_in) != (str(self.generation), str(epoch)):
            return Settled.STALE
        pending = self.pending.get(settlement.offset)
        if pending is None:
            return Settled.UNKNOWN
        if settlement.token != pending.token:
            return Settled.STALE
        self._apply(settlement, pending, now_ms)
        return Settled.OK

    def _apply(self, settlement: Settlement, pending: _Pending, now_ms: int) -> None:
        match settlement:
            case Ack():
                self._finish(settlement.offset, now_ms)
            case Extend():
                self.due[settlement.offset] = now_ms + settlement.deadline_ms
            case Nack():
                pending.token = ""
                self.due[settlement.offset] = now_ms + settlement.delay_ms
            case _:
                pending.token = ""
                pending.attempt -= 1
                self.due[settlement.offset] = now_ms

    def _finish(self, offset: int, now_ms: int) -> None:
        """Forget a message, and let the next one of its key have its turn."""
        key = self.pending.pop(offset).key
        self.due.pop(offset, None)
        if key is None:
            return
        if self.queues[key]:
            self.due[self.queues[key].pop(0)] = now_ms
        else:
            del self.queues[key]


def entry_of(stored: Stored) -> Entry:
    return Entry(stored.position, stored.time_ms, unpack(stored.envelope))


def place_of(log: LogState, offset: int) -> Position:
    """Return the place of the entry at `offset`, in the newest epoch that began at or before it."""
    epochs = [link.epoch for link in log.chain if link.first <= offset]
    return Position(epochs[-1] if epochs else log.chain[0].epoch, offset)


def checked_place(log: LogState, at: Position) -> int:
    """Return the offset of a place in the log's history, or raise `OutOfBounds`."""
    first = next((link.first for link in log.chain if link.epoch == at.epoch), None)
    end = log.end_of(at.epoch)
    if first is None or end is None or not first - 1 <= at.offset <= end:
        raise OutOfBounds(f"The place {at} is not in the log's history.")
    return at.offset
