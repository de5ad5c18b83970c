"""The event stream's bytes (WHATWG HTML, 9.2), framed as chunks of an HTTP/1.1 body; and the words of `?since=`. Pure.

`id:` is what `EventSource` sends back as `Last-Event-ID` after a broken connection, so every event that moves a
reader's place carries one, by the table in protocol/realtime.md section 4: a message its position; `recovery` the
place where delivery starts, so that a connection that breaks before the first message loses nothing; `gap` the place
after it, or the word `earliest` where the place was forgotten. `Last-Event-ID` therefore takes every word that `since`
takes.
"""

from binascii import b2a_base64
from collections.abc import Sequence

import orjson

from broker.errors import HeadraceError, InvalidRequest
from broker.messages import Entry, Kind, Message
from broker.names import TopicName, shown
from broker.ports import FromTime, Last, Placed, Since
from broker.positions import MAX_EPOCH, Range, Recovery, parse_position

EARLIEST = "earliest"


def read_since(text: str) -> Since:
    """Read `now`, `earliest`, `last:N`, `time:MS` or `EPOCH-OFFSET`, or raise `InvalidRequest`."""
    if text == "now":
        return "now"
    if text == EARLIEST:
        return "earliest"
    word, colon, number = text.partition(":")
    try:
        if not colon:
            return parse_position(text)
        value = _whole_number(number)
    except ValueError:
        raise _not_since(text) from None
    if word == "last":
        return Last(value)
    if word == "time":
        return FromTime(value)
    raise _not_since(text)


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16) or int(text) > MAX_EPOCH:
        raise ValueError("not a whole number")
    return int(text)


def _not_since(text: str) -> InvalidRequest:
    return InvalidRequest(f"A place is now, earliest, last:N, time:MS or EPOCH-OFFSET, not {shown(text)}.")


class EventDialect:
    """Events as bytes. `chunked`: as chunks of an HTTP/1.1 body; HTTP/1.0 gets them bare."""

    __slots__ = ("_chunked", "comment")

    def __init__(self, *, chunked: bool) -> None:
        self._chunked = chunked
        self.comment = self._framed(b":\n\n")
        """Keeps proxies and the connection awake; `EventSource` ignores it."""

    def message(self, topic: TopicName, entry: Entry) -> bytes:
        return self._framed(event(None, str(entry.position), message_json(topic, entry)))

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes:
        fields = {"op": "gap", "topic": topic, "recovery": recovery.value, "missing": _ranges(missing)}
        return self._framed(event("gap", _id_after_gap(recovery, missing), orjson.dumps(fields)))

    def opening(self, placed: Placed, *, retry_ms: int) -> bytes:
        """Return the beginning of a stream: when to come back, and the `recovery` event."""
        recovery = event("recovery", str(placed.after), subscribed_json(placed))
        return self._framed(b"retry: %d\n" % retry_ms + recovery)

    def ended(self, topic: TopicName, why: HeadraceError) -> bytes:
        """Return the last event of a stream that will not come back."""
        fields = {"op": "error", "code": why.code, "reason": why.reason, "topic": topic}
        return self._framed(event("ended", None, orjson.dumps(fields)))

    def _framed(self, events: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(events), events) if self._chunked else events


def come_back(why: HeadraceError, *, retry_ms: int) -> bytes:
    """Return the whole body of a stream that only says when to come back, and why."""
    fields = {"op": "error", "code": why.code, "reason": why.reason, "retry_ms": retry_ms}
    return b"retry: %d\n%b" % (retry_ms, event("unavailable", None, orjson.dumps(fields)))


def event(name: str | None, event_id: str | None, data: bytes) -> bytes:
    """Return one event. `name` None is `message`, to which `onmessage` listens. `data` may have several lines."""
    head = b"event: %b\n" % name.encode() if name is not None else b""
    if event_id is not None:
        head += b"id: %b\n" % event_id.encode()
    if b"\n" in data or b"\r" in data:
        # Only a JSON payload's white space can hold one; the reader joins the lines again.
        data = b"\ndata: ".join(data.splitlines())
    return b"%bdata: %b\n\n" % (head, data)


def message_json(topic: TopicName, entry: Entry) -> bytes:
    """Return the `message` frame of the realtime protocol's JSON dialect (section 2.2)."""
    position, message = entry.position, entry.message
    attributes = b',"attributes":%b' % orjson.dumps(dict(message.attributes)) if message.attributes else b""
    return b'{"op":"message","topic":%b,"epoch":%d,"offset":%d,"time":%d,%b%b}' % (
        orjson.dumps(topic),
        position.epoch,
        position.offset,
        entry.time_ms,
        _payload(message),
        attributes,
    )


def _payload(message: Message) -> bytes:
    if message.kind is Kind.JSON:
        return b'"json":%b' % message.payload
    if message.kind is Kind.TEXT:
        return b'"text":%b' % orjson.dumps(message.payload.decode(errors="replace"))
    return b'"base64":"%b"' % b2a_base64(message.payload, newline=False)


def subscribed_json(placed: Placed) -> bytes:
    """Return the `subscribed` frame, without an id."""
    fields = {
        "op": "subscribed",
        "topic": placed.topic,
        "epoch": placed.end.epoch,
        "offset": placed.end.offset,
        "after": {"epoch": placed.after.epoch, "offset": placed.after.offset},
        "recovery": placed.recovery.value,
        "missing": _ranges(placed.missing),
    }
    return orjson.dumps(fields)


def _ranges(missing: Sequence[Range]) -> list[dict[str, int]]:
    return [{"epoch": r.epoch, "first": r.first, "last": r.last} for r in missing]


def _id_after_gap(recovery: Recovery, missing: Sequence[Range]) -> str:
    if recovery is Recovery.LOST or not missing:
        return EARLIEST
    if recovery is Recovery.ROLLED_BACK and len(missing) == 1:
        return f"{missing[0].epoch}-{missing[0].first - 1}"
    return f"{missing[-1].epoch}-{missing[-1].last}"
