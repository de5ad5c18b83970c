"""Web origins: which pages a browser may let talk to this node.

An origin is compared as a whole, scheme, host and port, after parsing: never as a piece of text, which is how
`https://example.com.attacker.net` gets in elsewhere.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_ORIGIN = re.compile(r"(https?)://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.IGNORECASE)
_HOST = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


@dataclass(frozen=True, slots=True)
class Origin:
    scheme: str
    host: str
    port: int


def parse_origin(text: str) -> Origin:
    """Read `scheme://host[:port]`, http or https, nothing behind it; or raise `ValueError`."""
    found = _ORIGIN.fullmatch(text)
    if not found:
        raise ValueError("an origin is scheme://host or scheme://host:port")
    scheme = found[1].lower()
    port = int(found[4]) if found[4] else _DEFAULT_PORTS[scheme]
    if not 1 <= port <= 65_535:
        raise ValueError("an origin's port is 1 to 65535")
    return Origin(scheme, found[2].lower(), port)


class Origins:
    """The origins of one node: its own, those configured, and with `loopback` every page served on this machine."""

    def __init__(self, allowed: Iterable[str], *, loopback: bool) -> None:
        self._allowed = frozenset(parse_origin(text) for text in allowed)
        self._loopback = loopback

    def allow(self, origin: str | None, host: str | None) -> bool:
        """Tell whether a page of `origin` may use the node that it addressed as `host` (the Host header).

        No Origin header: not a browser, or a page of the same origin that only reads. `null`, which any page can
        send from a sandbox, and whatever is not an origin are refused.
        """
        if origin is None:
            return True
        try:
            page = parse_origin(origin)
        except ValueError:
            return False
        if page in self._allowed or _is_same(page, host):
            return True
        return self._loopback and page.host in LOOPBACK_HOSTS


def _is_same(page: Origin, host: str | None) -> bool:
    # The scheme cannot be compared: behind a proxy that ends TLS this node does not know it.
    found = _HOST.fullmatch(host or "")
    if not found or found[1].lower() != page.host:
        return False
    return (int(found[3]) if found[3] else _DEFAULT_PORTS[page.scheme]) == page.port
