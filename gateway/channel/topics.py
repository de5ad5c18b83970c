"""Topics bound to channels: what is published there, over any face, is put into the client's queue, and so to its page.

A node with a connection of the client follows its topics like any subscriber, and appends what they bring to the queue.
The queue remembers each topic's last position, and appends nothing twice; so two nodes may bring the same, and after a
time without any connection the next one goes on from there (DESIGN 8, kinds across faces).
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgpack

from broker.errors import HeadraceError
from broker.hub import Hub
from broker.messages import Entry, Kind
from broker.names import TopicName
from broker.ports import Placed, Since
from broker.positions import Position, Range, Recovery
from broker.store.channels import ChannelStore, FromTopic
from gateway.metrics import Metrics

MAX_MESSAGE_BYTES = 32_767
"""Of what a page gets (contracts/channel 1)."""

MAX_WAITING_BYTES = 256 * 1024
"""Of one topic's messages on their way into one queue; above it they stay in the topic's log."""

ENTRY_BYTES = 64
"""What a message counts besides its payload."""

BATCH = 100

FIRST_AGAIN_SECONDS = 1.0
MAX_AGAIN_SECONDS = 30.0
"""After a topic could not be followed, or the queue not be reached; doubled each time, up to the last."""

log = logging.getLogger(__name__)

Brought = tuple[Position, bytes | None]
"""A message of a topic; None: it is not for pages."""


class Dialect:
    """Messages as a binding reads them again: encoded once a node, however many channels are bound to the topic."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def message(self, topic: TopicName, entry: Entry) -> bytes:
        message = entry.message
        is_shown = message.kind is not Kind.BINARY and 0 < len(message.payload) <= MAX_MESSAGE_BYTES
        if not is_shown:
            self._metrics.refused("not_for_pages")
        position = entry.position
        return bytes(msgpack.packb([position.epoch, position.offset, message.payload if is_shown else None]))

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes:
        return b""


class Binding:
    """One topic of one channel on this node: a `Subscriber` of the hub."""

    def __init__(self, bindings: "Bindings", client: bytes, topic: TopicName, last: Position | None) -> None:
        self.client = client
        self.topic = topic
        self.last = last
        """The last position that stands in the queue, for all this node knows."""
        self.before: Position | None = None
        self.waiting: deque[Brought] = deque()
        self.is_over = False
        self.has_work = asyncio.Event()
        self._bindings = bindings
        self._bytes = 0

    @property
    def dialect(self) -> Dialect:
        return self._bindings.dialect

    @property
    def paused(self) -> bool:
        return self._bytes > MAX_WAITING_BYTES

    def write(self, data: bytes) -> None:
        unpacker = msgpack.Unpacker()
        unpacker.feed(data)
        for epoch, offset, payload in unpacker:
            self.waiting.append((Position(epoch, offset), payload))
            self._bytes += _size(payload)
        self.has_work.set()

    def topic_ended(self, topic: TopicName) -> None:
        self._bindings.drop(self)

    def on_placed(self, placed: Placed) -> None:
        # What is missing after `last`, by the log's own word, is no hole in what is brought.
        self.before = self.last or placed.after
        self.waiting.clear()
        self._bytes = 0

    def take(self) -> list[Brought]:
        taken = [self.waiting.popleft() for _ in range(min(BATCH, len(self.waiting)))]
        self._bytes -= sum(_size(payload) for _, payload in taken)
        return taken


class Bindings:
    """Those of a node. `wake` is told of the nodes where a client has connections, when its queue has grown."""

    def __init__(
        self,
        hub: Hub,
        store: ChannelStore,
        metrics: Metrics,
        *,
        wake: Callable[[bytes, Sequence[str]], None],
        linger_seconds: float,
    ) -> None:
        self.dialect = Dialect(metrics)
        self._hub = hub
        self._store = store
        self._wake = wake
        self._linger_seconds = linger_seconds
        self._held: dict[bytes, int] = {}
        self._bindings: dict[tuple[bytes, TopicName], tuple[Binding, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._bindings)

    def hold(self, client: bytes, topics: Mapping[TopicName, Position | None]) -> None:
        """A connection of the client is on this node: follow its topics until it is released as often."""
        self._held[client] = self._held.get(client, 0) + 1
        self.follow(client, topics)

    def follow(self, client: bytes, topics: Mapping[TopicName, Position | None]) -> None:
        """Follow those that are new."""
        for topic, last in topics.items():
            if (client, topic) not in self._bindings and client in self._held:
                binding = Binding(self, client, topic, last)
                task = asyncio.get_running_loop().create_task(self._serve(binding))
                self._bindings[client, topic] = (binding, task)

    def release(self, client: bytes) -> None:
        """A connection has ended. Polls and reconnects find the topics followed for a while."""
        asyncio.get_running_loop().call_later(self._linger_seconds, self._release, client)

    def _release(self, client: bytes) -> None:
        left = self._held.get(client, 0) - 1
        if left > 0:
            self._held[client] = left
            return
        self._held.pop(client, None)
        for key, (binding, _) in list(self._bindings.items()):
            if key[0] == client:
                self.drop(binding)

    def drop(self, binding: Binding) -> None:
        """Follow its topic no more."""
        binding.is_over = True
        _, task = self._bindings.pop((binding.client, binding.topic), (None, None))
        self._hub.leave(binding)
        if task is not None:
            task.cancel()

    async def _serve(self, binding: Binding) -> None:
        wait = FIRST_AGAIN_SECONDS
        while not binding.is_over:
            since: Since = binding.last if binding.last is not None else "earliest"
            try:
                await self._hub.subscribe(binding, binding.topic, since, placed=binding.on_placed)
                wait = FIRST_AGAIN_SECONDS
                await self._append(binding)
                continue
            except HeadraceError as error:
                log.info("a bound topic is followed again later", extra={"reason": str(error)})
            except Exception:
                log.exception("a bound topic could not be followed")
            finally:
                self._hub.leave(binding)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(2 * wait, MAX_AGAIN_SECONDS)

    async def _append(self, binding: Binding) -> None:
        """Append what comes, until the queue says that it stands elsewhere: then the topic is followed from there."""
        while True:
            await binding.has_work.wait()
            binding.has_work.clear()
            while binding.waiting:
                was_paused = binding.paused
                brought = binding.take()
                if not await self._append_some(binding, brought):
                    return
                if was_paused and not binding.paused:
                    self._hub.resume(binding)

    async def _append_some(self, binding: Binding, brought: Sequence[Brought]) -> bool:
        assert binding.before is not None
        shown = [(position, payload) for position, payload in brought if payload is not None]
        last = brought[-1][0]
        source = FromTopic(binding.topic, binding.before, last, tuple(position for position, _ in shown))
        sent = await self._store.send(binding.client, [payload for _, payload in shown], source)
        if sent is None:
            # Nobody is connected and nothing is kept, or the channel is gone: this message is nobody's.
            binding.last = binding.before = last
            return True
        self._wake(binding.client, sent.nodes)
        binding.last = sent.position
        if sent.position is not None and _is_before(sent.position, last):
            return False
        binding.before = last
        return True


def _size(payload: bytes | None) -> int:
    return ENTRY_BYTES + len(payload or b"")


def _is_before(position: Position, other: Position) -> bool:
    return (position.epoch, position.offset) < (other.epoch, other.offset)
