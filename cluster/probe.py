"""The readiness probe: does a publish through Redis reach this node's own bus in time? (law 6)

On each primary, on its command connection, a script writes and then announces as publishing does; then the node's own
subscriber connection must hear it. Both halves are needed: on a demoted primary the announcement arrives while appends
are refused (seen), and a bus can be cut while appends succeed.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import HeadraceError, Unavailable
from broker.store.base import ReplyError, Script
from broker.store.scripts import PROBE
from cluster.address import Endpoint
from cluster.bus import Bus
from cluster.slots import slot_of
from cluster.topology import Topology

PROBE_SECONDS = 2.0
"""In time: from the call of the script, its retries included, to the ear."""

KEY_MS = 10_000
"""How long the written key stays."""

MAX_NUMBERS = 4096
"""Names that are tried for a key in each primary's slots: enough for one that serves a thousandth of them."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What became of the probe of one primary: `reason` is empty when it came through, in `latency_ms`."""

    primary: Endpoint
    reason: str
    latency_ms: float

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All primaries, in the order of their names."""

    probed: tuple[Probed, ...]

    @property
    def ready(self) -> bool:
        """True when at least one primary works; the others' topics are degraded (DESIGN 5)."""
        return any(one.ok for one in self.probed)

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each thing that is wrong."""
        if not self.probed:
            return ("No primary of Redis is known.",)
        return tuple(f"Redis at {one.primary}: {one.reason}" for one in self.probed if not one.ok)


class Probe:
    """`check` probes every primary at once.

    `names(n)` gives a key and a channel in one slot, for this node alone; over the numbers n they spread over the
    slots. The channels stay subscribed between checks, so that a check sees the bus as it is.
    """

    def __init__(
        self,
        topology: Topology,
        bus: Bus,
        *,
        names: Callable[[int], tuple[bytes, bytes]],
        script: Script = PROBE,
        seconds: float = PROBE_SECONDS,
    ) -> None:
        self._topology = topology
        self._bus = bus
        self._names = names
        self._script = script
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._slots: list[int] = []
        self._numbers: dict[Endpoint, int] = {}
        self._hearing: set[bytes] = set()
        self._awaited: dict[bytes, asyncio.Future[None]] = {}

    async def check(self) -> ProbeReport:
        """Return what works; never raises for what does not. Takes `seconds` at most, one check at a time."""
        async with self._lock:
            self._choose_names()
            primaries = sorted(self._topology.primaries, key=str)
            return ProbeReport(tuple(await asyncio.gather(*[self._check(primary) for primary in primaries])))

    async def _check(self, primary: Endpoint) -> Probed:
        clock = asyncio.get_running_loop().time
        before = clock()
        reason = ""
        try:
            async with asyncio.timeout(self._seconds):
                await self._probe(primary)
        except TimeoutError:
            reason = f"a probe did not come back to this node's own ear within {self._seconds:g} s."
        except HeadraceError as error:
            reason = str(error)
        except ReplyError as error:
            reason = f"appends are refused ({str(error).partition(' ')[0]})."
        return Probed(primary, reason, (clock() - before) * 1000)

    async def _probe(self, primary: Endpoint) -> None:
        if primary not in self._numbers:
            raise Unavailable("it serves too few slots to be probed.")
        key, channel = self._names(self._numbers[primary])
        if channel not in self._hearing:
            await self._bus.hear(channel, self._on_heard)
            self._hearing.add(channel)
        nonce = secrets.token_hex(16).encode()
        heard = self._awaited[nonce] = asyncio.get_running_loop().create_future()
        try:
            await self._topology.run(self._script, [key], [channel, nonce, KEY_MS], retry=False)
            await heard
        finally:
            del self._awaited[nonce]

    def _on_heard(self, nonce: bytes) -> None:
        awaited = self._awaited.get(nonce)
        if awaited is not None and not awaited.done():
            awaited.set_result(None)

    def _choose_names(self) -> None:
        """Find for each primary a number whose names lie in one of its slots, and leave channels that lie elsewhere."""
        if not self._slots:
            self._slots = [slot_of(self._names(number)[0]) for number in range(MAX_NUMBERS)]
        kept = {primary: number for primary, number in self._numbers.items() if self._owner(number) == primary}
        self._numbers = kept if self._topology.primaries <= kept.keys() else self._searched()
        wanted = {self._names(number)[1] for number in self._numbers.values()}
        for channel in self._hearing - wanted:
            self._bus.stop_hearing(channel)
        self._hearing &= wanted

    def _searched(self) -> dict[Endpoint, int]:
        found: dict[Endpoint, int] = {}
        for number in range(MAX_NUMBERS):
            owner = self._owner(number)
            if owner is not None:
                found.setdefault(owner, number)
        return found

    def _owner(self, number: int) -> Endpoint | None:
        return self._topology.slots.primary_of(self._slots[number])
