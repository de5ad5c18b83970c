"""What the transports of channels share: the store, presence, tokens, and this node's connections."""

from collections.abc import Callable
from dataclasses import dataclass

from broker.positions import Position
from broker.store.channels import ChannelStore, Opened
from gateway.channel.attached import Attached
from gateway.channel.errors import Replaced
from gateway.channel.presence import Presences
from gateway.channel.settings import Channel
from gateway.channel.tokens import Grant, Tokens
from gateway.channel.topics import Bindings
from gateway.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    store: ChannelStore
    attached: Attached
    presences: Presences
    bindings: Bindings
    tokens: Tokens
    settings: Channel
    metrics: Metrics
    now_ms: Callable[[], int]
    """The wall clock, Unix milliseconds."""
    allows_origin: Callable[[str | None, str | None], bool]
    """Whether pages of this origin may use the node, by `Origin` and `Host`."""

    @property
    def lease_ms(self) -> int:
        return round(self.settings.lease_seconds * 1000)

    @property
    def gone_ms(self) -> int:
        return round(self.settings.gone_seconds * 1000)

    def grant(self, token: str) -> Grant:
        """Raises `InvalidToken`, `TokenTimedOut`."""
        return self.tokens.read(token, now=self.now_ms() / 1000)

    async def open(
        self,
        client: bytes,
        name: str,
        *,
        number: int | None,
        alive_ms: int,
        cursor: Position | None,
        earlier: str = "",
    ) -> Opened:
        """Open or renew a connection on this node, and tell what follows. Raises `Replaced`, `Unavailable`."""
        # Before it is there: if this node dies in between, somebody looks for a client that never came, and no harm.
        await self.store.watch(client, within_ms=alive_ms)
        opened = await self.store.open(
            client,
            name,
            number=number,
            node=self.attached.node,
            alive_ms=alive_ms,
            cursor=cursor,
            earlier=earlier,
        )
        if opened is None:
            raise Replaced
        self.presences.tell(client, opened.events)
        self.attached.replaced(client, opened.replaced)
        return opened

    async def close(self, client: bytes, name: str, *, cursor: Position | None, grace_ms: int) -> None:
        """End a connection. Where Redis cannot be asked, its lease runs out."""
        await self.presences.close(client, name, cursor=cursor, grace_ms=grace_ms, attached=self.attached)
