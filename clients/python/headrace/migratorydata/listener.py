"""Who is told of messages and statuses: the application's own object, called one thing at a time."""

import logging
import queue
import threading
from collections.abc import Callable
from typing import Protocol

from headrace.migratorydata.messages import MigratoryDataMessage
from headrace.migratorydata.naming import camel_case

MAX_TOLD = 1000
"""Messages that wait for the application: above it no more are taken from the connection."""

END_TIMEOUT_S = 30.0
"""How long the end waits for what the listener is still to be told: it may wait for the caller itself."""

logger = logging.getLogger("headrace")


class MigratoryDataListener(Protocol):
    """What an application implements; `onMessage` and `onStatus` do as well."""

    def on_message(self, message: MigratoryDataMessage) -> None: ...

    def on_status(self, status: str, info: str) -> None: ...


class Telling:
    """A thread that calls the application, in order; what the application raises is logged and ends nothing."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: threading.Thread | None = None
        self.listener: object = None

    def start(self) -> None:
        """Begin to tell. An earlier thread, from which the application may call this, is let finish first."""
        if self._thread is None:
            self._calls = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=self._run, args=(self._calls, self._last), name="headrace listener", daemon=True
            )
            self._thread.start()

    def stop(self) -> threading.Thread | None:
        """Tell what is waiting, then end. Returns what to `await_end` of."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._last = thread
            self._calls.put(None)
        return thread

    def await_end(self, thread: threading.Thread | None) -> None:
        """Wait until all is told; the application may call this while it is being told, and then does not wait."""
        if thread is None or thread is threading.current_thread():
            return
        thread.join(END_TIMEOUT_S)
        if thread.is_alive():
            logger.warning("the listener has not returned for %g s", END_TIMEOUT_S)

    def status(self, status: str, info: str) -> None:
        self._calls.put(lambda: self._tell("on_status", status, info))

    def message(self, message: MigratoryDataMessage, done: Callable[[], object] = lambda: None) -> None:
        """`done` is called in the thread when the application has had it."""

        def call() -> None:
            try:
                self._tell("on_message", message)
            finally:
                done()

        self._calls.put(call)

    def _tell(self, name: str, *args: object) -> None:
        # The other spelling first: who extends `MigratoryDataListener` has an empty `on_message` in any case.
        told = getattr(self.listener, camel_case(name), None) or getattr(self.listener, name, None)
        if told is None:
            return
        try:
            told(*args)
        except Exception:
            logger.exception("the listener failed in %s", name)

    def _run(self, calls: queue.SimpleQueue[Callable[[], None] | None], last: threading.Thread | None) -> None:
        if last is not None:
            last.join()
        while (call := calls.get()) is not None:
            call()
