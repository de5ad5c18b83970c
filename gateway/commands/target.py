"""Whom a client command talks to: servers and token, from options, the environment, or the node on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gateway.commands.terminal import MISUSED, fail

DEFAULT_SERVER = "http://127.0.0.1:8080"
DEFAULT_DATA = Path("headrace-data")

LOOPBACK = {"localhost", "127.0.0.1", "::1"}

TOKEN_FILE = "service-token"
"""Where an embedded node keeps the operator's token, in its data directory."""

MAX_TOKEN_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Target:
    """`servers` are base URLs without a slash at the end; the token is not part of a `repr`."""

    servers: tuple[str, ...]
    token: str | None = field(default=None, repr=False)


def find(servers: Sequence[str], token: str | None, *, data: Path = DEFAULT_DATA) -> Target:
    """Return the target; without a token, that of the embedded node in `data` goes to servers of this machine only."""
    chosen = tuple(_checked(url) for part in servers for url in part.split(",") if url) or (DEFAULT_SERVER,)
    if not token and all(urlsplit(url).hostname in LOOPBACK for url in chosen):
        token = kept_token(data)
    return Target(chosen, token or None)


def kept_token(data: Path) -> str | None:
    """Return the token that an embedded node keeps in `data`, None where there is none to read."""
    try:
        with (data / TOKEN_FILE).open("rb") as file:
            return file.read(MAX_TOKEN_BYTES).decode().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _checked(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail(f"{url!r} is not a server: write http://HOST:PORT.", MISUSED)
    if parts.username or parts.password or parts.query:
        fail("a server's URL holds no credentials: use --token or HEADRACE_TOKEN.", MISUSED)
    return parts.geturl().rstrip("/")
