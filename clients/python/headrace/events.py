"""What a client's state machine has to say to its shell. Pure."""

from typing import Generic, NamedTuple, TypeVar

from headrace.errors import HeadraceError
from headrace.failover import Server
from headrace.frames import Welcome
from headrace.messages import Attached, Gap, Lease, Message, Published, Started
from headrace.positions import Since

P = TypeVar("P")
"""The caller's handle of a publish."""
F = TypeVar("F")
"""The caller's handle of a subscription."""


class Welcomed(NamedTuple):
    welcome: Welcome


class Listed(NamedTuple):
    """The node told a new list of servers."""

    servers: tuple[Server, ...]


class Draining(NamedTuple):
    """The node is leaving: go elsewhere after a random part of `spread_ms`, and come there before leaving here."""

    spread_ms: int


class Answered(NamedTuple, Generic[P]):
    """A publish is over: its place, or why it failed for good."""

    handle: P
    result: Published | HeadraceError


class Arrived(NamedTuple, Generic[F]):
    """Something for a subscription, in stream order. `resume` is what it would present after it."""

    handle: F
    item: Message | Gap | Started
    resume: Since


class Ended(NamedTuple, Generic[F]):
    """A subscription is over, by the server's word."""

    handle: F
    error: HeadraceError


class Complained(NamedTuple):
    """The server refused something that no caller waits for."""

    error: HeadraceError


class Presented(NamedTuple):
    """A token that was shown on the connection is answered: taken, or why not."""

    number: int
    error: HeadraceError | None


class Broken(NamedTuple):
    """The connection is of no use any more: drop it and come back."""

    reason: str


class Delivered(NamedTuple):
    """Messages for the consumer of a subscription."""

    subscription: str
    leases: tuple[Lease, ...]


class Released(NamedTuple):
    """The consumer of a subscription is over, by the server's word."""

    subscription: str
    error: HeadraceError


class Settled(NamedTuple):
    """A settlement is over: done, or why it came to nothing."""

    ticket: int
    error: HeadraceError | None


Event = (
    Attached
    | Delivered
    | Released
    | Settled
    | Welcomed
    | Listed
    | Draining
    | Answered[P]
    | Arrived[F]
    | Ended[F]
    | Complained
    | Presented
    | Broken
)
