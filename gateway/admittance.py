"""Handshakes that an application decides about: what it is shown, what it may answer, and how long it may take.

Most rooms know at once whether a socket may open. A `WaitingRoom` asks somebody behind it, who may take half a minute
and may answer with any HTTP status. `gateway.handshake` keeps the socket meanwhile.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.websocket import WebSocket

ADMISSION_SECONDS = 90.0
"""A last bound on a decision; a room's own deadlines are shorter (an authorizer and a `$connect`, 29 s each)."""

MAX_EARLY_BYTES = 16_384
"""What a client may send before it is answered, which RFC 6455 section 4.1 does not let it: beyond it, it is cut."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A handshake as its client sent it. What may hold a credential does not show in its `repr`."""

    path: str
    """Not decoded, without the query."""
    query: str = field(repr=False)
    """As sent, without the question mark."""
    headers: Sequence[tuple[str, str]] = field(repr=False)
    """In the order and the casing of the client."""
    address: str
    port: int
    """Of this node, 0 where it is not known."""
    secure: bool

    def header(self, name: str) -> str | None:
        """Return the first header of this name, whatever its case."""
        wanted = name.lower()
        return next((value for known, value in self.headers if known.lower() == wanted), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """The handshake is answered with this instead of a 101."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()
    """Besides length and connection."""


class Entry(Protocol):
    """The handshake may be answered with 101. Exactly one of the two methods is called, once."""

    @property
    def subprotocol(self) -> str | None: ...

    def open(self, transport: asyncio.Transport) -> WebSocket: ...

    def abandon(self, code: int) -> None:
        """The socket is not opened after all: its client has left (1006), or the node goes (1012)."""


class WaitingRoom(Protocol):
    """A contract over WebSockets whose handshakes are decided elsewhere. It has no use for our credentials."""

    @property
    def checks_origin(self) -> bool:
        """True where pages of foreign origins are refused as everywhere else on the node."""

    def claims(self, path: str, host: str | None) -> bool:
        """Tell whether a handshake for this path (not decoded, without its query) is this room's to answer."""

    async def admit(self, arrival: Arrival) -> Entry | Rejection:
        """Decide. It is not cancelled when the client leaves, since the application may have heard of it by then."""

    def rejection(self, status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Rejection:
        """Put a refusal of the handshake itself into this contract's words."""


async def decided(room: WaitingRoom, arrival: Arrival) -> Entry | Rejection:
    """Return the room's decision, or in its words that there is none."""
    try:
        async with asyncio.timeout(ADMISSION_SECONDS):
            return await room.admit(arrival)
    except TimeoutError:
        return room.rejection(504, "Nobody has decided about the handshake in time.")
    except Exception:
        log.exception("a handshake could not be decided")
        return room.rejection(500, "The server failed.")
