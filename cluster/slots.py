"""Which primary serves which key: hash slots and the map from slots to primaries."""

import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.address import Endpoint

SLOTS = 16384
"""Of every Redis Cluster (its specification)."""


def slot_of(key: bytes) -> int:
    """Return the hash slot of a key or sharded channel: CRC16 of its hash tag, else of the whole."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


@dataclass(frozen=True, slots=True)
class SlotRange:
    """Slots `first` to `last`, both included."""

    first: int
    last: int
    primary: Endpoint


class SlotMap:
    """Slot to primary, None where nobody serves the slot. Never changes: a move makes a new map."""

    __slots__ = ("_owners", "primaries")

    def __init__(self, owners: Iterable[Endpoint | None]) -> None:
        self._owners = tuple(owners)
        self.primaries: frozenset[Endpoint] = frozenset(owner for owner in self._owners if owner)

    @classmethod
    def of_one(cls, primary: Endpoint) -> "SlotMap":
        return cls([primary] * SLOTS)

    @classmethod
    def of_ranges(cls, ranges: Iterable[SlotRange]) -> "SlotMap":
        owners: list[Endpoint | None] = [None] * SLOTS
        for part in ranges:
            owners[part.first : part.last + 1] = [part.primary] * (part.last - part.first + 1)
        return cls(owners)

    def primary_of(self, slot: int) -> Endpoint | None:
        return self._owners[slot]

    def with_move(self, slot: int, primary: Endpoint) -> "SlotMap":
        """Return the map as a MOVED answer corrects it."""
        return SlotMap((*self._owners[:slot], primary, *self._owners[slot + 1 :]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SlotMap) and self._owners == other._owners

    def __hash__(self) -> int:
        return hash(self._owners)


def parse_slots(reply: object, *, asked: Endpoint) -> SlotMap:
    """Read CLUSTER SLOTS. A node that does not know its own host gets that of `asked`. Raises `ValueError`."""
    if not isinstance(reply, list):
        raise ValueError("CLUSTER SLOTS did not answer with a list")
    return SlotMap.of_ranges(_parse_range(row, asked) for row in reply)


def _parse_range(row: object, asked: Endpoint) -> SlotRange:
    match row:
        case [int(first), int(last), [host, int(port), *_], *_] if 0 <= first <= last < SLOTS:
            return SlotRange(first, last, endpoint_of(host, port, asked=asked))
    raise ValueError("CLUSTER SLOTS answered with a row of another shape")


def endpoint_of(host: object, port: int, *, asked: Endpoint) -> Endpoint:
    """Return a node as a peer names it: no host, or `?`, means the host that was asked."""
    name = host.decode() if isinstance(host, bytes) else ""
    return Endpoint(host=name if name not in {"", "?"} else asked.host, port=port)


@dataclass(frozen=True, slots=True)
class Redirection:
    """A MOVED or ASK answer: the slot is, or is on its way to be, at `target`."""

    slot: int
    target: Endpoint


def parse_redirection(text: str, *, asked: Endpoint) -> Redirection:
    """Read `MOVED <slot> <host>:<port>` or `ASK ...`; an empty host means `asked`'s. Raises `ValueError`."""
    _, slot, target = text.split(" ")[:3]
    host, _, port = target.rpartition(":")
    if not 0 <= int(slot) < SLOTS:
        raise ValueError("a redirection to no slot")
    return Redirection(int(slot), endpoint_of(host.encode(), int(port), asked=asked))
