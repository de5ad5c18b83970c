"""Reading the fields of server frames, strictly: a malformed one raises `BadFrame`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.dialects import Dialect, Frame
from headrace.errors import BadFrame, HeadraceError, error_of
from headrace.failover import Server
from headrace.messages import Attached, Lease, Published, Started
from headrace.positions import Position, Range, Recovery, checked_position

MAX_MISSING = 10_000
"""Ranges of one frame that are looked at: an epoch chain is far shorter."""


DEFAULT_PING_MS = 25_000
DEFAULT_FRAME_BYTES = 2_200_000
DEFAULT_IN_FLIGHT = 1024


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the node said of itself. Times in milliseconds, sizes in bytes; None is what it did not say."""

    node: str = ""
    connection: str = ""
    servers: tuple[Server, ...] = ()
    ping_ms: int = DEFAULT_PING_MS
    spread_ms: int | None = None
    frame_bytes: int = DEFAULT_FRAME_BYTES
    in_flight: int = DEFAULT_IN_FLIGHT
    retention_ms: int | None = None
    """How long messages are kept at least."""
    subjects_in: str = ""
    """The project that MigratoryData's subjects lie in."""


def read_welcome(frame: Frame) -> Welcome:
    limits = _map(frame.get("limits", {}))
    return Welcome(
        node=_text(frame.get("node", "")),
        connection=_text(frame.get("connection", "")),
        servers=read_servers(frame),
        ping_ms=_integer(frame.get("ping_ms", DEFAULT_PING_MS), least=1),
        spread_ms=read_spread(frame),
        frame_bytes=_integer(limits.get("frame_bytes", DEFAULT_FRAME_BYTES), least=1),
        in_flight=_integer(limits.get("in_flight", DEFAULT_IN_FLIGHT), least=1),
        retention_ms=_optional(limits.get("retention_ms")),
        subjects_in=_text(frame.get("subjects_in", "")),
    )


def read_servers(frame: Frame) -> tuple[Server, ...]:
    entries = [_map(entry) for entry in _list(frame.get("servers", []))]
    return tuple(Server(_text(entry.get("url")), _integer(entry.get("weight", 1), least=0)) for entry in entries)


def read_spread(frame: Frame) -> int | None:
    return _optional(frame.get("spread_ms"))


def _optional(value: object) -> int | None:
    return None if value is None else _integer(value, least=0)


def read_started(frame: Frame, dialect: Dialect) -> Started:
    after, snapshot = _map(frame.get("after")), frame.get("snapshot")
    message = None if snapshot is None else dialect.message({**_map(snapshot), "topic": read_topic(frame)})
    return Started(_position(after), _position(frame), read_recovery(frame), message)


def read_recovery(frame: Frame) -> Recovery:
    try:
        return Recovery(_text(frame.get("recovery")))
    except ValueError as error:
        raise BadFrame("an unknown recovery") from error


def read_missing(frame: Frame) -> tuple[Range, ...]:
    missing = _list(frame.get("missing", []))
    if len(missing) > MAX_MISSING:
        raise BadFrame("too many missing ranges")
    return tuple(_range(_map(entry)) for entry in missing)


def _range(entry: Mapping[str, object]) -> Range:
    return Range(*(_integer(entry.get(key), least=0) for key in ("epoch", "first", "last")))


def read_published(frame: Frame) -> Published:
    epoch, offset = frame.get("epoch"), frame.get("offset")
    if isinstance(epoch, int) and isinstance(offset, int):
        return Published(epoch, offset, frame.get("duplicate") is True)
    raise BadFrame("a published frame without a position")


def read_error(frame: Frame) -> HeadraceError:
    retry_ms = _optional(frame.get("retry_ms"))
    return error_of(_text(frame.get("code")), _text(frame.get("reason", "")), retry_ms=retry_ms)


def read_subscription(frame: Frame) -> str:
    return _text(frame.get("subscription"))


def read_attached(frame: Frame) -> Attached:
    return Attached(
        read_subscription(frame),
        read_topic(frame),
        _integer(frame.get("window"), least=1),
        _integer(frame.get("ack_deadline_s"), least=0),
    )


def read_deliveries(frame: Frame, dialect: Dialect) -> tuple[Lease, ...]:
    topic = read_topic(frame)
    return tuple(_lease({**_map(entry), "topic": topic}, dialect) for entry in _list(frame.get("deliveries")))


def _lease(entry: Frame, dialect: Dialect) -> Lease:
    return Lease(_text(entry.get("ack")), _integer(entry.get("attempt"), least=1), dialect.message(entry))


def read_refused(frame: Frame) -> dict[str, str]:
    """Return the acks that were settled in vain, each with its code."""
    told = [_map(entry) for entry in _list(frame.get("refused", []))]
    return {_text(entry.get("ack")): _text(entry.get("code")) for entry in told}


def read_topic(frame: Frame) -> str:
    return _text(frame.get("topic"))


def _position(fields: Mapping[str, object]) -> Position:
    try:
        return checked_position(fields.get("epoch"), fields.get("offset"))
    except ValueError as error:
        raise BadFrame("a frame without a position") from error


def _integer(value: object, *, least: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return value
    raise BadFrame("a field that is not an integer in its range")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise BadFrame("a field that is not a string")


def _map(value: object) -> Mapping[str, object]:
    if isinstance(value, dict):
        return value
    raise BadFrame("a field that is not a map")


def _list(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    raise BadFrame("a field that is not a list")
