"""The room put together: what it takes of a node's requests, and which of its parts share what."""

import dataclasses
from typing import Any

import msgpack
import pytest
from attached import KEYS, facts_of
from http_node import Node

from cluster.address import parse_address
from cluster.bus import Bus
from cluster.clearing import Ended
from cluster.topology import Topology
from gateway.apigateway.cluster.endings import Unknown
from gateway.apigateway.cluster.records import KIND, packed
from gateway.apigateway.configuration.reading import read_api
from gateway.apigateway.configuration.settings import ApiGateway
from gateway.apigateway.room import Room, build, own_address
from gateway.options import ConfigError
from gateway.peers import Peers
from gateway.peers import build as build_peers
from gateway.session import Census, Outbox, Wheel
from gateway.websocket import Services

AWAY = "redis://127.0.0.1:1"


ROUTES = {"$default": {"integration": {"type": "mock"}}}


def api(name: str, path: str, **members: object) -> Any:
    return read_api({"name": name, "stages": {"prod": {"path": path}}, "routes": ROUTES, **members})


def room(*apis: Any, **options: Any) -> tuple[Room, Peers]:
    node = Node()
    config = dataclasses.replace(node.config, apigateway=ApiGateway(apis=apis, **options), port=8080)
    topology = Topology(parse_address(AWAY), name="room")
    bus = Bus(topology, channel_of=lambda topic: topic.encode())
    peers = build_peers(config, topology, bus, keys=KEYS, url="http://node.example:8080", load=lambda: 0)
    census = Census(connections=10, connections_per_address=10)
    services = Services(limits=config.limits, metrics=node.metrics, census=census, wheel=Wheel(), outbox=Outbox())
    return build(dataclasses.replace(node.context, config=config), peers, services), peers


def taken_by(made: Room, path: str) -> int | None:
    scope = {"path": path, "raw_path": path.encode()}
    return next((number for number, claim in enumerate(made.claims) if claim.takes(scope)), None)


def test_each_request_has_its_part() -> None:
    made, _ = room(api("chat", "/prod"), api("game", "/ws/game"))
    paths = ["/headrace/v1/connections", "/prod/@connections/x", "/a/b/%40connections/x", "/@connections/x", "/prod"]
    assert [taken_by(made, path) for path in paths] == [0, 1, 1, 1, 2]
    assert taken_by(made, "/ws/game/") == 2
    for path in ("/", "/metrics", "/ws", "/v1/projects"):
        assert taken_by(made, path) is None
    assert made.endpoint.claims("/prod", None)
    assert made.endpoint.claims("/ws/game", None)
    assert not made.endpoint.claims("/v1/realtime", None)


def test_without_apis_there_are_our_own_calls_and_the_management_api() -> None:
    made, _ = room()
    assert taken_by(made, "/headrace/v1/connections") == 0
    assert taken_by(made, "/@connections/x") == 1
    assert not made.endpoint.claims("/prod", None)
    assert sorted(made.loops) == ["apigateway", "apigateway-ends"]


def test_a_stage_says_where_it_is_reached_and_its_calls_count_with_its_messages() -> None:
    made, _ = room(
        api("a", "/a"),
        api("b", "/b", domain="push.example.com", ordering="connection"),
        read_api({"name": "c", "stages": ["x", "y"], "profile": "relaxed", "routes": ROUTES}),
    )
    by_path = made.endpoint._deployments
    assert by_path["/a"].domain_name == "node.example:8080"
    assert by_path["/b"].domain_name == "push.example.com"
    assert (by_path["/a"].ordered, by_path["/b"].ordered) == (False, True)
    assert by_path["/x"].requests is by_path["/y"].requests
    assert by_path["/x"].connects is by_path["/y"].connects
    assert by_path["/a"].requests is not by_path["/b"].requests
    management: Any = made.claims[1].app
    assert by_path["/a"].requests in management._reaches.of(b"/a").throttles


def test_what_is_owed_shows_in_the_metrics() -> None:
    made, _ = room(api("a", "/a"))
    attachments = made.endpoint._deployments["/a"].attachments
    attachments.ended(facts_of(attachments.new_id()), code=1000, reason="")
    told = made.endpoint._deployments["/a"].node.metrics.text().decode()
    assert "headrace_apigateway_ends_owed 1.0" in told
    assert "headrace_apigateway_connections 0.0" in told


def test_the_section_may_say_where_all_stages_are_reached() -> None:
    made, _ = room(api("a", "/a"), domain="all.example.com")
    assert made.endpoint._deployments["/a"].domain_name == "all.example.com"


def test_the_section_may_ask_for_pages_of_the_node_s_own_origins() -> None:
    assert not room(api("a", "/a"))[0].endpoint.checks_origin
    assert room(api("a", "/a"), check_origin=True)[0].endpoint.checks_origin


async def test_the_ends_of_other_nodes_come_here() -> None:
    made, peers = room(api("chat", "/prod"))
    record = packed(facts_of("L0SM9cOFvHcCIhw="))
    assert msgpack.unpackb(record)["kind"] == KIND
    await peers.tellers[KIND](Ended("z.0", "L0SM9cOFvHcCIhw=", record))
    with pytest.raises(Unknown):
        await peers.tellers[KIND](Ended("z.0", "L0SM9cOFvHcCIhw=", packed(facts_of("x", stage="dev"))))
    await made.drain()
    await made.close()


def test_a_function_that_is_not_there_is_a_mistake_of_the_configuration() -> None:
    routes = {"$default": {"integration": {"handler": "nowhere_at_all:handler"}}}
    with pytest.raises(ConfigError, match="nowhere_at_all"):
        room(api("chat", "/prod", routes=routes))


def test_an_address_is_what_the_node_advertises() -> None:
    assert own_address("https://a.example:8443", 80) == "a.example:8443"
    assert own_address("https://a.example/", 80) == "a.example"
    assert own_address("", 8080) == "localhost:8080"
