"""Checks that many sockets received the same messages, each once and in order, at the price of a memory comparison.

A topic's frames are the same bytes for every subscriber. So one canonical stream is parsed frame by frame (offsets
must rise by one, nothing lost, nothing twice), and every socket's bytes are compared with it: at millions of
deliveries a second nothing in Python could parse them all.
"""

from collections.abc import Iterator

HEADER_BYTES = 4
TRIM_BYTES = 32 * 1024 * 1024
"""How much of the canonical stream is kept beyond what the slowest socket has compared."""


class Disorder(Exception):
    """A socket received something that the topic's log does not say: a loss, a repeat or a swap."""


def frames(data: bytes | bytearray, start: int) -> Iterator[tuple[int, int, int]]:
    """Yield (opcode, payload start, payload end) of each whole unmasked WebSocket frame from `start` on."""
    end = len(data)
    while start + 2 <= end:
        length, head = data[start + 1], 2
        if length == 126:
            head = 4
            length = int.from_bytes(data[start + 2 : start + 4], "big")
        elif length == 127:
            head = 10
            length = int.from_bytes(data[start + 2 : start + 10], "big")
        stop = start + head + length
        if (head > 2 and start + head > end) or stop > end:
            return
        yield data[start] & 0x0F, start + head, stop
        start = stop


def offset_in(frame: bytes) -> int:
    """Return the offset of a JSON message frame."""
    at = frame.index(b'"offset":') + 9
    return int(frame[at : frame.index(b",", at)])


class Canon:
    """The one stream that all sockets must have received, and the count of messages in it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.base = 0
        self.parsed = 0
        self.messages = 0
        self.next_offset: int | None = None

    @property
    def end(self) -> int:
        return self.base + len(self.data)

    def extend(self, chunk: bytes) -> None:
        """Append what the fastest socket received, and check the order of the messages in it."""
        self.data += chunk
        for opcode, start, stop in frames(self.data, self.parsed):
            self.parsed = stop
            if opcode in (1, 2):
                self._check(bytes(self.data[start : min(stop, start + 256)]))

    def _check(self, frame: bytes) -> None:
        if b'"op":"message"' not in frame[:32]:
            raise Disorder(f"unexpected frame {frame[:120]!r}")
        offset = offset_in(frame)
        if self.next_offset is not None and offset != self.next_offset:
            raise Disorder(f"offset {offset} where {self.next_offset} was due")
        self.next_offset = offset + 1
        self.messages += 1

    def trim(self, slowest: int) -> None:
        """Forget what every socket has compared."""
        spare = min(slowest - self.base, self.parsed)
        if spare > TRIM_BYTES:
            del self.data[:spare]
            self.base += spare
            self.parsed -= spare


class Follower:
    """One socket's place in the canonical stream."""

    __slots__ = ("canon", "place")

    def __init__(self, canon: Canon) -> None:
        self.canon = canon
        self.place = canon.end

    def receive(self, chunk: bytes) -> None:
        """Compare `chunk` with the canonical stream, or extend it. Raises `Disorder`."""
        canon = self.canon
        at = self.place - canon.base
        known = len(canon.data) - at
        if known >= len(chunk):
            same = canon.data.startswith(chunk, at)
        else:
            same = known == 0 or canon.data.startswith(chunk[:known], at)
            if same:
                canon.extend(chunk[known:])
        if not same:
            raise Disorder(f"a socket differs from the others after byte {self.place} of the stream")
        self.place += len(chunk)
