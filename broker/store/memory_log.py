"""One topic's log as the memory store keeps it: what is retained, the chain, and who wrote last. Pure."""

from bisect import bisect_left
from dataclasses import dataclass, field

from broker.positions import Link, LogState, Position, extend_chain, mint_epoch
from broker.store.base import Retention
from broker.store.once import OnceRecords
from broker.traffic import day_of


@dataclass(frozen=True, slots=True)
class Stored:
    position: Position
    time_ms: int
    envelope: bytes
    expires_ms: int | None = None

    def has_expired(self, now_ms: int) -> bool:
        """Tell whether it has outlived what its publisher gave it."""
        return self.expires_ms is not None and self.expires_ms <= now_ms


@dataclass(slots=True)
class MemoryLog:
    """`entries` holds what is retained; offsets have no holes, so the last ones' index follows from them."""

    created_ms: int
    retention: Retention
    replid: str
    chain: tuple[Link, ...]
    once: OnceRecords
    born: int
    """The epoch with which it was created: tells a topic from one of the same name that was deleted."""
    next_offset: int = 0
    time_ms: int = 0
    envelope_bytes: int = 0
    entries: list[Stored] = field(default_factory=list)
    written: int = 0
    previous_ms: int = 0
    batch: int = 0
    marks: dict[int, int] = field(default_factory=dict)
    """Day to the offset of its first message."""
    snapshot: Stored | None = None

    def state(self) -> LogState:
        return LogState(self.chain, self.next_offset, self.entries[0].position if self.entries else None)

    def add(self, time_ms: int, envelope: bytes, life_ms: int = 0) -> None:
        expires_ms = time_ms + life_ms if life_ms > 0 else None
        self.entries.append(Stored(Position(self.chain[-1].epoch, self.next_offset), time_ms, envelope, expires_ms))
        self.next_offset += 1
        self.envelope_bytes += len(envelope)
        self.written += len(envelope)

    def count(self, first: int, before_ms: int) -> None:
        """Note an append that began at offset `first`; the one before was at `before_ms`."""
        if self.next_offset == first:
            self.time_ms = before_ms
            return
        self.previous_ms, self.batch = before_ms, self.next_offset - first
        if day_of(self.time_ms) != day_of(before_ms):
            self.marks[day_of(self.time_ms)] = first

    def index_after(self, after: Position | None) -> int:
        """Return the index of the first entry whose ID is above `after`, as XRANGE would find it."""
        if after is None:
            return 0
        place = (after.epoch, after.offset + 1)
        return bisect_left(self.entries, place, key=lambda stored: (stored.position.epoch, stored.position.offset))

    def at(self, offset: int) -> Stored | None:
        """Return the retained entry at an offset."""
        index = offset - self.state().first_offset
        return self.entries[index] if 0 <= index < len(self.entries) else None

    def begin_epoch(self, replid: str, *, now_s: int) -> None:
        """Begin a new epoch if another primary than `replid` wrote last."""
        if self.replid == replid:
            return
        last = self.entries[-1].position.epoch if self.entries else 0
        epoch = mint_epoch(now_s=now_s, previous=self.chain[-1].epoch, last=last, replid=replid)
        self.chain = extend_chain(self.chain, Link(epoch, self.next_offset), first_offset=self.state().first_offset)
        self.replid = replid
