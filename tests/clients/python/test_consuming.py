"""The state of what a client consumes: what is asked, sent, sent again, and what the answers mean."""

import json

import pytest

from headrace.consuming import MAX_ACKS, MAX_UNANSWERED, Consumings, Event
from headrace.dialects import Json
from headrace.errors import (
    AlreadySubscribed,
    Forbidden,
    HeadraceError,
    LeaseLost,
    NotSubscribed,
    QueueFull,
    SettleTimeout,
    Unavailable,
    WrongKind,
)
from headrace.events import Delivered, Released, Settled
from headrace.messages import Attached
from headrace.requests import Requests

WORK = "default/work"
NEVER = float("inf")
BUSY = Unavailable(retry_ms=500)


class Side:
    """The state with its requests, connected."""

    def __init__(self) -> None:
        self.requests = Requests(Json())
        self.state = Consumings(self.requests, Json())
        self.reconnect()

    def reconnect(self) -> None:
        self.requests.close()
        self.state.drop()
        self.requests.open()
        self.state.restart()

    def sent(self) -> list[dict[str, object]]:
        self.state.flush()
        return [json.loads(frame) for frame in self.requests.take()]

    def settle(self, *acks: str, verb: str = "ack", argument: int | None = None, deadline: float = NEVER) -> list[int]:
        return [self.state.settle(verb, WORK, ack, argument, deadline=deadline) for ack in acks]  # type: ignore[arg-type]

    def settled(self, number: object, **refused: str) -> list[Event]:
        told = [{"ack": ack, "code": code} for ack, code in refused.items()]
        return self.state.receive_settled({"op": "settled", "id": number, "subscription": WORK, "refused": told})

    def attached(self, number: object) -> list[Event]:
        names = {"subscription": WORK, "topic": "default/lines"}
        return self.state.receive_attached({"op": "attached", "id": number, **names, "window": 5, "ack_deadline_s": 10})

    def delivery(self, *offsets: int) -> list[Event]:
        deliveries = [
            {"ack": f"{n}.1-t", "attempt": 1, "epoch": 7, "offset": n, "time": 1, "text": "x"} for n in offsets
        ]
        frame = {"op": "delivery", "subscription": WORK, "topic": "default/lines", "deliveries": deliveries}
        return self.state.receive_delivery(frame)


@pytest.fixture
def side() -> Side:
    return Side()


@pytest.fixture
def attached(side: Side) -> Side:
    side.state.attach(WORK, 5)
    side.attached(side.sent()[0]["id"])
    return side


def errors(events: list[Event]) -> list[type[HeadraceError] | None]:
    return [type(event.error) if event.error else None for event in events if isinstance(event, Settled)]


def test_attached_on_every_connection(side: Side) -> None:
    side.state.attach(WORK, 5)
    assert side.sent() == [{"op": "attach", "subscription": WORK, "window": 5, "id": 1}]
    assert side.attached(1) == [Attached(WORK, "default/lines", 5, 10)]
    side.reconnect()
    assert side.sent() == [{"op": "attach", "subscription": WORK, "window": 5, "id": 2}]
    with pytest.raises(AlreadySubscribed):
        side.state.attach(WORK, 5)


def test_deliveries_count_once_attached(side: Side) -> None:
    side.state.attach(WORK, 5)
    assert side.delivery(1) == []
    side.attached(side.sent()[0]["id"])
    [delivered] = side.delivery(1, 2)
    assert isinstance(delivered, Delivered)
    assert [(lease.ack, lease.message.topic, lease.message.text) for lease in delivered.leases] == [
        ("1.1-t", "default/lines", "x"),
        ("2.1-t", "default/lines", "x"),
    ]
    side.reconnect()
    assert side.delivery(3) == []


def test_an_answer_to_an_attach_that_was_taken_back_changes_nothing(side: Side) -> None:
    side.state.attach(WORK, 5)
    side.state.detach(WORK)
    side.state.attach(WORK, 9)
    first, _, second = side.sent()
    assert side.attached(first["id"]) == []
    assert side.delivery(1) == []
    assert side.attached(second["id"]) != []
    side.state.detach(WORK)
    with pytest.raises(NotSubscribed):
        side.state.detach(WORK)


def test_an_attach_refused_for_now_is_asked_again_in_time(side: Side) -> None:
    side.state.attach(WORK, 5)
    assert side.state.receive_refusal(side.sent()[0]["id"], BUSY, 10.0) == []  # type: ignore[arg-type]
    assert [due for due in side.state.dues() if due is not None] == [10.5]
    side.state.poll(10.4)
    assert side.sent() == []
    side.state.poll(10.5)
    assert [frame["op"] for frame in side.sent()] == ["attach"]


def test_an_attach_refused_for_good_ends_it(side: Side) -> None:
    side.state.attach(WORK, 5)
    events = side.state.receive_refusal(side.sent()[0]["id"], WrongKind("a cursor"), 10.0)  # type: ignore[arg-type]
    assert [(type(event), event.subscription) for event in events or []] == [(Released, WORK)]  # type: ignore[union-attr]
    side.reconnect()
    assert side.sent() == []


def test_the_server_may_end_it(attached: Side) -> None:
    error = Forbidden()
    assert attached.state.end(WORK, error) == [Released(WORK, error)]
    assert attached.state.end(WORK, error) == []
    assert attached.delivery(1) == []


def test_what_is_settled_together_goes_in_one_frame(attached: Side) -> None:
    tickets = attached.settle("1.1-t", "2.1-t")
    attached.settle("3.1-t", verb="nack")
    attached.settle("4.1-t", verb="nack", argument=50)
    attached.settle("5.1-t", verb="extend", argument=60)
    frames = attached.sent()
    assert [{key: frame[key] for key in frame if key not in ("id", "subscription")} for frame in frames] == [
        {"op": "ack", "acks": ["1.1-t", "2.1-t"]},
        {"op": "nack", "acks": ["3.1-t"]},
        {"op": "nack", "acks": ["4.1-t"], "delay_ms": 50},
        {"op": "extend", "acks": ["5.1-t"], "deadline_s": 60},
    ]
    assert attached.settled(frames[0]["id"]) == [Settled(ticket, None) for ticket in tickets]
    assert attached.state.unanswered == 3


def test_a_frame_holds_so_many_acks_at_most(attached: Side) -> None:
    attached.settle(*(f"{number}.1-t" for number in range(MAX_ACKS + 1)))
    assert [len(frame["acks"]) for frame in attached.sent()] == [MAX_ACKS, 1]  # type: ignore[arg-type]


def test_a_lease_that_is_lost_is_told(attached: Side) -> None:
    attached.settle("1.1-t", "2.1-t", "3.1-t")
    events = attached.settled(attached.sent()[0]["id"], **{"1.1-t": "stale", "3.1-t": "unknown"})
    assert errors(events) == [LeaseLost, None, LeaseLost]


def test_what_has_no_answer_is_sent_again_with_the_next_connection(attached: Side) -> None:
    attached.settle("1.1-t", "2.1-t")
    attached.sent()
    attached.reconnect()
    attach, again = attached.sent()
    assert (attach["op"], again["acks"]) == ("attach", ["1.1-t", "2.1-t"])
    # The first sending may have done it: then the second one finds nothing.
    events = attached.settled(again["id"], **{"1.1-t": "unknown", "2.1-t": "stale"})
    assert errors(events) == [None, LeaseLost]


def test_a_nack_that_finds_nothing_the_second_time_is_lost(attached: Side) -> None:
    attached.settle("1.1-t", verb="nack")
    attached.sent()
    attached.reconnect()
    assert errors(attached.settled(attached.sent()[1]["id"], **{"1.1-t": "unknown"})) == [LeaseLost]


def test_an_answer_from_an_earlier_connection_matches_nothing(attached: Side) -> None:
    attached.settle("1.1-t")
    number = attached.sent()[0]["id"]
    attached.reconnect()
    assert attached.settled(number) == []
    assert attached.state.unanswered == 1


def test_settling_is_tried_again_while_the_log_is_away(attached: Side) -> None:
    attached.settle("1.1-t")
    assert attached.state.receive_refusal(attached.sent()[0]["id"], BUSY, 10.0) == []  # type: ignore[arg-type]
    attached.settle("2.1-t")
    attached.state.poll(10.4)
    assert [frame["acks"] for frame in attached.sent()] == [["2.1-t"]]
    attached.state.poll(10.5)
    assert [frame["acks"] for frame in attached.sent()] == [["1.1-t"]]
    assert attached.state.unanswered == 2


def test_a_final_refusal_of_a_frame_is_that_of_all_in_it(attached: Side) -> None:
    attached.settle("1.1-t", "2.1-t")
    events = attached.state.receive_refusal(attached.sent()[0]["id"], Forbidden(), 10.0)  # type: ignore[arg-type]
    assert errors(events or []) == [Forbidden, Forbidden]


def test_what_answers_no_request_of_ours_is_left_to_others(attached: Side) -> None:
    assert attached.state.receive_refusal(99, Forbidden(), 0.0) is None


def test_settling_is_given_up_in_time(attached: Side) -> None:
    attached.settle("1.1-t", deadline=20.0)
    attached.settle("2.1-t", deadline=21.0)
    assert min(due for due in attached.state.dues() if due is not None) == 20.0
    assert attached.state.poll(19.9) == []
    assert errors(attached.state.poll(20.0)) == [SettleTimeout]
    assert [frame["acks"] for frame in attached.sent()] == [["2.1-t"]]


def test_settlements_are_bounded(attached: Side, monkeypatch) -> None:
    assert MAX_UNANSWERED >= 100_000
    monkeypatch.setattr("headrace.consuming.MAX_UNANSWERED", 2)
    attached.settle("1.1-t", "2.1-t")
    with pytest.raises(QueueFull):
        attached.settle("3.1-t")


def test_the_end_of_the_client_ends_everything(attached: Side) -> None:
    [ticket] = attached.settle("1.1-t")
    error = Forbidden()
    assert attached.state.fail(error) == [Settled(ticket, error), Released(WORK, error)]
    assert attached.state.unanswered == 0


def test_what_waits_for_its_time_goes_once_with_the_next_connection(attached: Side) -> None:
    attached.settle("1.1-t")
    attached.state.receive_refusal(attached.sent()[0]["id"], BUSY, 10.0)  # type: ignore[arg-type]
    attached.reconnect()
    assert [frame.get("acks") for frame in attached.sent()] == [None, ["1.1-t"]]
    attached.state.poll(10.5)
    assert attached.sent() == []


def test_what_was_held_goes_before_what_came_later(attached: Side) -> None:
    attached.settle("1.1-t")
    attached.state.receive_refusal(attached.sent()[0]["id"], BUSY, 10.0)  # type: ignore[arg-type]
    attached.settle("2.1-t")
    attached.state.poll(10.5)
    assert [frame["acks"] for frame in attached.sent()] == [["1.1-t", "2.1-t"]]


def test_a_refusal_of_an_attach_that_was_taken_back_changes_nothing(side: Side) -> None:
    side.state.attach(WORK, 5)
    side.state.detach(WORK)
    side.state.attach(WORK, 5)
    first, _, second = side.sent()
    assert side.state.receive_refusal(first["id"], Forbidden(), 0.0) == []  # type: ignore[arg-type]
    assert side.attached(second["id"]) != []


def test_a_move_attaches_there_and_what_was_on_its_way_is_answered_here(side) -> None:
    side.state.attach(WORK, 5)
    (ask,) = side.sent()
    side.attached(ask["id"])
    (ticket,) = side.settle("1")
    (ack,) = side.sent()
    side.state.move()
    (again,) = side.sent()
    assert again["op"] == "attach"
    assert side.state.are_moving
    assert side.state.receive_delivery(delivery_of(2), leaving=True)
    assert not side.state.receive_delivery(delivery_of(3))
    assert side.settled(ack["id"]) == [Settled(ticket, None)]
    side.attached(again["id"])
    assert not side.state.are_moving


def test_what_the_old_node_did_not_answer_is_sent_again_when_it_is_gone(side) -> None:
    (ticket,) = side.settle("1")
    side.sent()
    side.state.move()
    assert side.sent() == []
    side.state.leave()
    assert not side.state.are_moving
    (again,) = side.sent()
    assert side.settled(again["id"], **{"1": "unknown"}) == [Settled(ticket, None)]


def delivery_of(offset: int) -> dict[str, object]:
    entry = {"ack": f"{offset}.1-t", "attempt": 1, "epoch": 7, "offset": offset, "time": 1, "text": "x"}
    return {"op": "delivery", "subscription": WORK, "topic": "default/lines", "deliveries": [entry]}
