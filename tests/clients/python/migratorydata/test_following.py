"""The order in which a subject is told: snapshot, recovered, live; and what is said of gaps."""

from headrace import Gap, Message, Position, Range, Recovery, Started
from headrace.migratorydata.constants import Constants
from headrace.migratorydata.following import Following, Place, Told

ALLOW, SYNC, RESYNC = (
    Constants.NOTIFY_SUBSCRIBE_ALLOW,
    Constants.NOTIFY_DATA_SYNC,
    Constants.NOTIFY_DATA_RESYNC,
)


def at(offset: int, epoch: int = 7) -> Message:
    return Message("a/b", Position(epoch, offset), 1, "text", b"x")


def started(after: int, end: int, recovery: Recovery = Recovery.NONE, snapshot: int | None = None) -> Started:
    return Started(Position(7, after), Position(7, end), recovery, None if snapshot is None else at(snapshot))


def shown(told: list[Told]) -> list[str]:
    return [item if isinstance(item, str) else f"{item[0].position.offset} {item[1].name}" for item in told]


def test_a_new_follower_gets_the_snapshot_and_then_what_is_live() -> None:
    following = Following(resumed=False)
    assert shown(following.started(started(4, 4, snapshot=2))) == [ALLOW, "2 SNAPSHOT"]
    assert shown(following.message(at(5))) == ["5 UPDATE"]


def test_history_comes_before_what_is_live() -> None:
    following = Following(resumed=False)
    assert shown(following.started(started(2, 4))) == [ALLOW]
    told = [shown(following.message(at(offset))) for offset in (3, 4, 5)]
    assert told == [["3 HISTORICAL"], ["4 HISTORICAL"], ["5 UPDATE"]]


def test_after_a_failover_what_was_missed_comes_and_then_all_is_in_step() -> None:
    following = Following(resumed=False)
    following.started(started(4, 4))
    assert shown(following.started(started(4, 6, Recovery.COMPLETE, snapshot=2))) == []
    told = [shown(following.message(at(offset))) for offset in (5, 6, 7)]
    assert told == [["5 RECOVERED"], ["6 RECOVERED", SYNC], ["7 UPDATE"]]
    assert shown(following.started(started(7, 7, Recovery.COMPLETE))) == [SYNC], "nothing was missed"


def test_what_is_lost_is_said_and_the_newest_value_told() -> None:
    following = Following(resumed=True)
    told = following.started(started(9, 11, Recovery.TRIMMED, snapshot=9))
    assert shown(told) == [ALLOW, RESYNC, "9 SNAPSHOT"]
    assert following.gap(Gap("a/b", Recovery.TRIMMED, (Range(7, 5, 9),))) == [], "it was said"
    assert shown(following.message(at(10)) + following.message(at(11)) + following.message(at(12))) == [
        "10 RECOVERED",
        "11 RECOVERED",
        "12 UPDATE",
    ]


def test_a_loss_with_nothing_after_it_is_said_once() -> None:
    following = Following(resumed=True)
    assert shown(following.started(started(7, 7, Recovery.ROLLED_BACK))) == [ALLOW, RESYNC]
    assert following.gap(Gap("a/b", Recovery.ROLLED_BACK, (Range(7, 8, 9),))) == []
    assert following.gap(Gap("a/b", Recovery.TRIMMED, (Range(7, 8, 9),))) == [RESYNC], "that is another one"


def test_a_gap_in_the_history_is_said() -> None:
    following = Following(resumed=False)
    following.started(started(2, 9))
    following.message(at(3))
    assert following.gap(Gap("a/b", Recovery.TRIMMED, (Range(7, 4, 5),))) == [RESYNC]


def test_a_snapshot_that_is_yet_to_come_is_not_told_twice() -> None:
    following = Following(resumed=True)
    told = following.started(started(4, 6, Recovery.TRIMMED, snapshot=5))
    assert shown(told) == [ALLOW, RESYNC]
    told += following.message(at(5)) + following.message(at(6))
    assert shown(told)[2:] == ["5 RECOVERED", "6 RECOVERED"]


def test_a_gap_while_connected_is_said_too() -> None:
    following = Following(resumed=False)
    following.started(started(4, 4))
    assert following.gap(Gap("a/b", Recovery.ROLLED_BACK, ())) == [RESYNC]
    assert shown(following.message(at(3, epoch=8))) == ["3 UPDATE"]


def test_a_message_beyond_the_end_ends_the_recovery_as_well() -> None:
    following = Following(resumed=True)
    following.started(started(4, 6, Recovery.COMPLETE))
    assert shown(following.message(at(9))) == [SYNC, "9 UPDATE"]


def test_a_place_says_where_to_go_on() -> None:
    assert Place().since == "now"
    assert Place(history=3).since == {"last": 3}
    assert Place(history=3, position=Position(7, 1)).since == Position(7, 1)
    assert Place(history=3, was_absent=True).since == "earliest"
    assert [Place().has_begun, Place(was_absent=True).has_begun] == [False, True]
