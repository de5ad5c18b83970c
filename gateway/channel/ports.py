"""What the parts of this room know of each other: channels as an application uses them, and who is told of presence."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from broker.names import TopicName


class PresenceKind(StrEnum):
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A client has come or gone."""

    kind: PresenceKind
    client_id: bytes
    event_id: str
    """The same each time that this event is told."""
    sequence: int
    """Rises with each event of the client id: whoever hears two in the wrong order can tell."""


Take = Callable[[], Awaitable[bool]]
"""Asked right before an event is told, whether to tell it: yes once, and never after a later event of its client."""


async def always() -> bool:
    return True


class Notifier(Protocol):
    """Tells the application of presence."""

    async def notify(self, event: Presence, take: Take = always) -> None:
        """Return when it was told, or when trying is over. Raises `HeadraceError` where it should be told again:

        that is done later, under the same event id, if the configuration says so (`presence_retry`).
        """


class Channels(Protocol):
    """Channels as the application's back end uses them, from any node. All raise `Unavailable`."""

    async def create(self, client_id: bytes, *, minutes: int | None = None, topics: Sequence[TopicName] = ()) -> str:
        """Return a new token for `client_id`. None: the configured life.

        `topics`: what is published there reaches the page too, from now on; they are added to those that the client's
        channel has. Raises `InvalidClientId`, `InvalidDuration`.
        """

    async def send(self, key: bytes, message: bytes) -> None:
        """Send to the client whose id, or one of whose tokens, `key` is. In order; dropped where nobody can get it.

        Raises `BadMessage` where `message` is empty or too long.
        """
