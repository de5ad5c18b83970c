"""Two nodes on one Redis: one log, one owner of each duty, and what happens when a node dies or was stopped."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files

import nodes
import pytest
import servers
import sockets
from nodes import Node
from servers import eventually

from broker.names import parse_topic
from broker.store.keys import Keys
from cluster.membership import read_lease
from headrace import Client

KEYS = Keys("hr")
LEASES, GONE = KEYS.nodes()
DUTY = KEYS.duty("retention")
LEASE_SECONDS = 2
SLACK_SECONDS = 5.0
"""For a loaded machine, beyond the time that is promised."""

TOPIC = "default/shared"

Two = tuple[servers.Server, Node, Node]


@pytest.fixture
def two() -> Iterator[Two]:
    env = {"HEADRACE_LEASE_SECONDS": str(LEASE_SECONDS), "HEADRACE_AUTO_CREATE": "all"}
    with servers.valkey() as server, nodes.on(server, count=2, env=env) as (a, b):
        eventually(lambda: members(server) == ["n0", "n1"], what="both members")
        eventually(lambda: server.client.exists(DUTY) == 1, what="an owner of the duty")
        yield server, a, b


def members(server: servers.Server) -> list[str]:
    return sorted(read_lease(value).advertised.name for value in ids(server).values())


def ids(server: servers.Server) -> dict[str, bytes]:
    held: dict[bytes, bytes] = server.client.hgetall(LEASES)  # type: ignore[assignment]
    return {node.decode(): value for node, value in held.items()}


def id_of(server: servers.Server, name: str) -> str:
    return next(node for node in ids(server) if node.startswith(f"{name}."))


def token(server: servers.Server) -> bytes:
    return bytes(server.client.get(DUTY) or b"")  # type: ignore[arg-type]


def effect(server: servers.Server, token: bytes) -> int:
    """What a script in the duty's slot does that holds to its token: counts, or returns 0 when it is refused."""
    fragment = (files("cluster") / "lua" / "_owner.lua").read_text()
    source = f"#!lua\n{fragment}\nreturn is_owner(KEYS[1], ARGV[1]) and redis.call('INCR', KEYS[2]) or 0"
    digest = hashlib.sha1(source.encode()).hexdigest()
    assert server.client.script_load(source) == digest
    return int(str(server.command("EVALSHA", digest, 2, DUTY, b"hr:{duty/retention}:effects", token)))


def has_taken(node: Node) -> bool:
    """Tell whether the node's log says that it took the duty."""
    for line in node.log.splitlines():
        with suppress(ValueError):
            event = dict(json.loads(line))
            if (event["message"], event.get("duty")) == ("duty taken", "retention"):
                return True
    return False


def owner(server: servers.Server, a: Node, b: Node) -> tuple[Node, Node]:
    """Return the node that owns the duty, and the other: the one that gives it back when it ends."""
    taken = [has_taken(node) for node in (a, b)]
    assert taken.count(True) == 1, taken
    return (a, b) if taken[0] else (b, a)


async def test_what_one_node_takes_the_other_delivers(two: Two) -> None:
    _, a, b = two
    async with (
        Client([a.url], token=a.token) as publisher,
        Client([b.url], token=b.token) as subscriber,
        subscriber.subscribe(TOPIC, since="earliest") as subscription,
    ):
        for number in range(100):
            await publisher.publish(TOPIC, text=str(number))
        messages = aiter(subscription)
        seen = [(await anext(messages)).data for _ in range(100)]
    assert seen == [b"%d" % number for number in range(100)]


def test_a_killed_node_is_seen_gone_and_its_duty_moves(two: Two) -> None:
    server, a, b = two
    dying, left = owner(server, a, b)
    old = token(server)
    dying.kill()
    killed = time.monotonic()
    name = "n0" if left is a else "n1"
    eventually(lambda: members(server) == [name], seconds=2 * LEASE_SECONDS + SLACK_SECONDS, what="the member's end")
    assert time.monotonic() - killed >= LEASE_SECONDS / 2, "not before its lease was over"
    eventually(lambda: token(server) not in (b"", old), seconds=2 * LEASE_SECONDS + SLACK_SECONDS, what="another owner")
    assert effect(server, old) == 0
    assert effect(server, token(server)) == 1
    eventually(lambda: not server.client.exists(GONE), what="the end of what it left")
    dying.restart()
    eventually(lambda: members(server) == ["n0", "n1"], what="the member's return")


def test_a_node_that_ends_in_good_order_hands_over_at_once(two: Two) -> None:
    server, a, b = two
    leaving, left = owner(server, a, b)
    assert leaving.terminate() == 0
    assert members(server) == ["n0" if left is a else "n1"], "it has left before it ended"
    eventually(lambda: has_taken(left), what="another owner")


async def test_a_stopped_node_finds_its_lease_taken_and_reads_nothing_more(two: Two) -> None:
    server, a, b = two
    stopped, left = owner(server, a, b)
    name = "n0" if stopped is a else "n1"
    old_id, old_token = id_of(server, name), token(server)
    async with sockets.opened(stopped.port, x_api_key=stopped.token) as client:
        answer = await client.ask({"op": "publish", "id": 1, "topic": TOPIC, "text": "before"})
        assert answer["op"] == "published"
        stopped.pause()
        client.send(sockets.text({"op": "publish", "id": 2, "topic": TOPIC, "text": "unread"}))
        eventually(lambda: old_id not in ids(server), seconds=2 * LEASE_SECONDS + SLACK_SECONDS, what="its end")
        eventually(lambda: token(server) not in (b"", old_token), seconds=2 * LEASE_SECONDS + SLACK_SECONDS)
        time.sleep(LEASE_SECONDS)
        stopped.resume()
        assert await client.closed() == 1012
    assert effect(server, old_token) == 0
    assert effect(server, token(server)) == 1
    eventually(lambda: len(ids(server)) == 2, what="its return as somebody new")
    assert id_of(server, name) != old_id
    assert has_taken(left)
    entries = server.client.xrange(KEYS.topic(parse_topic(TOPIC)).log)
    assert len(entries) == 1, "what lay in the socket was never read"


async def test_a_short_stop_costs_nothing(two: Two) -> None:
    server, a, _ = two
    old = ids(server).keys()
    async with sockets.opened(a.port, x_api_key=a.token) as client:
        a.pause()
        client.send(sockets.text({"op": "publish", "id": 2, "topic": TOPIC, "text": "read later"}))
        time.sleep(LEASE_SECONDS / 4)
        a.resume()
        assert (await client.answer())["op"] == "published"
    assert ids(server).keys() == old
