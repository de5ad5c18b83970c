"""What a client may say: one frame's bytes in, one request out, or the refusal that answers it.

`protocol/realtime.md` section 2.1 is the source of every rule and bound here; its vectors are this file's tests. A
frame that cannot be read is no exception of ours: it becomes a `Refused`, which keeps the frame's `id` where it had a
valid one.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import msgpack
import orjson

from broker.errors import HeadraceError, InvalidRequest, UnknownOperation
from broker.messages import Message
from broker.names import SubscriptionName, TopicName, parse_subscription, parse_topic, shown
from broker.ports import FromTime, Last, Since
from broker.positions import Position
from broker.publish import Durability
from gateway.realtime.fields import (
    Fields,
    RequestId,
    read_flag,
    read_id,
    read_identity,
    read_integer,
    read_string,
    read_text,
)
from gateway.realtime.payloads import MAX_DEPTH, is_too_deep, json_message, msgpack_message

MAX_TOKEN_BYTES = 16_384
"""Of a `hello`'s token; a JWT with a long list of rights fits."""
MAX_CLIENT_BYTES = 128
MAX_PUBLISHER_BYTES = 64
MAX_KEY_BYTES = 128

MAX_PACKED_ITEMS = 10_000
"""Items of one MessagePack array or map: the reader allocates an array before it has read its items."""

MAX_PARSED_TOPICS = 4096
"""Names whose parsing is remembered, at most 255 bytes each."""

DEFAULT_WINDOW = 100
MAX_WINDOW = 1000
"""Of an `attach`: deliveries of one subscription that a connection may have unsettled."""

MAX_ACKS = 1000
"""Of one frame that settles deliveries."""

MAX_ACK_BYTES = 255


class Hello(NamedTuple):
    id: RequestId
    token: str | None
    client: str | None


class Subscribe(NamedTuple):
    id: RequestId
    topic: TopicName
    since: Since
    snapshot: bool = False
    """Whether the answer shall hold the topic's snapshot."""


class Unsubscribe(NamedTuple):
    id: RequestId
    topic: TopicName


class Publish(NamedTuple):
    """`publisher` with `sequence`, or `key`, or neither: how the publish is told from its repetition."""

    id: RequestId
    topic: TopicName
    message: Message
    publisher: str | None
    sequence: int
    key: str | None
    durability: Durability | None


class Attach(NamedTuple):
    id: RequestId
    subscription: SubscriptionName
    window: int


class Detach(NamedTuple):
    id: RequestId
    subscription: SubscriptionName


class Ack(NamedTuple):
    """Done with these deliveries."""

    id: RequestId
    subscription: SubscriptionName
    acks: tuple[str, ...]


class Nack(NamedTuple):
    """Give them out again after `delay_ms`; None: as the subscription's retry policy says."""

    id: RequestId
    subscription: SubscriptionName
    acks: tuple[str, ...]
    delay_ms: int | None


class Extend(NamedTuple):
    """Keep them for `deadline_s` from now."""

    id: RequestId
    subscription: SubscriptionName
    acks: tuple[str, ...]
    deadline_s: int


class Release(NamedTuple):
    """They were never looked at: give them out again at once, without counting the attempt."""

    id: RequestId
    subscription: SubscriptionName
    acks: tuple[str, ...]


class Ping(NamedTuple):
    id: RequestId


class Refused(NamedTuple):
    id: RequestId
    error: HeadraceError


Settle = Ack | Nack | Extend | Release
Consume = Attach | Detach | Settle
"""Requests that name a durable subscription."""

Request = Hello | Subscribe | Unsubscribe | Publish | Consume | Ping


def read_json(data: bytes) -> Request | Refused:
    """Read one frame of the JSON dialect. `data` is valid UTF-8: the socket has seen to that."""
    try:
        frame = orjson.loads(data)
    except orjson.JSONDecodeError:
        return Refused(None, InvalidRequest("The frame is not a JSON document."))
    # Counting brackets costs next to nothing; only a frame with many of them is walked.
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and is_too_deep(frame):
        return Refused(None, InvalidRequest(f"The frame nests deeper than {MAX_DEPTH} levels."))
    return _read(frame, json_message)


def read_msgpack(data: bytes) -> Request | Refused:
    """Read one frame of the MessagePack dialect."""
    try:
        frame = msgpack.unpackb(data, max_array_len=MAX_PACKED_ITEMS, max_map_len=MAX_PACKED_ITEMS, max_ext_len=0)
    except (ValueError, TypeError, msgpack.UnpackException):
        return Refused(None, InvalidRequest("The frame is not a MessagePack map with string keys."))
    if isinstance(frame, dict) and is_too_deep(frame):
        return Refused(None, InvalidRequest(f"The frame nests deeper than {MAX_DEPTH} levels."))
    return _read(frame, msgpack_message)


def _read(frame: object, message: Callable[[Fields], Message]) -> Request | Refused:
    if not isinstance(frame, dict):
        return Refused(None, InvalidRequest("A frame is an object with the key 'op'."))
    try:
        id_ = read_id(frame)
    except HeadraceError as error:
        return Refused(None, error)
    try:
        return _request(frame, id_, message)
    except HeadraceError as error:
        return Refused(id_, error)


def _request(frame: Fields, id_: RequestId, message: Callable[[Fields], Message]) -> Request:
    op = frame.get("op")
    if op == "publish":
        return _publish(frame, id_, message)
    if op == "subscribe":
        return Subscribe(id_, _topic(frame), _since(frame), read_flag(frame, "snapshot"))
    if op == "unsubscribe":
        return Unsubscribe(id_, _topic(frame))
    if op == "ping":
        return Ping(id_)
    if op == "hello":
        token = read_text(frame, "token", MAX_TOKEN_BYTES)
        return Hello(id_, token, read_text(frame, "client", MAX_CLIENT_BYTES, least=0))
    if op in ("attach", "detach"):
        return _attachment(frame, id_, op)
    if op in ("ack", "nack", "extend", "release"):
        return _settle(frame, id_, op)
    if isinstance(op, str):
        raise UnknownOperation(f"There is no operation {shown(op)}.")
    raise InvalidRequest("The key 'op' must name an operation.")


def _attachment(frame: Fields, id_: RequestId, op: str) -> Attach | Detach:
    subscription = _subscription(frame)
    if op == "detach":
        return Detach(id_, subscription)
    return Attach(
        id_, subscription, read_integer(frame.get("window", DEFAULT_WINDOW), "window", least=1, most=MAX_WINDOW)
    )


def _settle(frame: Fields, id_: RequestId, op: str) -> Settle:
    subscription, acks = _subscription(frame), _acks(frame)
    if op == "ack":
        return Ack(id_, subscription, acks)
    if op == "release":
        return Release(id_, subscription, acks)
    if op == "nack":
        delay_ms = read_integer(frame["delay_ms"], "delay_ms") if "delay_ms" in frame else None
        return Nack(id_, subscription, acks, delay_ms)
    return Extend(id_, subscription, acks, read_integer(frame.get("deadline_s"), "deadline_s"))


def _acks(frame: Fields) -> tuple[str, ...]:
    acks = frame.get("acks")
    if not isinstance(acks, list) or not 1 <= len(acks) <= MAX_ACKS:
        raise InvalidRequest(f"'acks' is a list of 1 to {MAX_ACKS} strings.")
    for ack in acks:
        if not isinstance(ack, str) or not 1 <= len(ack.encode()) <= MAX_ACK_BYTES:
            raise InvalidRequest(f"'acks' holds strings of 1 to {MAX_ACK_BYTES} bytes.")
    return tuple(acks)


def _publish(frame: Fields, id_: RequestId, message: Callable[[Fields], Message]) -> Publish:
    topic = _topic(frame)
    publisher = read_identity(frame, "publisher", MAX_PUBLISHER_BYTES)
    key = read_identity(frame, "key", MAX_KEY_BYTES)
    if (publisher is None) != ("seq" not in frame):
        raise InvalidRequest("'publisher' and 'seq' go together.")
    if publisher is not None and key is not None:
        raise InvalidRequest("A publish has 'publisher' and 'seq', or 'key', not both.")
    sequence = read_integer(frame["seq"], "seq") if publisher is not None else 0
    given = message(frame)
    if read_flag(frame, "retained"):
        given = replace(given, retained=True)
    return Publish(id_, topic, given, publisher, sequence, key, _durability(frame))


def _durability(frame: Fields) -> Durability | None:
    if "durability" not in frame:
        return None
    try:
        return Durability(read_string(frame["durability"], "durability"))
    except ValueError as error:
        raise InvalidRequest("'durability' is one of 'memory', 'replica' and 'disk'.") from error


def _since(frame: Fields) -> Since:
    since = frame.get("since", "now")
    if since == "now":
        return "now"
    if since == "earliest":
        return "earliest"
    if isinstance(since, dict):
        says = [word for word in ("epoch", "last", "time") if word in since]
        if says == ["epoch"]:
            return Position(
                read_integer(since["epoch"], "epoch"), read_integer(since.get("offset"), "offset", least=-1)
            )
        if says == ["last"]:
            return Last(read_integer(since["last"], "last"))
        if says == ["time"]:
            return FromTime(read_integer(since["time"], "time"))
    raise InvalidRequest('\'since\' is "now", "earliest", {last}, {time} or {epoch, offset}.')


def _topic(frame: Fields) -> TopicName:
    return _parse_topic(read_string(frame.get("topic"), "topic"))


def _subscription(frame: Fields) -> SubscriptionName:
    return _parse_subscription(read_string(frame.get("subscription"), "subscription"))


# A socket publishes to the same few topics: their names are looked up, not parsed again. Refusals are not kept.
_parse_topic = lru_cache(maxsize=MAX_PARSED_TOPICS)(parse_topic)
_parse_subscription = lru_cache(maxsize=MAX_PARSED_TOPICS)(parse_subscription)
