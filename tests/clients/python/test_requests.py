import json

from headrace.dialects import Json
from headrace.requests import NO_NUMBER, Requests, number_of


def test_frames_wait_for_a_connection_to_be_theirs() -> None:
    requests = Requests(Json())
    requests.send({"op": "ping"})
    requests.open()
    requests.send({"op": "ping"})
    requests.send({"op": "ping"}, number=requests.number())
    assert [json.loads(frame) for frame in requests.take()] == [{"op": "ping"}, {"op": "ping", "id": 1}]
    assert requests.take() == []
    requests.send({"op": "ping"})
    requests.close()
    requests.open()
    assert requests.take() == []


def test_numbers_rise_over_all_connections() -> None:
    requests = Requests(Json())
    assert [requests.peek(), requests.number(), requests.peek()] == [1, 1, 2]
    requests.open()
    requests.close()
    assert requests.number() == 2


def test_a_number_is_an_integer() -> None:
    assert number_of({"id": 7}) == 7
    assert number_of({}) == number_of({"id": "7"}) == NO_NUMBER
