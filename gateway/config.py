"""The node's configuration: one frozen object, read once from flags, environment and TOML (in that order of weight).

Only this file reads the environment. Secrets are `Secret`s: they never show in a `repr`, a log or a traceback.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A value that must not be printed. Read it where it is used: `secret.value`."""

    value: str

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound that a caller can run into, with its unit and its default."""

    message_bytes: int = 1_500_000
    """A message's stored envelope."""
    frame_bytes: int = 2_200_000
    """One inbound WebSocket message; a base64 payload of `message_bytes` fits."""
    body_bytes: int = 16 * 1024 * 1024
    """One HTTP request's body."""
    batch_messages: int = 1000
    """Messages in one publish request."""
    subscriptions_per_connection: int = 1000
    connections: int = 50_000
    """Sockets of one node, HTTP included."""
    connections_per_address: int = 20_000
    publish_per_second: float = 0
    """Publish requests a second and connection (a token bucket of one second); 0 is no limit."""
    in_flight_publishes: int = 1024
    """Unanswered publishes of one connection; above it the socket is not read from."""
    unauthenticated_bytes: int = 65_536
    """What a connection without rights may send before its hello."""
    unauthenticated_seconds: float = 10
    """How long a connection may stay without rights, and how long headers and handshakes may take."""
    high_water_bytes: int = 65_536
    """A socket's outgoing buffer above which it leaves the live feed (or is not read from)."""
    ping_seconds: float = 25
    """How often an idle connection is pinged."""
    pong_seconds: float = 10
    """How long the answer to a ping may take before the connection counts as half-open."""
    append_seconds: float = 5
    """How long a publish may wait for its outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    host: str = "127.0.0.1"
    port: int = 8080
    redis: Secret | None = None
    """Topology URL, may hold a password; None starts the embedded engine."""
    data: str = "headrace-data"
    name: str = ""
    """The node's name; generated when empty."""
    advertise: str = ""
    """The URL that clients reach this node by; derived from host and port when empty."""
    prefix: str = "hr"
    service_token: Secret | None = None
    secret_key: Secret | None = None
    limits: Limits = field(default_factory=Limits)
