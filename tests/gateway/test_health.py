"""Readiness: what it says, and what asking costs."""

import asyncio

import orjson
import pytest

from broker.errors import Unavailable
from gateway import health
from gateway.health import KEPT_SECONDS, Health, Readiness, alive_response

READY = Readiness(ready=True)
AWAY = Readiness(ready=False, reasons=("No primary can be reached.",))


class Node:
    """A probe that counts how often it was asked, and a clock that is set."""

    def __init__(self, answer: Readiness) -> None:
        self.answer = answer
        self.asked = 0
        self.time = 1000.0
        self.health = Health(self.probe, lambda: self.time)

    async def probe(self) -> Readiness:
        self.asked += 1
        return self.answer


async def test_a_ready_node_says_so() -> None:
    status, body = await Node(READY).health.ready_response()

    assert status == 200
    assert orjson.loads(body) == {"ready": True, "draining": False, "reasons": []}


async def test_an_unready_node_says_why() -> None:
    status, body = await Node(AWAY).health.ready_response()

    assert status == 503
    assert orjson.loads(body)["reasons"] == ["No primary can be reached."]


async def test_a_degraded_node_is_ready_and_says_why() -> None:
    status, body = await Node(Readiness(ready=True, reasons=("a:1 is away.",))).health.ready_response()

    assert status == 200
    assert orjson.loads(body)["reasons"] == ["a:1 is away."]


async def test_an_answer_is_given_again_for_a_second() -> None:
    node = Node(READY)
    await asyncio.gather(*(node.health.readiness() for _ in range(50)))
    node.answer = AWAY
    node.time += KEPT_SECONDS / 2

    assert (await node.health.readiness()).ready
    assert node.asked == 1

    node.time += KEPT_SECONDS / 2

    assert not (await node.health.readiness()).ready
    assert node.asked == 2


async def test_a_draining_node_asks_nobody() -> None:
    node = Node(READY)
    await node.health.readiness()
    node.health.draining = True

    status, body = await node.health.ready_response()

    assert status == 503
    assert orjson.loads(body)["draining"] is True
    assert node.asked == 1


async def test_a_probe_that_hangs_is_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ASK_SECONDS", 0.01)

    async def hang() -> Readiness:
        await asyncio.Event().wait()
        raise AssertionError

    answer = await Health(hang).readiness()

    assert not answer.ready
    assert "did not come back" in answer.reasons[0]


async def test_a_probe_that_is_refused_is_an_answer_too() -> None:
    async def refuse() -> Readiness:
        raise Unavailable("Redis is away.")

    assert await Health(refuse).readiness() == Readiness(ready=False, reasons=("Redis is away.",))


def test_the_loop_turns() -> None:
    assert alive_response() == (200, b'{"alive":true}')
