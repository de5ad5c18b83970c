"""Who is in the cluster and who is gone, from what one node reads of the leases. Pure: time is passed in.

A node is gone when an observer, itself in contact with Redis throughout, saw its lease unchanged for one lease by its
own monotonic clock (DESIGN 5). No clock of another machine and no TTL has a say: while Redis is away nobody can renew,
so nobody is held to it, and after it is back everybody has a whole lease's time again.

A lease is `<nonce> <beat> <JSON>`: the nonce marks one life of a node, the beat counts its renewals, so that no two
values of it are equal; the rest is what the node tells the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from typing import Any

import orjson

MAX_TEXT_CHARS = 512
"""Of a text that a node tells of itself: it is shown to clients and operators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """What a node tells the others of itself."""

    name: str = ""
    url: str = ""
    """Where clients reach it."""
    weight: int = 1
    """Its share of new clients; 0: a last resort."""
    version: str = ""
    load: int = 0
    """Its connections."""
    accepts: int = 0
    """New connections that it takes in a second; 0: unknown."""
    since: int = 0
    """When it began, Unix ms by its own clock; 0: unknown."""
    draining: bool = False
    """It is about to leave: nothing new is sent there."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One node's lease as it stands in Redis."""

    nonce: str
    beat: int
    advertised: Advertised

    def packed(self) -> bytes:
        return b"%s %d %s" % (self.nonce.encode(), self.beat, orjson.dumps(asdict(self.advertised)))

    def renewed(self, advertised: Advertised) -> "Lease":
        return replace(self, beat=self.beat + 1, advertised=advertised)


def read_lease(value: bytes) -> Lease:
    """Read a lease. Fields that another version knows are passed over, missing ones have their default.

    Raises `ValueError`.
    """
    nonce, beat, rest = value.split(b" ", 2)
    told = orjson.loads(rest)
    if not isinstance(told, dict):
        raise ValueError("a lease's last part is a map")
    return Lease(nonce.decode(), int(beat), Advertised(**_known(told)))


def _known(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are known and of the right type."""
    kinds = {field.name: type(field.default) for field in fields(Advertised)}
    given = {name: value for name, value in told.items() if type(value) is kinds.get(name)}
    return {name: value[:MAX_TEXT_CHARS] if isinstance(value, str) else value for name, value in given.items()}


@dataclass(frozen=True, slots=True)
class Member:
    node: str
    advertised: Advertised


@dataclass(slots=True)
class _Watch:
    value: bytes
    since: float
    """When this value was seen first: the answer that brought it."""
    is_gone: bool = False


class Membership:
    """One observer's view. `observe` takes each reading of all leases, in order."""

    def __init__(self, *, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._watches: dict[str, _Watch] = {}
        self._answered: float | None = None

    @property
    def max_gap_seconds(self) -> float:
        """Between two readings: with a longer gap the observer was not in contact throughout."""
        return self._lease_seconds / 2

    def observe(self, values: Mapping[str, bytes], *, asked: float, answered: float) -> dict[str, bytes]:
        """Take a reading that was asked for and answered at these times (monotonic, seconds).

        Return the nodes that are gone, each with the value that was seen unchanged for a lease. They are returned again
        by every reading that still has that value: whoever acts on it names the value, so that a node that stirs in
        between keeps its lease.
        """
        if self._answered is None or asked - self._answered > self.max_gap_seconds:
            self._watches.clear()
        self._answered = answered
        self._watches = {node: self._watch(node, value, asked, answered) for node, value in values.items()}
        return {node: watch.value for node, watch in self._watches.items() if watch.is_gone}

    def members(self) -> tuple[Member, ...]:
        """Who is there, in the order of the names; those not yet known to be gone among them."""
        present = sorted((node, watch.value) for node, watch in self._watches.items() if not watch.is_gone)
        return tuple(Member(node, advertised) for node, value in present if (advertised := _told(value)) is not None)

    def _watch(self, node: str, value: bytes, asked: float, answered: float) -> _Watch:
        watch = self._watches.get(node)
        if watch is None or watch.value != value:
            return _Watch(value, answered)
        # From the earlier answer to this question: what lies before and after proves nothing.
        watch.is_gone = asked - watch.since >= self._lease_seconds
        return watch


def preferred(name: str, members: Iterable[Member]) -> str | None:
    """Return the node that should do the job `name`: the same for all who see the same members, None without any.

    By rendezvous hashing: jobs spread evenly, and when a node comes or goes only its own share moves. Those that leave
    get none.
    """
    staying = [member.node for member in members if not member.advertised.draining]
    return max(staying, key=lambda node: blake2b(f"{name}\0{node}".encode()).digest(), default=None)


def _told(value: bytes) -> Advertised | None:
    """What a lease says, None for one that cannot be read: it is watched all the same."""
    try:
        return read_lease(value).advertised
    except ValueError:
        return None
