"""Where a subscription stands in its topic, and moving it there (contract ams.md 4.8)."""

import orjson

from broker.errors import InvalidRequest, OutOfBounds
from gateway.ams import errors, receiving
from gateway.ams.requests import Request
from gateway.ams.table import Row


async def show(request: Request) -> bytes:
    """`max` is the next message to be published, `min` the oldest retained, `current` the next to be delivered."""
    found = await request.context.subscriptions.offsets(request.subscription)
    return orjson.dumps({"max": found.following, "min": found.earliest, "current": found.current})


async def modify(request: Request) -> bytes:
    """A refused offset moves nothing. Whatever was pulled and not acked is forgotten."""
    try:
        offset = receiving.read_integer(request.body, "offset")
    except InvalidRequest:
        raise errors.invalid_arguments("Offset") from None
    try:
        await request.context.subscriptions.seek(request.subscription, offset)
    except OutOfBounds:
        raise errors.invalid("Offset out of bounds") from None
    return b""


async def at_time(request: Request) -> bytes:
    """The offset of the first message published at or after `time`."""
    try:
        time_ms = receiving.read_time(request.query.get("time", ""))
    except InvalidRequest:
        raise errors.invalid("Time is not in valid Zulu format.") from None
    try:
        offset = await request.context.subscriptions.offset_at(request.subscription, time_ms)
    except OutOfBounds:
        raise errors.conflict("Timestamp is out of bounds for the subscription's topic/partition") from None
    return orjson.dumps({"offset": offset})


_ONE = "/projects/{project}/subscriptions/{subscription}"

ROUTES = (
    Row("GET", f"{_ONE}:offsets", "subscriptions:offsets", show),
    Row("POST", f"{_ONE}:modifyOffset", "subscriptions:modifyOffset", modify),
    Row("GET", f"{_ONE}:timeToOffset", "subscriptions:timeToOffset", at_time),
)
