"""What a session counts: attempts in a row, and in a window. test_client.py shows the rest on real nodes."""

import pytest

from headrace import State
from headrace.migratorydata import session
from headrace.migratorydata.listener import Telling
from headrace.migratorydata.session import Terms, _Connection


class Told(Telling):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def status(self, status: str, info: str) -> None:
        self.told.append(status.removeprefix("NOTIFY_") + (f" {info}" if info else ""))


def a_connection(*, down: int, window: int = 100) -> tuple[_Connection, Told]:
    told = Told()
    terms = Terms(servers=[], token=str, tls=None, schedule=None, attempts_before_down=down, attempts_in_window=window)
    return _Connection(terms, told), told


UP, FAILED = State(connected=True, server="a"), State(connected=False, server="b", reason="refused")


def test_down_is_told_once_after_so_many_failed_attempts() -> None:
    connection, told = a_connection(down=2)
    for state in (FAILED, FAILED, FAILED, UP, FAILED, FAILED, FAILED):
        connection.on_state(state)
    # The first after UP is the break itself.
    assert told.told == ["SERVER_DOWN b", "SERVER_UP a", "SERVER_DOWN b"]


def test_many_attempts_in_three_minutes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(session.time, "monotonic", lambda: now)
    connection, told = a_connection(down=1000, window=3)
    for now in (0.0, 100.0, 181.0, 190.0, 200.0, 300.0):  # noqa: B007
        connection.on_state(FAILED)
    assert told.told == ["RECONNECT_RATE_EXCEEDED"]
