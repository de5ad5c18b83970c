"""Back ends in this process: Python functions `handler(event, context)`, as Lambda calls them.

A function that is no coroutine runs in a pool of threads, an `async` one on the node's loop, where it must not block.
Both have the integration's time. A thread cannot be stopped: a function that goes on after its time keeps its thread,
and when all are taken, calls wait for one, a bounded number of them, and more are refused.
"""

import asyncio
import importlib
import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gateway.apigateway.application.outcomes import Broken, IntegrationError, Throttled, TimedOut
from gateway.apigateway.application.reports import Reports
from gateway.options import nearest
from gateway.threads import DaemonThreads, Outcome, outcome_of

THREADS = 64
"""Functions that run at once."""

MAX_CALLS = 1000
"""Calls at once, those that wait for a thread included."""

Handler = Callable[[object, "LambdaContext"], object]

log = logging.getLogger(__name__)


class Raised(Broken):
    """The function raised; `message` is what its exception says, which an authorizer's caller looks at."""

    def __init__(self, message: str) -> None:
        super().__init__("The function raised.")
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaContext:
    """What a function is told of its call, under Lambda's names."""

    aws_request_id: str
    function_name: str
    invoked_function_arn: str
    deadline: float
    """By the monotonic clock, in seconds."""
    function_version: str = "$LATEST"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self.deadline - time.monotonic()) * 1000))


def load(handler: str) -> Handler:
    """Return the function that `module:function` names. Raises `ValueError` with what is wrong.

    Modules are also looked for in the working directory, behind everything that is installed.
    """
    module, _, name = handler.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        # Whatever the operator's module does when it is imported.
        raise ValueError(f"{module} cannot be imported: {type(error).__name__}: {error}") from None
    found: object = imported
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        known = [each for each in dir(imported) if not each.startswith("_") and callable(getattr(imported, each, None))]
        near = nearest(name, known)
        raise ValueError(f"{module} has no function {name}{f'; did you mean {near}?' if near else ''}")
    return found


class Callables:
    """Calls functions. One a node; `close` when it ends."""

    def __init__(self, *, threads: int = THREADS, most: int = MAX_CALLS) -> None:
        self._threads = DaemonThreads(threads, name="apigateway-callable")
        self._most = most
        self._calls = 0
        self._lock = threading.Lock()
        self._reports = Reports()

    async def call(self, handler: Handler, event: object, *, name: str, request_id: str, seconds: float) -> object:
        """Return what `handler` returns. Raises `Raised`, `TimedOut`, `Throttled`."""
        context = LambdaContext(
            aws_request_id=request_id,
            function_name=name,
            invoked_function_arn=f"arn:aws:lambda:local:000000000000:function:{name}",
            deadline=time.monotonic() + seconds,
        )
        self._enter()
        if is_async(handler):
            try:
                result, error = await _awaited(handler, event, context, seconds)
            finally:
                self._leave()
        else:
            result, error = await self._in_a_thread(handler, event, context, seconds)
        if error is not None:
            raise self._failure(error, context)
        return result

    async def _in_a_thread(self, handler: Handler, event: object, context: LambdaContext, seconds: float) -> Outcome:
        running = self._threads.submit(partial(outcome_of, handler, event, context))
        # When the thread is done with it, not when its time is over: until then it holds a thread.
        running.add_done_callback(lambda _: self._leave())
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(running)
        except TimeoutError:
            return None, TimedOut()

    def _failure(self, error: BaseException, context: LambdaContext) -> IntegrationError:
        """Return what the caller is told, and tell the operator."""
        times = self._reports.due((context.function_name, type(error)), time.monotonic())
        where = {"function": context.function_name, "times": times}
        if isinstance(error, TimedOut):
            if times:
                log.warning("a function took too long", extra=where)
            return error
        if times:
            log.error("a function raised", exc_info=error, extra=where)
        with suppress(Exception):
            return Raised(str(error))
        return Raised("")

    def _enter(self) -> None:
        with self._lock:
            if self._calls >= self._most:
                raise Throttled
            self._calls += 1

    def _leave(self) -> None:
        with self._lock:
            self._calls -= 1

    def close(self) -> None:
        """Wait for nothing: a thread that still runs ends with the process."""
        self._threads.close()


def is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


async def _awaited(handler: Handler, event: object, context: LambdaContext, seconds: float) -> Outcome:
    try:
        async with asyncio.timeout(seconds) as clock:
            return await handler(event, context), None  # type: ignore[misc]
    except TimeoutError as error:
        return None, TimedOut() if clock.expired() else error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None, error
    except BaseException as error:
        # sys.exit() in a function ends no node.
        return None, error
