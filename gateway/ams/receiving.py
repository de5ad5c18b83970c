"""ARGO's bodies of pulling, acknowledging and seeking: bytes to values and back (contract ams.md 4.8). Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import orjson

from broker.errors import InvalidRequest
from broker.messages import Entry
from gateway.ams.wire import data_of, field_of, read_object

MAX_PULL_MESSAGES = 1000
"""Messages that one pull returns at most, whatever `maxMessages` says."""

CACHED_SECONDS = 1024
"""Seconds whose text is kept: the messages of a batch share theirs, and formatting is most of what one costs."""

MAX_INT64 = 2**63 - 1

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{0,9}))?(?:([ +-])(\d\d)(?::?(\d\d))?)?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PullOptions:
    max_messages: int
    waits: bool
    """`returnImmediately` is false: wait a little where there is nothing."""


def read_pull(body: bytes) -> PullOptions:
    """Read the body of a pull; its values may be strings, as ARGO's client sends them. Raises `InvalidRequest`."""
    document = read_object(body)
    return PullOptions(
        _message_count(field_of(document, "maxmessages")), waits=_is_false(field_of(document, "returnimmediately"))
    )


def _message_count(value: object) -> int:
    """What is no number in a string counts as 1, as do numbers below it."""
    if isinstance(value, str):
        value = int(value) if _INTEGER.fullmatch(value) else 1
    if value is None:
        value = 1
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest("maxMessages is not a number.")
    return int(min(max(value, 1), MAX_PULL_MESSAGES))


def _is_false(value: object) -> bool:
    if value is not None and not isinstance(value, str | bool):
        raise InvalidRequest("returnImmediately is neither true nor false.")
    return value in (False, "false")


def ack_prefix(project: str, subscription: str) -> str:
    """Return what all ack ids of a subscription begin with."""
    return f"projects/{project}/subscriptions/{subscription}:"


def received(deliveries: Iterable[tuple[str, Entry]]) -> bytes:
    """Return the answer to a pull. `deliveries` are ack ids with their entries.

    `message` holds four keys and never another: ARGO's client hands the object to a constructor.
    """
    return orjson.dumps({"receivedMessages": [{"ackId": ack, "message": message_document(e)} for ack, e in deliveries]})


def message_document(entry: Entry) -> dict[str, object]:
    """Return ARGO's form of a message; `attributes` is left out where there are none."""
    document: dict[str, object] = {"messageId": str(entry.position.offset)}
    if entry.message.attributes:
        document["attributes"] = entry.message.attributes
    document["data"] = data_of(entry.message)
    document["publishTime"] = zulu(entry.time_ms)
    return document


def zulu(time_ms: int) -> str:
    """Return `YYYY-MM-DDTHH:MM:SS[.fff]Z`, without trailing zeros in the fraction."""
    seconds, fraction = divmod(time_ms, 1000)
    text = _zulu_second(seconds)
    return f"{text}.{fraction:03d}".rstrip("0") + "Z" if fraction else f"{text}Z"


@lru_cache(maxsize=CACHED_SECONDS)
def _zulu_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def read_time(text: str) -> int:
    """Return Unix milliseconds, rounded up, of a time in Zulu form. Raises `InvalidRequest`.

    The client writes a space for the T where there are no microseconds, and `+00Z` behind an aware time's fraction;
    a `+` in a query is a space.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise InvalidRequest("The time is not in Zulu form.")
    day, clock, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}+00:00")
    except ValueError:
        raise InvalidRequest("There is no such time.") from None
    nanoseconds = int((fraction or "").ljust(9, "0"))
    ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
    seconds = int(moment.timestamp()) - int(ahead.total_seconds())
    return max(0, seconds * 1000 - (-nanoseconds // 1_000_000))


def read_ack_ids(body: bytes) -> list[object] | None:
    """Return the `ackIds` of a body, whatever they are; None where there are none. Raises `InvalidRequest`."""
    value = field_of(read_object(body), "ackids")
    if value is not None and not isinstance(value, list):
        raise InvalidRequest("ackIds is not a list.")
    return value


def without_prefix(ack_id: object, prefix: str) -> str:
    """Return what follows the subscription's `prefix` in an ack id, which the broker reads. Raises `InvalidRequest`."""
    if not isinstance(ack_id, str) or not ack_id.startswith(prefix):
        raise InvalidRequest("An ack id is not of this subscription.")
    return ack_id[len(prefix) :]


def acks_of(ack_ids: Sequence[object], project: str, subscription: str) -> list[str]:
    """Return the broker's part of each ack id. Raises `InvalidRequest` where there is none, or one is foreign."""
    if not ack_ids:
        raise InvalidRequest("There is no ack id.")
    prefix = ack_prefix(project, subscription)
    return [without_prefix(ack_id, prefix) for ack_id in ack_ids]


def read_integer(body: bytes, name: str) -> int:
    """Return the integer field `name` (in lower case), which must be there. Raises `InvalidRequest`."""
    value = field_of(read_object(body), name)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_INT64:
        raise InvalidRequest(f"{name} is not an integer.")
    return value
