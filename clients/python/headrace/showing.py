"""A token that is shown on an open connection: shown again wherever the one in use has not answered for it."""

import asyncio
from collections.abc import Callable

from headrace.events import Presented
from headrace.outbox import DEFAULT_RETRY_S


class Showing:
    """`present` sends a token and returns the number of the request, 0 where there is no connection."""

    def __init__(self, present: Callable[[str], int]) -> None:
        self._present = present
        self._token = ""
        self._number = 0
        self._taken = asyncio.Event()
        self._taken.set()
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return "Showing(…)"

    def show(self, token: str) -> None:
        """Show a token, now or on the next connection, until a node has taken it."""
        self._token = token
        self._taken.clear()
        self._show()

    def connected(self) -> None:
        """There is another connection, dialled perhaps with the token before."""
        if not self._taken.is_set():
            self._show()

    def answered(self, event: Presented) -> None:
        """A node has answered. What it refuses for now is shown again; what it refuses for good ends the connection."""
        if event.number != self._number:
            return
        if event.error is None:
            self._token = ""
            self._taken.set()
        elif event.error.retry_ms is not None:
            wait_s = max(event.error.retry_ms / 1000, DEFAULT_RETRY_S)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.connected)

    async def taken(self) -> None:
        """Wait until a node has taken the token that was shown last."""
        await self._taken.wait()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _show(self) -> None:
        self.stop()
        self._number = self._present(self._token)
