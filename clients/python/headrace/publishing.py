"""All publishes of one client, between the state machine and the application: futures, and waiting for room."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Literal, TypedDict

from headrace.errors import HeadraceError, PublishTimeout, QueueFull
from headrace.events import Answered, F
from headrace.messages import Durability, Published, Unset, payload_of
from headrace.outbox import Pending
from headrace.protocol import MAX_PENDING, MAX_PENDING_BYTES, Protocol

PublishHandle = asyncio.Future[Published]


@dataclass(frozen=True, slots=True)
class Queue:
    """What may wait for an answer, sent or not, and what becomes of a publish for which there is no room.

    `block`: `publish` waits for room. `fail`: it raises `QueueFull`. `drop`: the oldest message that was never sent
    gives way, and its publish raises `Dropped`. `publish_nowait` never waits: with `block` it raises `QueueFull`.
    """

    messages: int = MAX_PENDING
    bytes: int = MAX_PENDING_BYTES
    when_full: Literal["block", "drop", "fail"] = "block"


class Call(TypedDict):
    """What a publish is given besides its topic; `timeout` in seconds."""

    text: str | None
    json: object | Unset
    data: bytes | None
    attributes: Mapping[str, str] | None
    key: str | None
    durability: Durability | None
    retained: bool
    timeout: float


class Publishing(Generic[F]):
    """The owner of each publish's future.

    `check_open` raises what ended the client, `wake` has what was queued written, `now` is monotonic seconds.
    """

    def __init__(
        self,
        protocol: Protocol[PublishHandle, F],
        *,
        when_full: Literal["block", "drop", "fail"],
        check_open: Callable[[], None],
        wake: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        self._protocol = protocol
        self._when_full = when_full
        self._check_open = check_open
        self._wake = wake
        self._now = now
        self._room: deque[asyncio.Future[None]] = deque()

    async def publish(self, topic: str, call: Call) -> Published:
        """Queue, waiting for room where there is none, and wait for the answer."""
        try:
            sequence, future = self._enqueue(topic, call)
        except QueueFull:
            if self._when_full != "block":
                raise
            sequence, future = await self._enqueue_later(topic, call)
        return await self._answered(sequence, future)

    async def retry(self, error: HeadraceError, timeout: float) -> Published:
        """Send a publish whose outcome is unknown once more, under its old number."""
        self._check_open()
        if not isinstance(error.unsettled, Pending):
            raise ValueError(
                "only a publish whose outcome is unknown is retried: where maybe_stored is true"
            ) from error
        future: PublishHandle = asyncio.get_running_loop().create_future()
        deadline = self._now() + timeout
        sequence = self._protocol.publish_again(error.unsettled, handle=future, deadline=deadline)
        self._wake()
        return await self._answered(sequence, future)

    async def _answered(self, sequence: int, future: PublishHandle) -> Published:
        try:
            return await future
        except asyncio.CancelledError:
            self._protocol.withdraw(sequence, self._now())
            raise

    async def _enqueue_later(self, topic: str, call: Call) -> tuple[int, PublishHandle]:
        try:
            async with asyncio.timeout(call["timeout"]):
                while True:
                    await self._wait_for_room()
                    with suppress(QueueFull):
                        return self._enqueue(topic, call)
        except TimeoutError:
            raise PublishTimeout("The queue had no room in time; the message was not sent.") from None

    def queue(self, topic: str, call: Call) -> PublishHandle:
        """Queue and return the future of the answer. Raises `QueueFull`."""
        _, future = self._enqueue(topic, call)
        return future

    def _enqueue(self, topic: str, call: Call) -> tuple[int, PublishHandle]:
        self._check_open()
        while True:
            try:
                return self._enqueue_now(topic, call)
            except QueueFull:
                if self._when_full != "drop" or not self._drop_oldest():
                    raise

    def _drop_oldest(self) -> bool:
        dropped = self._protocol.drop_oldest(self._now())
        for event in dropped:
            if isinstance(event, Answered):
                answer(event)
        return bool(dropped)

    def _enqueue_now(self, topic: str, call: Call) -> tuple[int, PublishHandle]:
        kind, payload = payload_of(text=call["text"], json=call["json"], data=call["data"])
        future: PublishHandle = asyncio.get_running_loop().create_future()
        sequence = self._protocol.publish(
            topic,
            kind,
            payload,
            handle=future,
            deadline=self._now() + call["timeout"],
            attributes=call["attributes"],
            key=call["key"],
            durability=call["durability"],
            retained=call["retained"],
        )
        self._wake()
        return sequence, future

    async def room(self) -> None:
        """Wait until a publish may be queued."""
        self._check_open()
        if self._protocol.room == 0:
            await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        await waiter

    def release_room(self) -> None:
        """Wake as many as there is room for; the others keep their turn."""
        room = self._protocol.room
        while self._room and room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                room -= 1


def answer(event: Answered[PublishHandle]) -> None:
    """Hand over what the state machine says of one publish."""
    future, result = event.handle, event.result
    if future.done():
        return
    if isinstance(result, HeadraceError):
        future.set_exception(result)
    else:
        future.set_result(result)
