"""Asking Redis: `Commands` with its errors made the broker's, for whatever may run twice."""

import secrets
from collections.abc import Sequence

from broker.store import scripts
from broker.store.base import Commands, ReplyError, Script
from broker.store.keys import Keys
from broker.store.wire import Word, refusal


class Asking:
    """What the parts of the Redis store have in common. Raises `Unavailable` and `OutOfMemory`."""

    def __init__(self, commands: Commands, *, prefix: str = "hr") -> None:
        self.keys = Keys(prefix)
        self._commands = commands

    async def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[Word]) -> object:
        try:
            return await self._commands.run(script, keys, args, retry=True)
        except ReplyError as error:
            raise refusal(error) from error

    async def _execute(self, key: bytes, *command: Word) -> object:
        try:
            return await self._commands.execute(key, *command, retry=True)
        except ReplyError as error:
            raise refusal(error) from error

    async def _replace_field(self, key: bytes, field: str, old: bytes, new: bytes) -> bool:
        """Replace a field of a hash if it still holds `old`; empty is absent."""
        return bool(await self._run(scripts.REPLACE, (key,), (field, old, new)))

    async def _remove_field(self, key: bytes, field: str, old: bytes) -> None:
        """Remove a field of a hash if it still holds `old`; goes on without memory."""
        await self._run(scripts.REMOVE, (key,), (field, old))


def make_nonce() -> bytes:
    """Mark a write that may be sent twice, so that the second finds its own work instead of somebody's."""
    return secrets.token_bytes(8)
