import msgpack
import pytest

from headrace.dialects import MessagePack
from headrace.errors import AlreadySubscribed, ClientClosed, Forbidden, NotSubscribed, QueueFull, TooLarge
from headrace.events import Answered, Arrived, Broken, Complained, Ended, Welcomed
from headrace.messages import Message, Published, Started
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
    for _ in range(8):
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
    assert made.next_due(1.0) == 21.0
    assert made.poll(20.9) == []
    assert sent(made) == []
    made.poll(21.0)
    assert sent(made) == [{"op": "ping"}]
    assert made.next_due(21.0) == 31.0
    assert made.poll(30.9) == []
    assert made.poll(31.0) == [Broken("no answer to a ping")]
    made.heard(31.0)
    assert made.poll(31.0) == []


def test_a_node_that_owes_an_answer_is_pinged_sooner() -> None:
    made = protocol()
    tell(made, {"op": "welcome", "ping_ms": 20_000})
    publish(made)
    sent(made)
    made.poll(5.0)
    assert {"op": "ping"} in sent(made)


def test_a_node_without_a_welcome_is_given_up() -> None:
    made = protocol()
    assert made.poll(9.9) == []
    assert made.poll(10.0) == [Broken("no welcome")]


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
