"""What the endpoint tells of this node's sockets, and to whom of this room it matters."""

import secrets

from cluster.node import Node
from gateway.apigateway.beyond.groups import Groups
from gateway.apigateway.cluster.endings import Endings
from gateway.apigateway.cluster.identifiers import connection_id, owner_tag, serial_of, tag_of
from gateway.apigateway.cluster.table import Table
from gateway.apigateway.ports import Facts, LocalConnection
from gateway.websocket import RESTART

KEY_BYTES = 16


class NodeAttachments:
    """Implements `ports.Attachments`."""

    def __init__(self, node: Node, table: Table, endings: Endings, groups: Groups) -> None:
        self._node = node
        self._table = table
        self._endings = endings
        self._groups = groups
        self._begin_anew()
        node.on_identity.append(self._begin_anew)

    def new_id(self) -> str:
        self._given += 1
        return connection_id(self._tag, serial_of(self._given, self._key))

    async def promise(self, facts: Facts) -> None:
        await self._endings.promise(facts)

    def attach(self, connection: LocalConnection) -> None:
        if self._is_of_this_life(connection.facts):
            self._table.add(connection)
        else:
            # This node was held to be gone while the handshake ended: a survivor tells of it.
            connection.close(RESTART, "The node was cut off.")

    def on_writable(self, connection: LocalConnection) -> None:
        self._groups.resume(connection.facts.id)

    def ended(self, facts: Facts, *, code: int, reason: str) -> None:
        self._table.remove(facts.id)
        self._groups.forget(facts.id)
        if self._is_of_this_life(facts):
            self._endings.owe(facts, code=code, reason=reason)

    def _is_of_this_life(self, facts: Facts) -> bool:
        return owner_tag(facts.id) == self._tag

    def _begin_anew(self) -> None:
        self._tag = tag_of(self._node.id)
        self._key = secrets.token_bytes(KEY_BYTES)
        self._given = 0
