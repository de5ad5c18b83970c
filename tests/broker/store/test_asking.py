"""Asking: Redis' errors are the broker's, and what may run twice is sent so that it may."""

from collections.abc import Sequence

import pytest

from broker.errors import OutOfMemory, Unavailable
from broker.store import scripts
from broker.store.asking import Asking, make_nonce
from broker.store.base import ReplyError, Script


class Refusing:
    """Commands that answer with one error."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def execute(self, key: bytes, *command: bytes | str | int, retry: bool) -> object:
        assert retry
        raise ReplyError(self._text)

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        return await self.execute(keys[0], retry=retry)

    async def refresh(self) -> None: ...


@pytest.mark.parametrize(("text", "kind"), [("OOM command not allowed", OutOfMemory), ("ERR what", Unavailable)])
async def test_errors_are_translated(text: str, kind: type[Exception]) -> None:
    asking = Asking(Refusing(text))
    for call in (
        asking._run(scripts.PROBE, (b"k",), ()),
        asking._execute(b"k", "GET", b"k"),
        asking._replace_field(b"k", "f", b"", b"x"),
        asking._remove_field(b"k", "f", b"x"),
    ):
        with pytest.raises(kind) as refused:
            await call
        assert refused.value.retry_ms  # type: ignore[attr-defined]


def test_nonces_differ() -> None:
    assert len({make_nonce() for _ in range(100)}) == 100
