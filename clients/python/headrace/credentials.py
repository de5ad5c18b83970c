"""The token: given once, or asked for anew for every connection. It never shows in a `repr`, a log or a URL."""

import base64
import inspect
import json
from collections.abc import Awaitable, Callable

REFRESH_AFTER = 0.75
"""The part of a token's remaining life after which a fresh one is fetched."""

MIN_REFRESH_S = 5.0
"""Never sooner than this. A token that lives shorter runs out, and the next connection brings another."""

MAX_REFRESH_S = 86_400.0

MAX_TIME_S = 2**53
"""Beyond it a number in a token is no time."""

Token = str | Callable[[], "str | Awaitable[str]"] | None
"""None, the token itself, or a function that returns a fresh one (a plain one must not block: it runs in the loop)."""


class Credentials:
    """Holds the token. A refused one is given a second chance only where a function can make a fresh one."""

    def __init__(self, token: Token) -> None:
        self._token = _checked(token) if isinstance(token, str) else token
        self._shown = ""
        self._refused = False

    def __repr__(self) -> str:
        return "Credentials(…)"

    async def headers(self) -> list[tuple[str, str]]:
        """Return the handshake's headers. Whatever the function raises passes through."""
        token = await self.token()
        return [("Authorization", f"Bearer {token}")] if token else []

    async def token(self) -> str:
        """Return the token, asked for anew where a function makes it; "" for none."""
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        self._shown = _checked(token) if token else ""
        return self._shown

    def refresh_in(self, now_s: float) -> float | None:
        """Return in how many seconds to show a fresh token; None where there is no function, or no readable expiry.

        `now_s` is Unix time in seconds.
        """
        expires_s = expiry_of(self._shown) if callable(self._token) else None
        left_s = 0.0 if expires_s is None else (expires_s - now_s) * REFRESH_AFTER
        return min(left_s, MAX_REFRESH_S) if left_s >= MIN_REFRESH_S else None

    def accepted(self) -> None:
        self._refused = False

    def refused(self) -> bool:
        """The token was refused: tell whether to come back with a fresh one. Once, until one is accepted."""
        again = callable(self._token) and not self._refused
        self._refused = True
        return again


def _checked(token: str) -> str:
    """Return the token without the newline that files end in; raise `ValueError` for what cannot stand in a header."""
    token = token.strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("a token is printable ASCII without spaces")
    return token


def expiry_of(token: str) -> float | None:
    """Return the `exp` that a JWT says of itself, Unix seconds, unverified; None for anything else."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (ValueError, RecursionError):
        return None
    expires: object = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        return None
    return float(expires) if 0 < expires < MAX_TIME_S else None
