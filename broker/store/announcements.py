"""Announcements: the bytes that the live channel carries for each appended batch.

Four bytes of length (big-endian), a msgpack header of that length, and the batch's envelopes one after the other.
The header is one of two arrays:

    [0, previous epoch, previous offset, epoch, first offset, time ms, sizes]
    [1, epoch, offset]                                          the topic was deleted; its end

`sizes` lists the envelopes' lengths, or is their number when they were too large to announce. The scripts write the
same bytes as this file; the memory store uses this file.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate

import msgpack

from broker.messages import Entry, unpack
from broker.positions import Position, checked_position
from broker.store.base import MAX_ANNOUNCED_BYTES, Announcement

_BATCH, _END = 0, 1
_LENGTH = struct.Struct(">I")


def pack_batch(previous: Position, first: Position, time_ms: int, envelopes: Sequence[bytes]) -> bytes:
    """Return the announcement of envelopes appended at `first` and on."""
    sizes: list[int] | int = [len(envelope) for envelope in envelopes]
    if sum(map(len, envelopes)) > MAX_ANNOUNCED_BYTES:
        sizes, envelopes = len(envelopes), ()
    header = [_BATCH, previous.epoch, previous.offset, first.epoch, first.offset, time_ms, sizes]
    return _framed(header) + b"".join(envelopes)


def pack_end(end: Position) -> bytes:
    """Return the announcement that the topic, whose last place was `end`, is deleted."""
    return _framed([_END, end.epoch, end.offset])


def read_announcement(payload: bytes) -> Announcement:
    """Decode what `pack_batch`, `pack_end` or the scripts wrote. Raises `ValueError` on anything else."""
    try:
        (length,) = _LENGTH.unpack_from(payload)
        at = _LENGTH.size + length
        return _read(msgpack.unpackb(payload[_LENGTH.size : at]), payload[at:])
    except (struct.error, msgpack.UnpackException, TypeError, LookupError) as error:
        raise ValueError("not an announcement") from error


def _framed(header: Sequence[object]) -> bytes:
    packed: bytes = msgpack.packb(header)
    return _LENGTH.pack(len(packed)) + packed


def _read(header: Sequence[object], bodies: bytes) -> Announcement:
    match header:
        case [0, int(before), int(before_offset), int(epoch), int(first), int(time_ms), list(sizes)]:
            entries = _entries(checked_position(epoch, first), time_ms, sizes, bodies)
            return Announcement(checked_position(before, before_offset), entries[-1].position, entries)
        case [0, int(before), int(before_offset), int(epoch), int(first), int(), int(count)] if count > 0:
            last = checked_position(epoch, first + count - 1)
            return Announcement(checked_position(before, before_offset), last, None)
        case [1, int(epoch), int(offset)]:
            end = checked_position(epoch, offset)
            return Announcement(end, end, None, ended=True)
    raise ValueError("not an announcement")


def _entries(first: Position, time_ms: int, sizes: list[int], bodies: bytes) -> tuple[Entry, ...]:
    ends = list(accumulate(sizes))
    if ends[-1] != len(bodies):
        raise ValueError("the bodies of an announcement do not fit its header")
    return tuple(
        Entry(Position(first.epoch, first.offset + index), time_ms, unpack(bodies[end - size : end]))
        for index, (size, end) in enumerate(zip(sizes, ends, strict=True))
    )
