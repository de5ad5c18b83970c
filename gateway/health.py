"""What a node says of itself: `/healthz` (the loop turns) and `/readyz` (law 6, with reasons).

Readiness costs Redis an append, so an answer is kept for a second: whoever can reach `/readyz` cannot load Redis with
it. A node that drains says so at once, without asking anybody.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from broker.errors import HeadraceError

KEPT_SECONDS = 1.0
"""How long an answer is given again."""

ASK_SECONDS = 3.0
"""How long the probe may take before the node counts as unready; orchestrators give up after a few seconds."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """`ready`: a publish through Redis reaches this node's own bus in time. `reasons` say what is wrong, if anything.

    A ready node may have reasons too: one of several primaries is away, its topics are degraded.
    """

    ready: bool
    reasons: tuple[str, ...] = ()


class Health:
    """Asks `probe` at most once in `KEPT_SECONDS`, whoever asks how often.

    `probe` may take long or never come back; that is an answer too.
    """

    def __init__(self, probe: Callable[[], Awaitable[Readiness]], clock: Callable[[], float] = time.monotonic) -> None:
        self._probe = probe
        self._clock = clock
        self._asked_at = float("-inf")
        self._last = Readiness(ready=False, reasons=("The node is starting.",))
        self._lock = asyncio.Lock()
        self.draining = False

    async def readiness(self) -> Readiness:
        if self.draining:
            return Readiness(ready=False, reasons=("The node is going away.",))
        async with self._lock:
            if self._clock() - self._asked_at >= KEPT_SECONDS:
                self._last = await self._ask()
                self._asked_at = self._clock()
        return self._last

    async def _ask(self) -> Readiness:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._probe()
        except HeadraceError as error:
            return Readiness(ready=False, reasons=(error.reason,))
        except TimeoutError:
            return Readiness(ready=False, reasons=(f"The probe did not come back within {ASK_SECONDS:g} s.",))

    async def ready_response(self) -> tuple[int, bytes]:
        """Return status and JSON body of `/readyz`: 200 or 503."""
        answer = await self.readiness()
        body = {"ready": answer.ready, "draining": self.draining, "reasons": answer.reasons}
        return (200 if answer.ready else 503), orjson.dumps(body)


def alive_response() -> tuple[int, bytes]:
    """Return status and JSON body of `/healthz`: that it is answered at all is the answer."""
    return 200, b'{"alive":true}'
