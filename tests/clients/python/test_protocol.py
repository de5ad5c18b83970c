import msgpack
import pytest

from headrace.dialects import MessagePack
from headrace.errors import AlreadySubscribed, ClientClosed, Forbidden, NotSubscribed, QueueFull, TooLarge
from headrace.events import Answered, Arrived, Broken, Complained, Draining, Ended, Listed, Presented, Welcomed
from headrace.failover import Server
from headrace.messages import Gap, Message, Published, Started
from headrace.positions import Position
from headrace.protocol import MAX_PENDING, Protocol

LINES = "default/lines"
PLACE = {"epoch": 7, "offset": 4}


def protocol() -> Protocol[str, str]:
    made = Protocol[str, str](dialect=MessagePack(), publisher="me", client="test")
    made.connect(0.0)
    return made


def sent(made: Protocol[str, str]) -> list[dict[str, object]]:
    return [msgpack.unpackb(frame) for frame in made.outgoing()]


def tell(made: Protocol[str, str], *frames: dict[str, object], now: float = 0.0) -> list[object]:
    return list(made.receive([msgpack.packb(frame) for frame in frames], now))


def publish(made: Protocol[str, str], handle: str = "handle", deadline: float = 1e9) -> int:
    return made.publish(LINES, "text", b"x", handle=handle, deadline=deadline)


def place(made: Protocol[str, str], number: object, after: object = PLACE) -> list[object]:
    return tell(
        made, {"op": "subscribed", "id": number, "topic": LINES, **PLACE, "after": after, "recovery": "complete"}
    )


def message(offset: int) -> dict[str, object]:
    return {"op": "message", "topic": LINES, "epoch": 7, "offset": offset, "time": 1, "kind": "text", "data": b"x"}


def test_a_connection_begins_with_who_we_are() -> None:
    assert sent(protocol()) == [{"op": "hello", "client": "test"}]


def test_a_publish_and_its_answer() -> None:
    made = protocol()
    sent(made)
    number = made.publish(LINES, "text", b"x", handle="h", deadline=9, attributes={"a": "b"}, durability="memory")
    frame = {"op": "publish", "id": number, "topic": LINES, "kind": "text", "data": b"x", "attributes": {"a": "b"}}
    assert sent(made) == [frame | {"publisher": "me", "seq": number, "durability": "memory"}]
    assert tell(made, {"op": "published", "id": number, **PLACE}) == [Answered("h", Published(7, 4))]
    assert tell(made, {"op": "published", "id": number, **PLACE}) == []


def test_a_key_replaces_publisher_and_number() -> None:
    made = protocol()
    sent(made)
    made.publish(LINES, "text", b"x", handle="h", deadline=9, key="mine")
    (frame,) = sent(made)
    assert frame["key"] == "mine" and "seq" not in frame and "publisher" not in frame


def test_numbers_rise() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    assert [publish(made), publish(made)] == [2, 3]


def test_a_reconnect_sends_the_unanswered_again_and_asks_with_the_last_place() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    publish(made)
    _, ask, first = sent(made)
    place(made, ask["id"])
    tell(made, message(5))
    made.disconnect()
    assert sent(made) == []
    made.connect(1.0)
    _, again, second = sent(made)
    assert again["since"] == {"epoch": 7, "offset": 5}
    assert second == first


def test_subscribed_then_messages_once() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    _, ask = sent(made)
    ((started),) = place(made, ask["id"])
    assert isinstance(started, Arrived) and isinstance(started.item, Started)
    (arrived,) = tell(made, message(4), message(5), message(5))
    assert isinstance(arrived, Arrived) and isinstance(arrived.item, Message)
    assert arrived.resume == Position(7, 5)


def test_frames_under_way_when_a_topic_was_put_aside_are_dropped_and_come_again() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    place(made, sent(made)[1]["id"])
    made.park(LINES)
    made.park(LINES)
    assert sent(made) == [{"op": "unsubscribe", "topic": LINES}]
    assert tell(made, message(5)) == []
    made.unpark(LINES)
    (ask,) = sent(made)
    assert ask["since"] == PLACE
    assert tell(made, message(6)) == []
    place(made, ask["id"])
    assert len(tell(made, message(5), message(6))) == 2


def test_a_parked_topic_is_not_asked_for_on_a_new_connection() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    made.park(LINES)
    made.disconnect()
    made.connect(1.0)
    assert [frame["op"] for frame in sent(made)] == ["hello"]


def test_an_answer_to_an_earlier_subscribe_does_not_count() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    _, first = sent(made)
    made.unfollow(LINES)
    made.follow(LINES, "earliest", "s2")
    _, second = sent(made)
    assert place(made, first["id"]) == []
    assert tell(made, {"op": "error", "id": first["id"], "code": "forbidden", "reason": ""}) == []
    assert len(place(made, second["id"])) == 1


def test_a_temporary_refusal_of_a_subscribe_is_repeated_when_told() -> None:
    made = protocol()
    made.follow(LINES, Position(7, 1), "s")
    _, ask = sent(made)
    assert tell(made, {"op": "error", "id": ask["id"], "code": "unavailable", "reason": "", "retry_ms": 500}) == []
    assert made.next_due(0.0) == 0.5
    made.poll(0.4)
    assert sent(made) == []
    made.poll(0.5)
    (again,) = sent(made)
    assert again == ask | {"id": again["id"]}


def test_a_final_refusal_ends_the_subscription() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    _, ask = sent(made)
    (ended,) = tell(made, {"op": "error", "id": ask["id"], "code": "forbidden", "reason": "no"})
    assert isinstance(ended, Ended) and isinstance(ended.error, Forbidden)
    with pytest.raises(NotSubscribed):
        made.unfollow(LINES)


def test_a_topic_is_followed_once() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    with pytest.raises(AlreadySubscribed):
        made.follow(LINES, "now", "s")


def test_a_temporary_refusal_of_a_publish_is_not_the_callers_business() -> None:
    made = protocol()
    number = publish(made)
    sent(made)
    assert tell(made, {"op": "error", "id": number, "code": "unknown_outcome", "reason": ""}) == []
    made.poll(1.0)
    assert [frame["seq"] for frame in sent(made)] == [number]
    (answered,) = tell(made, {"op": "error", "id": number, "code": "forbidden", "reason": ""})
    assert isinstance(answered, Answered) and isinstance(answered.result, Forbidden)


def test_a_withdrawn_publish_is_not_sent_again() -> None:
    made = protocol()
    sent(made)
    made.withdraw(publish(made), 0.0)
    assert sent(made) == []


def test_the_queue_is_bounded_by_count_and_bytes() -> None:
    made = protocol()
    for _ in range(4):
        made.publish(LINES, "binary", bytes(2_000_000), handle="h", deadline=9)
    with pytest.raises(QueueFull):
        made.publish(LINES, "binary", bytes(2_000_000), handle="h", deadline=9)
    made = protocol()
    for _ in range(MAX_PENDING):
        publish(made)
    assert made.room == 0
    with pytest.raises(QueueFull):
        publish(made)


def test_the_nodes_limits_are_kept() -> None:
    made = protocol()
    (welcomed,) = tell(made, {"op": "welcome", "limits": {"frame_bytes": 100, "in_flight": 1}})
    assert isinstance(welcomed, Welcomed)
    with pytest.raises(TooLarge):
        made.publish(LINES, "binary", bytes(101), handle="h", deadline=9)
    publish(made)
    publish(made)
    assert len(sent(made)) == 2  # hello, and one publish


def test_an_idle_node_is_pinged_and_given_up_when_it_stays_silent() -> None:
    made = protocol()
    tell(made, {"op": "welcome", "ping_ms": 20_000}, now=1.0)
    sent(made)
    assert made.next_due(1.0) == 6.0
    assert made.poll(5.9) == []
    assert sent(made) == []
    made.poll(6.0)
    assert sent(made) == [{"op": "ping"}]
    assert made.next_due(6.0) == 11.0
    assert made.poll(10.9) == []
    assert made.poll(11.0) == [Broken("no answer to a ping")]
    made.heard(11.0)
    assert made.poll(11.0) == []


def test_any_byte_puts_the_ping_off_and_the_node_may_want_it_sooner() -> None:
    made = protocol()
    tell(made, {"op": "welcome", "ping_ms": 2_000})
    assert made.next_due(0.0) == 2.0
    made.heard(1.5)
    made.poll(2.0)
    assert {"op": "ping"} not in sent(made)
    made.poll(3.5)
    assert sent(made) == [{"op": "ping"}]


def test_a_probe_asks_at_once_and_once() -> None:
    made = protocol()
    tell(made, {"op": "welcome"})
    sent(made)
    made.probe(1.0)
    made.probe(1.5)
    assert sent(made) == [{"op": "ping"}]
    assert made.poll(6.0) == [Broken("no answer to a ping")]


def test_a_node_without_a_welcome_is_given_up() -> None:
    made = protocol()
    assert made.poll(4.9) == []
    assert made.poll(5.0) == [Broken("no welcome")]


def test_a_list_takes_the_welcomes_place_and_a_drain_is_told() -> None:
    made = protocol()
    tell(made, {"op": "welcome", "spread_ms": 5, "ping_ms": 7})
    (listed,) = tell(made, {"op": "servers", "servers": [{"url": "http://b", "weight": 3}], "spread_ms": 6})
    assert listed == Listed((Server("http://b", 3),))
    assert (made.welcome.spread_ms, made.welcome.ping_ms) == (6, 7)
    drain = {"op": "drain", "deadline_ms": 9, "spread_ms": 8, "servers": [{"url": "http://c", "weight": 1}]}
    assert tell(made, drain) == [Listed((Server("http://c", 1),)), Draining(8)]
    assert made.welcome.spread_ms == 6


def followed() -> Protocol[str, str]:
    made = protocol()
    made.follow(LINES, "earliest", "s")
    _, ask = sent(made)
    place(made, ask["id"])
    return made


def tell_old(made: Protocol[str, str], *frames: dict[str, object]) -> list[object]:
    return list(made.receive_old([msgpack.packb(frame) for frame in frames], 0.0))


def test_a_move_asks_there_and_listens_here_until_it_is_answered() -> None:
    made = followed()
    made.move(1.0)
    _, ask = sent(made)
    assert ask["since"] == PLACE
    assert len(tell_old(made, message(5), message(6))) == 2
    assert made.is_moving
    place(made, ask["id"])
    assert not made.is_moving
    assert tell_old(made, message(7)) == []
    assert [event.item.position.offset for event in tell(made, *map(message, (5, 6, 7, 8)))] == [7, 8]


def test_a_move_across_an_epoch_asks_again() -> None:
    made = followed()
    made.move(1.0)
    _, ask = sent(made)
    tell_old(made, message(5) | {"epoch": 8})
    assert place(made, ask["id"]) == []
    unsubscribe, again = sent(made)
    assert (unsubscribe["op"], again["since"]) == ("unsubscribe", {"epoch": 8, "offset": 5})
    assert not made.is_moving


def test_publishes_in_flight_go_to_the_new_node_and_the_old_one_may_answer_them() -> None:
    made = protocol()
    first, second = publish(made), publish(made)
    before = sent(made)[1:]
    made.move(1.0)
    assert sent(made)[1:] == before
    (answered,) = tell_old(made, {"op": "published", "id": first, "epoch": 7, "offset": 5, "time": 1})
    assert answered == Answered("handle", Published(7, 5))
    refused = {"op": "error", "id": second, "code": "unavailable", "reason": "leaving"}
    assert tell_old(made, refused) == []
    assert tell(made, {"op": "published", "id": first, "epoch": 7, "offset": 5, "time": 1}) == []
    assert made.unanswered == 1


def test_an_old_connection_that_is_gone_is_no_longer_waited_for() -> None:
    made = followed()
    made.move(1.0)
    made.leave()
    assert not made.is_moving
    assert tell_old(made, message(5)) == []


def test_nonsense_from_the_old_node_ends_the_listening() -> None:
    made = followed()
    made.move(1.0)
    assert tell_old(made, {"op": "gap", "topic": 7}) == []
    assert not made.is_moving


def test_a_gap_of_the_old_node_counts_too() -> None:
    made = followed()
    made.move(1.0)
    missing = [{"epoch": 7, "first": 5, "last": 9}]
    (gap,) = tell_old(made, {"op": "gap", "topic": LINES, "recovery": "trimmed", "missing": missing})
    assert isinstance(gap.item, Gap)
    assert made.places == {LINES: Position(7, 9)}


@pytest.mark.parametrize(
    "frame",
    [
        {"op": "message", "topic": LINES},
        {"op": "gap", "topic": LINES, "recovery": "odd"},
        {"op": "error", "id": 1},
        {"op": "welcome", "limits": 1},
    ],
)
def test_a_malformed_frame_breaks_the_connection(frame) -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    (broken,) = tell(made, frame, {"op": "welcome"})
    assert isinstance(broken, Broken)


def test_unknown_ops_and_answers_to_nothing_are_ignored_and_refusals_without_an_id_are_told() -> None:
    made = protocol()
    assert tell(made, {"op": "weather"}, {}, {"op": "pong"}, {"op": "ok", "id": 5}) == []
    assert tell(made, {"op": "error", "id": 99, "code": "not_subscribed", "reason": ""}) == []
    (complained,) = tell(made, {"op": "error", "code": "invalid_request", "reason": "odd"})
    assert isinstance(complained, Complained)


def test_the_end_of_the_client_ends_everything() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    publish(made)
    error = ClientClosed()
    assert made.fail(error) == [Answered("handle", error), Ended("s", error)]
    assert made.unanswered == 0


def test_a_publish_without_an_answer_times_out() -> None:
    made = protocol()
    publish(made, deadline=2.0)
    assert made.poll(1.0) == []
    (answered,) = made.poll(2.0)
    assert isinstance(answered, Answered)


def test_a_refusal_of_an_earlier_subscribe_does_not_count() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    _, first = sent(made)
    made.unfollow(LINES)
    made.follow(LINES, "now", "s2")
    assert tell(made, {"op": "error", "id": first["id"], "code": "forbidden", "reason": ""}) == []
    made.unfollow(LINES)


def test_a_refusal_does_not_wake_a_parked_topic() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    _, ask = sent(made)
    made.park(LINES)
    sent(made)
    tell(made, {"op": "error", "id": ask["id"], "code": "unavailable", "reason": "", "retry_ms": 1})
    made.poll(5.0)
    assert [frame["op"] for frame in sent(made)] == []


def test_what_has_ended_is_not_asked_for_again() -> None:
    made = protocol()
    made.follow(LINES, "now", "s")
    _, ask = sent(made)
    tell(made, {"op": "error", "id": ask["id"], "code": "unavailable", "reason": "", "retry_ms": 1})
    tell(made, {"op": "error", "topic": LINES, "code": "unknown_topic", "reason": ""})
    made.poll(5.0)
    assert [frame["op"] for frame in sent(made)] in ([], ["ping"])


def test_a_publish_larger_than_the_queue_goes_alone() -> None:
    made = protocol()
    tell(made, {"op": "welcome", "limits": {"frame_bytes": 100_000_000}})
    made.publish(LINES, "binary", bytes(17_000_000), handle="h", deadline=9)
    assert made.room == 0
    with pytest.raises(QueueFull):
        publish(made)


def test_what_the_old_node_brought_stays_when_it_is_gone_before_the_new_one_answers() -> None:
    made = followed()
    made.move(1.0)
    _, ask = sent(made)
    tell_old(made, message(5), message(6))
    made.leave()
    place(made, ask["id"])
    assert [event.item.position.offset for event in tell(made, *map(message, (5, 6, 7)))] == [7]


def test_an_answer_that_came_too_late_for_the_place_is_asked_for_again_without_the_old_node_too() -> None:
    made = followed()
    made.move(1.0)
    _, ask = sent(made)
    tell_old(made, message(5) | {"epoch": 8})
    made.leave()
    assert place(made, ask["id"]) == []
    assert sent(made)[-1]["since"] == {"epoch": 8, "offset": 5}


def test_a_topic_that_is_put_aside_while_the_client_moves_is_not_listened_to() -> None:
    made = followed()
    made.move(1.0)
    made.park(LINES)
    assert not made.is_moving
    assert tell_old(made, message(5)) == []
    made.unpark(LINES)
    assert sent(made)[-1]["since"] == PLACE


def test_a_refusal_of_what_may_have_been_stored_before_says_so() -> None:
    made = protocol()
    number = publish(made)
    sent(made)
    made.disconnect()
    made.connect(1.0)
    sent(made)
    (answered,) = tell(made, {"op": "error", "id": number, "code": "forbidden", "reason": "no"})
    assert isinstance(answered.result, Forbidden) and answered.result.maybe_stored
    certain = publish(made)
    sent(made)
    (answered,) = tell(made, {"op": "error", "id": certain, "code": "forbidden", "reason": "no"})
    assert not answered.result.maybe_stored


def test_a_publish_that_is_tried_again_stays_unsure_and_keeps_its_number() -> None:
    made = protocol()
    number = publish(made, deadline=1.0)
    sent(made)
    (given_up,) = made.poll(2.0)
    assert made.publish_again(given_up.result.unsettled, handle="again", deadline=9.0) == number
    with pytest.raises(QueueFull):
        made.publish_again(given_up.result.unsettled, handle="twice", deadline=9.0)
    made.disconnect()
    (ended,) = made.fail(ClientClosed())
    assert (ended.handle, ended.result.maybe_stored) == ("again", True)


def test_a_shown_token_is_answered() -> None:
    made = protocol()
    sent(made)
    number = made.present("token")
    assert sent(made) == [{"op": "hello", "client": "test", "token": "token", "id": number}]
    assert tell(made, {"op": "ok"}) == []
    refused, presented = tell(made, {"op": "error", "id": number, "code": "unavailable", "reason": "x"})
    assert isinstance(refused, Complained) and isinstance(presented, Presented)
    assert presented.error is refused.error
    assert tell(made, {"op": "ok", "id": number}) == [Presented(number, None)]
    made.disconnect()
    assert made.present("token") == 0
