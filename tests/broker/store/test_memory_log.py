"""A log in memory: what it retains, and where its epochs begin."""

from broker.positions import Link, Position
from broker.store.base import Retention
from broker.store.memory_log import MemoryLog
from broker.store.once import ONCE_BOUNDS, OnceRecords
from broker.traffic import DAY_MS


def log_with(*envelopes: bytes) -> MemoryLog:
    log = MemoryLog(0, Retention(), "a" * 40, (Link(5, 0),), OnceRecords(ONCE_BOUNDS), 5)
    for envelope in envelopes:
        log.add(1, envelope)
    return log


def test_entries_are_found_by_offset_as_long_as_they_are_retained() -> None:
    log = log_with(b"a", b"b", b"c")
    del log.entries[0]
    found = [log.at(offset) for offset in range(-1, 4)]
    assert [stored and stored.envelope for stored in found] == [None, None, b"b", b"c", None]
    assert log.index_after(None) == log.index_after(Position(5, 0)) == 0
    assert log.index_after(Position(5, 1)) == 1
    assert (log.state().first, log.state().end) == (Position(5, 1), Position(5, 2))


def test_another_primary_begins_an_epoch_at_the_logs_end() -> None:
    log = log_with(b"a")
    log.begin_epoch("a" * 40, now_s=100)
    assert log.chain == (Link(5, 0),)
    log.begin_epoch("b" * 40, now_s=100)
    assert [link.first for link in log.chain] == [0, 1]
    log.add(2, b"b")
    assert [stored.position.epoch for stored in log.entries] == [link.epoch for link in log.chain]


def test_a_mark_is_set_where_a_day_begins() -> None:
    log = log_with()
    for time_ms, count in ((5, 2), (6, 1), (DAY_MS, 3), (2 * DAY_MS, 0), (2 * DAY_MS + 1, 1), (3 * DAY_MS, 1)):
        before_ms, first = log.time_ms, log.next_offset
        log.time_ms = time_ms
        for _ in range(count):
            log.add(time_ms, b"x")
        log.count(first, before_ms)
    # A call that appended nothing at the second day's beginning does not hide its first message.
    assert log.marks == {1: 3, 2: 6, 3: 7}
    assert (log.previous_ms, log.batch, log.written) == (2 * DAY_MS + 1, 1, 8)
