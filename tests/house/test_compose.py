"""`docker-compose.yml`: its nodes are of one cluster, and every option that it sets exists."""

from pathlib import Path

import yaml

from gateway.config import OPTIONS

COMPOSE = yaml.safe_load((Path(__file__).resolve().parents[2] / "docker-compose.yml").read_text())
NODES = {name: service for name, service in COMPOSE["services"].items() if name.startswith("node-")}


def test_three_nodes_share_a_redis_and_differ_in_name_and_address() -> None:
    assert len(NODES) == 3
    environments = [node["environment"] for node in NODES.values()]
    for key in ("HEADRACE_REDIS", "HEADRACE_SECRET_KEY", "HEADRACE_SERVICE_TOKEN"):
        assert len({environment[key] for environment in environments}) == 1
    for key in ("HEADRACE_NAME", "HEADRACE_ADVERTISE"):
        assert len({environment[key] for environment in environments}) == 3
    assert len({port for node in NODES.values() for port in node["ports"]}) == 3


def test_every_option_that_it_sets_exists() -> None:
    known = {option.variable for option in OPTIONS.values()}
    for node in NODES.values():
        assert set(node["environment"]) <= known
