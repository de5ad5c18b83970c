"""A client library's connection for a command: found, announced on standard error, given up in time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.commands.target import Target
from gateway.commands.terminal import fail, note
from headrace import Client, HeadraceError, State

CONNECT_SECONDS = 30.0
"""How long the first connection may take. After that a command comes back for as long as it runs."""


class Herald:
    """Says when the connection comes and goes: once each, and nothing about a first connection that just works."""

    def __init__(self) -> None:
        self._away = False
        self._done = False

    def leave(self) -> None:
        """The command closes the connection itself: nothing to say about that."""
        self._done = True

    def on_state(self, state: State) -> None:
        if self._done:
            return
        if state.connected and self._away:
            note(f"headrace: connected to {state.server}")
        elif not state.connected and state.reason and not self._away:
            note(f"headrace: no connection ({state.reason}), trying again")
        self._away = not state.connected and (self._away or bool(state.reason))


@asynccontextmanager
async def connected(target: Target, *, seconds: float = CONNECT_SECONDS) -> AsyncIterator[Client]:
    """Yield a connected client, or end the command with the reason why there is none."""
    herald = Herald()
    client = Client(target.servers, token=target.token, name="headrace command", on_state=herald.on_state)
    async with client:
        try:
            await _first_connection(client, seconds)
            yield client
        finally:
            herald.leave()


async def _first_connection(client: Client, seconds: float) -> None:
    try:
        await client.connected(timeout=seconds)
    except HeadraceError as error:
        fail(str(error))
