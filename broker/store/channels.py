"""App Engine channels in Redis: each client id has a short log of messages, its connections and its presence.

Everything about one client lies in one slot and is changed by one script a verb, so that newest wins, exactly once and
connected-once are not a matter of timing. The keys have a time to live: a channel that nobody uses leaves nothing.
Positions are those of a topic's log (`broker.positions`), epochs included.
"""

import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from broker.errors import LimitExceeded
from broker.names import TopicName
from broker.positions import LogState, Position, parse_position
from broker.store import scripts, wire
from broker.store.base import Commands, ReplyError, Script
from broker.store.keys import Keys
from broker.store.wire import Word

SHARES = 8
"""Of the client ids, for looking after presence: each share is in another slot."""

LOOKED_AT_ONCE = 100
"""Clients of a share that one call gives out."""

LOOK_MS = 30_000
"""When a client comes up again whose looker has died."""

MAX_TOPICS = 32
"""Bound to one channel."""

NONCE_BYTES = 12

MAX_MIRRORS = 32
"""Connections that a client may have at once; the oldest are replaced."""

PRESENT_MS = 24 * 3_600_000
"""How long a client's presence is remembered when no node is there to look after it."""

MAX_EVENTS = 50
"""That are noted for one client (`_channel.lua`)."""

PAGE_MESSAGES = 100
PAGE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRules:
    """What holds for all channels; the same on every node."""

    strict: bool
    """Nothing is kept for who is away."""
    mirrors: bool
    """A second connection does not replace the first."""
    keep_ms: int
    keep_messages: int
    keep_bytes: int


@dataclass(frozen=True, slots=True)
class ChannelEvent:
    """A client counts as connected, or as gone, from now on."""

    kind: str
    id: str
    number: int
    """Rises with each event of the client."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection that is open, or open still."""

    number: int
    cursor: Position
    """What was delivered to it, or to the client before."""
    log: LogState
    topics: Mapping[TopicName, Position | None]
    """Bound topics, and the last position of each that stands in the queue; None: from its beginning."""
    replaced: Sequence[tuple[str, str]]
    """Names and nodes of the connections that ended by this."""
    events: Sequence[ChannelEvent]


@dataclass(frozen=True, slots=True)
class ChannelMessage:
    position: Position
    data: bytes


@dataclass(frozen=True, slots=True)
class ChannelPage:
    log: LogState
    messages: tuple[ChannelMessage, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    nodes: tuple[str, ...]
    """Where the client's connections are."""
    position: Position | None = None
    """Of the topic, as it stands in the queue now."""


@dataclass(frozen=True, slots=True)
class FromTopic:
    """Where messages come from that a bound topic brings."""

    topic: TopicName
    before: Position
    after: Position
    positions: tuple[Position, ...]
    """Of each message."""


@dataclass(frozen=True, slots=True)
class Closed:
    due_ms: int
    """When the client counts as gone, by Redis' clock; 0: it does not, or does already."""
    node: str
    """That had the connection; "" where it was not known."""
    events: Sequence[ChannelEvent]


class ChannelStore:
    """All calls raise `Unavailable` when Redis could not be asked. Holds no state."""

    def __init__(self, commands: Commands, rules: ChannelRules, *, prefix: str = "hr") -> None:
        self._commands = commands
        self._keys = Keys(prefix)
        self.rules = rules

    async def bind(self, client: bytes, topics: Mapping[TopicName, Position | None], *, live_ms: int) -> None:
        """Make the channel, if there is none, and bind topics to it from those positions on.

        Raises `LimitExceeded`.
        """
        args: list[Word] = [live_ms + self.rules.keep_ms, MAX_TOPICS]
        for topic, position in topics.items():
            args += [topic, _text(position)]
        if not await self._run(scripts.CHANNEL_BIND, client, args):
            raise LimitExceeded(f"At most {MAX_TOPICS} topics are bound to a channel.")

    async def open(
        self,
        client: bytes,
        name: str,
        *,
        number: int | None,
        node: str,
        alive_ms: int,
        cursor: Position | None,
        earlier: str = "",
    ) -> Opened | None:
        """Open the connection `name`, or renew it for `alive_ms`. None: it was replaced.

        `number` is that of a connection which was opened before: of this one, or of the one called `earlier`, which
        this one goes on from and ends. `cursor`: what it has got, None where that is not new.
        """
        rules = self.rules
        nonce = secrets.token_hex(NONCE_BYTES)
        live_ms = max(rules.keep_ms, 2 * alive_ms) + PRESENT_MS
        flags: tuple[Word, Word] = (MAX_MIRRORS if rules.mirrors else 1, _flag(rules.strict))
        args = ("" if number is None else number, node, alive_ms, _text(cursor), *flags, live_ms, nonce, earlier)
        reply = await self._run(scripts.CHANNEL_OPEN, client, (name, *args))
        return None if reply is None else _opened(cast("list[object]", reply))

    async def send(self, client: bytes, messages: Sequence[bytes], source: FromTopic | None = None) -> Sent | None:
        """Append; None where that goes nowhere. What a topic brings is appended once.

        An answer whose `position` is before `source.before` says that nothing was: there is a hole in between.
        """
        rules = self.rules
        args: list[Word] = [_flag(rules.strict), rules.keep_ms, rules.keep_messages, rules.keep_bytes]
        if source is None:
            args += ["", "", "", *messages]
        else:
            args += [source.topic, _text(source.before), _text(source.after)]
            for position, message in zip(source.positions, messages, strict=True):
                args += [_text(position), message]
        # A repeated call would append twice; what a topic brings is known again.
        reply = await self._run(scripts.CHANNEL_SEND, client, args, retry=source is not None)
        if reply is None:
            return None
        stored, *nodes = cast("list[bytes]", reply)
        return Sent(tuple(node.decode() for node in nodes), _position(stored))

    async def read(
        self, client: bytes, name: str, after: Position, *, cursor: Position | None, messages: int = PAGE_MESSAGES
    ) -> ChannelPage | None:
        """Return what follows `after`, and note what the connection was given. None: the connection is not known."""
        args = (name, _text(cursor), wire.start_id(after), messages, PAGE_BYTES)
        reply = await self._run(scripts.CHANNEL_READ, client, args)
        if reply is None:
            return None
        answer = cast("list[object]", reply)
        flat = cast("list[bytes]", answer[3:])
        rows = zip(flat[::3], flat[2::3], strict=True)
        found = tuple(ChannelMessage(parse_position(place.decode()), data) for place, data in rows)
        return ChannelPage(wire.read_log_state(answer), found)

    async def close(self, client: bytes, name: str, *, cursor: Position | None, grace_ms: int) -> Closed:
        """End a connection; the client counts as gone `grace_ms` later, unless it has another by then."""
        args = (name, _text(cursor), grace_ms, _flag(self.rules.strict))
        due, node, events = cast(
            "tuple[int, bytes, list[object]]", await self._run(scripts.CHANNEL_CLOSE, client, args)
        )
        return Closed(due, node.decode(), _events(events))

    # Presence.

    async def watch(self, client: bytes, *, within_ms: int) -> None:
        """Have somebody look at the client then, or earlier."""
        await self._watch(client, within_ms, "")

    async def due(self, share: int) -> tuple[int, list[bytes]]:
        """Return clients to look at now, and what to pass to `looked`. Nobody else gets them for `LOOK_MS`."""
        key = self._keys.channels_due(share)
        args = (LOOKED_AT_ONCE, LOOK_MS)
        score, *clients = cast("list[bytes]", await self._call(scripts.CHANNEL_DUE, (key,), args, retry=False))
        return int(score), clients

    async def settle(self, client: bytes) -> tuple[int, list[ChannelEvent]]:
        """Look at a client: when to look again (0: not), and which events are the caller's to tell."""
        reply = await self._run(scripts.CHANNEL_SETTLE, client, (_flag(self.rules.strict),))
        again, events = cast("tuple[int, list[object]]", reply)
        return again, _events(events)

    async def looked(self, client: bytes, *, score: int, again_ms: int) -> None:
        """The client was looked at; `again_ms` by Redis' clock, 0 for never."""
        await self._watch(client, again_ms, score)

    async def told(self, client: bytes, events: Sequence[ChannelEvent]) -> None:
        """These need not be told any more."""
        await self._strike(client, [event.number for event in events])

    async def take(self, client: bytes, event: ChannelEvent) -> bool:
        """Strike off an event and all before it; True for the one caller who is to tell it."""
        if event.number > 1:
            await self._strike(client, range(max(event.number - MAX_EVENTS, 1), event.number))
        return await self._strike(client, [event.number]) == 1

    async def _strike(self, client: bytes, numbers: Sequence[int]) -> int:
        """Return how many of them were not struck off before."""
        _, state = self._keys.channel(client)
        try:
            found = await self._commands.execute(
                state, "HDEL", state, *(f"e{number}" for number in numbers), retry=True
            )
        except ReplyError as error:
            raise wire.refusal(error) from error
        return cast(int, found)

    async def _watch(self, client: bytes, when_ms: int, score: Word) -> None:
        key = self._keys.channels_due(zlib.crc32(client) % SHARES)
        await self._call(scripts.CHANNEL_WATCH, (key,), (client, when_ms, score), retry=True)

    # Redis.

    async def _run(self, script: Script, client: bytes, args: Sequence[Word], *, retry: bool = True) -> object:
        return await self._call(script, self._keys.channel(client), args, retry=retry)

    async def _call(self, script: Script, keys: Sequence[bytes], args: Sequence[Word], *, retry: bool) -> object:
        try:
            return await self._commands.run(script, keys, args, retry=retry)
        except ReplyError as error:
            raise wire.refusal(error) from error


def _opened(reply: list[object]) -> Opened:
    number, cursor, chain, following, first, bound, replaced, events = reply
    flat, pairs = cast("list[bytes]", bound), [part.decode() for part in cast("list[bytes]", replaced)]
    return Opened(
        cast(int, number),
        parse_position(cast(bytes, cursor).decode()),
        wire.read_log_state([chain, following, first]),
        {TopicName(topic.decode()): _position(stored) for topic, stored in zip(flat[::2], flat[1::2], strict=True)},
        list(zip(pairs[::2], pairs[1::2], strict=True)),
        _events(cast("list[object]", events)),
    )


def _events(reply: list[object]) -> list[ChannelEvent]:
    rows = cast("list[tuple[bytes, bytes, int]]", reply)
    return [ChannelEvent(kind.decode(), f"{nonce.decode()}-{number}", number) for kind, nonce, number in rows]


def _text(position: Position | None) -> str:
    return "" if position is None else str(position)


def _position(text: bytes) -> Position | None:
    return parse_position(text.decode()) if text else None


def _flag(value: bool) -> str:
    return "1" if value else ""
