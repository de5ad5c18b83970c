"""Attempts to connect, counted: what the application is told of them (contracts/migratorydata 1.2)."""

import time
from collections import deque

from headrace.connector import State
from headrace.migratorydata.constants import Constants
from headrace.migratorydata.listener import Telling

RATE_WINDOW_S = 180.0
"""In which attempts to reconnect are counted."""


class Attempts:
    """`before_down` failed ones in a row are told, and `in_window` ones, failed or not, within three minutes."""

    def __init__(self, telling: Telling, *, before_down: int, in_window: int) -> None:
        self._telling = telling
        self._before_down = before_down
        self._in_window = in_window
        self._failures = 0
        self._is_connected = False
        self._is_new = True
        self._attempts: deque[float] = deque()

    def on_state(self, state: State) -> None:
        if state.connected:
            self._telling.status(Constants.NOTIFY_SERVER_UP, state.server)
            # The first connection of all comes back from nowhere, and moving to another node is no break.
            if not self._is_new and not self._is_connected:
                self._count_attempt(time.monotonic())
            self._failures, self._is_connected, self._is_new = 0, True, False
        elif self._is_connected:
            # It broke: no attempt has failed yet.
            self._is_connected = False
        else:
            self._is_new = False
            self._failures += 1
            if self._failures == self._before_down:
                self._telling.status(Constants.NOTIFY_SERVER_DOWN, state.server)
            self._count_attempt(time.monotonic())

    def _count_attempt(self, now: float) -> None:
        self._attempts.append(now)
        while self._attempts[0] < now - RATE_WINDOW_S:
            self._attempts.popleft()
        if len(self._attempts) >= self._in_window:
            self._attempts.clear()
            self._telling.status(Constants.NOTIFY_RECONNECT_RATE_EXCEEDED, "")
