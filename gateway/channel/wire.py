r"""What our own script (`/_ah/channel/jsapi`) and the node say to each other. Pure.

The same frames, one JSON object each, over three transports. `TOKEN` is a channel token; `CLIENT` is what `open` said,
and `LAST` the `id` of the last message that the page got. A page that comes back passes both, and goes on where it was.

    WebSocket     /_ah/channel/socket?channel=TOKEN[&client=CLIENT][&last_id=LAST]     a text frame each
    events        /_ah/channel/stream?channel=TOKEN[&client=CLIENT][&last_id=LAST]     `data: FRAME`, `id: LAST`
    long poll     /_ah/channel/poll?channel=TOKEN[&client=CLIENT][&last_id=LAST]       200, a JSON list of frames

    {"open": {"client": CLIENT, "last_id": LAST, "expires": s}}    first, and in each poll's answer: go on from here.
                                                                   A poll without `client` is answered by it at once
    {"id": LAST, "data": "text"}                                   a message
    {"gap": n}                                                     n messages are gone: too old, or too many; 0: unknown
    {"error": {"code": 401, "description": "Token+timed+out."}}    the last frame: `onerror`, then `onclose`
    {"refreshed": {"expires": s}}                                  the answer to a new token

A poll with `wait=0` is answered at once, one with `check=1` by an empty list if its token is good, and opens nothing.

Before its token times out a page sends `{"token": TOKEN}` with a new one over its WebSocket, or opens its stream again
with it; each poll has the newest token anyway. A page that closes its channel closes its WebSocket with 1000, or GETs
`/_ah/channel/dev?command=disconnect&channel=TOKEN&client=CLIENT`: then it is gone at once, else after a while.

Codes: 401 as the development server's; 409: a newer connection has taken over, do not come back; 503: come back later.
A refused poll has that status too. Whatever else ends a socket or a stream is the way's fault: come back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from broker.errors import InvalidRequest
from broker.positions import Position, parse_position
from broker.store.channels import ChannelMessage
from gateway.channel.errors import Told

MAX_FRAME_BYTES = 4096
"""Of what a page sends: a token, and what stands around it."""

_LABEL = re.compile(r"(?:([1-9][0-9]{0,14})\.)?([A-Za-z0-9_=-]{1,64})")


@dataclass(frozen=True, slots=True)
class Label:
    """A connection as its page knows it: `<number>.<name>`, or a name alone that the page made up."""

    name: str
    number: int | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.number}.{self.name}"


def read_label(text: str) -> Label | None:
    """Return what a page's `client` says; None where that is empty or nothing that could be one."""
    found = _LABEL.fullmatch(text)
    return Label(found[2], int(found[1]) if found[1] else None) if found else None


def read_last_id(text: str) -> Position | None:
    """Return the place after which a page goes on, None where it names none. Raises `InvalidRequest`."""
    if not text:
        return None
    try:
        return parse_position(text)
    except ValueError:
        raise InvalidRequest("last_id is no place in a channel.") from None


def read_refresh(data: bytes) -> str:
    """Return the new token in a page's frame. Raises `InvalidRequest`."""
    try:
        frame = orjson.loads(data) if len(data) <= MAX_FRAME_BYTES else None
    except orjson.JSONDecodeError:
        frame = None
    token = frame.get("token") if isinstance(frame, dict) else None
    if not isinstance(token, str):
        raise InvalidRequest("A page sends nothing but a token.")
    return token


def opened(label: Label, last_id: Position, *, expires_s: int) -> bytes:
    return orjson.dumps({"open": {"client": str(label), "last_id": str(last_id), "expires": expires_s}})


def message(sent: ChannelMessage) -> bytes:
    """A page gets text: what is not UTF-8 comes as a browser would read it."""
    return orjson.dumps({"id": str(sent.position), "data": sent.data.decode(errors="replace")})


def gap(count: int) -> bytes:
    return orjson.dumps({"gap": count})


def error(told: Told) -> bytes:
    return orjson.dumps({"error": {"code": told.status, "description": told.description}})


def refreshed(*, expires_s: int) -> bytes:
    return orjson.dumps({"refreshed": {"expires": expires_s}})


def listed(frames: Sequence[bytes]) -> bytes:
    """Return the body of a long poll's answer."""
    return b"[" + b",".join(frames) + b"]"


def event(frame: bytes, *, id: Position | None = None) -> bytes:
    """Return a frame as a server-sent event."""
    return (b"id: %s\n" % str(id).encode() if id else b"") + b"data: " + frame + b"\n\n"
