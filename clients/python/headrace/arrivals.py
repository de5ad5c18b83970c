"""What comes from the client to one iterator of the application: a first answer, then items, then an end."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

from headrace.errors import HeadraceError

A = TypeVar("A")
"""The first answer."""
T = TypeVar("T")


class Arrivals(Generic[A, T]):
    """`items` is the queue; whoever bounds it takes from it. One task waits at a time.

    `closed` is the sentence for those who wait for the answer of what the application has closed.
    """

    def __init__(self, *, closed: str) -> None:
        self.items: deque[T] = deque()
        self.over = False
        self._closed = closed
        self._answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiter: asyncio.Future[None] | None = None
        self._error: HeadraceError | None = None

    async def answer(self, *, timeout: float) -> A:
        """Wait for the first answer. Raises the refusal, or `TimeoutError` after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            return await asyncio.shield(self._answer)

    def answered(self, answer: A) -> None:
        """Only the first one counts."""
        if not self._answer.done():
            self._answer.set_result(answer)

    def push(self, *items: T) -> None:
        self.items.extend(items)
        self._wake()

    async def wait(self) -> bool:
        """Return True once something is queued, False when it was closed; raises what else ended it."""
        while not self.items:
            if self._error is not None:
                raise self._error
            if self.over:
                return False
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return True

    def end(self, error: HeadraceError | None) -> None:
        """Nothing more will come; what is queued can still be taken. Idempotent."""
        if self.over:
            return
        self.over, self._error = True, error
        if not self._answer.done():
            self._answer.set_exception(error or HeadraceError(self._closed))
            self._answer.exception()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
