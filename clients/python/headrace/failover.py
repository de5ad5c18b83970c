"""Which server next, and when. Pure: time and chance are passed in.

Every server of the list is tried once, in random order, before any is tried again. The first try after a break comes
after a random part of what the node asked for (`spread_ms`, at most a second unless it announced a restart), every
later one after a random part of a delay that doubles up to `MAX_DELAY_S` (full jitter): a herd that lost its node does
not come back in step. A connection that held for `STABLE_S` starts the count anew.

The client never gives up by itself. What ends it is a word of the server: a close code, or an HTTP status from every
server of the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from urllib.parse import urlsplit

BASE_DELAY_S = 0.1
MAX_DELAY_S = 5.0
MAX_FIRST_DELAY_S = 1.0
MAX_RETRY_AFTER_S = 60.0
"""However long a server asks to be left alone, it is tried again after this."""
STABLE_S = 5.0
MAX_LEARNED = 100
"""Servers taken over from a node's welcome."""

RESTART = 1012


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
    """Try `server` (a base URL) at `at`, in monotonic seconds."""

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
    """The list of servers and the count of failures."""

    def __init__(self, servers: Sequence[str], *, random: Random) -> None:
        self._configured = tuple(dict.fromkeys(checked_server(url) for url in servers))
        if not self._configured:
            raise ValueError("give at least one server")
        self._learned: tuple[str, ...] = ()
        self._random = random
        self._cycle: list[str] = []
        self._refused: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._failures = 0
        self._first_delay_s = 0.0

    @property
    def servers(self) -> tuple[str, ...]:
        """Everything that may be tried, the configured ones first."""
        known = dict.fromkeys((*self._configured, *self._learned))
        return tuple(url for url in known if url not in self._refused)

    def learn(self, servers: Sequence[str], *, server: str) -> None:
        """Take over the list of a node's welcome, an empty one says nothing.

        Where the node was reached encrypted, its unencrypted peers are not taken: they would be sent the token.
        """
        if servers:
            valid = [url.rstrip("/") for url in servers[:MAX_LEARNED] if _is_server(url)]
            self._learned = tuple(url for url in valid if _is_encrypted(url) or not _is_encrypted(server))

    def next(self, now: float) -> Attempt | None:
        """Return the next attempt; None when every server has refused for good."""
        servers = self.servers
        if not servers:
            return None
        self._cycle = [url for url in self._cycle if url in servers] or self._shuffled(servers)
        server = self._cycle.pop(0)
        return Attempt(server, max(now + self._delay(), self._not_before.pop(server, 0.0)))

    def _shuffled(self, servers: Sequence[str]) -> list[str]:
        order = list(servers)
        self._random.shuffle(order)
        return order

    def _delay(self) -> float:
        if self._failures == 0:
            return self._random.uniform(0, self._first_delay_s)
        return self._random.uniform(0, min(MAX_DELAY_S, BASE_DELAY_S * 2 ** min(self._failures, 16)))

    def failed(self, server: str, now: float, *, retry_after_s: float = 0.0) -> None:
        """The attempt came to nothing."""
        self._failures += 1
        if retry_after_s > 0:
            self._not_before[server] = now + min(retry_after_s, MAX_RETRY_AFTER_S)

    def refused(self, server: str) -> None:
        """This server will never take us: it is not tried again."""
        self._failures += 1
        self._refused.add(server)

    def ended(self, server: str, *, lasted_s: float, code: int | None, spread_ms: int) -> None:
        """A connection that had been welcomed is over: begin a new round, with this server last."""
        self._failures = 0 if lasted_s >= STABLE_S else self._failures + 1
        self._first_delay_s = spread_ms / 1000 if code == RESTART else min(spread_ms / 1000, MAX_FIRST_DELAY_S)
        others = [url for url in self.servers if url != server]
        self._cycle = [*self._shuffled(others), server]


def _is_server(url: str) -> bool:
    try:
        return bool(checked_server(url))
    except ValueError:
        return False


def _is_encrypted(url: str) -> bool:
    return urlsplit(url).scheme in ("https", "wss")
