"""Threads for functions that others wrote: bounded, and never in the way of the end."""

import subprocess
import sys
import threading

import pytest

from gateway.threads import DaemonThreads, outcome_of

WAIT_SECONDS = 10.0


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_whatever_a_function_raises_is_its_outcome(error: BaseException) -> None:
    def raises() -> None:
        raise error

    assert outcome_of(raises) == (None, error)
    assert outcome_of(max, 1, 2) == (2, None)


def test_there_are_no_more_threads_than_that_and_they_are_named() -> None:
    threads, go = DaemonThreads(2, name="mine"), threading.Event()

    def job() -> tuple[object, None]:
        go.wait(WAIT_SECONDS)
        return threading.current_thread().name, None

    running = [threads.submit(job) for _ in range(5)]
    go.set()
    names = {future.result(WAIT_SECONDS)[0] for future in running}
    threads.close()
    assert names <= {"mine-1", "mine-2"}


def test_a_job_that_was_given_up_before_it_began_never_begins() -> None:
    threads, go = DaemonThreads(1, name="mine"), threading.Event()
    first = threads.submit(lambda: (go.wait(WAIT_SECONDS), None))
    second = threads.submit(lambda: pytest.fail("it began"))
    assert second.cancel()
    go.set()
    assert first.result(WAIT_SECONDS) == (True, None)
    assert threads.submit(lambda: (3, None)).result(WAIT_SECONDS) == (3, None)
    threads.close()


def test_one_that_hangs_does_not_keep_the_process() -> None:
    code = """
import threading
from gateway.threads import DaemonThreads, outcome_of
DaemonThreads(1, name="mine").submit(lambda: outcome_of(threading.Event().wait))
print("gone on")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "gone on" in ended.stdout
