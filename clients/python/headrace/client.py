"""The asyncio client: publishes, follows, and comes back. What it decides is in `protocol` and `failover`.

It uses the event loop it is opened in, and one background task.
"""

import asyncio
import logging
import secrets
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from random import Random
from types import TracebackType
from typing import Literal, Self

from headrace.connector import Connector, State
from headrace.consumer import Consumer
from headrace.consumers import Consumers
from headrace.credentials import Credentials, Token
from headrace.dialects import DIALECTS
from headrace.errors import ClientClosed, ConnectionFailed, HeadraceError, NotSubscribed, PublishTimeout, QueueFull
from headrace.events import Answered, Arrived, Complained, Delivered, Ended, Event, Released, Settled
from headrace.failover import Failover
from headrace.messages import UNSET, Attached, Durability, Gap, Published, Started, Unset, payload_of
from headrace.positions import Since, checked_since
from headrace.protocol import Protocol
from headrace.subscription import Subscription

PUBLISH_TIMEOUT_S = 30.0
"""How long a publish is tried by default, reconnects included."""

CLOSE_TIMEOUT_S = 10.0
"""How long `close` waits for the answers to publishes by default."""

DEFAULT_WINDOW = 100
"""Deliveries of a subscription that are unsettled at once by default."""

PARK_S = 5.0
"""How long the socket stays unread for a slow subscriber, before its topic alone is put aside."""

logger = logging.getLogger("headrace")

PublishHandle = asyncio.Future[Published]


class Client:
    """A client of a Headrace cluster.

    `servers` are base URLs (`https://host:8080`; http, https, ws, wss), in any order. `token` is a string or a function
    (plain or async) that returns a fresh one for each connection. `name` appears in the server's logs. `on_state` is
    called with a `State` whenever the connection comes or goes.

    Use it as `async with Client(...) as client`. It connects in the background and never gives up on its own; what the
    server refuses for good (a wrong token) ends it, and then every call raises that error.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        token: Token = None,
        name: str = "",
        dialect: Literal["msgpack", "json"] = "msgpack",
        tls: ssl.SSLContext | None = None,
        on_state: Callable[[State], None] | None = None,
    ) -> None:
        self._urls = (servers,) if isinstance(servers, str) else tuple(servers)
        self._protocol: Protocol[PublishHandle, Subscription] = Protocol(
            dialect=DIALECTS[dialect], publisher=secrets.token_hex(16), client=_client_name(name)
        )
        self._connector = Connector(
            self._protocol,
            Failover(self._urls, random=Random()),
            Credentials(token),
            dialect=DIALECTS[dialect],
            tls=tls,
            on_events=self._act,
            on_state=on_state,
        )
        self._consumers = Consumers(
            self._protocol.consumings,
            check_open=self._check_open,
            wake=self._connector.wake,
            now=self._connector.now,
        )
        self._subscriptions: dict[str, Subscription] = {}
        self._full: set[Subscription] = set()
        self._room: deque[asyncio.Future[None]] = deque()
        self._all_answered = asyncio.Event()
        self._park_timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Client of {', '.join(self._urls)}>"

    @property
    def _unanswered(self) -> int:
        return self._protocol.unanswered + self._protocol.consumings.unanswered

    @property
    def state(self) -> State:
        """Whether there is a connection, to which server, and why not."""
        return self._connector.state

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
        timeout: float = PUBLISH_TIMEOUT_S,
    ) -> Published:
        """Publish one message and return its place in the topic's log.

        Exactly one of `text`, `json` (any JSON value) and `data` (bytes) is the payload. It is sent again over
        reconnects and stored once. `key` is an idempotency key of your own: the same key within an hour, from any
        client with this token, gives the first one's place. `timeout` in seconds.

        Raises the server's refusal (`Forbidden`, `TooLarge`, ...), or `PublishTimeout`: then it may be stored, or not.
        """
        enqueue = partial(
            self._enqueue,
            topic,
            text=text,
            json=json,
            data=data,
            attributes=attributes,
            key=key,
            durability=durability,
            timeout=timeout,
        )
        try:
            sequence, future = enqueue()
        except QueueFull:
            sequence, future = await self._enqueue_later(enqueue, timeout)
        try:
            return await future
        except asyncio.CancelledError:
            self._protocol.withdraw(sequence, self._connector.now())
            raise

    async def _enqueue_later(
        self, enqueue: Callable[[], tuple[int, PublishHandle]], timeout: float
    ) -> tuple[int, PublishHandle]:
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self._wait_for_room()
                    with suppress(QueueFull):
                        return enqueue()
        except TimeoutError:
            raise PublishTimeout("The queue had no room in time; the message was not sent.") from None

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
        timeout: float = PUBLISH_TIMEOUT_S,
    ) -> asyncio.Future[Published]:
        """Queue one message, like `publish`, and return a future of its place: the quick way for many messages.

        Messages to one topic are stored in the order of the calls. Raises `QueueFull` while 10,000 publishes (or
        16 MiB) wait for an answer: then `await room()`. Cancelling the future does not take the message back.
        """
        _, future = self._enqueue(
            topic,
            text=text,
            json=json,
            data=data,
            attributes=attributes,
            key=key,
            durability=durability,
            timeout=timeout,
        )
        return future

    def _enqueue(
        self,
        topic: str,
        *,
        text: str | None,
        json: object | Unset,
        data: bytes | None,
        attributes: Mapping[str, str] | None,
        key: str | None,
        durability: Durability | None,
        timeout: float,
    ) -> tuple[int, PublishHandle]:
        self._check_open()
        kind, payload = payload_of(text=text, json=json, data=data)
        future: PublishHandle = asyncio.get_running_loop().create_future()
        now = self._connector.now()
        sequence = self._protocol.publish(
            topic,
            kind,
            payload,
            handle=future,
            deadline=now + timeout,
            attributes=attributes,
            key=key,
            durability=durability,
        )
        self._connector.wake()
        return sequence, future

    async def room(self) -> None:
        """Wait until a publish was answered, so that `publish_nowait` may have room again."""
        self._check_open()
        if self._protocol.room == 0:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        await waiter

    def _release_room(self) -> None:
        """Wake as many as there is room for; the others keep their turn."""
        room = self._protocol.room
        while self._room and room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1
        if not self._unanswered:
            self._all_answered.set()

    def subscribe(
        self, topic: str, *, since: Since = "now", on_gap: Callable[[Gap], None] | None = None
    ) -> Subscription:
        """Follow a topic: iterate the result, over all reconnects, each message once and in order.

        `since` says where to start: `"now"`, `"earliest"`, `{"last": n}`, `{"time": ms}` (Unix milliseconds), or the
        `Position` of the last message seen. `on_gap` is told what was lost. A topic can be followed once a client.

        A subscriber that is slower than its topic makes the client read its socket more slowly, which also delays
        what else goes over this client for up to 5 s; after that its topic alone is put aside until it has caught up.
        """
        self._check_open()
        subscription = Subscription(self, topic, on_gap=on_gap)
        self._protocol.follow(topic, checked_since(since), subscription)
        self._subscriptions[topic] = subscription
        self._connector.wake()
        return subscription

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

    def subscription_closed(self, subscription: Subscription) -> None:
        """Called by a subscription that the application closed."""
        self._forget(subscription)
        try:
            self._protocol.unfollow(subscription.topic)
        except NotSubscribed:
            return  # the server or the client had ended it before
        self._connector.wake()

    def subscription_drained(self, subscription: Subscription) -> None:
        """Called by a subscription whose application has caught up."""
        self._full.discard(subscription)
        self._protocol.unpark(subscription.topic)
        self._connector.wake()
        self._read_on()

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription.topic, None)
        self._full.discard(subscription)
        self._read_on()

    def _read_on(self) -> None:
        if not self._full:
            self._stop_park_timer()
            self._connector.resume_reading()

    def _fill(self, subscription: Subscription) -> None:
        self._full.add(subscription)
        self._connector.pause_reading()
        if self._park_timer is None:
            self._park_timer = asyncio.get_running_loop().call_later(PARK_S, self._park)

    def _park(self) -> None:
        """The subscribers are slow beyond patience: put their topics aside, and read on for all others."""
        self._park_timer = None
        for subscription in self._full:
            self._protocol.park(subscription.topic)
        self._connector.wake()
        self._connector.resume_reading()

    def _stop_park_timer(self) -> None:
        if self._park_timer is not None:
            self._park_timer.cancel()
            self._park_timer = None

    def _act(self, events: Sequence[Event[PublishHandle, Subscription]]) -> None:
        for event in events:
            match event:
                case Arrived():
                    self._arrived(event)
                case Answered():
                    _answer(event)
                case Ended(subscription, error):
                    subscription.end(None if isinstance(error, ClientClosed) else error)
                    self._forget(subscription)
                case Attached() | Delivered() | Released() | Settled():
                    self._consumers.act(event)
                case Complained(error):
                    logger.warning("the server refused a frame: %s (%s)", error.reason, error.code)
        if events:
            self._release_room()

    def _arrived(self, event: Arrived[Subscription]) -> None:
        if isinstance(event.item, Started):
            event.handle.start(event.item)
        elif event.handle.push(event.item, event.resume):
            self._fill(event.handle)


def _answer(event: Answered[PublishHandle]) -> None:
    future, result = event.handle, event.result
    if future.done():
        return
    if isinstance(result, HeadraceError):
        future.set_exception(result)
    else:
        future.set_result(result)


def _client_name(name: str) -> str:
    try:
        number = version("headrace")
    except PackageNotFoundError:
        number = "0"
    return f"headrace-python/{number} {name}".strip()[:128]
