"""Which server next, and when. Pure: time and chance are passed in (protocol/failover.md has the rules).

Every server is tried once, in an order that weights and recent failures bend, before any is tried again. The first try
after a break comes after a random part of what the node asked for, every later one after a random part of a delay that
doubles (full jitter): a herd that lost its node does not come back in step.

The client never gives up by itself. What ends it is a word of the server: a close code, or an HTTP status from every
server of the list. All times are seconds, those named `now` and `at` of one monotonic clock.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

MAX_TOLD_S = 60.0
"""However long a server asks to be left alone, it is tried again after this."""
TOLD_SPREAD_S = 1.0
"""A time that a server named is kept with a random part of this added: others may have been told the same."""
STABLE_S = 5.0
"""A connection that held so long starts the count of attempts anew."""
HALF_LIFE_S = 30.0
"""A server's penalty halves in this time."""
MAX_PENALTY = 8.0
"""Failures that weigh: with all of them a server keeps 1/256 of its weight."""
MAX_LEARNED = 100
"""Servers taken over from a node's list."""
MAX_DOUBLINGS = 16
"""More of them would only make a larger number to be capped."""


@dataclass(frozen=True, slots=True)
class Server:
    """A base URL and its share of connections: 1 is usual, 0 a last resort, None what the nodes say of it."""

    url: str
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """How fast a client comes back, in seconds."""

    base_s: float = 2.0
    """The longest delay before the second attempt in a row; it doubles with each."""
    cap_s: float = 20.0
    """The longest delay of all."""
    least_first_s: float = 0.1
    """The first attempt after a break is spread over this at least, over the node's `spread_ms` where that is more."""
    second_dial_s: float = 0.3
    """A dial without an answer for so long gets company: whichever opens first stays."""
    connect_timeout_s: float = 2.0
    """For the connection, TLS and the handshake together."""
    half_open_s: float = 10.0
    """A connection that brought nothing for so long is dead; after half of it the client asks for a sign of life."""

    @property
    def longest_absence_s(self) -> float:
        """From the break to the next attempt at most, while a server can be reached."""
        return self.cap_s + self.half_open_s + 2 * self.connect_timeout_s

    def delay_s(self, attempt: int, first_s: float, draw: float) -> float:
        """Return how long to wait before attempt 1, 2, ... in a row, for a random `draw` from 0 to below 1.

        `first_s` is what the first one is spread over.
        """
        if attempt == 1:
            return draw * first_s
        return draw * min(self.cap_s, self.base_s * 2.0 ** min(attempt - 2, MAX_DOUBLINGS))

    def fits(self, retention_s: float) -> bool:
        """Whether a log that keeps messages this long outlasts an absence twice over."""
        return self.longest_absence_s <= retention_s / 2


class Verdict(Enum):
    """What a refusal or a close code means for the client."""

    COME_BACK = auto()
    FRESH_TOKEN = auto()
    """Come back once with a fresh token, where there is a function for it; else it is over."""
    NEVER_THERE = auto()
    """Not to this server; over when no other is left."""
    NEVER = auto()


def verdict_of_close(code: int | None) -> Verdict:
    """Judge a WebSocket close code, None for a connection that broke."""
    if code in (4500, 4501):
        return Verdict.FRESH_TOKEN
    if code in (1002, 1003, 1007, 1008, 1009) or (code is not None and 4500 <= code <= 4999):
        return Verdict.NEVER
    return Verdict.COME_BACK


def verdict_of_status(status: int) -> Verdict:
    """Judge the HTTP status that answered the handshake."""
    if status == 401:
        return Verdict.FRESH_TOKEN
    return Verdict.NEVER_THERE if status in (400, 403, 404) else Verdict.COME_BACK


@dataclass(frozen=True, slots=True)
class Attempt:
    """Try `server` (a base URL) at `at`."""

    server: str
    at: float


def checked_server(url: str) -> str:
    """Return a base URL, or raise `ValueError`: http(s) or ws(s), with no secret in it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ValueError("a server is a base URL such as https://host:8080")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError("a server's URL holds no credentials, query or fragment: pass token= instead")
    return url.rstrip("/")


class Failover:
    """The list of servers, and what each has done to us. `draw` returns a random number from 0 to below 1."""

    def __init__(
        self, servers: Iterable[str | Server], *, draw: Callable[[], float], schedule: Schedule | None = None
    ) -> None:
        self._configured = dict(_configured(server) for server in servers)
        if not self._configured:
            raise ValueError("give at least one server")
        self._draw = draw
        self._schedule = schedule or Schedule()
        self._learned: dict[str, float] = {}
        self._refused: set[str] = set()
        self._leaving: set[str] = set()
        self._tried: set[str] = set()
        self._last = ""
        self._told: dict[str, float] = {}
        self._penalties: dict[str, tuple[float, float]] = {}
        self._attempts = 0
        self._first_s = 0.0

    @property
    def servers(self) -> tuple[str, ...]:
        """Everything that may be tried, the configured ones first."""
        known = dict.fromkeys((*self._configured, *self._learned))
        return tuple(url for url in known if url not in self._refused)

    # What the nodes say.

    def learn(self, servers: Sequence[Server], *, server: str) -> None:
        """Take over a node's list; an empty one says nothing, and the configured servers stay.

        Where the node was reached encrypted, its unencrypted peers are not taken: they would be sent the token.
        """
        if not servers:
            return
        taken = (one for one in servers[:MAX_LEARNED] if _is_server(one.url))
        safe = (one for one in taken if _is_encrypted(one.url) or not _is_encrypted(server))
        self._learned = {checked_server(one.url): 1.0 if one.weight is None else one.weight for one in safe}
        self._leaving -= self._learned.keys()

    def drained(self, server: str, *, spread_s: float) -> None:
        """The node asks to be left: find another, and come back to it only where there is none."""
        self._leaving.add(server)
        self._begin(spread_s)

    # What to do.

    def next(self, now: float) -> Attempt | None:
        """Return the next attempt; None when every server has refused for good."""
        server = self._choose(now, besides="")
        if server is None:
            return None
        told, draw = self._told.get(server, now), self._draw()
        self._attempts += 1
        if told > now:
            return Attempt(server, told + draw * TOLD_SPREAD_S)
        return Attempt(server, now + self._schedule.delay_s(self._attempts, self._first_s, draw))

    def another(self, now: float, *, besides: str) -> str | None:
        """Return a server to dial beside the one that has not answered, None where there is none."""
        return self._choose(now, besides=besides)

    def _choose(self, now: float, *, besides: str) -> str | None:
        known = [url for url in self.servers if url != besides]
        known = [url for url in known if url not in self._leaving] or known
        if not known:
            return None
        ready = [url for url in known if self._told.get(url, now) <= now]
        if not ready and besides:
            return None
        soonest = min(known, key=lambda url: self._told.get(url, now))
        server = self._drawn(self._candidates(ready, besides), now) if ready else soonest
        self._tried.add(server)
        return server

    def _candidates(self, ready: list[str], besides: str) -> list[str]:
        fresh = [url for url in ready if url not in self._tried]
        if not fresh:
            self._tried = {besides} - {""}
            fresh = ready
        regular = [url for url in fresh if self._weight(url) > 0] or fresh
        return [url for url in regular if url != self._last] or regular

    def _drawn(self, candidates: list[str], now: float) -> str:
        shares = [(self._weight(url) or 1.0) * 2 ** -self._penalty(url, now) for url in candidates]
        mark = self._draw() * sum(shares)
        for url, share in zip(candidates, shares, strict=True):
            mark -= share
            if mark < 0:
                return url
        return candidates[-1]  # what rounding may leave over

    def _weight(self, url: str) -> float:
        own = self._configured.get(url)
        return self._learned.get(url, 1.0) if own is None else own

    # What came of it.

    def failed(self, server: str, now: float, *, retry_after_s: float = 0.0) -> None:
        """A dial came to nothing. `retry_after_s`: the server's word when to come back, 0 for none."""
        self._punish(server, now)
        if retry_after_s > 0:
            self._told[server] = now + min(retry_after_s, MAX_TOLD_S)

    def refused(self, server: str) -> None:
        """This server will never take us: it is not tried again."""
        self._refused.add(server)

    def ended(self, server: str, now: float, *, lasted_s: float, spread_s: float | None) -> None:
        """A connection is over that had been welcomed `lasted_s` before. `spread_s`: what its node asked for."""
        self._punish(server, now)
        self._leaving.clear()
        if lasted_s >= STABLE_S:
            asked_s = self._schedule.base_s if spread_s is None else spread_s
            self._begin(max(self._schedule.least_first_s, asked_s))

    def network_up(self) -> None:
        """The machine has a network again: what failed without one says nothing of the servers."""
        self._penalties.clear()
        self._begin(0.0)

    def _begin(self, first_s: float) -> None:
        self._attempts, self._first_s = 0, first_s
        self._tried = set()

    def _punish(self, server: str, now: float) -> None:
        self._last = server
        self._penalties[server] = min(self._penalty(server, now) + 1, MAX_PENALTY), now

    def _penalty(self, server: str, now: float) -> float:
        amount, at = self._penalties.get(server, (0.0, now))
        return amount * float(2 ** ((at - now) / HALF_LIFE_S))


def _configured(server: str | Server) -> tuple[str, float | None]:
    if isinstance(server, str):
        return checked_server(server), None
    if server.weight is not None and not 0 <= server.weight < float("inf"):
        raise ValueError("a weight is a number from 0 up")
    return checked_server(server.url), server.weight


def _is_server(url: str) -> bool:
    try:
        return bool(checked_server(url))
    except ValueError:
        return False


def _is_encrypted(url: str) -> bool:
    return urlsplit(url).scheme in ("https", "wss")
