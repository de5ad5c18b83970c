"""Idempotency records under a clock that the test holds."""

from dataclasses import replace

from logs import keyed, numbered, request

from broker.errors import KeyConflict, StaleSequence
from broker.positions import Position
from broker.store.base import SEQUENCE_WINDOW, Appended, AppendRequest
from broker.store.once import CHANCES, SWEEP, OnceBounds, OnceRecords


def keep(records: OnceRecords, one: AppendRequest, now_ms: int) -> Appended:
    appended = Appended(Position(1, now_ms), len(one.envelopes), now_ms)
    records.keep(one, appended, now_ms)
    return appended


def knows(records: OnceRecords, one: AppendRequest) -> bool:
    return isinstance(records.outcome(one), Appended)


def test_a_key_is_known_with_its_payload() -> None:
    records = OnceRecords(OnceBounds())
    assert records.outcome(request("a")) is None
    assert records.outcome(keyed("k", "a")) is None
    appended = keep(records, keyed("k", "a"), 1)
    assert records.outcome(keyed("k", "a")) == replace(appended, duplicate=True)
    assert isinstance(records.outcome(keyed("k", "b")), KeyConflict)
    assert isinstance(records.outcome(replace(keyed("k", "a", "a"), digest=b"a")), KeyConflict)
    assert records.outcome(keyed("k", "a", scope="you")) is None


def test_the_window_of_a_publisher_slides() -> None:
    records = OnceRecords(OnceBounds())
    for sequence in range(0, SEQUENCE_WINDOW + 10, 2):
        keep(records, numbered(sequence), sequence)
    highest = SEQUENCE_WINDOW + 8
    assert isinstance(records.outcome(numbered(highest - SEQUENCE_WINDOW)), StaleSequence)
    assert knows(records, numbered(highest - SEQUENCE_WINDOW + 2))
    assert records.outcome(numbered(highest - SEQUENCE_WINDOW + 1)) is None
    assert records.outcome(numbered(highest + 1)) is None
    assert records.count == SEQUENCE_WINDOW // 2


def test_records_go_when_they_are_as_old_as_the_bound() -> None:
    records = OnceRecords(OnceBounds(max_age_ms=100))
    keep(records, keyed("a", "a"), 1000)
    keep(records, keyed("b", "b"), 1001)
    records.drop_old(1099)
    assert records.count == 2
    records.drop_old(1100)
    assert not knows(records, keyed("a", "a"))
    assert knows(records, keyed("b", "b"))
    assert records.count == 1


def test_one_call_forgets_a_bounded_number() -> None:
    records = OnceRecords(OnceBounds(max_age_ms=1))
    for number in range(SWEEP + 5):
        keep(records, keyed(str(number), "a"), 0)
    records.drop_old(10)
    assert records.count == 5
    records.drop_old(10)
    assert records.count == len(records.queue) == 0


def test_a_publisher_is_as_old_as_its_last_publish() -> None:
    records = OnceRecords(OnceBounds(max_age_ms=100))
    keep(records, numbered(0), 1000)
    keep(records, numbered(1), 1090)
    records.drop_old(1110)
    assert knows(records, numbered(0))
    assert [queued for queued, _, _ in records.queue] == [1090]
    records.drop_old(1190)
    assert records.count == len(records.rings) == len(records.queue) == 0


def test_the_oldest_goes_when_there_is_too_much() -> None:
    records = OnceRecords(OnceBounds(max_records=3))
    for number in range(5):
        keep(records, keyed(str(number), "a"), number)
    records.drop_excess()
    assert [knows(records, keyed(str(number), "a")) for number in range(5)] == [False, False, True, True, True]


def test_one_call_gives_a_bounded_number_of_second_chances() -> None:
    records = OnceRecords(OnceBounds(max_records=4 * CHANCES))
    for now in (1, 2):
        for number in range(2 * CHANCES):
            keep(records, numbered(now, publisher=f"p{number}"), now)
    keep(records, keyed("k", "a"), 3)
    records.drop_excess()
    gone = [number for number in range(2 * CHANCES) if not knows(records, numbered(1, publisher=f"p{number}"))]
    assert gone == [CHANCES]


def test_the_bound_holds_even_if_every_publisher_is_active() -> None:
    records = OnceRecords(OnceBounds(max_records=3 * CHANCES))
    publishers = [f"p{number}" for number in range(3 * CHANCES)]
    for now in (1, 2):
        for publisher in publishers:
            keep(records, numbered(now, publisher=publisher), now)
            records.drop_excess()
            assert records.count <= 3 * CHANCES
    assert records.count == sum(len(ring.slots) for ring in records.rings.values())
    assert len(records.queue) == len(records.rings)
