"""A herd that lost its node: when each client is back, by our policy and by others' documented delays. A simulation.

Ours is the Python client's own `headrace.failover`, the pure file that its connections run; the node's side is the
node's own `gateway.admission`. The others are `bench.schedules`. Connecting takes no time, so the figures show what the
schedules do, not what a network does.
"""

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.plot import curves
from bench.report import Report, Target
from bench.schedules import OTHERS, Schedule
from gateway.admission import Admission
from headrace.failover import Attempt, Failover

OUTAGES = (0, 30, 120, 600)
"""Seconds that no server answers. 0: one server died, the others are up."""

SERVERS = ("http://a", "http://b", "http://c")
DEAD = SERVERS[0]

HELD_S = 1000.0
"""How long the connections had stood."""

SEED = 20261121

PLOTTED = 120
"""The outage that the plot shows."""


@dataclass(frozen=True, slots=True)
class Back:
    """When the clients were back, in seconds after a server could be reached, sorted; and their attempts."""

    seconds: list[float]
    attempts: int

    def share(self, percent: float) -> float:
        """Return after how many seconds so many percent were back."""
        return self.seconds[min(int(len(self.seconds) * percent / 100), len(self.seconds) - 1)]

    @property
    def peak(self) -> int:
        """The most that came back within one second."""
        return max(bisect_right(self.seconds, at + 1) - index for index, at in enumerate(self.seconds))


def others(schedule: Schedule, *, clients: int, outage_s: float, chance: Random) -> Back:
    """Run clients whose first attempt after the outage succeeds."""
    seconds, attempts = [], 0
    for _ in range(clients):
        at = 0.0
        for delay in schedule(chance):
            at += delay
            attempts += 1
            if at >= outage_s:
                break
        seconds.append(at - outage_s)
    return Back(sorted(seconds), attempts)


class Herd:
    """Our clients. `accept_per_second`: what each node takes, 0 for no bound; the spread that it tells follows."""

    def __init__(self, *, clients: int, outage_s: float, accept_per_second: float, chance: Random) -> None:
        self._outage_s = outage_s
        up = SERVERS[1:] if not outage_s else SERVERS
        self._nodes = {server: Admission(accept_per_second, now=0.0) for server in up}
        self._spread_s = clients / (accept_per_second * len(up)) if accept_per_second else None
        self._chance = chance
        self._clients = clients
        self.attempts = 0

    def run(self) -> Back:
        seconds: list[float] = []
        coming = [(attempt.at, index, attempt, client) for index, (attempt, client) in enumerate(self._returning())]
        heapq.heapify(coming)
        order = len(coming)
        while coming:
            at, _, attempt, client = heapq.heappop(coming)
            self.attempts += 1
            node = self._nodes.get(attempt.server)
            wait_ms = node.wait_ms(at) if node else 0
            if node and not wait_ms:
                seconds.append(at - self._outage_s)
                continue
            client.failed(attempt.server, at, retry_after_s=wait_ms / 1000)
            following = self._next(client, at)
            order += 1
            heapq.heappush(coming, (following.at, order, following, client))
        return Back(seconds, self.attempts)

    def _returning(self) -> Iterator[tuple[Attempt, Failover]]:
        """Yield each client with its first attempt at a server that can be reached."""
        for _ in range(self._clients):
            client = Failover(SERVERS, draw=self._chance.random)
            self._next(client, 0.0)
            client.ended(DEAD, 0.0, lasted_s=HELD_S, spread_s=self._spread_s)
            attempt = self._next(client, 0.0)
            while attempt.at < self._outage_s or attempt.server not in self._nodes:
                self.attempts += 1
                client.failed(attempt.server, attempt.at)
                attempt = self._next(client, attempt.at)
            yield attempt, client

    def _next(self, client: Failover, now: float) -> Attempt:
        attempt = client.next(now)
        if attempt is None:
            raise RuntimeError("a client gave up")
        return attempt


def herd(*, clients: int, accept_per_second: float, plot: Path | None = None) -> Report:
    """Compare all schedules over all outages; `plot` is where a drawing of one of them goes (SVG)."""
    columns = ("client", "outage s", "p50 s", "p99 s", "max s", "peak in 1 s", "attempts a client")
    report = Report("herd", {"clients": clients, "accept_per_second": accept_per_second}, columns)
    drawn: dict[str, Sequence[float]] = {}
    told = f"Headrace, {accept_per_second:g}/s a node"
    for outage in OUTAGES:
        for name, back in _all(clients, outage, accept_per_second, told):
            row = (back.share(50), back.share(99), back.seconds[-1], f"{back.peak / clients:.0%}")
            report.rows.append((name, outage, *row, back.attempts / clients))
            if outage == PLOTTED:
                drawn[name] = back.seconds
            if name == told:
                _judge(report, back, outage=outage, accept_per_second=accept_per_second)
    if plot is not None:
        plot.write_text(curves(drawn, title=f"{clients:,} clients after an outage of {PLOTTED} s"))
    return report


def _all(clients: int, outage: float, accept_per_second: float, told: str) -> Iterator[tuple[str, Back]]:
    for name, schedule in OTHERS.items():
        yield name, others(schedule, clients=clients, outage_s=outage, chance=Random(SEED))
    for name, rate in (("Headrace, nodes say nothing", 0.0), (told, accept_per_second)):
        yield name, Herd(clients=clients, outage_s=outage, accept_per_second=rate, chance=Random(SEED)).run()


def _judge(report: Report, back: Back, *, outage: float, accept_per_second: float) -> None:
    """Law 4: no node takes more in a second than it said (a bucket holds one second's worth beside that)."""
    nodes = len(SERVERS) - (not outage)
    name = f"accepts in the worst second after {outage} s, of what the nodes said"
    report.targets.append(Target(name, back.peak / (accept_per_second * nodes), 2.0))
    if len(back.seconds) != report.settings["clients"]:
        report.faults.append(f"{outage} s: clients are missing")
