from headrace.following import Following, Phase
from headrace.messages import Gap, Message, Started
from headrace.positions import Position, Range, Recovery

HERE = Position(7, 4)
MISSING = (Range(7, 3, 4),)


def message(epoch: int, offset: int) -> Message:
    return Message("p/t", Position(epoch, offset), 0, "text", b"")


def live(place: Position = HERE) -> Following:
    following = Following("p/t", "now")
    following.ask(1)
    following.receive_subscribed(Started(place, place, Recovery.NONE), ())
    return following


def test_the_servers_word_is_the_place_from_the_first_answer_on() -> None:
    following = Following("p/t", {"last": 3})
    following.ask(1)
    assert following.receive_subscribed(Started(Position(7, 1), HERE, Recovery.NONE), ()) is None
    assert following.resume == Position(7, 1)


def test_what_was_seen_is_dropped_and_the_next_is_not() -> None:
    following = live()
    assert [following.receive_message(message(7, offset)) for offset in (3, 4, 5, 5, 6)] == [
        False,
        False,
        True,
        False,
        True,
    ]
    assert following.resume == Position(7, 6)


def test_another_epoch_is_never_taken_for_a_repeat() -> None:
    following = live()
    assert following.receive_message(message(6, 2))
    assert following.resume == Position(6, 2)


def test_a_gap_is_reported_and_moves_the_place() -> None:
    following = live()
    assert following.receive_gap(Recovery.ROLLED_BACK, MISSING) == Gap("p/t", Recovery.ROLLED_BACK, MISSING)
    assert following.resume == Position(7, 2)


def test_a_gap_found_at_subscribe_is_reported() -> None:
    following = Following("p/t", HERE)
    following.ask(1)
    gap = following.receive_subscribed(Started(Position(7, 2), HERE, Recovery.ROLLED_BACK), MISSING)
    assert gap == Gap("p/t", Recovery.ROLLED_BACK, MISSING)


def test_frames_count_only_after_the_answer() -> None:
    following = Following("p/t", "now")
    following.ask(1)
    assert not following.receive_message(message(7, 5))
    assert following.receive_gap(Recovery.TRIMMED, MISSING) is None
    assert following.resume == "now"


def test_a_broken_connection_keeps_the_place_and_a_parked_topic_stays_parked() -> None:
    following = live()
    following.drop()
    assert (following.phase, following.resume) == (Phase.IDLE, HERE)
    following.phase = Phase.PARKED
    following.drop()
    assert following.phase is Phase.PARKED


def test_waiting_ends_with_the_connection() -> None:
    following = live()
    following.wait(5.0)
    assert following.retry_at == 5.0
    following.drop()
    assert following.retry_at is None


def test_while_it_moves_only_the_old_connection_counts() -> None:
    following = live()
    following.move()
    following.ask(2)
    assert not following.receive_message(message(7, 5))
    assert following.receive_message(message(7, 5), leaving=True)
    assert following.receive_gap(Recovery.TRIMMED, MISSING) is None


def test_an_answer_joins_where_the_old_connection_stayed_in_its_epoch() -> None:
    following = live()
    following.move()
    following.ask(2)
    assert not following.has_outrun(Started(HERE, HERE, Recovery.LOST))
    following.receive_message(message(7, 6), leaving=True)
    assert not following.has_outrun(Started(HERE, Position(7, 6), Recovery.COMPLETE))
    assert not following.has_outrun(Started(Position(7, 6), Position(7, 6), Recovery.COMPLETE))
    assert following.has_outrun(Started(HERE, Position(7, 6), Recovery.TRIMMED))
    assert following.has_outrun(Started(Position(7, 7), Position(7, 7), Recovery.COMPLETE))
    following.receive_subscribed(Started(HERE, Position(7, 6), Recovery.COMPLETE), ())
    assert following.resume == Position(7, 6)
    following.receive_message(message(8, 1))
    following.move()
    following.ask(3)
    following.receive_message(message(9, 1), leaving=True)
    assert following.has_outrun(Started(Position(8, 1), Position(9, 1), Recovery.COMPLETE))


def test_what_is_parked_does_not_move() -> None:
    following = live()
    following.phase = Phase.PARKED
    following.move()
    assert (following.phase, following.overlaps) == (Phase.PARKED, False)
