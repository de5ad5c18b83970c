"""Where Redis is: the topology URL, read once.

    redis://[user:password@]host[:port][/database]      one primary
    rediss://...                                        the same over TLS
    redis+cluster://[user:password@]host[:port],host... a Redis Cluster, found through any of these nodes
    unix:///path/to/socket                              one primary on this machine

`?ssl_ca_certs=`, `?ssl_certfile=` and `?ssl_keyfile=` name PEM files for TLS. A password shows in no `repr` and in no
error: errors name the part of the URL that is wrong and never repeat the URL.
"""

import ssl
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

DEFAULT_PORT = 6379
MAX_SEEDS = 64
"""Hosts in one URL: any one of them suffices to find the others."""

_TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_SCHEMES = frozenset({"redis", "rediss", "redis+cluster", "rediss+cluster", "unix"})
_LATER = frozenset({"redis+sentinel", "rediss+sentinel"})


class InvalidAddress(ValueError):
    """The topology URL cannot be used. The text says why and holds nothing of its credentials."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server: host and TCP port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What every connection needs besides the endpoint. Credentials are left out of the `repr`."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    database: int = 0
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A parsed topology URL. A cluster's `seeds` are where the search begins; otherwise there is one."""

    seeds: tuple[Endpoint, ...]
    is_cluster: bool
    access: Access


def parse_address(url: str) -> Address:
    """Read a topology URL, or raise `InvalidAddress`."""
    scheme, mark, rest = url.partition("://")
    if mark and scheme in _LATER:
        raise InvalidAddress("Sentinel topologies (redis+sentinel://) come in a later version and are not served yet.")
    if not mark or scheme not in _SCHEMES:
        raise InvalidAddress(f"A Redis URL begins with one of {', '.join(f'{name}://' for name in sorted(_SCHEMES))}.")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    userinfo, _, hosts = authority.rpartition("@")
    options = _parse_options(query)
    if scheme == "unix":
        seeds: tuple[Endpoint, ...] = (_parse_socket(hosts, slash + path),)
        database = _parse_database(options.get("db", ""))
    else:
        seeds = tuple(_parse_host(host) for host in hosts.split(","))
        database = _parse_database(path or options.get("db", ""))
    is_cluster = scheme.endswith("+cluster")
    _check_shape(seeds, database, is_cluster=is_cluster)
    username, _, password = userinfo.partition(":")
    access = Access(
        username=unquote(username),
        password=unquote(password),
        database=database,
        tls=_tls_context(options) if scheme.startswith("rediss") else None,
    )
    return Address(seeds=seeds, is_cluster=is_cluster, access=access)


def _check_shape(seeds: tuple[Endpoint, ...], database: int, *, is_cluster: bool) -> None:
    if len(seeds) > MAX_SEEDS:
        raise InvalidAddress(f"A Redis URL names at most {MAX_SEEDS} hosts.")
    if not is_cluster and len(seeds) > 1:
        raise InvalidAddress("Several hosts need redis+cluster://.")
    if is_cluster and database:
        raise InvalidAddress("A Redis Cluster has database 0 only.")


def _parse_options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := set(options) - _TLS_OPTIONS - {"db"}:
        raise InvalidAddress(f"The Redis URL has {len(unknown)} unknown option(s) after the question mark.")
    return options


def _parse_socket(host: str, path: str) -> Endpoint:
    if host or path in {"", "/"}:
        raise InvalidAddress("unix:// is followed by an absolute path.")
    return Endpoint(path=unquote(path))


def _parse_host(text: str) -> Endpoint:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidAddress("The Redis URL has a malformed IPv6 address.")
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
    if not host:
        raise InvalidAddress("The Redis URL names no host.")
    return Endpoint(host=host, port=_parse_port(port))


def _parse_port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:6]) < 65536:
        raise InvalidAddress("The Redis URL has a port that is no number from 1 to 65535.")
    return int(text)


def _parse_database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 4:
        raise InvalidAddress("The Redis URL has a database that is no small number.")
    return int(text)


def _tls_context(options: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs") or None)
        if options.get("ssl_certfile"):
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile") or None)
    except (OSError, ssl.SSLError) as error:
        raise InvalidAddress("A PEM file that the Redis URL names cannot be used.") from error
    return context
