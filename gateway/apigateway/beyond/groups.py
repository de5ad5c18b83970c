"""Groups: a group is a topic, and its members are connections that follow it through the hub.

So a message that is published over any face reaches the members in the log's order, and a slow member catches up from
the log instead of losing or blocking. A member hears what comes after it joined, and nothing of a gap: AWS's clients
have no word for one. Membership lives with the connection, on its node.
"""

from collections.abc import Iterable, Sequence

from broker.errors import AlreadySubscribed, LimitExceeded, NotSubscribed
from broker.hub import Hub
from broker.messages import Entry
from broker.names import TopicName
from broker.ports import Dialect, Placed
from broker.positions import Range, Recovery
from gateway.apigateway.ports import Framing, LocalConnection

MAX_GROUPS = 100
"""Of one connection."""


class GroupDialect:
    """A message as the members see it: its payload alone, text where it is UTF-8, else a binary frame (DESIGN 8)."""

    __slots__ = ("_framing",)

    def __init__(self, framing: Framing) -> None:
        self._framing = framing

    def message(self, topic: TopicName, entry: Entry) -> bytes:
        return self._framing.framed(entry.message.payload)

    def gap(self, topic: TopicName, recovery: Recovery, missing: Sequence[Range]) -> bytes:
        return b""


class Member:
    """A connection as the hub sees it."""

    __slots__ = ("_groups", "connection", "dialect", "joined")

    def __init__(self, connection: LocalConnection, dialect: Dialect, groups: "Groups") -> None:
        self.connection = connection
        self.dialect = dialect
        self.joined: set[TopicName] = set()
        self._groups = groups

    @property
    def paused(self) -> bool:
        return self.connection.paused

    def write(self, data: bytes) -> None:
        if data:
            self.connection.write(data)

    def topic_ended(self, topic: TopicName) -> None:
        self._groups.end(self, topic)


class Groups:
    """The members on this node."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._members: dict[str, Member] = {}
        self._of: dict[TopicName, dict[str, Member]] = {}
        self._dialects: dict[Framing, GroupDialect] = {}

    def members_of(self, group: TopicName) -> Iterable[LocalConnection]:
        return [member.connection for member in self._of.get(group, {}).values()]

    def groups_of(self, connection: str) -> list[TopicName]:
        member = self._members.get(connection)
        return sorted(member.joined) if member is not None else []

    async def join(self, connection: LocalConnection, group: TopicName) -> None:
        """Let a connection follow a topic from now on; one that follows it already is left as it is.

        Raises `LimitExceeded`, and what the hub refuses with.
        """
        member = self._member(connection)
        if group in member.joined:
            return
        if len(member.joined) >= MAX_GROUPS:
            raise LimitExceeded(f"A connection is in at most {MAX_GROUPS} groups.")

        def placed(_: Placed) -> None:
            member.joined.add(group)
            self._of.setdefault(group, {})[connection.facts.id] = member

        try:
            await self._hub.subscribe(member, group, "now", placed=placed)
        except AlreadySubscribed:
            # Another call is just doing the same.
            return

    def leave(self, connection: str, group: TopicName) -> None:
        """Let a connection follow a topic no more. One that does not is left as it is."""
        member = self._members.get(connection)
        if member is None:
            return
        try:
            self._hub.unsubscribe(member, group)
        except NotSubscribed:
            return
        self.end(member, group)

    def resume(self, connection: str) -> None:
        """The socket's buffer has room again."""
        member = self._members.get(connection)
        if member is not None:
            self._hub.resume(member)

    def forget(self, connection: str) -> None:
        """The socket is gone."""
        member = self._members.pop(connection, None)
        if member is not None:
            self._hub.leave(member)
            for group in tuple(member.joined):
                self.end(member, group)

    def end(self, member: Member, group: TopicName) -> None:
        """A membership is over."""
        member.joined.discard(group)
        members = self._of.get(group, {})
        members.pop(member.connection.facts.id, None)
        if not members:
            self._of.pop(group, None)

    def _member(self, connection: LocalConnection) -> Member:
        name = connection.facts.id
        member = self._members.get(name)
        if member is None:
            framing = connection.framing
            dialect = self._dialects.get(framing)
            if dialect is None:
                dialect = self._dialects[framing] = GroupDialect(framing)
            member = self._members[name] = Member(connection, dialect, self)
        return member
