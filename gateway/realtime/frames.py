"""What the server says: values in, bytes ready for the socket out, the WebSocket header included.

The two dialects carry the same maps (`protocol/realtime.md` section 2.2). The `message` frame is the hot one: it is
concatenated around a prefix that a topic has once, a JSON payload is spliced as it is stored, and the result goes to
every subscriber as it stands. Pure.
"""

from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import msgpack
import orjson

from broker.errors import HeadraceError
from broker.messages import Entry, Kind
from broker.names import SubscriptionName, TopicName
from broker.ports import Placed
from broker.positions import Position, Range, Recovery
from broker.store.base import Appended
from broker.store.subscriptions import Settled
from broker.subscriptions import Delivery
from cluster.servers import Told
from gateway.framing import framed
from gateway.realtime.fields import RequestId
from gateway.realtime.wire import Refused, Request, read_json, read_msgpack

MAX_PREFIXES = 4096
"""Topics whose prefix is kept; beyond it all are forgotten and made anew."""

TEXT = 0x81
"""First byte of an unfragmented text frame (RFC 6455 section 5.2)."""

BINARY = 0x82
"""First byte of an unfragmented binary frame."""

FIX_MAP = 0x80
"""First byte of a MessagePack map of up to 15 keys, whose number is added."""

MESSAGE_KEYS = 7
"""Of a `message` in MessagePack, without `attributes`."""

DELIVERY_KEYS = 7
"""Of one delivery, likewise."""

Map = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What `welcome` says of the node, the same to everybody."""

    name: str
    ping_ms: int
    message_bytes: int
    frame_bytes: int
    subscriptions: int
    in_flight: int
    retention_ms: int | None = None
    """How long messages are kept where their topic or its project does not say otherwise."""
    subjects_in: str = ""
    """The project of MigratoryData's subjects, "" where their first segment names it."""


class Attached(NamedTuple):
    """A subscription that a connection consumes. `window` in messages, `ack_deadline_s` is how long a lease lasts."""

    subscription: SubscriptionName
    topic: TopicName
    window: int
    ack_deadline_s: int


class RealtimeDialect(Protocol):
    """`broker.hub.Dialect`, and the answers."""

    subprotocol: ClassVar[str]
    is_text: ClassVar[bool]

    def read(self, data: bytes) -> Request | Refused: ...
    def message(self, topic: TopicName, entry: Entry) -> bytes: ...
    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes: ...
    def delivery(self, attached: Attached, deliveries: Sequence[Delivery]) -> bytes: ...
    def published(self, id_: RequestId, appended: Appended) -> bytes: ...
    def kept(self, entry: Entry) -> Map: ...
    def frame(self, fields: Map) -> bytes: ...


def welcome(dialect: RealtimeDialect, connection: str, node: Node, told: Told) -> bytes:
    limits: Map = {
        "message_bytes": node.message_bytes,
        "frame_bytes": node.frame_bytes,
        "subscriptions": node.subscriptions,
        "in_flight": node.in_flight,
    }
    if node.retention_ms is not None:
        limits["retention_ms"] = node.retention_ms
    fields: Map = {"op": "welcome", "connection": connection, "node": node.name}
    fields["servers"] = _servers(told)
    if node.subjects_in:
        fields["subjects_in"] = node.subjects_in
    return dialect.frame(fields | {"ping_ms": node.ping_ms, "spread_ms": told.spread_ms, "limits": limits})


def servers(dialect: RealtimeDialect, told: Told) -> bytes:
    return dialect.frame({"op": "servers", "servers": _servers(told), "spread_ms": told.spread_ms})


def drain(dialect: RealtimeDialect, told: Told, *, deadline_ms: int) -> bytes:
    """Ask the client to go to one of the servers; `deadline_ms` from now its connection ends."""
    times: Map = {"deadline_ms": deadline_ms, "spread_ms": told.spread_ms}
    return dialect.frame({"op": "drain"} | times | {"servers": _servers(told)})


def ok(dialect: RealtimeDialect, id_: RequestId) -> bytes:
    return dialect.frame(_answer("ok", id_))


def pong(dialect: RealtimeDialect, id_: RequestId) -> bytes:
    return dialect.frame(_answer("pong", id_))


def subscribed(
    dialect: RealtimeDialect, id_: RequestId, placed: Placed, *, snapshot: Sequence[Entry] | None = None
) -> bytes:
    """`snapshot`: the topic's, none or one; None where it was not asked for."""
    place = {"topic": placed.topic, "epoch": placed.end.epoch, "offset": placed.end.offset}
    way = {"after": _place(placed.after), "recovery": placed.recovery.value, "missing": _ranges(placed.missing)}
    asked: Map = {} if snapshot is None else {"snapshot": dialect.kept(snapshot[0]) if snapshot else None}
    return dialect.frame(_answer("subscribed", id_) | place | way | asked)


def attached(dialect: RealtimeDialect, id_: RequestId, attached: Attached) -> bytes:
    return dialect.frame(_answer("attached", id_) | attached._asdict())


def settled(
    dialect: RealtimeDialect, id_: RequestId, subscription: SubscriptionName, refused: Mapping[str, Settled]
) -> bytes:
    """Answer a request that settles deliveries; `refused` says of which acks it came to nothing, and why."""
    told = [{"ack": ack, "code": why.value} for ack, why in refused.items()]
    return dialect.frame(_answer("settled", id_) | {"subscription": subscription, "refused": told})


def released(dialect: RealtimeDialect, subscription: SubscriptionName, why: HeadraceError) -> bytes:
    """An `error` that names its subscription: nothing is delivered from it any more."""
    return dialect.frame({"op": "error"} | _refusal(why) | {"subscription": subscription})


def error(dialect: RealtimeDialect, id_: RequestId, refusal: HeadraceError) -> bytes:
    return dialect.frame(_answer("error", id_) | _refusal(refusal))


def ended(dialect: RealtimeDialect, topic: TopicName, why: HeadraceError) -> bytes:
    """An `error` that names its topic: the subscription is over."""
    return dialect.frame({"op": "error"} | _refusal(why) | {"topic": topic})


class Json:
    """The dialect `headrace.v1+json`: text frames, one object each."""

    subprotocol: ClassVar[str] = "headrace.v1+json"
    is_text: ClassVar[bool] = True

    def __init__(self) -> None:
        self._prefixes: dict[TopicName, bytes] = {}

    def read(self, data: bytes) -> Request | Refused:
        return read_json(data)

    def frame(self, fields: Map) -> bytes:
        return framed(TEXT, orjson.dumps(fields))

    def message(self, topic: TopicName, entry: Entry) -> bytes:
        prefix = self._prefixes.get(topic) or self._prefix(topic)
        return framed(TEXT, prefix + _from_epoch(entry))

    def delivery(self, attached: Attached, deliveries: Sequence[Delivery]) -> bytes:
        prefix = b'{"op":"delivery","subscription":%b,"topic":%b,"deliveries":['
        parts = (
            b'{"ack":%b,"attempt":%d,"epoch":' % (orjson.dumps(delivery.ack), delivery.attempt)
            + _from_epoch(delivery.entry)
            for delivery in deliveries
        )
        names = orjson.dumps(attached.subscription), orjson.dumps(attached.topic)
        return framed(TEXT, prefix % names + b",".join(parts) + b"]}")

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes:
        return self.frame(_gap(topic, recovery, missing))

    def published(self, id_: RequestId, appended: Appended) -> bytes:
        if type(id_) is not int or appended.duplicate:
            return self.frame(_published(id_, appended))
        first = appended.first
        return framed(
            TEXT,
            b'{"op":"published","id":%d,"epoch":%d,"offset":%d,"time":%d}'
            % (id_, first.epoch, first.offset, appended.time_ms),
        )

    def kept(self, entry: Entry) -> Map:
        message = entry.message
        payload: Map = {"base64": b2a_base64(message.payload, newline=False).decode()}
        if message.kind is Kind.JSON:
            payload = {"json": orjson.Fragment(message.payload)}
        elif message.kind is Kind.TEXT:
            payload = {"text": message.payload.decode(errors="replace")}
        return _kept(entry, payload)

    def _prefix(self, topic: TopicName) -> bytes:
        prefix = b'{"op":"message","topic":%b,"epoch":' % orjson.dumps(topic)
        return _keep(self._prefixes, topic, prefix)


class Msgpack:
    """The dialect `headrace.v1+msgpack`: binary frames, the same maps."""

    subprotocol: ClassVar[str] = "headrace.v1+msgpack"
    is_text: ClassVar[bool] = False

    def __init__(self) -> None:
        self._prefixes: dict[TopicName, bytes] = {}
        self._pack = msgpack.Packer().pack

    def read(self, data: bytes) -> Request | Refused:
        return read_msgpack(data)

    def frame(self, fields: Map) -> bytes:
        return framed(BINARY, self._pack(fields))

    def message(self, topic: TopicName, entry: Entry) -> bytes:
        prefix = self._prefixes.get(topic) or self._prefix(topic)
        return framed(BINARY, b"".join(self._parts(MESSAGE_KEYS, prefix, entry)))

    def delivery(self, attached: Attached, deliveries: Sequence[Delivery]) -> bytes:
        pack = self._pack
        parts = [
            b"\x84" + pack("op") + pack("delivery"),
            pack("subscription") + pack(attached.subscription) + pack("topic") + pack(attached.topic),
            pack("deliveries") + _array_header(len(deliveries)),
        ]
        for delivery in deliveries:
            keys = pack("ack") + pack(delivery.ack) + pack("attempt") + pack(delivery.attempt) + pack("epoch")
            parts += self._parts(DELIVERY_KEYS, keys, delivery.entry)
        return framed(BINARY, b"".join(parts))

    def _parts(self, keys: int, prefix: bytes, entry: Entry) -> list[bytes]:
        """Return a map's header, the keys up to `epoch`, and an entry behind them; `keys` without its attributes."""
        pack, message = self._pack, entry.message
        parts = [
            bytes((FIX_MAP + keys + bool(message.attributes),)),
            prefix,
            pack(entry.position.epoch),
            _PACKED_OFFSET,
            pack(entry.position.offset),
            _PACKED_TIME,
            pack(entry.time_ms),
            _PACKED_KINDS[message.kind],
            pack(message.payload),
        ]
        if message.attributes:
            parts += (_PACKED_ATTRIBUTES, pack(dict(message.attributes)))
        return parts

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes:
        return self.frame(_gap(topic, recovery, missing))

    def published(self, id_: RequestId, appended: Appended) -> bytes:
        return self.frame(_published(id_, appended))

    def kept(self, entry: Entry) -> Map:
        return _kept(entry, {"kind": entry.message.kind.value, "data": entry.message.payload})

    def _prefix(self, topic: TopicName) -> bytes:
        keys: Map = {"op": "message", "topic": topic}
        # Without the map's own header: the number of keys depends on the message.
        return _keep(self._prefixes, topic, msgpack.packb(keys)[1:] + msgpack.packb("epoch"))


_PACKED_OFFSET: bytes = msgpack.packb("offset")
_PACKED_TIME: bytes = msgpack.packb("time")
_PACKED_ATTRIBUTES: bytes = msgpack.packb("attributes")
_PACKED_KINDS: dict[Kind, bytes] = {kind: b"".join(map(msgpack.packb, ("kind", kind.value, "data"))) for kind in Kind}


def _array_header(count: int) -> bytes:
    """Return what a MessagePack array of `count` items begins with."""
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2)


def _from_epoch(entry: Entry) -> bytes:
    """Return an entry's fields in JSON from the epoch's value on, and the end of their object."""
    message, position = entry.message, entry.position
    attributes = b',"attributes":%b' % orjson.dumps(dict(message.attributes)) if message.attributes else b""
    payload = _payload(message.kind, message.payload)
    return b'%d,"offset":%d,"time":%d,%b%b}' % (position.epoch, position.offset, entry.time_ms, payload, attributes)


def _payload(kind: Kind, payload: bytes) -> bytes:
    if kind is Kind.JSON:
        return b'"json":%b' % payload
    if kind is Kind.TEXT:
        return b'"text":%b' % orjson.dumps(payload.decode(errors="replace"))
    return b'"base64":"%b"' % b2a_base64(payload, newline=False)


def _answer(op: str, id_: RequestId) -> Map:
    return {"op": op} if id_ is None else {"op": op, "id": id_}


def _published(id_: RequestId, appended: Appended) -> Map:
    fields = _answer("published", id_) | {"epoch": appended.first.epoch, "offset": appended.first.offset}
    fields["time"] = appended.time_ms
    if appended.duplicate:
        fields["duplicate"] = True
    return fields


def _kept(entry: Entry, payload: Map) -> Map:
    fields = _place(entry.position) | {"time": entry.time_ms} | payload
    return fields | ({"attributes": dict(entry.message.attributes)} if entry.message.attributes else {})


def _gap(topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> Map:
    return {"op": "gap", "topic": topic, "recovery": recovery.value, "missing": _ranges(missing)}


def _refusal(refusal: HeadraceError) -> Map:
    fields: Map = {"code": refusal.code, "reason": refusal.reason}
    if refusal.retry_ms is not None:
        fields["retry_ms"] = refusal.retry_ms
    return fields


def _servers(told: Told) -> list[Map]:
    return [{"url": server.url, "weight": server.weight} for server in told.servers]


def _place(position: Position) -> Map:
    return {"epoch": position.epoch, "offset": position.offset}


def _ranges(missing: Sequence[Range]) -> list[Map]:
    return [{"epoch": lost.epoch, "first": lost.first, "last": lost.last} for lost in missing]


def _keep(prefixes: dict[TopicName, bytes], topic: TopicName, prefix: bytes) -> bytes:
    if len(prefixes) >= MAX_PREFIXES:
        prefixes.clear()
    prefixes[topic] = prefix
    return prefix
