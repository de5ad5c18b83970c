"""Channels as the application's back end uses them: making tokens and sending, from any node. Implements `Channels`."""

import secrets
from collections.abc import Callable, Sequence

from broker.catalog import Catalog
from broker.errors import UnknownTopic
from broker.names import TopicName
from broker.positions import Position
from broker.store.channels import ChannelStore
from gateway.channel.attached import Attached
from gateway.channel.errors import BadMessage, InvalidClientId, InvalidDuration, InvalidToken, TokenTimedOut
from gateway.channel.settings import MAX_TOKEN_MINUTES, Channel
from gateway.channel.tokens import MAX_RANDOM, MAX_TOKEN_CHARS, Tokens
from gateway.channel.topics import MAX_MESSAGE_BYTES

MINUTE_MS = 60_000


class Delivery:
    """`now_ms` is the wall clock, Unix milliseconds."""

    def __init__(
        self,
        store: ChannelStore,
        attached: Attached,
        catalog: Catalog,
        *,
        tokens: Tokens,
        settings: Channel,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._attached = attached
        self._catalog = catalog
        self._tokens = tokens
        self._settings = settings
        self._now_ms = now_ms

    async def create(self, client_id: bytes, *, minutes: int | None = None, topics: Sequence[TopicName] = ()) -> str:
        if not client_id:
            raise InvalidClientId
        if len(client_id) > self._settings.client_id_bytes and self._client_of(client_id) == client_id:
            most = self._settings.client_id_bytes
            raise InvalidClientId(f"Client id length {len(client_id)} is greater than max length {most}")
        minutes = self._settings.token_minutes if minutes is None else minutes
        if not 1 <= minutes <= MAX_TOKEN_MINUTES:
            raise InvalidDuration
        now, random = self._now_ms() / 1000, secrets.randbelow(MAX_RANDOM)
        token = self._tokens.make(client_id, minutes=minutes, now=now, random=random)
        if len(token) > MAX_TOKEN_CHARS:
            # For a token in place of an id, which may be that long.
            raise InvalidClientId(f"Client id length {len(client_id)} is too long for a token")
        ends = {topic: await self._end_of(topic) for topic in topics}
        await self._store.bind(client_id, ends, live_ms=minutes * MINUTE_MS)
        return token

    async def send(self, key: bytes, message: bytes) -> None:
        if not message:
            raise BadMessage
        if len(message) > MAX_MESSAGE_BYTES:
            raise BadMessage(f"Message must be no longer than {MAX_MESSAGE_BYTES} chars")
        if not key or len(key) > MAX_TOKEN_CHARS:
            # Nobody can be called that: as with everybody who is not there, nothing happens.
            return
        client_id = self._client_of(key)
        sent = await self._store.send(client_id, [message])
        if sent is not None:
            self._attached.wake(client_id, sent.nodes)

    def _client_of(self, key: bytes) -> bytes:
        """Return whose token `key` is; where it is none that holds, it is a client id itself."""
        try:
            return self._tokens.read(key.decode("ascii"), now=self._now_ms() / 1000).client_id
        except (InvalidToken, TokenTimedOut, UnicodeDecodeError):
            return key

    async def _end_of(self, topic: TopicName) -> Position | None:
        """Return the topic's end; of one that is not there yet all belongs to the channel."""
        try:
            return (await self._catalog.topic(topic)).log.end
        except UnknownTopic:
            return None
