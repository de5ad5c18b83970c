import math

from headrace.errors import ClientClosed, PublishTimeout, Unavailable, UnknownOutcome
from headrace.outbox import DEFAULT_RETRY_S, WINDOW, Outbox, Pending

BUSY = Unavailable("busy", retry_ms=1000)


def outbox_with(*entries: tuple[int, str]) -> Outbox[int]:
    outbox: Outbox[int] = Outbox()
    for sequence, topic in entries:
        add(outbox, sequence, topic)
    return outbox


def add(outbox: Outbox[int], sequence: int, topic: str = "p/t", deadline: float = math.inf) -> None:
    outbox.add(Pending(sequence, topic, f"{topic}#{sequence}".encode(), deadline, sequence))


def test_only_so_many_are_in_flight() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"), (3, "p/t"))
    assert outbox.release(in_flight=2) == [b"p/t#1", b"p/t#2"]
    assert outbox.release(in_flight=2) == []
    outbox.finish(1, 0)
    assert outbox.release(in_flight=2) == [b"p/t#3"]


def test_a_retried_publish_holds_up_its_topic_and_no_other() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"), (3, "p/other"))
    assert outbox.release(in_flight=1) == [b"p/t#1"]
    outbox.retry(1, BUSY, 0)
    assert outbox.release(in_flight=9) == [b"p/other#3"]
    outbox.wake(0.999)
    assert outbox.release(in_flight=9) == []
    outbox.wake(1)
    assert outbox.release(in_flight=9) == [b"p/t#1", b"p/t#2"]


def test_publishes_refused_together_come_back_in_order() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"), (3, "p/t"))
    outbox.release(in_flight=9)
    for sequence in (2, 1):
        outbox.retry(sequence, BUSY, 0)
    outbox.finish(3, 0)
    outbox.wake(2)
    assert outbox.release(in_flight=9) == [b"p/t#1", b"p/t#2"]


def test_without_a_hint_the_retry_is_soon() -> None:
    outbox = outbox_with((1, "p/t"))
    outbox.release(in_flight=9)
    outbox.retry(1, Unavailable(), 0)
    outbox.wake(DEFAULT_RETRY_S)
    assert outbox.release(in_flight=9) == [b"p/t#1"]


def test_no_number_is_sent_a_window_above_the_oldest_unanswered_one_of_its_topic() -> None:
    outbox = outbox_with((1, "p/t"), (WINDOW, "p/t"), (WINDOW + 1, "p/t"), (WINDOW + 2, "p/other"))
    sent = [b"p/t#1", b"p/t#%d" % WINDOW, b"p/other#%d" % (WINDOW + 2)]
    assert outbox.release(in_flight=9) == sent
    outbox.finish(1, 0)
    assert outbox.release(in_flight=9) == [b"p/t#%d" % (WINDOW + 1)]


def test_after_a_reconnect_everything_unanswered_goes_first_in_order() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"), (3, "p/t"))
    outbox.release(in_flight=2)
    outbox.retry(2, BUSY, 0)
    outbox.finish(1, 0)
    outbox.restart()
    add(outbox, 4)
    assert outbox.release(in_flight=9) == [b"p/t#2", b"p/t#3", b"p/t#4"]


def test_a_publish_is_given_up_at_its_deadline_and_not_sent_any_more() -> None:
    outbox: Outbox[int] = Outbox()
    add(outbox, 1, deadline=0.5)
    add(outbox, 2)
    assert outbox.expire(0.1) == []
    ((entry, error),) = outbox.expire(0.6)
    assert entry.handle == 1
    assert isinstance(error, PublishTimeout)
    assert outbox.release(in_flight=9) == [b"p/t#2"]


def test_bytes_are_counted_down() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"))
    outbox.finish(1, 0)
    outbox.finish(1, 0)
    assert (len(outbox), outbox.bytes) == (1, len(b"p/t#2"))


def test_an_unknown_answer_changes_nothing() -> None:
    outbox = outbox_with((1, "p/t"))
    outbox.retry(1, BUSY, 0)
    outbox.retry(9, BUSY, 0)
    assert outbox.finish(9, 0) is None
    assert outbox.release(in_flight=9) == [b"p/t#1"]


def test_what_was_given_up_does_not_pile_up_without_a_connection() -> None:
    outbox = outbox_with((0, "p/t"))
    for sequence in range(1, 10_000):
        add(outbox, sequence)
        outbox.finish(sequence, 0)
    assert len(outbox._ready) < 3 * WINDOW
    assert len(outbox._lanes["p/t"].order) < 3 * WINDOW


def test_next_due_names_the_next_retry() -> None:
    outbox = outbox_with((1, "p/t"))
    assert Outbox[int]().next_due(5) is None
    outbox.release(in_flight=9)
    outbox.expire(10)
    assert outbox.next_due(10) == 10.25
    outbox.retry(1, Unavailable(retry_ms=100), 10)
    assert outbox.next_due(10) == 10.1


def test_nothing_overtakes_what_waits() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"))
    outbox.release(in_flight=1)
    outbox.retry(1, BUSY, 0)
    assert outbox.release(in_flight=9) == []
    outbox.wake(1)
    add(outbox, 3)
    assert outbox.release(in_flight=9) == [b"p/t#1", b"p/t#2", b"p/t#3"]


def test_an_answer_does_not_end_the_wait_of_another() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"), (3, "p/t"))
    outbox.release(in_flight=9)
    outbox.retry(2, BUSY, 0)
    outbox.finish(3, 0.5)
    assert outbox.release(in_flight=9) == []


def test_a_new_connection_has_nothing_in_flight() -> None:
    outbox = outbox_with((1, "p/t"), (2, "p/t"))
    outbox.release(in_flight=2)
    outbox.restart()
    assert len(outbox.release(in_flight=2)) == 2


def test_what_was_never_sent_is_certainly_not_stored() -> None:
    outbox: Outbox[int] = Outbox()
    add(outbox, 1, deadline=1)
    add(outbox, 2, deadline=1)
    outbox.release(in_flight=1)
    (_, sent), (_, unsent) = outbox.expire(2)
    assert (sent.maybe_stored, unsent.maybe_stored) == (True, False)
    assert unsent.unsettled is None


def test_a_lost_connection_and_an_unknown_outcome_leave_it_open_and_a_busy_log_does_not() -> None:
    outbox = outbox_with((1, "p/a"), (2, "p/b"), (3, "p/c"), (4, "p/d"))
    outbox.release(in_flight=3)
    outbox.retry(1, BUSY, 0)
    outbox.retry(2, UnknownOutcome(retry_ms=1000), 0)
    assert [entry.maybe_stored for entry in outbox.pending.values()] == [False, True, True, False]
    outbox.restart()
    assert [entry.maybe_stored for entry in outbox.pending.values()] == [False, True, True, False]
    assert outbox.oldest_unsent() == 1
    error = ClientClosed()
    told = [error for _, error in outbox.fail(error)]
    assert [each.maybe_stored for each in told] == [False, True, True, False]
    assert not error.maybe_stored
    assert outbox.oldest_unsent() is None


def test_a_publish_that_comes_again_goes_before_later_ones() -> None:
    outbox: Outbox[int] = Outbox()
    add(outbox, 1, deadline=1)
    outbox.release(in_flight=9)
    ((entry, _),) = outbox.expire(2)
    add(outbox, 2)
    add(outbox, WINDOW + 1)
    entry.done = entry.in_flight = False
    outbox.add_again(entry)
    assert outbox.release(in_flight=9) == [b"p/t#1", b"p/t#2"]
    outbox.finish(1, 0)
    assert outbox.release(in_flight=9) == [b"p/t#%d" % (WINDOW + 1)]
