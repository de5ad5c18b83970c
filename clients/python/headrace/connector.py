"""The loop that keeps one connection: dial, feed the state machine, write what it wants written, come back."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from headrace.credentials import Credentials
from headrace.dialects import Dialect
from headrace.errors import ClientError, Forbidden, HeadraceError, Unauthorized
from headrace.events import Broken, Event, F, P, Welcomed
from headrace.failover import Attempt, Failover, Verdict, verdict_of_close, verdict_of_status
from headrace.protocol import Protocol
from headrace.transport import Closed, OpenFailed, Transport

TOKEN_TIMEOUT_S = 10.0
"""For the application's token function."""

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
        on_events: Callable[[Sequence[Event[P, F]]], None],
        on_state: Callable[[State], None] | None,
    ) -> None:
        self._protocol = protocol
        self._failover = failover
        self._credentials = credentials
        self._dialect = dialect
        self._tls = tls
        self._on_events = on_events
        self._on_state = on_state
        self._task: asyncio.Task[None] | None = None
        self._transport: Transport | None = None
        self._paused = False
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._welcomed_at: float | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self.state = State(connected=False)
        self.error: HeadraceError | None = None

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
        task, transport = self._task, self._transport
        if task is None:
            return
        if transport is not None:
            await transport.close()
        task.cancel()
        await asyncio.wait([task])
        self._disarm()

    def fail(self, error: HeadraceError) -> list[Event[P, F]]:
        """It is over: from now on `error` says why. Returns what ends with it."""
        self.error = self.error or error
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

    def wake(self) -> None:
        """The state machine has something to send: write it at the end of this loop turn, all in one."""
        if not self._flushing and self.running:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def pause_reading(self) -> None:
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _flush(self) -> None:
        self._flushing = False
        transport = self._transport
        if transport is not None and transport.writable:
            frames = self._protocol.outgoing()
            if frames:
                transport.send(frames, binary=self._dialect.binary)
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

    def _receive(self, frames: list[bytes]) -> None:
        self._take(self._protocol.receive(frames, self.now()))
        self.wake()

    def _take(self, events: Sequence[Event[P, F]]) -> None:
        for event in events:
            if isinstance(event, Welcomed):
                self._welcome(event)
            elif isinstance(event, Broken) and self._transport is not None:
                logger.warning("dropping the connection to %s: %s", self.state.server, event.reason)
                self._transport.abort()
        self._on_events(events)

    def _welcome(self, event: Welcomed) -> None:
        self._welcomed_at = self.now()
        self._credentials.accepted()
        self._failover.learn(event.welcome.servers, server=self.state.server)
        self._change(State(connected=True, server=self.state.server, node=event.welcome.node))
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
                attempt = self._failover.next(self.now())
                if attempt is None:
                    self._give_up(Refused("Every server refused this client."))
                    return
                await asyncio.sleep(attempt.at - self.now())
                await self._try(attempt)
        except Exception as error:
            # Only its name: what it says may quote what it worked on.
            self._give_up(ClientError(f"The client broke: {type(error).__name__}."))
            raise

    async def _try(self, attempt: Attempt) -> None:
        self.state = State(connected=False, server=attempt.server, reason=self.state.reason)
        self._welcomed_at = None
        try:
            transport = await self._open(attempt.server)
        except OpenFailed as error:
            self._open_failed(attempt.server, error)
            return
        refresh = self._loop.create_task(self._keep_fresh(), name="headrace token")
        try:
            self._use(transport)
            closed = await asyncio.shield(transport.closed)
        finally:
            refresh.cancel()
            self._transport = None
            self._protocol.disconnect()
            transport.abort()
        self._ended(attempt.server, closed)

    async def _open(self, server: str) -> Transport:
        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                headers = await self._credentials.headers()
        except Exception as error:
            raise OpenFailed(f"the token function failed: {type(error).__name__}") from error
        return await Transport.open(
            server,
            subprotocol=self._dialect.subprotocol,
            headers=headers,
            tls=self._tls,
            on_frames=self._receive,
            on_writable=self.wake,
        )

    async def _keep_fresh(self) -> None:
        """Show a fresh token before the one shown expires. Where that fails, the next connection brings another."""
        while (wait_s := self._credentials.refresh_in(time.time())) is not None:
            await asyncio.sleep(wait_s)
            try:
                async with asyncio.timeout(TOKEN_TIMEOUT_S):
                    token = await self._credentials.token()
            except Exception as error:
                # Only its name: what a token function raises may quote what it read.
                logger.warning("the token function failed: %s", type(error).__name__)
                return
            if token:
                self._protocol.present(token)
                self.wake()

    def _use(self, transport: Transport) -> None:
        self._transport = transport
        self._protocol.connect(self.now())
        transport.start()
        if self._paused:
            transport.pause_reading()
        self._flush()

    def _open_failed(self, server: str, error: OpenFailed) -> None:
        logger.debug("no connection to %s: %s", server, error.reason)
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
        self._failover.ended(server, lasted_s=lasted_s, code=closed.code, spread_ms=spread_ms)
        verdict = verdict_of_close(closed.code)
        if verdict is Verdict.NEVER:
            self._give_up(Refused(f"The server closed the connection with {closed.code}: {reason}."))
        elif verdict is Verdict.FRESH_TOKEN and not self._credentials.refused():
            self._give_up(Unauthorized(f"The token was refused: {reason}."))

    def _give_up(self, error: HeadraceError) -> None:
        self._on_events(self.fail(error))
