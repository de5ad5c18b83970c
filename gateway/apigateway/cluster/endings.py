"""`$disconnect`, owed to the application from a connection's 101 on, whatever becomes of this node.

The promise is an entry in the directory: it is written when `$connect` has ended well, before the handshake is
answered, and struck when the application was told. What a node leaves behind when it dies is told by a survivor
(`cluster.clearing`), under the same event id. So an end is told at least once, and once in the ordinary case.

A node does not tell anything in its name while its lease may be taken, and nothing at all once it was: survivors do.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import HeadraceError
from cluster.clearing import Ended
from cluster.directory import Directory
from cluster.node import Node
from gateway.apigateway.cluster.records import packed, read_record
from gateway.apigateway.ports import Backend, Facts, Stage

TOLD_AT_ONCE = 50
"""Ends that are told at the same time."""

TELL_SECONDS = 35.0
"""For telling one end: an integration has 29 s, and a `$disconnect` may wait for its turn."""

MAX_TRIES = 5
FIRST_AGAIN_SECONDS = 1.0
"""An end that could not be told is told again after a time that doubles. Then it is given up: AWS tells it once."""

MAX_OWED = 200_000
"""Ends that wait to be told: as many as a directory has entries. Above, the oldest stay in the directory alone, for
whoever clears it away."""

LOOK_SECONDS = 0.1
"""Between two looks whether the lease is this node's for certain."""

DRAIN_SECONDS = 5.0
"""For telling what is owed when the node goes; survivors tell what is left."""

ABNORMAL = 1006
"""Of a connection that ended with its node (contracts/apigateway 12: TCP lost)."""

log = logging.getLogger(__name__)

BackendOf = Callable[[Stage], Backend | None]


class Unknown(HeadraceError):
    """The stage of a connection that ended is not configured on this node."""

    code = "unknown_stage"
    sentence = "No such API and stage is configured on this node."


@dataclass(slots=True)
class Owed:
    facts: Facts
    node: str
    """The node's id when it ended: the life that answers for it."""
    code: int
    reason: str
    tries: int = 0


class Endings:
    """`serve` tells what is owed, until it is cancelled. `now_ms` is the wall clock."""

    def __init__(self, directory: Directory, node: Node, backend_of: BackendOf, *, now_ms: Callable[[], int]) -> None:
        self._directory = directory
        self._node = node
        self._backend_of = backend_of
        self._now_ms = now_ms
        self._owed: deque[Owed] = deque()
        self._telling = 0
        self._is_owed = asyncio.Event()
        self._is_done = asyncio.Event()
        self.given_up = 0
        """Ends that nobody could be told of."""
        node.on_identity.append(self._owed.clear)

    def __len__(self) -> int:
        """How many ends are still to be told."""
        return len(self._owed) + self._telling

    async def promise(self, facts: Facts) -> None:
        """Promise the end of a connection. Raises `Unavailable`, `LimitExceeded`: then its end is owed already."""
        try:
            await self._directory.enter(facts.id, packed(facts))
        except HeadraceError:
            self.owe(facts, code=ABNORMAL, reason="")
            raise

    def owe(self, facts: Facts, *, code: int, reason: str) -> None:
        """The connection has ended."""
        if len(self._owed) >= MAX_OWED:
            self._owed.popleft()
        self._put(Owed(facts, self._node.id, code, reason))

    async def tell(self, end: Ended) -> None:
        """Tell an end that another node owed. Raises what keeps it in the directory."""
        await self._tell(read_record(end.record), end.event_id, code=ABNORMAL, reason="")

    async def drain(self) -> None:
        """Return when nothing is owed, or `DRAIN_SECONDS` have passed."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while len(self):
                    self._is_done.clear()
                    await self._is_done.wait()
        except TimeoutError:
            log.warning("the ends of connections are left to the other nodes", extra={"ends": len(self)})

    async def serve(self) -> None:
        turns = asyncio.Semaphore(TOLD_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._is_owed.wait()
                self._is_owed.clear()
                while self._owed:
                    await turns.acquire()
                    # A node that is somebody new owes nothing any more.
                    owed = self._owed.popleft() if self._owed else None
                    if owed is None:
                        turns.release()
                        break
                    self._telling += 1
                    tasks.create_task(self._finish(owed)).add_done_callback(lambda _: self._finished(turns))

    def _put(self, owed: Owed) -> None:
        self._owed.append(owed)
        self._is_owed.set()

    def _finished(self, turns: asyncio.Semaphore) -> None:
        turns.release()
        self._telling -= 1
        self._is_done.set()

    async def _finish(self, owed: Owed) -> None:
        if not await self._may_tell(owed):
            return
        try:
            event_id = Ended(owed.node, owed.facts.id, b"").event_id
            await self._tell(owed.facts, event_id, code=owed.code, reason=owed.reason)
        except Exception as error:
            if self._tell_again(owed, error):
                return
        if self._node.id == owed.node:
            await self._directory.strike(owed.facts.id)

    async def _may_tell(self, owed: Owed) -> bool:
        """Return True once nobody can have taken the lease, False when it was taken: survivors tell then."""
        while True:
            if self._node.id != owed.node:
                return False
            if self._node.is_certain:
                return True
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self, facts: Facts, event_id: str, *, code: int, reason: str) -> None:
        backend = self._backend_of(Stage(facts.api, facts.stage))
        if backend is None:
            raise Unknown
        async with asyncio.timeout(TELL_SECONDS):
            await backend.disconnect(facts, code=code, reason=reason, event_id=event_id, now_ms=self._now_ms())

    def _tell_again(self, owed: Owed, error: Exception) -> bool:
        """Have an end told once more; False when it was tried often enough."""
        owed.tries += 1
        why = {"connection": owed.facts.id, "reason": str(error) or repr(error)}
        if owed.tries >= MAX_TRIES:
            log.error("the end of a connection could not be told", extra=why)
            self.given_up += 1
            return False
        log.warning("the end of a connection is told later", extra=why)
        seconds = FIRST_AGAIN_SECONDS * 2 ** (owed.tries - 1)
        asyncio.get_running_loop().call_later(seconds, self._put, owed)
        return True
