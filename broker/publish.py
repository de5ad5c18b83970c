"""Publishing: requests to one topic are merged into one append while an earlier one is in flight."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broker.errors import HeadraceError
from broker.messages import Message
from broker.names import TopicName
from broker.store.base import Appended, IdempotencyKey, PublisherSequence


class Durability(StrEnum):
    """What must have happened before a publish is acknowledged (DESIGN 3, law 1)."""

    MEMORY = "memory"
    REPLICA = "replica"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class PublishRequest:
    topic: TopicName
    messages: tuple[Message, ...]
    once: IdempotencyKey | PublisherSequence | None = None
    durability: Durability | None = None
    """None: the topic's or the project's default."""


class PublisherPort(Protocol):
    """What the rooms call. (`Publisher` implements it; this class goes away with it.)"""

    def submit(self, request: PublishRequest, done: Callable[[Appended | HeadraceError], None]) -> None:
        """Hot path, no task and no future: `done` is called exactly once, from the loop, perhaps before returning.

        Rights were checked by the caller. Bounds, batching, auto-creation, retry of keyed requests are in here.
        """

    async def publish(self, request: PublishRequest) -> Appended:
        """The same for a coroutine; raises the refusal."""
