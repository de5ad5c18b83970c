"""Idempotency records as the memory store keeps them: the reference for `once.lua`.

A key has one record. A publisher has a ring of its last `SEQUENCE_WINDOW` sequence numbers, so that each of them that
is sent again gets its exact answer. A queue holds keys and publishers in the order in which they came; what is too old,
or too much, leaves at its head. A publisher that was active since it was queued goes to the tail again instead, up to
`CHANCES` times a call: the bound on records holds in every case.
"""

from collections import deque
from dataclasses import dataclass, field

from broker.errors import HeadraceError, KeyConflict, StaleSequence
from broker.store.base import (
    MAX_ONCE_KEYS,
    ONCE_AGE_MS,
    SEQUENCE_WINDOW,
    Appended,
    AppendRequest,
    IdempotencyKey,
    PublisherSequence,
)
from broker.store.keys import once_id

CHANCES = 16
"""How many active publishers one call moves to the queue's tail."""

SWEEP = 64
"""How many records that are too old one call removes."""


@dataclass(frozen=True, slots=True)
class OnceBounds:
    """How many idempotency records a topic keeps (a publisher's ring counts its slots in use), and how long."""

    max_records: int = MAX_ONCE_KEYS
    max_age_ms: int = ONCE_AGE_MS


ONCE_BOUNDS = OnceBounds()
"""What a topic keeps by default."""


@dataclass(slots=True)
class _Ring:
    highest: int = -1
    active_ms: int = 0
    slots: dict[int, tuple[int, Appended, bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class OnceRecords:
    """The records of one topic."""

    bounds: OnceBounds
    keys: dict[bytes, tuple[Appended, bytes]] = field(default_factory=dict)
    rings: dict[bytes, _Ring] = field(default_factory=dict)
    queue: deque[tuple[int, bytes, bool]] = field(default_factory=deque)
    """(when it was queued, the id, whether it is a publisher)"""
    count: int = 0

    def outcome(self, request: AppendRequest) -> Appended | HeadraceError | None:
        """Return what became of an earlier request with the same key or sequence number, None when it is new."""
        found = self._found(request)
        if found is None or isinstance(found, HeadraceError):
            return found
        earlier, digest = found
        if digest != request.digest or earlier.count != len(request.envelopes):
            return KeyConflict()
        return Appended(earlier.first, earlier.count, earlier.time_ms, duplicate=True)

    def _found(self, request: AppendRequest) -> tuple[Appended, bytes] | HeadraceError | None:
        match request.once:
            case IdempotencyKey(scope, key):
                return self.keys.get(once_id(scope, key))
            case PublisherSequence(scope, publisher, sequence):
                return self._in_ring(self.rings.get(once_id(scope, publisher)), sequence)
        return None

    def _in_ring(self, ring: _Ring | None, sequence: int) -> tuple[Appended, bytes] | HeadraceError | None:
        if ring is None:
            return None
        if sequence <= ring.highest - SEQUENCE_WINDOW:
            return StaleSequence()
        held = ring.slots.get(sequence % SEQUENCE_WINDOW)
        return held[1:] if held and held[0] == sequence else None

    def keep(self, request: AppendRequest, appended: Appended, now_ms: int) -> None:
        """Remember what became of `request`."""
        match request.once:
            case IdempotencyKey(scope, key):
                name = once_id(scope, key)
                self.keys[name] = (appended, request.digest)
                self.queue.append((now_ms, name, False))
                self.count += 1
            case PublisherSequence(scope, publisher, sequence):
                self._keep_in_ring(once_id(scope, publisher), sequence, appended, request.digest, now_ms)

    def _keep_in_ring(self, name: bytes, sequence: int, appended: Appended, digest: bytes, now_ms: int) -> None:
        ring = self.rings.get(name)
        if ring is None:
            ring = self.rings[name] = _Ring()
            self.queue.append((now_ms, name, True))
        slot = sequence % SEQUENCE_WINDOW
        self.count += slot not in ring.slots
        ring.slots[slot] = (sequence, appended, digest)
        ring.highest, ring.active_ms = max(ring.highest, sequence), now_ms

    def drop_old(self, now_ms: int) -> None:
        """Forget what is older than the age bound, `SWEEP` records at most."""
        oldest = now_ms - self.bounds.max_age_ms
        chances = CHANCES
        for _ in range(SWEEP):
            if not self.queue or self.queue[0][0] > oldest:
                return
            chances -= self._drop_head(chances)

    def drop_excess(self) -> None:
        """Forget the oldest until the bound on records holds."""
        chances = CHANCES
        while self.count > self.bounds.max_records:
            chances -= self._drop_head(chances)

    def _drop_head(self, chances: int) -> bool:
        """Remove the queue's head, or move it to the tail (True) when it is a publisher that was active since."""
        queued_ms, name, is_publisher = self.queue.popleft()
        if not is_publisher:
            del self.keys[name]
            self.count -= 1
            return False
        ring = self.rings[name]
        if chances > 0 and ring.active_ms > queued_ms:
            self.queue.append((ring.active_ms, name, True))
            return True
        del self.rings[name]
        self.count -= len(ring.slots)
        return False
