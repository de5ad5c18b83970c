"""What `headrace pub` publishes: the lines of standard input, or whole files."""

import asyncio
import os
import queue
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

CHUNK_BYTES = 65_536
"""One read. A pipe that brings less is not waited for."""

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is no line but a mistake; the server's own bound on messages is much lower."""

MAX_CHUNKS = 16
"""Read ahead of the publisher at most so many."""

_HAND_OVER_SECONDS = 0.2


class LineTooLong(Exception):
    """The input holds a line beyond `MAX_LINE_BYTES`."""


def split_lines(rest: bytes, chunk: bytes) -> tuple[list[bytes], bytes]:
    """Return the complete lines in `rest + chunk` without their newlines, and what remains; a carriage return stays."""
    *lines, rest = (rest + chunk).split(b"\n")
    return lines, rest


def read_files(paths: Sequence[Path]) -> Iterator[list[bytes]]:
    """Yield each file's content as one message."""
    for path in paths:
        yield [path.read_bytes()]


def read_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines of `stream` as they come, many at once where many are there."""
    rest = b""
    while chunk := stream.read1(CHUNK_BYTES):  # type: ignore[attr-defined]  # every buffered reader has it
        lines, rest = split_lines(rest, chunk)
        if len(rest) > MAX_LINE_BYTES:
            raise LineTooLong(f"a line is longer than {MAX_LINE_BYTES} bytes")
        if lines:
            yield lines
    if rest:
        yield [rest]


class Reader:
    """Reads an input in a thread of its own, because a terminal or a pipe may block for ever.

    The thread is a daemon: Ctrl-C must not wait for the next line.
    """

    def __init__(self, source: Iterator[list[bytes]]) -> None:
        self._source = source
        self._chunks: queue.Queue[list[bytes] | Exception | None] = queue.Queue(MAX_CHUNKS)
        self._closed = threading.Event()
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def __aiter__(self) -> AsyncIterator[list[bytes]]:
        threading.Thread(target=self._read, name="intake", daemon=True).start()
        try:
            while (chunk := await self._next()) is not None:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        finally:
            self._closed.set()

    async def _next(self) -> list[bytes] | Exception | None:
        while True:
            with suppress(queue.Empty):
                return self._chunks.get_nowait()
            self._news.clear()
            if self._chunks.empty():
                await self._news.wait()

    def _read(self) -> None:
        try:
            for chunk in self._source:
                if not self._hand_over(chunk):
                    return
            self._hand_over(None)
        except Exception as error:
            self._hand_over(error)

    def _hand_over(self, chunk: list[bytes] | Exception | None) -> bool:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._chunks.put(chunk, timeout=_HAND_OVER_SECONDS)
                with suppress(RuntimeError):  # the loop is gone: so is whoever waited
                    self._loop.call_soon_threadsafe(self._news.set)
                return True
        return False


def size_of(paths: Sequence[Path]) -> int | None:
    """Return how many bytes the files have, None where one cannot be asked."""
    try:
        return sum(path.stat().st_size for path in paths)
    except OSError:
        return None


def size_of_stream(stream: BinaryIO) -> int | None:
    """Return how many bytes `stream` has, None where only its end will tell."""
    status = os.fstat(stream.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else None
