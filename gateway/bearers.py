"""Bearers of user tokens: a short memory of who they are, and a watch over those that are connected.

A user's rights live in records that any node may change. A request believes what was read less than `KEPT_SECONDS`
ago; a connection is looked at again every `WATCH_SECONDS`, and told when its token is known no more or its rights are
others. Where the records cannot be asked, a connection keeps the rights that it has.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from broker.accounts import Accounts, digest_of
from broker.errors import HeadraceError, Unauthorized
from broker.rights import Account, Principal

KEPT_SECONDS = 2.0
"""How long a token is believed without asking again: how late a request sees a change."""

MAX_KEPT = 10_000
"""Tokens that are remembered."""

WATCH_SECONDS = 2.0
"""Between two looks at connected users; with very many of them, a round takes several."""

WATCHED_A_ROUND = 2000
"""Users that one look asks about."""

ASKED_AT_ONCE = 100

ROUND_TIMEOUT_SECONDS = 30.0

TOKEN_CHARS = 64

log = logging.getLogger(__name__)


class Bearer(Protocol):
    """A connection of a user. Hashable by identity."""

    def on_principal(self, principal: Principal | None) -> None:
        """The caller's rights are others now; None: its token is known no more, the connection has to end."""


class Bearers:
    """Users by their tokens. `monotonic` is a clock in seconds."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._accounts = accounts
        self._monotonic = monotonic
        self._sleep = sleep
        self._kept: dict[str, tuple[float, Principal]] = {}
        # Changes made here count at once; those of other nodes when the memory is over.
        accounts.on_change = self._kept.clear
        self._watched: dict[Account, dict[Bearer, None]] = {}

    def known(self, token: str) -> Principal | None:
        """Return what was read a moment ago, None where `find` must be awaited."""
        kept = self._kept.get(digest_of(token))
        return kept[1] if kept is not None and self._monotonic() < kept[0] else None

    async def find(self, token: str) -> Principal:
        """Raises `Unauthorized`, `Unavailable`."""
        digest = digest_of(token)
        try:
            principal = await self._accounts.principal(token)
        except Unauthorized:
            self._kept.pop(digest, None)
            raise
        self._keep(digest, principal)
        return principal

    def _keep(self, digest: str, principal: Principal) -> None:
        self._kept.pop(digest, None)
        if len(self._kept) >= MAX_KEPT:
            # The first in a dict is the one put in longest ago.
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = (self._monotonic() + KEPT_SECONDS, principal)

    def watch(self, bearer: Bearer, principal: Principal) -> None:
        """Tell `bearer` when the rights of its principal change; nothing for a principal that is no user."""
        if principal.account is not None:
            self._watched.setdefault(principal.account, {})[bearer] = None

    def unwatch(self, bearer: Bearer, principal: Principal) -> None:
        """Forget a bearer that was given `principal` last."""
        if principal.account is None:
            return
        bearers = self._watched.get(principal.account, {})
        bearers.pop(bearer, None)
        if not bearers:
            self._watched.pop(principal.account, None)

    async def run(self) -> None:
        """Look after connected users until cancelled."""
        while True:
            await self._sleep(WATCH_SECONDS)
            try:
                async with asyncio.timeout(ROUND_TIMEOUT_SECONDS):
                    await self.look()
            except (HeadraceError, TimeoutError) as refusal:
                log.warning("connected users are looked at later", extra={"reason": str(refusal) or "it took too long"})
            except Exception:
                log.exception("looking at connected users failed")

    async def look(self) -> None:
        """Ask about the connected users that were not asked about for longest. Raises `Unavailable`."""
        due = list(self._watched)[:WATCHED_A_ROUND]
        for at in range(0, len(due), ASKED_AT_ONCE):
            some = due[at : at + ASKED_AT_ONCE]
            found = await asyncio.gather(*map(self._again, some))
            for account, principal in zip(some, found, strict=True):
                self._settle(account, principal)

    async def _again(self, account: Account) -> Principal | None:
        try:
            return await self._accounts.principal_again(account)
        except Unauthorized:
            return None

    def _settle(self, account: Account, principal: Principal | None) -> None:
        bearers = self._watched.pop(account, {})
        if principal is not None and principal.account == account:
            # Behind the others: the next round begins with those.
            self._watched[account] = bearers
            return
        for bearer in bearers:
            if principal is not None:
                self.watch(bearer, principal)
            try:
                bearer.on_principal(principal)
            except Exception:
                log.exception("a connection could not be told of its caller's rights")


def looks_like_user_token(token: str) -> bool:
    """Tell whether `token` has the form of a user's: 64 lower-case hexadecimal digits."""
    return len(token) == TOKEN_CHARS and not token.strip("0123456789abcdef")
