"""Threads for functions that others wrote: a bounded number of them, and none that keeps the process from ending."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue

Outcome = tuple[object, BaseException | None]
"""What a function has returned, or raised. A future must not be given everything that a function can raise."""

_Job = tuple["Future[Outcome]", Callable[[], Outcome]]


class DaemonThreads:
    """At most so many threads, started as they are needed. Unlike the standard pool's, they let the process end.

    A job never raises.
    """

    def __init__(self, most: int, *, name: str) -> None:
        self._most = most
        self._name = name
        self._started = 0
        self._idle = threading.Semaphore(0)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()

    def submit(self, job: Callable[[], Outcome]) -> "Future[Outcome]":
        """Have `job` done, by an idle thread, a new one, or the next that is free. For one thread to call."""
        future: Future[Outcome] = Future()
        self._jobs.put((future, job))
        if not self._idle.acquire(blocking=False) and self._started < self._most:
            self._started += 1
            name = f"{self._name}-{self._started}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            try:
                given = self._jobs.get_nowait()
            except Empty:
                self._idle.release()
                given = self._jobs.get()
            if given is None:
                self._jobs.put(None)
                return
            future, job = given
            if future.set_running_or_notify_cancel():
                future.set_result(job())

    def close(self) -> None:
        """Let the threads end once they are idle."""
        self._jobs.put(None)


def outcome_of(function: Callable[..., object], *args: object) -> Outcome:
    try:
        return function(*args), None
    except BaseException as error:
        return None, error
