"""The rounds of sealing again: they count, go on after a fault, and leave nothing under the old key."""

import asyncio
import logging

import pytest

from broker.accounts import Accounts
from broker.errors import Unavailable
from broker.names import ProjectName, parse_subscription
from broker.store.records_memory import MemoryRecords
from broker.users import UserChange
from gateway.options import Secret
from gateway.pushes import PushConfig, Pushes, PushType
from gateway.rotation import Reseal, seal_again
from gateway.vault import Vault

OLD, NEW = Secret("the secret key before, of these tests"), Secret("the secret key of today, of these tests")
NAME = parse_subscription("p/s")


async def rounds(number: int, *reseals: Reseal) -> None:
    left = number

    async def sleep(_: float) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await seal_again(reseals, sleep=sleep)


async def test_a_round_says_how_much_there_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.rotation")
    answers = iter([2, 3, Unavailable(), 0, 0])

    async def reseal() -> int:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    await rounds(3, reseal, reseal)
    assert [getattr(record, "count", None) for record in caplog.records] == [5, None, 0]


async def test_after_a_round_the_old_key_is_needed_no_more() -> None:
    records = MemoryRecords(now_ms=lambda: 0)

    async def any_project(_: ProjectName) -> None: ...

    def services(vault: Vault) -> tuple[Accounts, Pushes]:
        return Accounts(records, vault, require_project=any_project), Pushes(records, vault, new_id=lambda: "id")

    accounts, pushes = services(Vault(OLD))
    ann = await accounts.create("ann", UserChange())
    config = PushConfig(type=PushType.HTTP_ENDPOINT, created_ms=1, endpoint="https://x/")
    await pushes.change(NAME, lambda _: config, created_ms=1)
    rotating_accounts, rotating_pushes = services(Vault(NEW, old=OLD))
    await rounds(2, rotating_accounts.reseal, rotating_pushes.reseal)
    assert (await rotating_accounts.reseal(), await rotating_pushes.reseal()) == (0, 0)
    later_accounts, later_pushes = services(Vault(NEW))
    assert later_accounts.token_of(await later_accounts.user("ann")) == accounts.token_of(ann)
    assert await later_pushes.get(NAME, created_ms=1) == config
