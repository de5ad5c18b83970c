"""The asyncio client: publishes, follows, and comes back. What it decides is in `protocol` and `failover`.

It uses the event loop it is opened in, and one background task.
"""

import asyncio
import logging
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from random import Random
from types import TracebackType
from typing import Literal, Self

from headrace.connector import Connector, State
from headrace.consumer import Consumer
from headrace.consumers import Consumers
from headrace.credentials import Credentials, Token
from headrace.dialects import DIALECTS
from headrace.errors import ClientClosed, ConnectionFailed, HeadraceError
from headrace.events import Answered, Arrived, Complained, Delivered, Ended, Event, Released, Settled
from headrace.failover import Failover, Schedule, Server
from headrace.messages import UNSET, Attached, Durability, Gap, Published, Started, Unset
from headrace.positions import Since
from headrace.protocol import Protocol
from headrace.publishing import Call, PublishHandle, Publishing, Queue, answer
from headrace.subscription import Subscription
from headrace.subscriptions import Subscriptions

PUBLISH_TIMEOUT_S = 30.0
"""How long a publish is tried by default, reconnects included."""

CLOSE_TIMEOUT_S = 10.0
"""How long `close` waits for the answers to publishes by default."""

DEFAULT_WINDOW = 100
"""Deliveries of a subscription that are unsettled at once by default."""

logger = logging.getLogger("headrace")


class Client:
    """A client of a Headrace cluster.

    `servers` are base URLs (`https://host:8080`; http, https, ws, wss), in any order, with a weight where they are a
    `Server`; the nodes tell the client of others. `token` is a string or a function (plain or async) that returns a
    fresh one for each connection. `name` appears in the server's logs. `schedule` says how fast to come back.
    `queue` bounds the publishes that wait for an answer, while there is no connection too.
    `on_state` is called with a `State` whenever the connection comes or goes.

    Use it as `async with Client(...) as client`. It connects in the background and never gives up on its own; what the
    server refuses for good (a wrong token) ends it, and then every call raises that error.
    """

    def __init__(
        self,
        servers: str | Server | Sequence[str | Server],
        *,
        token: Token = None,
        name: str = "",
        dialect: Literal["msgpack", "json"] = "msgpack",
        tls: ssl.SSLContext | None = None,
        schedule: Schedule | None = None,
        queue: Queue | None = None,
        on_state: Callable[[State], None] | None = None,
    ) -> None:
        schedule, queue = schedule or Schedule(), queue or Queue()
        failover = Failover(
            [servers] if isinstance(servers, str | Server) else servers, draw=Random().random, schedule=schedule
        )
        self._urls = failover.servers
        self._protocol: Protocol[PublishHandle, Subscription] = Protocol(
            dialect=DIALECTS[dialect],
            publisher=secrets.token_hex(16),
            client=_client_name(name),
            half_open_s=schedule.half_open_s,
            max_pending=queue.messages,
            max_pending_bytes=queue.bytes,
        )
        self._connector = Connector(
            self._protocol,
            failover,
            Credentials(token),
            dialect=DIALECTS[dialect],
            tls=tls,
            schedule=schedule,
            on_events=self._act,
            on_state=on_state,
        )
        self._consumers, self._publishing, self._subscriptions = self._owners(queue)
        self._all_answered = asyncio.Event()

    def _owners(self, queue: Queue) -> tuple[Consumers, Publishing[Subscription], Subscriptions[PublishHandle]]:
        """Make the parts that own what the application holds."""
        protocol, check_open, connector = self._protocol, self._check_open, self._connector
        wake, now = connector.wake, connector.now
        return (
            Consumers(protocol.consumings, check_open=check_open, wake=wake, now=now),
            Publishing(protocol, when_full=queue.when_full, check_open=check_open, wake=wake, now=now),
            Subscriptions(
                protocol,
                check_open=check_open,
                wake=wake,
                pause_reading=connector.pause_reading,
                resume_reading=connector.resume_reading,
            ),
        )

    def __repr__(self) -> str:
        return f"<Client of {', '.join(self._urls)}>"

    @property
    def _unanswered(self) -> int:
        return self._protocol.unanswered + self._protocol.consumings.unanswered

    @property
    def state(self) -> State:
        """Whether there is a connection, to which server, and why not."""
        return self._connector.state

    @property
    def subjects_in(self) -> str:
        """The project that the cluster keeps MigratoryData's subjects in, once connected; "" for none."""
        return self._protocol.welcome.subjects_in

    async def open(self) -> Self:
        """Begin to connect, in the background. Called by `async with`."""
        self._connector.start()
        return self

    async def close(self, *, timeout: float = CLOSE_TIMEOUT_S) -> None:
        """Wait up to `timeout` seconds for the answers to publishes and acks, then close. Idempotent.

        Publishes without an answer fail with `ClientClosed`; iterations end once they have brought what is queued.
        """
        try:
            await self.flush(timeout=timeout)
        except TimeoutError:
            logger.warning("closed with %d publishes and acks unanswered", self._unanswered)
        finally:
            self._act(self._connector.fail(ClientClosed()))
            await self._connector.stop()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(timeout=CLOSE_TIMEOUT_S if error is None else 0.0)

    async def connected(self, *, timeout: float = 30.0) -> State:
        """Wait until there is a connection.

        Raises `ConnectionFailed` with the last reason after `timeout` seconds, or what ended the client.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._connector.connected()
        except TimeoutError:
            raise ConnectionFailed(f"No connection in {timeout:g} s: {self.state.reason or 'no answer'}.") from None

    def network_up(self) -> None:
        """Tell the client that the machine has a network again, where the application knows: it tries at once."""
        self._connector.network_up()

    async def ended(self) -> None:
        """Wait until the client is over, and raise what ended it: `ClientClosed`, or the servers' refusal."""
        await self._connector.ended()

    @property
    def error(self) -> HeadraceError | None:
        """What ended the client for good; None while it goes on."""
        return self._connector.error

    async def show_token(self) -> None:
        """Show the token again, asked for anew where a function makes it: its rights hold once a node has taken it."""
        await self._connector.show_token()

    async def token_taken(self) -> None:
        """Wait until a node has taken the token that was shown last; for ever where the nodes refuse it."""
        await self._connector.token_taken()

    async def flush(self, *, timeout: float = PUBLISH_TIMEOUT_S) -> None:
        """Wait until every publish and every ack so far is answered, or raise `TimeoutError`."""
        async with asyncio.timeout(timeout):
            while self._unanswered and self._connector.error is None:
                self._all_answered.clear()
                await self._all_answered.wait()

    async def publish(
        self,
        topic: str,
        *,
        text: str | None = None,
        json: object | Unset = UNSET,
        data: bytes | None = None,
        attributes: Mapping[str, str] | None = None,
        key: str | None = None,
        durability: Durability | None = None,
        retained: bool = False,
        timeout: float = PUBLISH_TIMEOUT_S,
    ) -> Published:
        """Publish one message and return its place in the topic's log.

        Exactly one of `text`, `json` (any JSON value) and `data` (bytes) is the payload. It is sent again over
        reconnects and stored once. `key` is an idempotency key of your own: the same key within an hour, from any
        client with this token, gives the first one's place. A `retained` message becomes its topic's snapshot.
        `timeout` in seconds.

        Raises the server's refusal (`Forbidden`, `TooLarge`, ...), or `PublishTimeout`. Where `maybe_stored` is true
        of the error, the message may be in the log, and `retry` is safe. `outcome_of` has a word for each.
        """
        call: Call = {
            "text": text,
            "json": json,
            "data": data,
            "attributes": attributes,
            "key": key,
            "durability": durability,
            "retained": retained,
            "timeout": timeout,
        }
        return await self._publishing.publish(topic, call)

    async def retry(self, error: HeadraceError, *, timeout: float = PUBLISH_TIMEOUT_S) -> Published:
        """Try a publish again that raised `error` with `maybe_stored`: it is stored once, whatever became of it before.

        In this client, soon: the server remembers a client's last 1,024 publishes to a topic, for an hour. After that
        it raises `StaleSequence` and stores nothing. `ValueError` for an error that leaves nothing open.
        """
        return await self._publishing.retry(error, timeout)

    def publish_nowait(
        self,
        topic: str,
        *,
        text: str | None = None,
        json: object | Unset = UNSET,
        data: bytes | None = None,
        attributes: Mapping[str, str] | None = None,
        key: str | None = None,
        durability: Durability | None = None,
        retained: bool = False,
        timeout: float = PUBLISH_TIMEOUT_S,
    ) -> asyncio.Future[Published]:
        """Queue one message, like `publish`, and return a future of its place: the quick way for many messages.

        Messages to one topic are stored in the order of the calls. Raises `QueueFull` while 10,000 publishes (or
        8 MiB) wait for an answer: then `await room()`. Cancelling the future does not take the message back.
        """
        call: Call = {
            "text": text,
            "json": json,
            "data": data,
            "attributes": attributes,
            "key": key,
            "durability": durability,
            "retained": retained,
            "timeout": timeout,
        }
        return self._publishing.queue(topic, call)

    async def room(self) -> None:
        """Wait until a publish was answered, so that `publish_nowait` may have room again."""
        await self._publishing.room()

    def subscribe(
        self,
        topic: str,
        *,
        since: Since = "now",
        snapshot: bool = False,
        on_gap: Callable[[Gap], None] | None = None,
        on_started: Callable[[Started], None] | None = None,
    ) -> Subscription:
        """Follow a topic: iterate the result, over all reconnects, each message once and in order.

        `since` says where to start: `"now"`, `"earliest"`, `{"last": n}`, `{"time": ms}` (Unix milliseconds), or the
        `Position` of the last message seen. `on_gap` is told what was lost. `on_started` is told of each time that a
        node placed the subscription, the first and after every reconnect, and with `snapshot` of the topic's snapshot
        then; both are called in stream order. A topic can be followed once a client.

        A subscriber that is slower than its topic makes the client read its socket more slowly, which also delays
        what else goes over this client for up to 5 s; after that its topic alone is put aside until it has caught up.
        """
        return self._subscriptions.subscribe(
            topic, since=since, snapshot=snapshot, on_gap=on_gap, on_started=on_started
        )

    def consume(self, subscription: str, *, window: int = DEFAULT_WINDOW) -> Consumer:
        """Consume a shared durable subscription, `project/subscription`: iterate the result, and ack each delivery.

        At most `window` deliveries are unsettled at once, 1 to 1000. Others may consume the same subscription, here
        or over HTTP: each message is in one hand at a time, and comes again, perhaps to another, unless it is acked.
        """
        return self._consumers.consume(subscription, window=window)

    def _check_open(self) -> None:
        if self._connector.error is not None:
            raise self._connector.error
        if not self._connector.running:
            raise ClientClosed("The client is not open: use `async with`, or `await client.open()`.")

    def _act(self, events: Sequence[Event[PublishHandle, Subscription]]) -> None:
        for event in events:
            match event:
                case Arrived() | Ended():
                    self._subscriptions.act(event)
                case Answered():
                    answer(event)
                case Attached() | Delivered() | Released() | Settled():
                    self._consumers.act(event)
                case Complained(error):
                    logger.warning("the server refused a frame: %s (%s)", error.reason, error.code)
        if events:
            self._publishing.release_room()
        if events and not self._unanswered:
            self._all_answered.set()


def _client_name(name: str) -> str:
    try:
        number = version("headrace")
    except PackageNotFoundError:
        number = "0"
    return f"headrace-python/{number} {name}".strip()[:128]
