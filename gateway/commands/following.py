"""`headrace sub`: print a topic's messages as they come, over all reconnects, each once and in order."""

import asyncio
import base64
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import BinaryIO

import orjson

from gateway.commands.connecting import connected
from gateway.commands.target import Target
from gateway.commands.terminal import FAILED, note
from headrace import Client, Gap, HeadraceError, Message, Recovery, Since, Subscription

MAX_BATCH = 512
"""Messages in one write: what is queued goes out together, and the socket has its turn in between."""


@dataclass(frozen=True, slots=True)
class Request:
    topic: str
    since: Since
    count: int | None = None
    """End after so many messages."""
    as_json: bool = False


class Enough(Exception):
    """As many messages as were asked for."""


def line_of(message: Message) -> bytes:
    """Return the payload as a line."""
    return message.data + b"\n"


def json_line_of(message: Message) -> bytes:
    """Return the message with its position as one JSON object: the realtime protocol's `message` without `op`."""
    fields: dict[str, object] = {
        "topic": message.topic,
        "epoch": message.position.epoch,
        "offset": message.position.offset,
        "time": message.time_ms,
        **_payload(message),
    }
    if message.attributes:
        fields["attributes"] = dict(message.attributes)
    return orjson.dumps(fields) + b"\n"


def _payload(message: Message) -> dict[str, object]:
    if message.kind == "json":
        return {"json": orjson.Fragment(message.data)}
    if message.kind == "text":
        return {"text": message.text}
    return {"base64": base64.b64encode(message.data).decode()}


def gap_sentence(gap: Gap) -> str:
    """Return what a gap means to a person."""
    ranges = ", ".join(f"{gone.epoch}-{gone.first} to {gone.epoch}-{gone.last}" for gone in gap.missing)
    if gap.recovery is Recovery.LOST:
        return f"{gap.topic}: the place is not known any more, going on with the oldest message that is kept"
    if gap.recovery is Recovery.ROLLED_BACK:
        return f"{gap.topic}: a failover took back {ranges}"
    return f"{gap.topic}: retention has removed {ranges}"


class Printer:
    """Takes what is queued, and writes it in one go."""

    def __init__(self, request: Request, write: Callable[[bytes], None]) -> None:
        self._left = request.count
        self._form = json_line_of if request.as_json else line_of
        self._write = write

    async def print_all(self, subscription: Subscription) -> None:
        """Print until the subscription ends, or raise `Enough`."""
        while await subscription.wait():
            lines = self._take(subscription)
            if lines:
                await asyncio.to_thread(self._write, b"".join(lines))
            if self._left == 0:
                raise Enough

    def _take(self, subscription: Subscription) -> list[bytes]:
        lines: list[bytes] = []
        while len(lines) < MAX_BATCH and self._left != 0:
            try:
                item = subscription.take()
            except IndexError:
                break
            if isinstance(item, Gap):
                note(f"headrace: {gap_sentence(item)}")
                continue
            lines.append(self._form(item))
            self._left = None if self._left is None else self._left - 1
        return lines


async def follow(client: Client, request: Request, write: Callable[[bytes], None]) -> None:
    """Follow until the subscription is over, or `request.count` messages were written."""
    if request.count == 0:
        return
    subscription = client.subscribe(request.topic, since=request.since)
    try:
        await Printer(request, write).print_all(subscription)
    except Enough:
        await subscription.close()


async def run(target: Target, request: Request) -> int:
    """Follow and print to standard output; returns the exit status."""
    return await to_output(target, f"following {request.topic}", lambda client, write: follow(client, request, write))


async def to_output(
    target: Target, doing: str, work: Callable[[Client, Callable[[bytes], None]], Awaitable[None]]
) -> int:
    """Connect and let `work` write to standard output; returns the exit status. `doing` is told on a terminal."""
    try:
        async with connected(target) as client:
            if sys.stdout.isatty():
                note(f"headrace: {doing}, Ctrl-C ends")
            await work(client, writer(sys.stdout.buffer))
    except BrokenPipeError:
        forget_output()
    except HeadraceError as error:
        note(f"headrace: {error}")
        return FAILED
    return 0


def forget_output() -> None:
    """Whoever read our output has had enough (`| head`); Python would complain about it once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def writer(stream: BinaryIO) -> Callable[[bytes], None]:
    """Return a function that writes and flushes."""

    def write(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    return write
