"""The failover vectors agree with the page beside them; the clients' tests run them."""

import json
from pathlib import Path

import pytest

PROTOCOL = Path(__file__).parents[2] / "protocol"
VECTORS = json.loads((PROTOCOL / "failover-vectors.json").read_text())
PAGE = (PROTOCOL / "failover.md").read_text()


def test_names_are_unique() -> None:
    names = [scenario["name"] for scenario in VECTORS["scenarios"]]
    assert len(names) == len(set(names))


def test_the_page_explains_every_key_and_step() -> None:
    steps = {step["do"] for scenario in VECTORS["scenarios"] for step in scenario["steps"]}
    assert not [word for word in {*VECTORS, *steps} - {"protocol"} if f"`{word}`" not in PAGE]


@pytest.mark.parametrize("scenario", VECTORS["scenarios"], ids=lambda scenario: scenario["name"])
def test_draws_are_random_numbers_and_time_goes_on(scenario) -> None:
    assert all(0 <= draw <= 1 for draw in scenario["draws"])
    times = [step["now"] for step in scenario["steps"] if "now" in step]
    assert times == sorted(times)
