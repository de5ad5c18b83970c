"""The same client for code without an event loop: every call is handed to a `headrace.Client` in a thread of its own.

There is one implementation: methods here are the asyncio ones, waited for. A client may be used from several threads,
one subscription from one thread at a time.
"""

import asyncio
import concurrent.futures
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Concatenate, Literal, ParamSpec, Self, TypeVar

from headrace import client as asynchronous
from headrace.connector import State
from headrace.consumer import Consumer as AsyncConsumer
from headrace.consumer import Delivery as AsyncDelivery
from headrace.credentials import Token
from headrace.errors import ClientClosed
from headrace.failover import Schedule, Server
from headrace.messages import Attached, Gap, Message, Started
from headrace.positions import Position, Since
from headrace.publishing import Queue
from headrace.subscription import Item
from headrace.subscription import Subscription as AsyncSubscription

BATCH = 1024
"""Items fetched from the client's thread at once. Their places count one by one, as they are iterated."""

P = ParamSpec("P")
T = TypeVar("T")


def _waited(
    method: Callable[Concatenate[asynchronous.Client, P], Awaitable[T]],
) -> Callable[Concatenate["Client", P], T]:
    """Return a method of the blocking client that calls `method` in its thread and waits for the result."""

    def call(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def invoke() -> T:
            return await method(self._client, *args, **kwargs)

        return self.run(invoke())

    call.__name__, call.__doc__ = method.__name__, method.__doc__
    return call


class Client:
    """A blocking client of a Headrace cluster; see `headrace.Client` for what its arguments and methods mean.

    `with Client(servers, token=...) as client:` starts a daemon thread with an event loop and ends it. The functions
    given as `token`, `on_state`, `on_gap` and `on_started` are called: the first two in that thread, the others where
    you iterate.
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
        self._client = asynchronous.Client(
            servers,
            token=token,
            name=name,
            dialect=dialect,
            tls=tls,
            schedule=schedule,
            queue=queue,
            on_state=on_state,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<blocking {self._client!r}>"

    @property
    def state(self) -> State:
        return self._client.state

    @property
    def inner(self) -> asynchronous.Client:
        """The client that works in the thread; use it there only (`run`)."""
        return self._client

    @property
    def subjects_in(self) -> str:
        return self._client.subjects_in

    def open(self) -> Self:
        """Start the thread and begin to connect. Called by `with`."""
        if self._thread is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="headrace", daemon=True)
            self._thread.start()
        self.run(self._client.open())
        return self

    def close(self, *, timeout: float = asynchronous.CLOSE_TIMEOUT_S) -> None:
        """As the asyncio client's, then the thread ends. Idempotent."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            self.run(self._client.close(timeout=timeout))
        finally:
            self._loop = self._thread = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(timeout=asynchronous.CLOSE_TIMEOUT_S if error is None else 0.0)

    connected = _waited(asynchronous.Client.connected)
    flush = _waited(asynchronous.Client.flush)
    publish = _waited(asynchronous.Client.publish)
    retry = _waited(asynchronous.Client.retry)
    show_token = _waited(asynchronous.Client.show_token)

    def subscribe(
        self,
        topic: str,
        *,
        since: Since = "now",
        snapshot: bool = False,
        on_gap: Callable[[Gap], None] | None = None,
        on_started: Callable[[Started], None] | None = None,
    ) -> "Subscription":
        """Follow a topic; iterate the result. See `headrace.Client.subscribe`."""

        async def subscribe() -> AsyncSubscription:
            return self._client.subscribe(topic, since=since, snapshot=snapshot, on_gap=on_gap, on_started=on_started)

        return Subscription(self, self.run(subscribe()))

    def consume(self, subscription: str, *, window: int = asynchronous.DEFAULT_WINDOW) -> "Consumer":
        """Consume a durable subscription; iterate the result. See `headrace.Client.consume`."""

        async def consume() -> AsyncConsumer:
            return self._client.consume(subscription, window=window)

        return Consumer(self, self.run(consume()))

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run a coroutine in the client's thread; interrupting the wait (Ctrl-C) cancels it."""
        if self._loop is None:
            coroutine.close()
            raise ClientClosed("The client is not open: use `with`, or `client.open()`.")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClientClosed from None
        finally:
            future.cancel()


class Subscription:
    """An iterator of a topic's messages; see `headrace.Subscription`."""

    def __init__(self, client: Client, inner: AsyncSubscription) -> None:
        self._client = client
        self._inner = inner
        self._fetched: list[tuple[Item | Started, Position | None]] = []
        self._position: Position | None = None

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"

    @property
    def topic(self) -> str:
        return self._inner.topic

    @property
    def position(self) -> Position | None:
        """The place after the last item that was iterated."""
        return self._position

    def started(self, *, timeout: float = 30.0) -> Started:
        """Wait until the server has placed the subscription."""
        started = self._client.run(self._inner.started(timeout=timeout))
        self._position = self._position or started.after
        return started

    def __enter__(self) -> Self:
        self.started()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        for item in self.events():
            if isinstance(item, Message):
                yield item
            else:
                self._inner.on_gap(item)

    def events(self) -> Iterator[Item]:
        """Iterate messages and gaps, in stream order."""
        while True:
            if not self._fetched:
                self._fetched = self._client.run(_fetch(self._inner))
                self._fetched.reverse()
                if not self._fetched:
                    return
            item, self._position = self._fetched.pop()
            if isinstance(item, Started):
                self._inner.tell_started(item)
            else:
                yield item

    def close(self) -> None:
        """Follow no longer; what is queued is dropped. Idempotent."""
        self._fetched = []
        self._client.run(self._inner.close())


class Consumer:
    """An iterator of deliveries; see `headrace.Consumer`."""

    def __init__(self, client: Client, inner: AsyncConsumer) -> None:
        self._client = client
        self._inner = inner

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"

    @property
    def subscription(self) -> str:
        return self._inner.subscription

    def attached(self, *, timeout: float = 30.0) -> Attached:
        """Wait until the server delivers."""
        return self._client.run(self._inner.attached(timeout=timeout))

    def __enter__(self) -> Self:
        self.attached()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator["Delivery"]:
        while (delivery := self._client.run(_next_of(self._inner))) is not None:
            yield Delivery(self._client, delivery)

    def close(self) -> None:
        """Consume no longer; what is queued is given back. Idempotent."""
        self._client.run(self._inner.close())


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery; its verbs wait for the server's answer. See `headrace.Delivery`."""

    _client: Client
    _inner: AsyncDelivery

    @property
    def message(self) -> Message:
        return self._inner.message

    @property
    def attempt(self) -> int:
        return self._inner.attempt

    @property
    def subscription(self) -> str:
        return self._inner.subscription

    def ack(self) -> None:
        """It is done. Raises `LeaseLost` where the lease had ended."""
        self._client.run(_awaited(self._inner.ack))

    def nack(self, delay: float | None = None) -> None:
        """Give it back, to be delivered again after `delay` seconds, or as the retry policy says."""
        self._client.run(_awaited(lambda: self._inner.nack(delay)))

    def extend(self, seconds: int) -> None:
        """Keep it for `seconds` from now."""
        self._client.run(_awaited(lambda: self._inner.extend(seconds)))


async def _next_of(inner: AsyncConsumer) -> AsyncDelivery | None:
    return inner.take() if await inner.wait() else None


async def _awaited(settle: Callable[[], "asyncio.Future[None]"]) -> None:
    await settle()


async def _fetch(inner: AsyncSubscription) -> list[tuple[Item | Started, Position | None]]:
    """Wait for at least one item and return what is queued; an empty list when the subscription was closed."""
    items: list[tuple[Item | Started, Position | None]] = []
    if await inner.wait():
        while inner.queued and len(items) < BATCH:
            items.append((inner.take_any(), inner.position))
    return items
