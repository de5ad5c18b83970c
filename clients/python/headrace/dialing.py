"""One attempt to connect: a dial, and a second one to another server where the first does not answer.

Happy eyeballs (RFC 8305) over servers instead of addresses: a server that hangs costs 300 ms, one that refuses nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeVar

from headrace.transport import OpenFailed


class Abortable(Protocol):
    def abort(self) -> None: ...


T = TypeVar("T", bound=Abortable)


class Dialing(Generic[T]):
    """`open` connects to a server or raises `OpenFailed`, of which `failed` is told.

    `another` names a server to dial beside the one it is given, `patience_s` is how long that one stays alone.
    """

    def __init__(
        self,
        *,
        open: Callable[[str], Awaitable[T]],
        another: Callable[[str], str | None],
        failed: Callable[[str, OpenFailed], None],
        patience_s: float,
    ) -> None:
        self._open = open
        self._another = another
        self._failed = failed
        self._patience_s = patience_s
        self._dials: dict[asyncio.Task[T], str] = {}

    async def attempt(self, server: str) -> T | None:
        """Return what opened first; the other one is dropped. None when nothing did."""
        try:
            self._dial(server)
            opened = self._winner(await self._wait(self._patience_s))
            second = self._another(server) if opened is None else None
            if second is not None:
                self._dial(second)
            while opened is None and self._dials:
                opened = self._winner(await self._wait(None))
            return opened
        finally:
            await self._drop_others()

    def _dial(self, server: str) -> None:
        async def dial() -> T:
            return await self._open(server)

        self._dials[asyncio.create_task(dial(), name="headrace dial")] = server

    async def _wait(self, timeout: float | None) -> Iterable[asyncio.Task[T]]:
        done, _ = await asyncio.wait(self._dials, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return [task for task in self._dials if task in done]

    def _winner(self, done: Iterable[asyncio.Task[T]]) -> T | None:
        for task in done:
            server = self._dials.pop(task)
            try:
                return task.result()
            except OpenFailed as error:
                self._failed(server, error)
        return None

    async def _drop_others(self) -> None:
        dials, self._dials = list(self._dials), {}
        for task in dials:
            task.cancel()
        if dials:
            await asyncio.wait(dials)
        for task in dials:
            if not task.cancelled() and task.exception() is None:
                task.result().abort()
