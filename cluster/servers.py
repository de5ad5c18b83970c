"""What a node tells its clients of the cluster: the servers that take them, and over how long to come back. Pure.

The list holds the members that are there, do not leave, and have a URL (`protocol/realtime.md` section 2.5). The spread
is that of contracts/migratorydata 3.2: the clients that come free, divided by what the others accept in a second.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cluster.membership import Advertised, Member

MAX_SERVERS = 100
"""In one list; each node of a larger cluster tells a part of its own choice, so that all are told by some."""

MAX_WEIGHT = 1000
"""Also of a URL that leads to several nodes."""

MAX_SPREAD_MS = 60_000
"""However many clients there are: what then comes too fast is told by admission when to come again."""

ALONE_SPREAD_MS = 2000
"""At least, where no other node takes clients: they come back to one that has to start first."""

MIN_STEP_MS = 500
"""A spread that moved by less is not told anew."""


@dataclass(frozen=True, slots=True)
class Server:
    """One entry of the list. A weight of 0 is a last resort."""

    url: str
    weight: int


@dataclass(frozen=True, slots=True)
class Told:
    """What clients know of the cluster: `welcome` begins with it, `servers` and `drain` replace it."""

    servers: tuple[Server, ...] = ()
    spread_ms: int = ALONE_SPREAD_MS


def told(members: Iterable[Member], *, own: Advertised) -> Told:
    """Return what the node that advertises `own` tells its clients.

    `members` are as it sees them, itself among them or not: for itself only `own` counts.
    """
    # Two lives of one node: the lease of the one before runs out by itself.
    nodes = {(node.name, node.url): node for node in [*(member.advertised for member in members), own]}
    taking = [node for node in nodes.values() if node.url and not node.draining]
    survivors = [node for node in taking if node is not own]
    return Told(_listed(taking, teller=own.name), spread_ms(own, survivors))


def spread_ms(own: Advertised, survivors: Sequence[Advertised]) -> int:
    """Return over how many ms the clients of `own` come back to `survivors` if they all lose it now."""
    if not survivors:
        return max(_needed_ms(own.load, own.accepts), ALONE_SPREAD_MS)
    willing = [node for node in survivors if node.weight] or survivors
    return _needed_ms(own.load, sum(node.accepts for node in willing))


def is_news(new: Told, *, known: Told) -> bool:
    """Tell whether clients that know `known` should hear `new`: another list, or quite another spread."""
    if new.servers != known.servers:
        return True
    smaller, larger = sorted((new.spread_ms, known.spread_ms))
    return larger - smaller >= MIN_STEP_MS and larger >= 2 * smaller


def _needed_ms(clients: int, accepts: int) -> int:
    return min(math.ceil(clients * 1000 / accepts), MAX_SPREAD_MS) if accepts > 0 else ALONE_SPREAD_MS


def _listed(nodes: Iterable[Advertised], *, teller: str) -> tuple[Server, ...]:
    weights: dict[str, int] = {}
    for node in nodes:
        weights[node.url] = min(weights.get(node.url, 0) + max(node.weight, 0), MAX_WEIGHT)
    urls = sorted(weights, key=lambda url: blake2b(f"{teller}\0{url}".encode()).digest())[:MAX_SERVERS]
    return tuple(Server(url, weights[url]) for url in sorted(urls))
