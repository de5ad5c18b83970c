"""Functions in this process: loaded by name, called like Lambda's, with a bounded price."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.apigateway.application.callables import Callables, Handler, LambdaContext, Raised, is_async, load
from gateway.apigateway.application.outcomes import Throttled, TimedOut


@pytest.fixture
async def callables() -> AsyncIterator[Callables]:
    made = Callables(threads=2, most=3)
    yield made
    made.close()


async def called(callables: Callables, handler: Handler, *, seconds: float = 5) -> object:
    return await callables.call(handler, {"a": 1}, name="m:f", request_id="R1", seconds=seconds)


async def asynchronous(event: object, context: LambdaContext) -> object:
    await asyncio.sleep(0)
    return [event, context.aws_request_id]


def synchronous(event: object, context: LambdaContext) -> object:
    return [event, context.aws_request_id]


class Called:
    async def __call__(self, event: object, context: LambdaContext) -> object:
        return [event, context.aws_request_id]


@pytest.mark.parametrize("handler", [asynchronous, synchronous, Called()])
async def test_a_function_gets_event_and_context(callables: Callables, handler: Handler) -> None:
    assert await called(callables, handler) == [{"a": 1}, "R1"]


async def test_a_function_that_is_no_coroutine_does_not_stop_the_loop(callables: Callables) -> None:
    threads = []
    await called(callables, lambda event, context: threads.append(threading.current_thread()))
    assert threads[0] is not threading.main_thread()
    assert not is_async(synchronous)
    assert is_async(asynchronous)
    assert is_async(Called())


async def test_the_context_is_lambdas(callables: Callables) -> None:
    found: list[LambdaContext] = []
    await called(callables, lambda event, context: found.append(context), seconds=5)
    (context,) = found
    assert (context.function_name, context.function_version) == ("m:f", "$LATEST")
    assert context.invoked_function_arn.endswith(":function:m:f")
    assert 0 < context.get_remaining_time_in_millis() <= 5000
    over = LambdaContext(aws_request_id="", function_name="", invoked_function_arn="", deadline=0)
    assert over.get_remaining_time_in_millis() == 0


def raising(error: BaseException) -> Handler:
    def handler(event: object, context: LambdaContext) -> object:
        raise error

    return handler


def raising_later(error: BaseException) -> Handler:
    async def handler(event: object, context: LambdaContext) -> object:
        raise error

    return handler


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("make", [raising, raising_later])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Exception("Unauthorized"), "Unauthorized"),
        (SystemExit("bye"), "bye"),
        (KeyboardInterrupt(), ""),
        (StopIteration(1), None),
        (asyncio.CancelledError("own"), "own"),
        (TimeoutError("own"), "own"),
        (Unspeakable(), ""),
    ],
)
async def test_whatever_a_function_raises_stays_its_own(
    callables: Callables, make: Callable[[BaseException], Handler], error: BaseException, message: str | None
) -> None:
    with pytest.raises(Raised) as raised:
        await called(callables, make(error))
    assert message is None or raised.value.message == message
    assert (raised.value.status, raised.value.told) == (502, "Internal server error")


async def test_who_waits_for_an_async_function_can_be_cancelled(callables: Callables) -> None:
    started = asyncio.Event()

    async def handler(event: object, context: LambdaContext) -> object:
        started.set()
        return await asyncio.Event().wait()

    task = asyncio.create_task(called(callables, handler))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_function_has_its_time(callables: Callables) -> None:
    end = threading.Event()
    with pytest.raises(TimedOut):
        await called(callables, lambda event, context: end.wait(), seconds=0.05)
    end.set()

    async def forever(event: object, context: LambdaContext) -> object:
        return await asyncio.Event().wait()

    with pytest.raises(TimedOut):
        await called(callables, forever, seconds=0.05)


async def test_one_that_goes_on_keeps_its_thread_and_counts(callables: Callables) -> None:
    end = threading.Event()
    with pytest.raises(TimedOut):
        await called(callables, lambda event, context: end.wait(), seconds=0.01)
    waiting = [asyncio.create_task(called(callables, lambda event, context: end.wait())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Throttled):
        await called(callables, synchronous)
    with pytest.raises(Throttled):
        await called(callables, asynchronous)
    end.set()
    await asyncio.gather(*waiting)
    assert await called(callables, synchronous) == [{"a": 1}, "R1"]


@pytest.mark.parametrize("handler", [asynchronous, synchronous])
async def test_calls_that_are_over_leave_room_for_others(callables: Callables, handler: Handler) -> None:
    for _ in range(10):
        assert await called(callables, handler) == [{"a": 1}, "R1"]


async def test_one_that_never_began_does_not_begin_after_its_time(callables: Callables) -> None:
    end, began = threading.Event(), []
    taken = [asyncio.create_task(called(callables, lambda event, context: end.wait())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TimedOut):
        await called(callables, lambda event, context: began.append(1), seconds=0.01)
    end.set()
    await asyncio.gather(*taken)
    await called(callables, synchronous)
    assert began == []


async def test_threads_are_started_as_they_are_needed_and_no_more(callables: Callables) -> None:
    seen: list[str] = []

    def noted(event: object, context: LambdaContext) -> None:
        seen.append(threading.current_thread().name)

    await called(callables, noted)
    assert seen == ["apigateway-callable-1"]
    both = threading.Barrier(2)
    await asyncio.gather(*(called(callables, lambda event, context: both.wait(5)) for _ in range(2)))
    for _ in range(5):
        await asyncio.gather(*(called(callables, noted) for _ in range(3)))
    assert set(seen) <= {"apigateway-callable-1", "apigateway-callable-2"}


def test_a_function_that_hangs_does_not_keep_the_process() -> None:
    code = """
import asyncio, threading
from gateway.apigateway.application.callables import Callables
from gateway.apigateway.application.outcomes import TimedOut

async def main():
    callables = Callables()
    try:
        await callables.call(lambda *_: threading.Event().wait(), {}, name="f", request_id="", seconds=0.05)
    except TimedOut:
        print("gone on")
    callables.close()

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "gone on" in ended.stdout


def test_functions_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found_here.py").write_text(
        "class App:\n    @staticmethod\n    def handler(event, context): return 7\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    context = LambdaContext(aws_request_id="", function_name="", invoked_function_arn="", deadline=0)
    assert load("found_here:App.handler")({}, context) == 7
    # Behind what is installed, which a file in the working directory must not replace.
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        ("no_such_module_here:f", "no_such_module_here cannot be imported: ModuleNotFoundError"),
        ("json:f", "json has no function f"),
        ("json:load_s", r"json has no function load_s; did you mean loads\?"),
        ("json:decoder.f", "json has no function decoder.f"),
        ("json:__name__", "json has no function __name__"),
    ],
)
def test_functions_that_are_not_there(handler: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load(handler)


def test_a_module_that_raises_is_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raises_here.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ValueError, match="raises_here cannot be imported: ZeroDivisionError"):
        load("raises_here:f")


async def test_failures_are_told_to_the_operator_at_our_pace(
    callables: Callables, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with pytest.raises(Raised):
            await called(callables, raising(ValueError("why")))
    (record,) = caplog.records
    assert record.getMessage() == "a function raised"
    assert record.exc_info is not None
    with pytest.raises(Raised):
        await called(callables, raising(KeyError("another")))
    assert len(caplog.records) == 2
