"""What the tests of this room share: running shells, and dialling a test server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import pytest

WAIT_SECONDS = 15.0


class Eventually(Protocol):
    async def __call__(self, check: Callable[[], bool], *, seconds: float = WAIT_SECONDS, what: str = "") -> None: ...


@pytest.fixture
def eventually() -> Eventually:
    """Poll until a condition holds, or fail after a deadline."""

    async def poll(check: Callable[[], bool], *, seconds: float = WAIT_SECONDS, what: str = "the condition") -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not check():
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true within {seconds} s"
            await asyncio.sleep(0.005)

    return poll


Running = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def running() -> Running:
    """`async with running(topology.serve(), bus.serve()):` runs them for the block, and fails it when one fails."""

    @asynccontextmanager
    async def run(*coroutines: Coroutine[object, object, None]) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
                    raise AssertionError("it ended by itself")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return run
