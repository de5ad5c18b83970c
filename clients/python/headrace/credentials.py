"""The token: given once, or asked for anew for every connection. It never shows in a `repr`, a log or a URL."""

import inspect
from collections.abc import Awaitable, Callable

Token = str | Callable[[], "str | Awaitable[str]"] | None
"""None, the token itself, or a function that returns a fresh one (a plain one must not block: it runs in the loop)."""


class Credentials:
    """Holds the token. A refused one is given a second chance only where a function can make a fresh one."""

    def __init__(self, token: Token) -> None:
        self._token = _checked(token) if isinstance(token, str) else token
        self._refused = False

    def __repr__(self) -> str:
        return "Credentials(…)"

    async def headers(self) -> list[tuple[str, str]]:
        """Return the handshake's headers. Whatever the function raises passes through."""
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        token = _checked(token) if token else None
        return [("Authorization", f"Bearer {token}")] if token else []

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
