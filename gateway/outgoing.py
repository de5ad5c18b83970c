"""Outgoing HTTP requests whose URL somebody else chose: where they may go, and what they may cost.

A tenant who names a URL must not reach what only this node can reach. So: https, no address that is not public, unless
the operator allowed it; every address of a name is checked, and the connection goes to a checked one, while SNI,
certificate and `Host` keep the name; all of that anew at each send, because DNS answers change. No redirect is
followed, no proxy is taken from the environment, and neither size nor time is the other side's choice.

A refusal names the rule and never the address: what a name resolves to inside is not the tenant's business.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

import httpcore

from broker.errors import HeadraceError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns every address, A and AAAA, of a host name; raises `OSError`."""

DEFAULT_PORTS = {"http": 80, "https": 443}

MAX_URL_CHARS = 2048

_NOT_IN_A_URL = frozenset(' "<>\\^`{|}')

MAX_ADDRESSES = 16
"""Addresses of one name that are looked at; a name with more is refused."""

CONNECT_SECONDS = 5.0
RESOLVE_SECONDS = 5.0

MAX_CONNECTIONS = 1000
"""Open at once on one node. Whoever waits for one waits within its own time."""

MAX_IDLE_CONNECTIONS = 100
IDLE_SECONDS = 30.0

RESOLVER_THREADS = 16
"""A pool of their own: names that never resolve must not take the threads that others need."""

NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server: public in form, a metadata service in fact
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)

PUBLIC_V6 = IPv6Network("2000::/3")
NOT_PUBLIC_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Within `PUBLIC_V6`: protocol assignments with Teredo, documentation, and 6to4, which wraps an IPv4 address."""

NAT64 = IPv6Network("64:ff9b::/96")


class OutgoingError(HeadraceError):
    """A request that was not sent, or not answered. Its reason may be shown to the tenant."""

    code = "outgoing"
    sentence = "The request failed."


class NotAllowed(OutgoingError):
    """The rules forbid it. Nothing was sent."""

    code = "outgoing_not_allowed"


class Failed(OutgoingError):
    """The other side, or the way to it, failed."""

    code = "outgoing_failed"


class TimedOut(Failed):
    """Nothing is known of what the other side has done with the request."""

    code = "outgoing_timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRules:
    """What the operator allows; nothing beyond https to public addresses by default."""

    plain_http: bool = False
    networks: tuple[Network, ...] = ()
    """Addresses that may be reached although they are not public."""
    ports: frozenset[int] = frozenset()
    """Empty: any port."""

    def allows(self, address: Address) -> bool:
        """Tell whether a connection may go to `address`."""
        inner = _unwrapped(address)
        return any(inner in network for network in self.networks) or is_public(inner)


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read networks such as `10.0.0.0/8`. Raises `ValueError`."""
    return tuple(ip_network(text) for text in texts)


def is_public(address: Address) -> bool:
    """Tell whether `address` belongs to the public internet; one that wraps an IPv4 address counts as that."""
    inner = _unwrapped(address)
    if isinstance(inner, IPv4Address):
        return not any(inner in network for network in NOT_PUBLIC_V4)
    return inner in PUBLIC_V6 and not any(inner in network for network in NOT_PUBLIC_V6)


def _unwrapped(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(address.packed[-4:]) if address in NAT64 else address


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL that the rules let through; its host is still to be resolved."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""


def read_url(url: str, rules: OutgoingRules) -> Destination:
    """Return where `url` leads, or raise `NotAllowed`. The name is not resolved."""
    parts = _split(url)
    schemes = ("https", "http") if rules.plain_http else ("https",)
    if parts.scheme not in schemes:
        raise NotAllowed(f"Only {' and '.join(schemes)} may be used.")
    if not parts.hostname:
        raise NotAllowed("The URL has no host.")
    if "@" in parts.netloc:
        raise NotAllowed("The URL holds a user or a password.")
    port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
    if port == 0 or (rules.ports and port not in rules.ports):
        raise NotAllowed(f"Port {port} may not be used.")
    query = f"?{parts.query}" if parts.query else ""
    return Destination(parts.scheme, _ascii_host(parts.hostname), port, (parts.path or "/") + query)


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARS:
        raise NotAllowed(f"The URL is longer than {MAX_URL_CHARS} characters.")
    if any(char in _NOT_IN_A_URL or not char.isprintable() for char in url):
        raise NotAllowed("The URL holds characters that a URL may not hold.")
    try:
        parts = urlsplit(url)
        _ = parts.port
        parts.path.encode("ascii")
        parts.query.encode("ascii")
    except ValueError:
        raise NotAllowed("The URL is not valid.") from None
    return parts


def _ascii_host(host: str) -> str:
    if ":" in host:
        # An IPv6 literal; a zone is a matter of this machine alone.
        try:
            return str(IPv6Address(host.partition("%")[0]))
        except ValueError:
            raise NotAllowed("The URL is not valid.") from None
    try:
        name = host.encode("idna").decode("ascii")
    except UnicodeError:
        raise NotAllowed("The host name is not valid.") from None
    if not all(char.isalnum() or char in ".-_" for char in name):
        raise NotAllowed("The host name is not valid.")
    return name


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` is what came within the bounds of size and time, perhaps cut."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)
    """Names in lower case."""


class Outgoing:
    """Sends requests under the rules. One a node; connections are kept, each to an address that was checked."""

    def __init__(
        self, rules: OutgoingRules, *, tls: ssl.SSLContext | None = None, resolve: Resolver | None = None
    ) -> None:
        self._rules = rules
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="outgoing-dns")
        self._resolve = resolve or self._ask_system
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=_PinnedBackend(),
        )

    @property
    def rules(self) -> OutgoingRules:
        return self._rules

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
        body: bytes = b"",
        seconds: float,
        max_bytes: int,
        whole: bool = False,
    ) -> Reply:
        """Send one request and return its answer, whatever the status. Raises `NotAllowed`, `Failed`.

        `seconds` bounds all of it, `max_bytes` what is kept of the answer's body. Nothing is sent twice. With `whole` a
        body that is longer, or that did not come in time, is a failure and not cut.
        """
        destination = read_url(url, self._rules)
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        given = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
        request = _Request(method, destination, (*_own_headers(method, destination, body), *given), body)
        try:
            async with asyncio.timeout(seconds) as clock:
                checked = _pinned.set(await self._addresses(destination))
                try:
                    return await self._exchange(request, max_bytes, None if whole else clock)
                finally:
                    _pinned.reset(checked)
        except TimeoutError:
            raise TimedOut(f"There was no answer within {seconds:g} seconds.") from None
        except (httpcore.TimeoutException, httpcore.NetworkError) as error:
            raise Failed("The connection failed.") from error
        except httpcore.ProtocolError as error:
            raise Failed("The answer was not valid HTTP.") from error

    async def _exchange(self, request: "_Request", max_bytes: int, clock: asyncio.Timeout | None) -> Reply:
        to = request.to
        url = httpcore.URL(scheme=to.scheme.encode(), host=to.host.encode(), port=to.port, target=to.target.encode())
        content = request.body or None
        async with self._pool.stream(request.method, url, headers=request.headers, content=content) as response:
            names = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers)
            read = _read_whole(response, max_bytes) if clock is None else _read(response, max_bytes, clock)
            return Reply(response.status, await read, names)

    async def _addresses(self, to: Destination) -> tuple[Address, ...]:
        """Return every address of the destination, each of which the rules allow."""
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = [to.host] if _is_address(to.host) else await self._resolve(to.host, to.port)
        except (OSError, TimeoutError, UnicodeError):
            raise Failed("The host name could not be resolved.") from None
        addresses = tuple(dict.fromkeys(ip_address(text.partition("%")[0]) for text in found))
        if not 1 <= len(addresses) <= MAX_ADDRESSES:
            raise Failed("The host name has no address, or too many.")
        if not all(map(self._rules.allows, addresses)):
            raise NotAllowed("The host has an address that may not be reached.")
        return addresses

    async def _ask_system(self, host: str, port: int) -> list[str]:
        def ask() -> list[str]:
            return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

        return await asyncio.get_running_loop().run_in_executor(self._threads, ask)

    async def close(self) -> None:
        await self._pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_address(host: str) -> bool:
    """Tell whether `host` is an address as it is written, which no resolver need be asked about.

    Only the usual form: what else a resolver takes for one (`127.1`, `0x7f000001`) is its to read.
    """
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    to: Destination
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def _own_headers(method: str, to: Destination, body: bytes) -> Iterator[tuple[bytes, bytes]]:
    authority = f"[{to.host}]" if ":" in to.host else to.host
    port = "" if to.port == DEFAULT_PORTS[to.scheme] else f":{to.port}"
    yield b"Host", f"{authority}{port}".encode()
    yield b"User-Agent", b"headrace"
    # Uncompressed, so that what is counted is what is kept.
    yield b"Accept-Encoding", b"identity"
    if body or method not in ("GET", "HEAD"):
        yield b"Content-Length", b"%d" % len(body)


async def _read(response: httpcore.Response, max_bytes: int, clock: asyncio.Timeout) -> bytes:
    """Return the first `max_bytes` of the body, or what came in time: the status stands by then."""
    data = bytearray()
    deadline = clock.when()
    with contextlib.suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException):
        # Half of what is left, so that the answer still gets home before the caller's own time is over.
        now = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(now + ((deadline or now) - now) / 2):
            async for chunk in response.aiter_stream():
                data += chunk[: max_bytes - len(data)]
                if len(data) >= max_bytes:
                    break
    return bytes(data)


async def _read_whole(response: httpcore.Response, max_bytes: int) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_stream():
        data += chunk
        if len(data) > max_bytes:
            raise Failed(f"The answer has more than {max_bytes} bytes.")
    return bytes(data)


_pinned: ContextVar[tuple[Address, ...]] = ContextVar("_pinned")
"""The checked addresses of the request at hand: its connection, where it needs a new one, goes to one of these."""


class _PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses in `_pinned`, whatever name it is given. A pool connects in its caller's context."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception | None = None
        for address in _pinned.get():
            try:
                return await self._inner.connect_tcp(str(address), port, timeout=CONNECT_SECONDS)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("only TCP is used")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
