"""Records in Redis: what Redis' errors become."""

from collections.abc import Sequence

import pytest

from broker.errors import OutOfMemory, Unavailable
from broker.names import ProjectName
from broker.store.base import ReplyError, Script
from broker.store.records import Change
from broker.store.records_redis import RedisRecords

P = ProjectName("p")


class Refusing:
    """Implements `Commands`; answers everything with one error."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def execute(self, key: bytes, *command: bytes | str | int, retry: bool) -> object:
        assert retry
        raise ReplyError(self._text)

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        assert retry
        raise ReplyError(self._text)

    async def refresh(self) -> None: ...


async def test_what_redis_refuses_is_told_in_our_words() -> None:
    with pytest.raises(OutOfMemory):
        await RedisRecords(Refusing("OOM command not allowed")).commit(P, [Change("a", "1", None, b"one")])
    with pytest.raises(Unavailable):
        await RedisRecords(Refusing("READONLY no")).commit(P, [Change("a", "1", None, b"one")])
    with pytest.raises(Unavailable):
        await RedisRecords(Refusing("WRONGTYPE")).get(P, "a", "1")
