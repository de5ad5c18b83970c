"""`headrace pub`: publish lines or files as they are read, many in flight, in order, and count what failed."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.commands.connecting import connected
from gateway.commands.target import Target
from gateway.commands.terminal import FAILED, note
from headrace import Client, HeadraceError, Published, QueueFull

MAX_SHOWN_REASONS = 5
"""Different refusals that are spelled out."""

BREATHE_MESSAGES = 512
"""After so many the socket has its turn: reading a file never waits."""

SHOW_SECONDS = 0.1
"""How often the progress is shown while the last answers are waited for."""

Kind = Literal["auto", "json", "binary"]
"""`auto`: text where it is UTF-8, else binary."""


@dataclass
class Tally:
    """What became of the messages, and the bytes that were handed over."""

    sent: int = 0
    bytes: int = 0
    stored: int = 0
    failed: int = 0
    first: Published | None = None
    last: Published | None = None
    reasons: dict[str, int] = field(default_factory=dict)

    def answered(self, future: "asyncio.Future[Published]") -> None:
        error = future.exception()
        if error is not None:
            self.refuse(str(error))
            return
        self.stored += 1
        self.last = future.result()
        self.first = self.first or self.last

    def refuse(self, reason: str) -> None:
        self.failed += 1
        if reason in self.reasons or len(self.reasons) < MAX_SHOWN_REASONS:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1


class Progress(Protocol):
    def show(self, tally: Tally) -> None: ...


@dataclass(frozen=True, slots=True)
class Job:
    """What to publish where. `attributes` go on every message."""

    topic: str
    kind: Kind = "auto"
    attributes: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0


class Queue:
    """Hands payloads to the client in order, without a task for each."""

    def __init__(self, client: Client, job: Job, tally: Tally) -> None:
        self._client = client
        self._job = job
        self._tally = tally

    async def put(self, payload: bytes) -> None:
        """Queue one message, waiting for room. A payload that is not valid counts as failed."""
        self._tally.sent += 1
        self._tally.bytes += len(payload)
        try:
            publish = self._prepared(payload)
        except ValueError as error:
            self._tally.refuse(f"not JSON: {error}")
            return
        while True:
            try:
                publish().add_done_callback(self._tally.answered)
                return
            except QueueFull:
                await self._client.room()

    def _prepared(self, payload: bytes) -> "Callable[[], asyncio.Future[Published]]":
        client, job = self._client, self._job
        attributes, timeout = job.attributes or None, job.timeout
        if job.kind == "json":
            value = json.loads(payload)
            return lambda: client.publish_nowait(job.topic, json=value, attributes=attributes, timeout=timeout)
        text = _text(payload) if job.kind == "auto" else None
        if text is not None:
            return lambda: client.publish_nowait(job.topic, text=text, attributes=attributes, timeout=timeout)
        return lambda: client.publish_nowait(job.topic, data=payload, attributes=attributes, timeout=timeout)


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


async def publish_all(
    client: Client, job: Job, chunks: AsyncIterable[list[bytes]], tally: Tally, progress: Progress | None = None
) -> None:
    """Publish every payload of `chunks`, in order; return when each is answered or failed."""
    queue = Queue(client, job, tally)
    try:
        async for chunk in chunks:
            for payload in chunk:
                await queue.put(payload)
                if tally.sent % BREATHE_MESSAGES == 0:
                    await asyncio.sleep(0)
                    _show(progress, tally)
            _show(progress, tally)
        await _settle(client, tally, progress)
    except HeadraceError as error:
        # The server wants nothing more of this client: what is unanswered has failed by now.
        await asyncio.sleep(0)
        tally.failed = tally.sent - tally.stored
        tally.reasons.setdefault(str(error), 1)


async def _settle(client: Client, tally: Tally, progress: Progress | None) -> None:
    """Wait until every message is answered or failed."""
    while tally.stored + tally.failed < tally.sent:
        with suppress(TimeoutError):
            await client.flush(timeout=SHOW_SECONDS)
        # The last answers' callbacks have their turn.
        await asyncio.sleep(0)
        _show(progress, tally)


def _show(progress: Progress | None, tally: Tally) -> None:
    if progress is not None:
        progress.show(tally)


async def run(
    target: Target, job: Job, chunks: AsyncIterable[list[bytes]], *, total_bytes: int | None, as_json: bool
) -> int:
    """Publish and report; returns the exit status."""
    tally, started = Tally(), time.monotonic()
    async with connected(target) as client:
        with _progress(total_bytes) as progress:
            await publish_all(client, job, chunks, tally, progress)
    _report(job, tally, time.monotonic() - started, as_json=as_json)
    return FAILED if tally.failed else 0


def _progress(total_bytes: int | None) -> AbstractContextManager[Progress | None]:
    if not sys.stderr.isatty():
        return nullcontext()
    from gateway.commands.progress import Display

    return Display(total_bytes)


def _report(job: Job, tally: Tally, seconds: float, *, as_json: bool) -> None:
    for reason, count in tally.reasons.items():
        note(f"headrace: {count} not stored: {reason}")
    if as_json:
        print(json.dumps(_summary(job, tally, seconds)))
        return
    place = f", {tally.first.position} to {tally.last.position}" if tally.first and tally.last else ""
    failed = f", {tally.failed} FAILED" if tally.failed else ""
    note(f"{tally.stored} messages stored in {job.topic}{place}{failed} ({seconds:.2f} s)")


def _summary(job: Job, tally: Tally, seconds: float) -> dict[str, object]:
    return {
        "topic": job.topic,
        "stored": tally.stored,
        "failed": tally.failed,
        "bytes": tally.bytes,
        "first": str(tally.first.position) if tally.first else None,
        "last": str(tally.last.position) if tally.last else None,
        "seconds": round(seconds, 3),
    }
