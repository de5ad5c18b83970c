"""How a node leaves without a herd: over how long its clients move, and who is closed when. Pure.

Clients that know how are asked to move by themselves within the spread; all others are closed one by one until the
deadline, those that were asked once the last of them had time to move. The spread is what the survivors need to take
them (`cluster.servers`), as far as the time that the node has allows it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.membership import Advertised
from cluster.servers import spread_ms

RESERVE_SECONDS = 8.0
"""Of a node's time to end, kept for what follows: publishes in flight, closing handshakes, giving up the lease.

Half of it where it is short: what follows takes a fraction of a second where Redis and the clients answer.
"""

MIN_MOVE_MS = 5000
"""However few there are: a client has to connect, and to catch up in its topics, before it leaves."""

MOVE_MS = 3000
"""From its time to move until it has left: a client's dial may take 2 s (protocol/failover.md 4), then it catches up.

One that is closed in the middle of its move has a break that it was promised not to have.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Both in ms from the beginning: until when clients begin to move, and when the last ones are closed."""

    spread_ms: int
    deadline_ms: int

    @property
    def closing_ms(self) -> int:
        """From when those are closed that were asked to move; half of the time is kept for that at least."""
        return min(self.spread_ms + MOVE_MS, (self.spread_ms + self.deadline_ms) // 2)


def plan(own: Advertised, survivors: Sequence[Advertised], *, grace_seconds: float) -> Plan | None:
    """Return how the clients of `own` move to `survivors`; None: there is nobody or no time to move to."""
    longest_ms = round(max(grace_seconds - RESERVE_SECONDS, grace_seconds / 2) * 1000)
    if not survivors or not own.load or longest_ms <= 0:
        return None
    needed_ms = spread_ms(own, survivors)
    deadline_ms = min(max(2 * needed_ms, MIN_MOVE_MS), longest_ms)
    return Plan(min(needed_ms, deadline_ms // 2), deadline_ms)


def due(left: int, *, now_ms: float, begin_ms: float, end_ms: float, tick_ms: float) -> int:
    """Return how many of `left` connections are closed now, so that all are before `end_ms`, as many at each tick."""
    if now_ms < begin_ms:
        return 0
    ticks = math.ceil((end_ms - now_ms) / tick_ms)
    return math.ceil(left / ticks) if ticks > 1 else left
