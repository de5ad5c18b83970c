"""Channel tokens: who may open whose channel, until when (contracts/channel 3). Pure.

    {32 hex digits}-channel-{random}-{expiry, Unix seconds}-{client id, encoded}

The shape is the original's; its unkeyed hash is an HMAC-SHA256 here, cut to 128 bits, over all that follows it. Its key
is derived from the node's secret key, so every node reads every node's tokens; those under the key before count too.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass

from gateway.channel import names
from gateway.channel.errors import InvalidToken, TokenTimedOut
from gateway.options import Secret

WORD = "channel"

DIGEST_BYTES = 16

MAX_RANDOM = 2**32

MAX_TOKEN_CHARS = 1024
"""The longest client id, each byte as three letters, and the rest. A longer token is refused unread."""

_KEY_LABEL = b"headrace channel token HMAC-SHA256 v1"

_DIGITS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token grants: the channel of `client_id`, while `now < expires_s`."""

    client_id: bytes
    expires_s: int


class Tokens:
    """Makes and reads them. `now` is in Unix seconds, with fractions."""

    def __init__(self, secret_key: Secret, *, old: Secret | None = None) -> None:
        self._keys = [_derived(secret) for secret in (secret_key, old) if secret is not None]

    def make(self, client_id: bytes, *, minutes: int, now: float, random: int) -> str:
        """Return a token that lives `minutes`, up to a second more. `random` is below `MAX_RANDOM`."""
        rest = f"{WORD}-{random}-{expiry(minutes=minutes, now=now)}-{names.encode(client_id)}"
        return f"{_digest(self._keys[0], rest)}-{rest}"

    def read(self, token: str, *, now: float) -> Grant:
        """Raises `InvalidToken`, `TokenTimedOut`; neither holds anything of the token."""
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise InvalidToken
        digest, _, rest = token.partition("-")
        if not any(hmac.compare_digest(_digest(key, rest), digest) for key in self._keys):
            raise InvalidToken
        parts = rest.split("-", 3)
        if len(parts) != 4 or parts[0] != WORD or not _DIGITS.fullmatch(parts[2]):
            raise InvalidToken
        if int(parts[2]) <= now:
            raise TokenTimedOut
        try:
            return Grant(names.decode(parts[3]), int(parts[2]))
        except ValueError:
            raise InvalidToken from None


def expiry(*, minutes: int, now: float) -> int:
    """Return the Unix second at which a token made now for so many minutes is timed out."""
    return int(now + minutes * 60) + 1


def _derived(secret: Secret) -> bytes:
    return hmac.digest(secret.value.encode(), _KEY_LABEL, hashlib.sha256)


def _digest(key: bytes, rest: str) -> str:
    return hmac.digest(key, rest.encode(), hashlib.sha256)[:DIGEST_BYTES].hex()
