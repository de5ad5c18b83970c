"""The listener's thread: one thing at a time, in order, whatever the application raises."""

import threading
from typing import ClassVar

import pytest

from headrace.migratorydata import MigratoryDataMessage
from headrace.migratorydata import listener as listening
from headrace.migratorydata.listener import MigratoryDataListener, Telling

MESSAGE = MigratoryDataMessage("/a/b", "x")


class Snake:
    def __init__(self) -> None:
        self.told: list[object] = []

    def on_message(self, message: MigratoryDataMessage) -> None:
        self.told.append(message)

    def on_status(self, status: str, info: str) -> None:
        self.told.append((status, info))
        if status == "bad":
            raise ValueError


class Camel:
    def __init__(self) -> None:
        self.told: list[object] = []

    def onMessage(self, message: MigratoryDataMessage) -> None:
        self.told.append(message)

    def onStatus(self, status: str, info: str) -> None:
        self.told.append((status, info))


@pytest.mark.parametrize("listener", [Snake(), Camel()])
def test_both_spellings_are_called_in_order(listener: Snake | Camel) -> None:
    telling, done = Telling(), []
    telling.listener = listener
    telling.start()
    telling.status("s", "i")
    telling.message(MESSAGE, lambda: done.append(1))
    telling.await_end(telling.stop())
    assert listener.told == [("s", "i"), MESSAGE]
    assert done == [1]
    telling.stop()


def test_what_the_application_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    telling, listener = Telling(), Snake()
    telling.listener = listener
    telling.start()
    telling.status("bad", "")
    telling.status("good", "")
    telling.await_end(telling.stop())
    assert listener.told == [("bad", ""), ("good", "")]
    assert "the listener failed in on_status" in caplog.text


def test_it_may_be_stopped_by_the_application_and_start_again() -> None:
    telling, ended = Telling(), threading.Event()

    class Stops:
        def on_status(self, status: str, info: str) -> None:
            telling.await_end(telling.stop())
            ended.set()

    telling.listener = Stops()
    telling.start()
    telling.status("s", "i")
    assert ended.wait(10)
    telling.listener = listener = Snake()
    telling.start()
    telling.status("again", "")
    telling.await_end(telling.stop())
    assert listener.told == [("again", "")]


def test_without_a_listener_nothing_happens() -> None:
    telling = Telling()
    telling.start()
    telling.status("s", "i")
    telling.stop()


def test_what_comes_after_a_new_start_waits_for_what_is_being_told() -> None:
    telling, order, going_on = Telling(), [], threading.Event()

    class Restarts:
        def on_status(self, status: str, info: str) -> None:
            assert going_on.wait(10)
            if status == "restart":
                telling.stop()
                telling.start()
                telling.status("new", "")
            order.append(status)

    telling.listener = Restarts()
    telling.start()
    telling.status("restart", "")
    telling.status("old", "")
    going_on.set()
    while "new" not in order:
        threading.Event().wait(0.001)
    telling.await_end(telling.stop())
    assert order == ["restart", "old", "new"]


def test_who_extends_the_protocol_with_the_other_spelling_is_told() -> None:
    class Extends(MigratoryDataListener):
        told: ClassVar[list[object]] = []

        def onMessage(self, message: MigratoryDataMessage) -> None:
            self.told.append(message)

    telling = Telling()
    telling.listener = Extends()
    telling.start()
    telling.message(MESSAGE)
    telling.status("s", "i")
    telling.await_end(telling.stop())
    assert Extends.told == [MESSAGE]


def test_a_listener_that_waits_for_the_caller_does_not_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "END_TIMEOUT_S", 0.01)
    telling, released = Telling(), threading.Event()

    class Waits:
        def on_status(self, status: str, info: str) -> None:
            released.wait(10)

    telling.listener = Waits()
    telling.start()
    telling.status("s", "i")
    telling.await_end(telling.stop())
    released.set()
