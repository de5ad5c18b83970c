"""What the parts of this room know of each other: sockets, the connections of all nodes, and the application behind.

A socket (`LocalConnection`) is made by the endpoint once `Backend.connect` has let it in; the table of the node's own
connections and the way to those of other nodes are `Connections`. Times are Unix milliseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Scalar = str | int | float | bool
"""What an authorizer's context and a tag may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a connection from its handshake on; it never changes, except for its tags.

    It travels into the directory, so that a survivor can tell the end of a connection whose node is gone.
    """

    id: str
    api: str
    """The API's name: AWS's `apiId`."""
    stage: str
    connected_at_ms: int
    source_ip: str
    user_agent: str | None
    """None where the client sent none; events leave the member out then."""
    domain_name: str
    """What back ends build the callback URL of: host and port, without a scheme."""
    principal_id: str | None = None
    authorizer: Mapping[str, Scalar] | None = None
    """The authorizer's context, with `principalId`; None where none ran."""
    user: str | None = None
    """Whose connection it is: what a post to a user's connections looks at (beyond AWS)."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Set by `$connect`'s answer (beyond AWS)."""
    expires_ms: int | None = None
    """When the token is over that opened it, and the connection with it; None: never (beyond AWS)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A connection as `GetConnection` shows it, wherever it is attached."""

    facts: Facts
    last_active_at_ms: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of one API: what a call to `@connections` is addressed to, and what a policy's ARN names."""

    api: str
    name: str


class LocalConnection(Protocol):
    """A socket of this node whose `$connect` has ended well."""

    @property
    def facts(self) -> Facts: ...

    @property
    def last_active_at_ms(self) -> int: ...

    def send(self, data: bytes) -> bool:
        """Write one message: text where it is UTF-8. False, and nothing written, when the buffer is full.

        Raises `InvalidRequest` for what is no text, where the API has text messages only.
        """

    def close(self, code: int, reason: str = "") -> None: ...

    # For many connections at once, and for groups: a message is framed once, and its bytes go to each.

    @property
    def paused(self) -> bool:
        """True while the outgoing buffer is above its high-water mark: nothing is written then."""

    @property
    def framing(self) -> "Framing": ...

    def write(self, data: bytes) -> None:
        """Hand ready frames to the transport; they count as activity. Never raises, never blocks."""


class Framing(Protocol):
    """How a message becomes frames. One object for all connections whose frames are the same bytes. Hashable."""

    def framed(self, data: bytes) -> bytes:
        """Return the frames of one message: text where it is UTF-8."""


class Attachments(Protocol):
    """What the endpoint tells of this node's sockets: from `promise` on the application is owed a `$disconnect`."""

    def new_id(self) -> str:
        """Return the id of a connection of this node: 16 characters, never given out before."""

    async def promise(self, facts: Facts) -> None:
        """Enter the connection in the directory, when `$connect` has ended well and before the 101.

        Raises `Unavailable`, `LimitExceeded`: the handshake fails then, and the application is told of the end all
        the same, since it has seen a `$connect`.
        """

    def attach(self, connection: LocalConnection) -> None:
        """The 101 is written: posts reach the socket from here on."""

    def on_writable(self, connection: LocalConnection) -> None:
        """The socket's buffer has room again after it was `paused`."""

    def ended(self, facts: Facts, *, code: int, reason: str) -> None:
        """A promised connection is gone, or its handshake was not finished: have the application told. Called once."""


class Connections(Protocol):
    """Every connection of the cluster, by its id, from any node.

    All raise `Malformed` (no id of ours can look like this), `Gone`, and `Unavailable` where the owner was not reached:
    it is not known then what became of the call, and it may be repeated. A connection of another stage than `within`
    is `Forbidden` to the caller, whose policy was asked for that stage only; None: any stage.
    """

    async def post(
        self, connection: str, data: bytes, *, invocation: str | None = None, within: Stage | None = None
    ) -> None:
        """Return once the owner has handed `data` to the socket. Also raises `BufferFull`.

        Repetitions under the same `invocation` are written once (contracts/apigateway 4).
        """

    async def describe(self, connection: str, *, within: Stage | None = None) -> Standing: ...

    async def delete(
        self, connection: str, *, code: int = 1000, reason: str = "", within: Stage | None = None
    ) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequest:
    """A handshake before it is answered. What may hold a credential does not show in its `repr`."""

    facts: Facts
    """Without authorizer, user and tags: those are what the back end finds."""
    request_id: str
    requested_at_ms: int
    path: str
    query: str = field(repr=False)
    """As sent, without the question mark."""
    headers: Sequence[tuple[str, str]] = field(repr=False)
    """In the order and the casing of the client."""
    port: int
    secure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The connection may open."""

    facts: Facts
    """Completed by authorizer and `$connect`."""
    subprotocol: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """The handshake is answered with this status instead of 101."""

    status: int
    message: str
    """AWS's words, such as "Forbidden" or "Internal server error"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the client that sent a message gets: a route's response, or an error frame's message."""

    body: bytes | None = None
    """None: nothing is sent (the route has no response)."""
    error: str | None = None
    """"Forbidden", "Internal server error", "Endpoint request timed out", "Bad request body", "Too Many Requests"."""


class Backend(Protocol):
    """The application behind one API's stage: authorizer, routes and integrations, as its configuration has them."""

    async def connect(self, request: ConnectRequest) -> Admitted | Denied: ...

    async def receive(self, facts: Facts, body: str | bytes, *, request_id: str, message_id: str, now_ms: int) -> Reply:
        """Select the message's route and have its integration called. Never raises.

        `body` is bytes for a binary frame, which only the relaxed profile lets in.
        """

    async def disconnect(self, facts: Facts, *, code: int, reason: str, event_id: str, now_ms: int) -> None:
        """Tell the application that a connection has ended. Raises `HeadraceError` where telling it failed."""
