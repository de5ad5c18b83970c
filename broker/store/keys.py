"""Every key and channel name in Redis, built here and nowhere else (DESIGN 5). Pure.

What stands between `{` and `}` picks the slot: all keys of a topic share one, so one script may touch them. Names are
percent-encoded before they enter a tag, because a `}` would end it.
"""

import hashlib
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from broker.names import ProjectName, SubscriptionName, TopicName, local_of

MAX_ONCE_ID_BYTES = 128
"""Longer scopes and idempotency keys are kept as a digest: bounds what a topic's records can take."""


@dataclass(frozen=True, slots=True)
class TopicKeys:
    """One topic's keys, all in one slot, and its live channel (never in KEYS)."""

    log: bytes
    meta: bytes
    once: bytes
    live: bytes


@dataclass(frozen=True, slots=True)
class SubscriptionKeys:
    """A subscription's keys in the slot of its topic, and its consumer group on the topic's log (never in KEYS)."""

    log: bytes
    meta: bytes
    sub: bytes
    due: bytes
    leases: bytes
    group: bytes

    @property
    def all(self) -> tuple[bytes, ...]:
        """The KEYS of each script about a subscription."""
        return (self.log, self.meta, self.sub, self.due, self.leases)


@dataclass(frozen=True, slots=True)
class Keys:
    """The names under one prefix: deployments with different prefixes can share a Redis."""

    prefix: str = "hr"

    def __post_init__(self) -> None:
        if quote(self.prefix, safe=":") != self.prefix:
            raise ValueError(f"the prefix {self.prefix!r} may hold letters, digits and any of . _ ~ - :")

    def topic(self, topic: TopicName) -> TopicKeys:
        tag = f"{self.prefix}:{{{encoded(topic)}}}"
        return TopicKeys(*(f"{tag}:{part}".encode() for part in ("log", "meta", "once", "live")))

    def subscription(self, topic: TopicName, name: SubscriptionName) -> SubscriptionKeys:
        tag, group = f"{self.prefix}:{{{encoded(topic)}}}", encoded(local_of(name))
        return SubscriptionKeys(
            log=f"{tag}:log".encode(),
            meta=f"{tag}:meta".encode(),
            sub=f"{tag}:sub:{group}".encode(),
            due=f"{tag}:due:{group}".encode(),
            leases=f"{tag}:leases:{group}".encode(),
            group=group.encode(),
        )

    def subscriptions(self, project: ProjectName) -> bytes:
        """Hash: the names of a project's subscriptions to their topics. `sub` is the truth; this only finds it."""
        return f"{self.prefix}:{{{encoded(project)}}}:subscriptions".encode()

    def topic_of_channel(self, channel: bytes) -> TopicName:
        """Return the topic whose live channel this is. Raises `ValueError` for any other channel."""
        start, end = f"{self.prefix}:{{".encode(), b"}:live"
        if not (channel.startswith(start) and channel.endswith(end)):
            raise ValueError("not a live channel")
        return TopicName(unquote_to_bytes(channel[len(start) : -len(end)]).decode())

    def projects(self) -> bytes:
        """Hash: project name to its record."""
        return f"{self.prefix}:{{projects}}".encode()

    def topics(self, project: ProjectName) -> bytes:
        """Hash: the names of a project's topics. A topic's meta is the truth; this only lists them."""
        return f"{self.prefix}:{{{encoded(project)}}}:topics".encode()

    def records(self, space: ProjectName, kind: str) -> bytes:
        """Hash: a space's records of one kind by id; all kinds of a space share a slot. "" is the space of no project.

        An `@` in a project's name would be encoded, so that no project has the space of none.
        """
        return f"{self.prefix}:{{{encoded(space) or '@'}}}:records:{kind}".encode()

    def channel(self, client_id: bytes) -> tuple[bytes, bytes]:
        """The queue and the state of an App Engine channel, in one slot. A client id is any bytes."""
        tag = f"{self.prefix}:{{channel/{quote(client_id, safe='/')}}}"
        return f"{tag}:queue".encode(), f"{tag}:state".encode()

    def channels_due(self, share: int) -> bytes:
        """Sorted set: the channels of one share of the client ids, by when to look after their presence."""
        return f"{self.prefix}:{{channels/{share}}}:due".encode()

    def probe(self, node: str, number: int) -> tuple[bytes, bytes]:
        """A node's own key and channel for its readiness probe, in one slot that `number` picks."""
        tag = f"{self.prefix}:{{node/{encoded(node)}/{number}}}"
        return f"{tag}:probe".encode(), f"{tag}:probed".encode()

    def nodes(self) -> tuple[bytes, bytes]:
        """Two hashes in one slot: the nodes' leases, and the nodes that are gone and not yet cleared away."""
        return f"{self.prefix}:{{nodes}}".encode(), f"{self.prefix}:{{nodes}}:gone".encode()

    def news(self) -> bytes:
        """The sharded channel on which nodes hear that the leases tell something new."""
        return f"{self.prefix}:{{nodes}}:news".encode()

    def inbox(self, node: str) -> bytes:
        """The sharded channel on which a node hears what is meant for it."""
        return f"{self.prefix}:{{node/{encoded(node)}}}:inbox".encode()

    def connections(self, node: str) -> tuple[bytes, bytes]:
        """Two hashes in one slot: the connections that a node answers for, and who is clearing which of them away."""
        tag = f"{self.prefix}:{{node/{encoded(node)}}}"
        return f"{tag}:connections".encode(), f"{tag}:claims".encode()

    def duty(self, name: str) -> bytes:
        """The lease of a singleton job whose effects lie outside Redis, or all over it."""
        return f"{self.prefix}:{{duty/{encoded(name)}}}".encode()

    def topic_duty(self, topic: TopicName, name: str) -> bytes:
        """The lease of a singleton job on one topic, in its slot, so that the topic's scripts can check a token."""
        return f"{self.prefix}:{{{encoded(topic)}}}:duty:{encoded(name)}".encode()


def encoded(name: str) -> str:
    """Return `name` with everything outside `[A-Za-z0-9._~/-]` percent-encoded as UTF-8."""
    return quote(name, safe="/")


def once_id(scope: str, name: str) -> bytes:
    """Return the id of an idempotency key or publisher within its scope.

    The scope's length comes first: no choice of names makes one scope's ids collide with another's.
    """
    owner = scope.encode(errors="surrogatepass")
    joined = b"%d:%s%s" % (len(owner), owner, name.encode(errors="surrogatepass"))
    if len(joined) <= MAX_ONCE_ID_BYTES:
        return joined
    return b"#" + hashlib.sha256(joined).digest()
