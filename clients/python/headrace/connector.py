"""The loop that keeps one connection: dial, feed the state machine, write what it wants written, come back.

A node that is leaving says so (`drain`): then another connection is made first, and for a moment there are two.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

from headrace.credentials import Credentials
from headrace.dialects import Dialect
from headrace.dialing import Dialing
from headrace.errors import ClientError, Forbidden, HeadraceError, Unauthorized
from headrace.events import Broken, Draining, Event, F, Listed, P, Presented, Welcomed
from headrace.failover import Failover, Schedule, Verdict, verdict_of_close, verdict_of_status
from headrace.opening import Link, Opener
from headrace.protocol import Protocol
from headrace.showing import Showing
from headrace.transport import Closed, OpenFailed

MOVE_TIMEOUT_S = 10.0
"""How long the connection that is being left is kept for answers that the new one owes."""

logger = logging.getLogger("headrace")


@dataclass(frozen=True, slots=True)
class State:
    """The connection as it stands. `reason` says why there is none."""

    connected: bool
    server: str = ""
    node: str = ""
    reason: str = ""


class Refused(ClientError):
    """The server ended the connection with a code that forbids coming back."""

    code = "refused"
    sentence = "The server does not want this client back."


class Connector(Generic[P, F]):
    """Keeps `protocol` connected until it is stopped or the server forbids it; then `error` says why."""

    def __init__(
        self,
        protocol: Protocol[P, F],
        failover: Failover,
        credentials: Credentials,
        *,
        dialect: Dialect,
        tls: ssl.SSLContext | None,
        schedule: Schedule,
        on_events: Callable[[Sequence[Event[P, F]]], None],
        on_state: Callable[[State], None] | None,
    ) -> None:
        self._protocol = protocol
        self._failover = failover
        self._credentials = credentials
        self._dialect = dialect
        self._schedule = schedule
        self._opener = Opener(
            credentials,
            dialect=dialect,
            tls=tls,
            timeout_s=schedule.connect_timeout_s,
            on_frames=self._receive,
            on_writable=self.wake,
        )
        self._showing = Showing(self._present)
        self._on_events = on_events
        self._on_state = on_state
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._old: Link | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._hurry = asyncio.Event()
        self._paused = False
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._welcomed_at: float | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.state = State(connected=False)
        self.error: HeadraceError | None = None
        self._over = asyncio.Event()

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    def start(self) -> None:
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._run(), name="headrace")

    async def stop(self) -> None:
        """Close the connection and end the task. Idempotent."""
        task, link = self._task, self._link
        if task is None:
            return
        self._leave_old()
        self._showing.stop()
        if link is not None:
            await link.transport.close()
        task.cancel()
        await asyncio.wait([task, *self._goodbyes])
        self._disarm()

    def fail(self, error: HeadraceError) -> list[Event[P, F]]:
        """It is over: from now on `error` says why. Returns what ends with it."""
        self.error = self.error or error
        self._over.set()
        self._release_waiters()
        return self._protocol.fail(self.error)

    async def connected(self) -> State:
        """Wait for a connection, or raise what ended the client."""
        while not self.state.connected:
            if self.error is not None:
                raise self.error
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter
        return self.state

    async def ended(self) -> None:
        """Wait until it is over, and raise what ended it."""
        await self._over.wait()
        if self.error is not None:
            raise self.error

    def wake(self) -> None:
        """The state machine has something to send: write it at the end of this loop turn, all in one."""
        if not self._flushing and self.running:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def network_up(self) -> None:
        """The machine has a network again: try at once, or see whether the connection still lives."""
        if not self.running:
            return
        if self._link is None:
            self._failover.network_up()
            self._hurry.set()
        else:
            self._protocol.probe(self.now())
            self.wake()

    async def show_token(self) -> None:
        """Show a fresh token on the connection, or on the next."""
        token = await self._credentials.token()
        if token and self.running:
            self._showing.show(token)

    async def token_taken(self) -> None:
        """Wait until a node has taken the token that was shown last."""
        await self._showing.taken()

    def pause_reading(self) -> None:
        self._paused = True
        for link in self._links():
            link.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            for link in self._links():
                link.transport.resume_reading()

    def _links(self) -> list[Link]:
        return [link for link in (self._link, self._old) if link is not None]

    def _flush(self) -> None:
        self._flushing = False
        link = self._link
        if link is not None and link.transport.writable:
            frames = self._protocol.outgoing()
            if frames:
                link.transport.send(frames, binary=self._dialect.binary)
        self._arm()

    def _arm(self) -> None:
        """Set the timer, unless one is set that rings before: it will look again."""
        due = self._protocol.next_due(self.now())
        if due is None or self.error is not None or (self._timer is not None and self._timer_due <= due):
            return
        self._disarm()
        self._timer, self._timer_due = self._loop.call_at(due, self._tick), due

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._take(self._protocol.poll(self.now()))
        self._flush()

    def _receive(self, link: Link, frames: list[bytes]) -> None:
        if link is self._link:
            self._take(self._protocol.receive(frames, self.now()))
        elif link is self._old:
            self._take(self._protocol.receive_old(frames, self.now()))
        if self._old is not None and not self._protocol.is_moving:
            self._leave_old()
        self.wake()

    def _take(self, events: Sequence[Event[P, F]]) -> None:
        for event in events:
            if isinstance(event, Welcomed):
                self._welcome(event)
            elif isinstance(event, Listed) and self._link is not None:
                self._failover.learn(event.servers, server=self._link.server)
            elif isinstance(event, Draining) and self._link is not None:
                self._move(self._link, event)
            elif isinstance(event, Presented):
                self._showing.answered(event)
            elif isinstance(event, Broken) and self._link is not None:
                logger.warning("dropping the connection to %s: %s", self.state.server, event.reason)
                self._link.abort()
        self._on_events(events)

    def _welcome(self, event: Welcomed) -> None:
        self._welcomed_at = self.now()
        self._credentials.accepted()
        self._showing.connected()
        server, kept_ms = self._link.server if self._link else "", event.welcome.retention_ms
        self._failover.learn(event.welcome.servers, server=server)
        if kept_ms is not None and not self._schedule.fits(kept_ms / 1000):
            logger.warning("messages are kept for %d ms, the client may be away for half of it", kept_ms)
        self._change(State(connected=True, server=server, node=event.welcome.node))
        self._release_waiters()

    def _release_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _change(self, state: State) -> None:
        self.state = state
        if self._on_state is not None:
            self._on_state(state)

    async def _run(self) -> None:
        try:
            while self.error is None:
                link = await self._attempt(self._opener.open)
                while link is not None and self.error is None:
                    link = await self._stay(link)
        except Exception as error:
            # Only its name: what it says may quote what it worked on.
            self._give_up(ClientError(f"The client broke: {type(error).__name__}."))
            raise

    async def _attempt(self, open: Callable[[str], Awaitable[Link]]) -> Link | None:
        """Wait for the next attempt and make it: None where it came to nothing."""
        while (attempt := self._failover.next(self.now())) is not None:
            if not await self._is_hurried(attempt.at):
                break
        if attempt is None:
            self._give_up(Refused("Every server refused this client."))
            return None
        dialing = Dialing(
            open=open,
            another=lambda server: None if self.error else self._failover.another(self.now(), besides=server),
            failed=self._open_failed,
            patience_s=self._schedule.second_dial_s,
        )
        return await dialing.attempt(attempt.server)

    async def _is_hurried(self, until: float) -> bool:
        """Wait; tell whether the network came back meanwhile, so that the time is to be asked for again."""
        self._hurry.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                return await self._hurry.wait()
        return False

    async def _stay(self, link: Link) -> Link | None:
        """Use the connection until it ends, or until another takes over; return that one."""
        closed = link.transport.closed
        refresh = self._loop.create_task(self._opener.keep_fresh(self._showing.show), name="headrace token")
        try:
            self._use(link)
            await _first_of(closed, link.moved)
        except BaseException:
            link.abort()
            raise
        finally:
            refresh.cancel()
            self._link = None
            if link.mover is not None:
                link.mover.cancel()
        self._leave_old()
        if not closed.done():
            self._old = link
            return link.moved.result()
        self._protocol.disconnect()
        if link.moved.done():
            return link.moved.result()
        self._ended(link.server, closed.result())
        return None

    def _use(self, link: Link) -> None:
        self._link, self._welcomed_at = link, None
        if self._old is not None:
            self._protocol.move(self.now())
            self._leaving = self._loop.call_later(MOVE_TIMEOUT_S, self._leave_old)
            self._old.transport.closed.add_done_callback(partial(self._old_closed, self._old))
        else:
            self._protocol.connect(self.now())
        link.transport.start()
        if self._paused:
            link.transport.pause_reading()
        self._flush()

    def _move(self, link: Link, event: Draining) -> None:
        """The node is leaving: look for another while the connection goes on."""
        if link.mover is None:
            self._failover.drained(link.server, spread_s=event.spread_ms / 1000)
            link.mover = self._loop.create_task(self._find_another(link), name="headrace move")

    async def _find_another(self, link: Link) -> None:
        while self.error is None and not link.moved.done():
            found = await self._attempt(self._opener.open_greeted)
            if found is not None:
                link.moved.set_result(found)

    def _old_closed(self, old: Link, _: object) -> None:
        if old is self._old:
            self._leave_old()

    def _leave_old(self) -> None:
        old, self._old = self._old, None
        if old is None:
            return
        if self._leaving is not None:
            self._leaving.cancel()
        self._protocol.leave()
        goodbye = self._loop.create_task(old.transport.close(), name="headrace goodbye")
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)

    def _present(self, token: str) -> int:
        number = self._protocol.present(token)
        self.wake()
        return number

    def _open_failed(self, server: str, error: OpenFailed) -> None:
        logger.debug("no connection to %s: %s", server, error.reason)
        if self._link is None:
            self._change(State(connected=False, server=server, reason=error.reason))
        verdict = Verdict.COME_BACK if error.status is None else verdict_of_status(error.status)
        if verdict is Verdict.NEVER_THERE:
            self._failover.refused(server)
            if not self._failover.servers:
                self._give_up(Forbidden(error.reason) if error.status == 403 else Refused(error.reason))
            return
        self._failover.failed(server, self.now(), retry_after_s=error.retry_after_s)
        if verdict is Verdict.FRESH_TOKEN and not self._credentials.refused():
            self._give_up(Unauthorized())

    def _ended(self, server: str, closed: Closed) -> None:
        now = self.now()
        reason = closed.reason or (f"closed with {closed.code}" if closed.code else "the connection broke")
        self._change(State(connected=False, server=server, reason=reason))
        lasted_s = now - self._welcomed_at if self._welcomed_at is not None else 0.0
        spread_ms = self._protocol.welcome.spread_ms
        spread_s = None if spread_ms is None else spread_ms / 1000
        self._failover.ended(server, now, lasted_s=lasted_s, spread_s=spread_s)
        verdict = verdict_of_close(closed.code)
        if verdict is Verdict.NEVER:
            self._give_up(Refused(f"The server closed the connection with {closed.code}: {reason}."))
        elif verdict is Verdict.FRESH_TOKEN and not self._credentials.refused():
            self._give_up(Unauthorized(f"The token was refused: {reason}."))

    def _give_up(self, error: HeadraceError) -> None:
        self._on_events(self.fail(error))


async def _first_of(*futures: "asyncio.Future[Any]") -> None:
    """Wait until one is done; what it brought is its owner's."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
