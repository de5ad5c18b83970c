"""What waits to be appended: the requests to one topic, in their order. `broker.publish` fills and empties it."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from broker.errors import HeadraceError
from broker.names import TopicName
from broker.store.base import AppendOutcome, AppendRequest

Done = Callable[[AppendOutcome], None]


class Waiting:
    """One request between `submit` and its answer. `done` is None once it was answered."""

    __slots__ = ("bytes", "deadline", "done", "failure", "request")

    def __init__(self, request: AppendRequest, done: Done, size: int, deadline: float) -> None:
        self.request = request
        self.done: Done | None = done
        self.bytes = size
        self.deadline = deadline
        self.failure: HeadraceError | None = None


class Lane:
    """A topic's requests. Exists while there are any, and its task with it."""

    __slots__ = ("bytes", "expiry", "in_flight", "queue", "requests", "topic")

    def __init__(self, topic: TopicName) -> None:
        self.topic = topic
        self.queue: deque[Waiting] = deque()
        self.in_flight: Sequence[Waiting] = ()
        self.expiry: asyncio.TimerHandle | None = None
        self.requests = 0
        self.bytes = 0
