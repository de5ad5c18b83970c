"""Which contracts a node speaks, and how they end."""

from dataclasses import replace

from cluster.address import parse_address
from gateway.__main__ import Substrate, compose
from gateway.config import Config, Secret

AWAY = "redis://127.0.0.1:1"


def config() -> Config:
    return Config(redis=Secret(AWAY), service_token=Secret("t" * 24), secret_key=Secret("k" * 32), name="still")


async def test_a_node_drains_all_faces_and_says_so_first() -> None:
    parts = compose(config(), Substrate(parse_address(AWAY), {}))
    assert not parts.metrics.draining
    parts.on_draining()
    assert parts.metrics.draining
    await parts.drain()


async def test_what_may_change_while_the_node_runs_is_applied() -> None:
    parts = compose(config(), Substrate(parse_address(AWAY), {}))
    parts.apply(replace(config(), weight=7))
