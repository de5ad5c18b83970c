"""Which of two dials stays, and what becomes of the other."""

import asyncio

import pytest

from headrace.dialing import Dialing
from headrace.transport import OpenFailed

NEVER_S = 60.0


class Opened:
    def __init__(self, server: str) -> None:
        self.server = server
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Network:
    """Servers answer when the test says so."""

    def __init__(self, *others: str) -> None:
        self.dialed: dict[str, asyncio.Future[Opened]] = {}
        self.failed: list[tuple[str, str]] = []
        self.others = list(others)

    async def open(self, server: str) -> Opened:
        answer = self.dialed[server] = asyncio.get_running_loop().create_future()
        return await answer

    def another(self, besides: str) -> str | None:
        return self.others.pop(0) if self.others else None

    def attempt(self, *, patience_s: float) -> "asyncio.Task[Opened | None]":
        dialing = Dialing(
            open=self.open,
            another=self.another,
            failed=lambda server, error: self.failed.append((server, error.reason)),
            patience_s=patience_s,
        )
        return asyncio.create_task(dialing.attempt("a"))


async def test_an_answer_in_time_needs_no_second_dial(until) -> None:
    network = Network("b")
    attempt = network.attempt(patience_s=NEVER_S)
    await until(lambda: "a" in network.dialed)
    network.dialed["a"].set_result(Opened("a"))
    assert (await attempt).server == "a"
    assert list(network.dialed) == ["a"]


async def test_a_server_that_hangs_gets_company_and_loses(until) -> None:
    network = Network("b")
    attempt = network.attempt(patience_s=0)
    await until(lambda: "b" in network.dialed)
    network.dialed["b"].set_result(Opened("b"))
    assert (await attempt).server == "b"
    assert network.dialed["a"].cancelled()
    assert network.failed == []


async def test_the_first_may_still_win(until) -> None:
    network = Network("b")
    attempt = network.attempt(patience_s=0)
    await until(lambda: "b" in network.dialed)
    network.dialed["a"].set_result(Opened("a"))
    assert (await attempt).server == "a"
    assert network.dialed["b"].cancelled()


async def test_a_server_that_refuses_makes_room_at_once(until) -> None:
    network = Network("b")
    attempt = network.attempt(patience_s=NEVER_S)
    await until(lambda: "a" in network.dialed)
    network.dialed["a"].set_exception(OpenFailed("no"))
    await until(lambda: "b" in network.dialed)
    network.dialed["b"].set_exception(OpenFailed("neither"))
    assert await attempt is None
    assert network.failed == [("a", "no"), ("b", "neither")]


async def test_without_another_the_first_is_waited_for(until) -> None:
    network = Network()
    attempt = network.attempt(patience_s=0)
    await until(lambda: "a" in network.dialed)
    await asyncio.sleep(0)
    network.dialed["a"].set_result(Opened("a"))
    assert (await attempt).server == "a"


async def test_when_both_answer_at_once_one_is_dropped(until) -> None:
    network = Network("b")
    attempt = network.attempt(patience_s=0)
    await until(lambda: "b" in network.dialed)
    first, second = Opened("a"), Opened("b")
    network.dialed["a"].set_result(first)
    network.dialed["b"].set_result(second)
    assert await attempt is first
    assert (first.aborted, second.aborted) == (False, True)


async def test_an_attempt_that_is_given_up_leaves_no_dial(until) -> None:
    network = Network("b")
    attempt = network.attempt(patience_s=0)
    await until(lambda: "b" in network.dialed)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert network.dialed["a"].cancelled() and network.dialed["b"].cancelled()
