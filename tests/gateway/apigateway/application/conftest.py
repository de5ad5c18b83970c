"""What the tests of back ends share: the means to call them, a server that is one, and functions that are."""

from collections.abc import AsyncIterator, Iterator

import pytest
from application import NOW_MS, Functions, functions
from receiver import Receiver, receiving

from gateway.apigateway.application.callables import Callables
from gateway.apigateway.application.callbacks import callbacks
from gateway.apigateway.application.integrations import Services


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    made = Services(Callables(threads=2), callbacks(now_ms=lambda: NOW_MS))
    yield made
    made.callables.close()
    await made.callbacks.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
def application() -> Iterator[Functions]:
    with functions() as made:
        yield made
