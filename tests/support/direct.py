"""The store's `Commands` on one blocking connection to one server, whoever that server believes to be.

For tests that play failovers: the topology would look for a primary, these tests want to talk to a certain server.
"""

from collections.abc import Callable, Sequence

import redis
import servers

from broker.store.base import ReplyError, Script
from broker.store.redis import RedisStore


class Direct:
    """Implements `Commands`; runs on over restarts of the server."""

    def __init__(self, server: servers.Server) -> None:
        self._server = server

    async def execute(self, key: bytes, *command: bytes | str | int, retry: bool) -> object:
        try:
            reply = self._server.client.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            raise ReplyError(_full(error)) from error
        # As the wire has it: redis-py makes a hash a dict.
        return [word for pair in reply.items() for word in pair] if isinstance(reply, dict) else reply

    async def run(
        self, script: Script, keys: Sequence[bytes], args: Sequence[bytes | str | int], *, retry: bool
    ) -> object:
        return await self.execute(keys[0], "EVAL", script.source, len(keys), *keys, *args, retry=retry)

    async def refresh(self) -> None:
        """There is nobody to ask."""


def store_on(server: servers.Server) -> RedisStore:
    return RedisStore(Direct(server))


def promote(replica: servers.Server) -> None:
    replica.command("REPLICAOF", "NO", "ONE")


def with_replica(starting: Callable[..., servers.Server]) -> tuple[servers.Server, servers.Server]:
    """A primary and a replica in sync (that a primary gets its first replica changes its replication id)."""
    primary = starting()
    replica = starting(replica_of=primary)
    primary.wait_for_replicas(1)
    return primary, replica


def restart(server: servers.Server) -> None:
    server.restart()

    def has_loaded() -> bool:
        try:
            return bool(server.client.ping())
        except redis.exceptions.BusyLoadingError:
            return False

    servers.eventually(has_loaded, what="the data loaded")


def replid(server: servers.Server) -> str:
    return str(server.client.info("replication")["master_replid"])


def _full(error: redis.ResponseError) -> str:
    """Put the code back that redis-py cuts off."""
    codes = {redis.exceptions.ReadOnlyError: "READONLY", redis.exceptions.OutOfMemoryError: "OOM"}
    code = codes.get(type(error))
    return f"{code} {error}" if code else str(error)
