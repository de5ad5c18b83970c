"""The listener's thread: one thing at a time, in order, whatever the application raises."""

import threading

import pytest

from headrace.migratorydata import MigratoryDataMessage
from headrace.migratorydata.listener import Telling

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
    telling.stop()
    assert listener.told == [("s", "i"), MESSAGE]
    assert done == [1]
    telling.stop()


def test_what_the_application_raises_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    telling, listener = Telling(), Snake()
    telling.listener = listener
    telling.start()
    telling.status("bad", "")
    telling.status("good", "")
    telling.stop()
    assert listener.told == [("bad", ""), ("good", "")]
    assert "the listener failed in on_status" in caplog.text


def test_it_may_be_stopped_by_the_application_and_start_again() -> None:
    telling, ended = Telling(), threading.Event()

    class Stops:
        def on_status(self, status: str, info: str) -> None:
            telling.stop()
            ended.set()

    telling.listener = Stops()
    telling.start()
    telling.status("s", "i")
    assert ended.wait(10)
    telling.listener = listener = Snake()
    telling.start()
    telling.status("again", "")
    telling.stop()
    assert listener.told == [("again", "")]


def test_without_a_listener_nothing_happens() -> None:
    telling = Telling()
    telling.start()
    telling.status("s", "i")
    telling.stop()
