"""Which servers there are, and which is asked first. Pure but for the memory of who answered last.

A server is given as ARGO's client takes it, `host` or `host:port` (https), or as a URL: `http://` is for development.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Server:
    """One base URL in parts. `prefix` is a path that a proxy wants before `/v1`, mostly empty."""

    scheme: str
    netloc: str
    host: str
    port: int
    prefix: str = ""

    @property
    def endpoint(self) -> str:
        """What ARGO's client calls the endpoint: no scheme."""
        return f"{self.netloc}{self.prefix}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.endpoint}"


def parse_server(text: str) -> Server:
    """Return the server, or raise `ValueError`."""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("a server is a host, host:port, or a base URL such as https://host:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("a server holds no credentials, query or fragment")
    port = parts.port or PORTS[parts.scheme]
    return Server(parts.scheme, parts.netloc, parts.hostname, port, parts.path.rstrip("/"))


class Servers:
    """The list, with the one first that answered last. Threads may share it."""

    def __init__(self, endpoint: str | Sequence[str]) -> None:
        texts = [endpoint] if isinstance(endpoint, str) else list(endpoint)
        self.all = tuple(dict.fromkeys(map(parse_server, texts)))
        if not self.all:
            raise ValueError("give at least one server")
        self._preferred = 0

    def prefer(self, server: Server) -> None:
        """`server` answered: ask it first from now on. One that is not in the list changes nothing."""
        if server in self.all:
            self._preferred = self.all.index(server)

    def candidates(self, url: str) -> list[tuple[Server, str]]:
        """Return who to ask in turn, each with the path and query, for a URL made for any server of the list.

        A URL of no server in the list has one candidate: whoever it names. Raises `ValueError` for what is no URL.
        """
        for server in self.all:
            if url.startswith(f"{server.url}/"):
                target = url.removeprefix(server.url)
                first = self._preferred
                return [(s, s.prefix + target) for s in (*self.all[first:], *self.all[:first])]
        parts = urlsplit(url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        return [(parse_server(f"{parts.scheme}://{parts.netloc}"), target or "/")]
