"""What is told of attempts to connect: failures in a row, and attempts in a window."""

import pytest

from headrace import State
from headrace.migratorydata import attempts
from headrace.migratorydata.attempts import Attempts
from headrace.migratorydata.listener import Telling


class Told(Telling):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def status(self, status: str, info: str) -> None:
        self.told.append(status.removeprefix("NOTIFY_") + (f" {info}" if info else ""))


UP, FAILED = State(connected=True, server="a"), State(connected=False, server="b", reason="refused")


def test_down_is_told_once_after_so_many_failed_attempts() -> None:
    told = Told()
    counted = Attempts(told, before_down=2, in_window=100)
    for state in (FAILED, FAILED, FAILED, UP, FAILED, FAILED, FAILED):
        counted.on_state(state)
    # The first after UP is the break itself.
    assert told.told == ["SERVER_DOWN b", "SERVER_UP a", "SERVER_DOWN b"]


def test_many_attempts_in_three_minutes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = 0.0, Told()
    monkeypatch.setattr(attempts.time, "monotonic", lambda: now)
    counted = Attempts(told, before_down=1000, in_window=3)
    for now in (0.0, 100.0, 181.0, 190.0, 200.0, 300.0):  # noqa: B007
        counted.on_state(FAILED)
    assert told.told == ["RECONNECT_RATE_EXCEEDED"]


def test_a_connection_that_comes_and_goes_is_told_too() -> None:
    told = Told()
    counted = Attempts(told, before_down=1, in_window=3)
    for state in (UP, FAILED, UP, UP, FAILED, UP, FAILED, UP):
        counted.on_state(state)
    assert told.told == ["SERVER_UP a"] * 5 + ["RECONNECT_RATE_EXCEEDED"], "moving on a drain is no break"
